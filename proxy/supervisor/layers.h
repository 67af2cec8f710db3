/*
 * The kernel side of a cage; the only user of firewall/.
 */
#ifndef PROXY_SUPERVISOR_LAYERS_H
#define PROXY_SUPERVISOR_LAYERS_H

#include "config/policy.h"

/*
 * Puts the rules of a policy in place of whatever rules of this cage are there, as a whole or not
 * at all. False with a complaint in `fault`; *is_touched then says that not even what was there
 * before could be put back (the complaint says what is there now).
 */
bool layers_install(const struct policy *policy, bool *is_touched, struct text *fault);

/* Everything that the cage's user sends is refused from now on. */
bool layers_close(const struct policy *policy, struct text *fault);

/* No rule and no chain of the cage is left. */
bool layers_remove(const struct policy *policy, struct text *fault);

/* Rules of a cage of this user are there, of whatever supervisor. */
bool layers_are_there(const struct policy *policy);

/* Ends the TCP and UDP sockets of the cage's user, orphans included. */
bool layers_end_sockets(const struct policy *policy, struct text *fault);

/* Sockets of the cage's user are there, or may be. */
bool layers_hold_sockets(const struct policy *policy);

/*
 * Ends the connections on a local port that have no process any more: those of a worker that ended
 * a moment ago keep the port from being bound for a minute.
 */
void layers_free_port(uint16_t port);

#endif
