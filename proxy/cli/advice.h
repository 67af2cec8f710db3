/*
 * What is valid and yet worth saying before a cage is relied on.
 */
#ifndef PROXY_CLI_ADVICE_H
#define PROXY_CLI_ADVICE_H

#include "config/account_lookup.h"
#include "config/faults.h"
#include "config/policy.h"

/* What a policy says that may not be what its writer meant, each with its place. */
void advice_policy(const struct policy *policy, struct faults *warnings);

/*
 * Ways in which the account `name` can act as somebody else, whom no rule binds: its groups,
 * sudoers, subordinate ids, lingering, crontabs. Files are looked up below `root`, "" for the
 * machine's own.
 */
void advice_account(const char *name, const struct account_ids *ids, const char *root,
                    struct faults *warnings);

#endif
