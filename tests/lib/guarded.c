#include "tests/lib/guarded.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct guarded guarded_copy(struct span bytes, enum guarded_side side)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes.len + page) / page * page;
    struct guarded g = {NULL, inner + 2 * page, SPAN_NONE};

    g.mapping = mmap(NULL, g.mapping_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.mapping == MAP_FAILED ||
        mprotect((char *)g.mapping + page, inner, PROT_READ | PROT_WRITE) != 0) {
        perror("guarded_copy");
        abort();
    }
    uint8_t *start = (uint8_t *)g.mapping + page;
    uint8_t *at = side == GUARDED_END ? start + inner - bytes.len : start;
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    g.bytes = span_of(at, bytes.len);
    return g;
}

void guarded_free(struct guarded *g)
{
    munmap(g->mapping, g->mapping_len);
    *g = (struct guarded){NULL, 0, SPAN_NONE};
}

uint64_t test_seed(void)
{
    const char *text = getenv("CAGE_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    printf("CAGE_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}

uint64_t test_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
