#include "proxy/core/keyed_hash.h"
#include "tests/lib/unit.h"

/* The key 00 01 .. 0f and inputs 00 01 .. of each length; from the paper's appendix and its code.
 */
static void published_vectors(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } rows[] = {
        {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd}, {2, 0x0d6c8009d9a94f5a},
        {7, 0xab0200f58b01d137}, {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
    };
    const struct hash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
    uint8_t input[16];

    (void)state;
    for (uint8_t i = 0; i < sizeof(input); i++)
        input[i] = i;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guarded g = guarded_copy(span_of(input, rows[i].len), GUARDED_END);
        uint64_t hash = keyed_hash(&key, g.bytes);
        if (hash != rows[i].hash)
            fail_msg("%zu bytes: %llx", rows[i].len, (unsigned long long)hash);
        guarded_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_vectors)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
