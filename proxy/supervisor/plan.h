/*
 * A whole policy that is in force or may become it: the model, and its canonical text in sealed
 * memory, ready for a worker.
 */
#ifndef PROXY_SUPERVISOR_PLAN_H
#define PROXY_SUPERVISOR_PLAN_H

#include "config/policy.h"

struct plan {
    uint32_t generation; /* from 1 */
    struct policy policy;
    int memfd;
    uint32_t len;
};

/*
 * Takes over *policy on success. NULL with a complaint in `fault` otherwise; the policy then is
 * still the caller's.
 */
struct plan *plan_new(struct policy *policy, uint32_t generation, struct text *fault);
void plan_free(struct plan *plan);

static inline uint64_t plan_rules(const struct plan *plan)
{
    return plan->policy.allow.count + plan->policy.block.count;
}

#endif
