#include "proxy/worker/worker_policy.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "config/policy_text.h"

struct worker_policy {
    atomic_uint references;
    uint32_t generation;
    struct policy policy;
    struct matcher *matcher;
};

/* Whoever still can write the memory could change a policy after it was judged. */
static bool is_sealed(int memfd, uint32_t len)
{
    const int wanted = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int seals = fcntl(memfd, F_GET_SEALS);
    struct stat st;

    return seals >= 0 && (seals & wanted) == wanted && fstat(memfd, &st) == 0 && st.st_size == len;
}

struct worker_policy *worker_policy_load(int memfd, uint32_t len, uint32_t generation,
                                         struct text *fault)
{
    struct worker_policy *policy = NULL;
    void *bytes = MAP_FAILED;
    bool is_parsed = false;

    if (!is_sealed(memfd, len)) {
        text_put(fault, "the policy's memory is not sealed or has another size");
        return NULL;
    }
    policy = calloc(1, sizeof(*policy));
    bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, memfd, 0);
    if (!policy || bytes == MAP_FAILED) {
        text_put(fault, "not enough memory for the policy");
        goto out;
    }
    if (!policy_text_parse(span_of(bytes, len), &policy->policy, fault))
        goto out;
    is_parsed = true;
    policy->generation = generation;
    atomic_init(&policy->references, 1);
    policy->matcher = matcher_compile(&policy->policy);
    if (!policy->matcher)
        text_put(fault, "not enough memory to compile the policy");

out:
    if (bytes != MAP_FAILED)
        munmap(bytes, len);
    if (policy && !policy->matcher) {
        if (is_parsed)
            policy_fini(&policy->policy);
        free(policy);
        policy = NULL;
    }
    return policy;
}

struct worker_policy *worker_policy_ref(struct worker_policy *policy)
{
    atomic_fetch_add_explicit(&policy->references, 1, memory_order_relaxed);
    return policy;
}

void worker_policy_unref(struct worker_policy *policy)
{
    if (!policy || atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) != 1)
        return;
    matcher_unref(policy->matcher);
    policy_fini(&policy->policy);
    free(policy);
}

const struct policy *worker_policy_facts(const struct worker_policy *policy)
{
    return &policy->policy;
}

struct matcher *worker_policy_matcher(const struct worker_policy *policy)
{
    return policy->matcher;
}

uint32_t worker_policy_generation(const struct worker_policy *policy)
{
    return policy->generation;
}
