/*
 * What went wrong between a ruleset and the kernel, and what is left there.
 */
#ifndef FIREWALL_XT_FAULT_H
#define FIREWALL_XT_FAULT_H

#include "config/text.h"
#include "firewall/ruleset.h"

enum xt_step { XT_LOCK, XT_READ, XT_CHANGE, XT_COMMIT, XT_MEMORY };

/* What a failure left in the kernel. */
enum xt_left {
    XT_LEFT_OLD,    /* what was there before, all of it */
    XT_LEFT_CLOSED, /* the closed ruleset */
    XT_LEFT_BROKEN, /* something else: what could not even be closed */
};

struct xt_fault {
    int error; /* a negative errno */
    enum xt_step step;
    enum ruleset_family family;
    enum ruleset_table table;
    enum xt_left left;
};

/* "nat table, IPv6: ...: ..., and the one thing to do"; one line. */
void xt_fault_print(const struct xt_fault *fault, struct text *out);

#endif
