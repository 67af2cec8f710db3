/*
 * Bytes laid out so that reading one byte before or behind them faults.
 */
#ifndef TESTS_LIB_GUARDED_H
#define TESTS_LIB_GUARDED_H

#include "config/span.h"

struct guarded {
    void *mapping;
    size_t mapping_len;
    struct span bytes;
};

enum guarded_side { GUARDED_END, GUARDED_START };

/* A copy of `bytes` that ends (or starts) at an inaccessible page; fails the test on no memory. */
struct guarded guarded_copy(struct span bytes, enum guarded_side side);
void guarded_free(struct guarded *g);

/*
 * The seed of a random test: CAGE_TEST_SEED, else the clock. Printed, so that a red run can be
 * repeated.
 */
uint64_t test_seed(void);

/* splitmix64: the next number of a sequence that `state` carries. */
uint64_t test_random(uint64_t *state);

#endif
