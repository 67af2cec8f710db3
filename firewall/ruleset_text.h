/*
 * A ruleset as the text that iptables-legacy-restore --noflush reads: the dry run.
 *
 * A rule of a chain of ours is written exactly as iptables-legacy-save writes it when it is
 * installed. A rule of a chain of the kernel's is written as an insertion at its place, as it comes
 * before everybody's: -I OUTPUT 1 and so on.
 */
#ifndef FIREWALL_RULESET_TEXT_H
#define FIREWALL_RULESET_TEXT_H

#include "config/text.h"
#include "firewall/ruleset.h"

enum { RULESET_LINE_MAX = 1024 };

/*
 * Everything behind the chain's name, without a line feed: "-m owner --uid-owner 4242 ... -j X".
 * RULESET_LINE_MAX bytes are enough.
 */
void ruleset_rule_text(const struct ruleset *ruleset, const struct ruleset_rule *rule,
                       struct text *out);

/* The whole text of one family, handed over line by line; a line ends with its line feed. */
void ruleset_text(const struct ruleset *ruleset, enum ruleset_family family,
                  void (*put)(void *context, struct span line), void *context);

#endif
