#include "firewall/xt_fault.h"

#include <errno.h>
#include <string.h>

static const char *advice_of(const struct xt_fault *fault)
{
    switch (fault->error) {
    case -EPERM:
    case -EACCES:
        return "run it as root (CAP_NET_ADMIN and CAP_NET_RAW)";
    case -ENOMEM:
        return "free memory";
    default:
        break;
    }
    switch (fault->step) {
    case XT_LOCK:
        return "see which program holds the xtables lock and end it";
    case XT_READ:
        return "load the kernel's module of this table (iptable_NAME, ip6table_NAME)";
    case XT_CHANGE:
        return "remove the rule that leads from somebody else's chain into a chain CAGE-UID-*";
    case XT_COMMIT:
        return fault->error == -EINVAL
                   ? "see that both uids exist in this user namespace, and dmesg"
                   : "load the kernel's matches and targets (owner, conntrack, addrtype, "
                     "multiport, hashlimit, limit, u32, rt, ipv6header, comment, NFLOG, REJECT, "
                     "REDIRECT, CT)";
    case XT_MEMORY:
        return "free memory";
    }
    return "";
}

static const char *step_text(enum xt_step step)
{
    switch (step) {
    case XT_LOCK:
        return "taking the xtables lock";
    case XT_READ:
        return "reading";
    case XT_CHANGE:
        return "changing the chains";
    case XT_COMMIT:
        return "committing";
    case XT_MEMORY:
        return "making room";
    }
    return "";
}

void xt_fault_print(const struct xt_fault *fault, struct text *out)
{
    if (fault->step != XT_LOCK) {
        text_put(out, ruleset_table_text(fault->table));
        text_put(out, fault->family == RULESET_V4 ? " table, IPv4: " : " table, IPv6: ");
    }
    text_put(out, step_text(fault->step));
    text_put(out, ": ");
    text_put(out, strerror(-fault->error));
    if (fault->left == XT_LEFT_CLOSED)
        text_put(out, "; the old rules could not be put back, everything of the cage is refused");
    if (fault->left == XT_LEFT_BROKEN)
        text_put(out, "; the old rules could not be put back, and the rest is incomplete");
    text_put(out, "; ");
    text_put(out, advice_of(fault));
}
