/*
 * Taking the kernel rules of a cage away, last of all: for the supervisor, and for who survives it.
 */
#ifndef PROXY_SUPERVISOR_TAKEDOWN_H
#define PROXY_SUPERVISOR_TAKEDOWN_H

#include "config/policy.h"

/* What is in the kernel afterwards. */
enum takedown {
    TAKEDOWN_NOTHING,   /* no rule of the cage */
    TAKEDOWN_CLOSED,    /* everything of its user is refused: processes or sockets are left */
    TAKEDOWN_AS_IT_WAS, /* the rules that were there; `fault` says why */
};

/*
 * Rules are removed when nothing of the cage is left that they have to hold. Closed first: what is
 * destroyed must not come back through a rule that still lets out. Without `must_hold` they are
 * removed in any case: for a start that failed on a machine that had no rules of this cage.
 */
enum takedown takedown_rules(const struct policy *policy, bool must_hold, struct text *fault);

/* What to tell a person, after "cage-proxy COMMAND: "; NULL for TAKEDOWN_NOTHING. */
const char *takedown_advice(enum takedown left);

#endif
