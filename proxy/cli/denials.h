/*
 * What a command was refused, for the summary at its end: one line per destination and reason.
 */
#ifndef PROXY_CLI_DENIALS_H
#define PROXY_CLI_DENIALS_H

#include <stdio.h>

#include "config/policy.h"
#include "config/reason.h"

enum { DENIALS_MAX = 64 };

struct denial {
    enum reason reason;
    bool has_name;
    bool has_address;
    struct hostname name;
    struct netaddr address; /* not looked at when there is a name */
    uint16_t port;          /* 0: a DNS question */
    uint64_t count;
};

struct denials {
    struct denial list[DENIALS_MAX];
    size_t count;
    uint64_t dropped; /* decisions that found no room */
};

/* Counts a denial by policy; other lines, and what is no line of the log, are ignored. */
void denials_take(struct denials *denials, struct span line);

/* Takes one denial of a name back: of a probe of ours, which is no business of the command's. */
void denials_take_back(struct denials *denials, const struct hostname *name);

/* "COUNT  DESTINATION  REASON  the entry that would allow it", a line each. */
void denials_print(const struct denials *denials, enum network_mode mode, FILE *out);

#endif
