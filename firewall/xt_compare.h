/*
 * Is what a kernel gives back what xt_encode() made?
 */
#ifndef FIREWALL_XT_COMPARE_H
#define FIREWALL_XT_COMPARE_H

#include "firewall/ruleset.h"

/*
 * Gives the target of an entry that was read from a kernel its name, as xt_encode() does: there a
 * verdict or a jump is a number, which means another place in every table. Other targets stay.
 */
void xt_entry_name_target(enum ruleset_family family, uint8_t *entry, size_t len, const char *name);

/*
 * The same entry, whatever its counters and whatever a kernel keeps in it for itself; targets are
 * named.
 */
bool xt_entry_equal(enum ruleset_family family, struct span a, struct span b);

#endif
