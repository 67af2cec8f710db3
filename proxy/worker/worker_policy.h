/*
 * A policy in force in the worker: read from the supervisor's sealed memory, compiled, immutable
 * and counted. Loading may take seconds with 100,000 rules; it runs on a thread of its own.
 */
#ifndef PROXY_WORKER_WORKER_POLICY_H
#define PROXY_WORKER_WORKER_POLICY_H

#include "config/matcher.h"
#include "config/text.h"

struct worker_policy;

/*
 * Reads `len` bytes of canonical text from a memfd that is sealed against every change, and
 * compiles them. NULL with a complaint in `fault`. Starts with one reference. The descriptor stays
 * the caller's.
 */
struct worker_policy *worker_policy_load(int memfd, uint32_t len, uint32_t generation,
                                         struct text *fault);
struct worker_policy *worker_policy_ref(struct worker_policy *policy);
void worker_policy_unref(struct worker_policy *policy);

/* The facts beside the rules: resolvers, hosts, own addresses, settings. */
const struct policy *worker_policy_facts(const struct worker_policy *policy);
struct matcher *worker_policy_matcher(const struct worker_policy *policy);
uint32_t worker_policy_generation(const struct worker_policy *policy);

#endif
