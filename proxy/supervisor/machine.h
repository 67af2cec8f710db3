/*
 * What the machine adds to a configuration before it is a whole policy.
 */
#ifndef PROXY_SUPERVISOR_MACHINE_H
#define PROXY_SUPERVISOR_MACHINE_H

#include <sys/types.h>

#include "config/policy.h"

struct machine_user {
    uid_t uid;
    gid_t gid;
};

/*
 * An account, or a uid in digits that needs none (its gid is then the same number, unless it has an
 * account). False with a complaint in `fault`; uid 0 is one.
 */
bool machine_find_user(const char *name, struct machine_user *out, struct text *fault);

/*
 * Completes a policy that was just read: uids of both users, the host's resolvers where none is
 * configured, own addresses, lines of /etc/hosts. False with a complaint in `fault` that says what
 * to do; the policy then is half complete and good for nothing.
 */
bool machine_complete(struct policy *policy, struct text *fault);

#endif
