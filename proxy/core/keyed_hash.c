#include "proxy/core/keyed_hash.h"

enum { WORD_LEN = 8, ROUNDS_A_WORD = 2, ROUNDS_AT_END = 4 };

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void mix(uint64_t v[4], int rounds)
{
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void take_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v, ROUNDS_A_WORD);
    v[0] ^= word;
}

/* Little-endian, at most eight bytes. */
static uint64_t load(struct span bytes)
{
    uint64_t word = 0;

    for (size_t i = 0; i < bytes.len; i++)
        word |= (uint64_t)bytes.data[i] << (8 * i);
    return word;
}

uint64_t keyed_hash(const struct hash_key *key, struct span bytes)
{
    const uint64_t *k = key->words;
    uint64_t v[4] = {k[0] ^ 0x736f6d6570736575, k[1] ^ 0x646f72616e646f6d,
                     k[0] ^ 0x6c7967656e657261, k[1] ^ 0x7465646279746573};
    struct span rest = bytes;

    for (; rest.len >= WORD_LEN; rest = span_from(rest, WORD_LEN))
        take_word(v, load(span_first(rest, WORD_LEN)));
    take_word(v, (uint64_t)bytes.len << 56 | load(rest));
    v[2] ^= 0xff;
    mix(v, ROUNDS_AT_END);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
