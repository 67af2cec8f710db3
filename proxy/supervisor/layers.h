/*
 * The kernel side of a cage; the only user of firewall/.
 */
#ifndef PROXY_SUPERVISOR_LAYERS_H
#define PROXY_SUPERVISOR_LAYERS_H

#include "config/policy.h"

/*
 * Puts the rules of a policy in place of whatever rules of this cage are there, as a whole or not
 * at all. False with a complaint in `fault`.
 */
bool layers_install(const struct policy *policy, struct text *fault);

/* Everything that the cage's user sends is refused from now on. */
bool layers_close(const struct policy *policy, struct text *fault);

/* No rule and no chain of the cage is left. */
bool layers_remove(const struct policy *policy, struct text *fault);

/* Rules of a cage of this user are there, of whatever supervisor. */
bool layers_are_there(const struct policy *policy);

/* Ends every TCP and UDP socket of the cage's user, orphans included. */
bool layers_end_sockets(const struct policy *policy, struct text *fault);

#endif
