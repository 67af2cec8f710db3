/*
 * Puts a ruleset into the kernel, takes it out again, and tells whether it is still there.
 *
 * Theory of operation. A kernel table is replaced as a whole: libiptc reads it, changes its copy
 * and hands it back. So in one table a packet meets the old rules or the new ones, never a mixture;
 * over the tables there is an order. Refusals stand before traffic is led to the proxy: filter,
 * raw, mangle, nat, each for both families. Removal goes the other way round.
 *
 * In each table the chains of the cage are replaced and the jumps into them stand first. Nobody
 * else's rule is touched, and what an earlier process left of the same cage is taken over.
 *
 * libiptc hands back a table that somebody changed meanwhile without noticing, unless the number of
 * rules differs. Hence all of it happens under the lock that iptables takes, on handles made under
 * it; somebody who takes no lock may still be noticed (EAGAIN), and then it is tried again.
 *
 * When a step fails the tables already changed get back what they had. When that fails too, the
 * closed ruleset is installed, and the fault says so.
 *
 * Functions return 0 or a negative errno and then fill *fault. They must not run in two threads at
 * once, and act on the network namespace of the calling thread. Needs CAP_NET_ADMIN and
 * CAP_NET_RAW.
 */
#ifndef FIREWALL_XT_COMMIT_H
#define FIREWALL_XT_COMMIT_H

#include "firewall/xt_fault.h"

#define XT_LOCK_PATH "/run/xtables.lock"

/*
 * Makes the kernel hold exactly these rules of the cage; tables that do are left alone.
 * `lock_path` is XT_LOCK_PATH but in tests.
 */
int xt_commit_install(const struct ruleset *ruleset, const char *lock_path, struct xt_fault *fault);

/* Takes out everything that belongs to the cage of this uid. */
int xt_commit_remove(uint32_t uid, const char *lock_path, struct xt_fault *fault);

/* Whether the kernel holds exactly these rules, before everybody else's. */
int xt_commit_is_installed(const struct ruleset *ruleset, const char *lock_path, bool *is_installed,
                           struct xt_fault *fault);

#endif
