#include "proxy/supervisor/layers.h"

#include <errno.h>
#include <stdlib.h>

#include "firewall/ruleset.h"
#include "firewall/sock_destroy.h"
#include "firewall/xt_commit.h"

enum layer_rules { LAYER_POLICY, LAYER_CLOSED };

static bool build_once(const struct policy *policy, enum layer_rules which, struct ruleset *ruleset)
{
    struct ruleset_cage cage = ruleset_cage_of(policy);

    switch (which) {
    case LAYER_POLICY:
        return ruleset_build(policy, &cage, ruleset);
    case LAYER_CLOSED:
        return ruleset_build_closed(&cage, ruleset);
    }
    return false;
}

/* The rules are the caller's to free. False with a complaint. */
static bool build(const struct policy *policy, enum layer_rules which, struct ruleset *out,
                  struct text *fault)
{
    struct ruleset ruleset = {0};
    bool is_built = build_once(policy, which, &ruleset);

    if (!is_built) {
        text_put(fault, "no kernel rules can be made of this policy: check users and ports");
        return false;
    }
    ruleset.cap = ruleset.count;
    ruleset.rules = calloc(ruleset.cap, sizeof(*ruleset.rules));
    if (!ruleset.rules) {
        text_put(fault, "not enough memory for the kernel rules");
        return false;
    }
    *out = ruleset;
    return build_once(policy, which, out);
}

static bool commit(const struct policy *policy, enum layer_rules which, bool *is_touched,
                   struct text *fault)
{
    struct xt_fault what;
    struct ruleset ruleset;
    bool is_done;

    *is_touched = false;
    if (!build(policy, which, &ruleset, fault))
        return false;
    is_done = xt_commit_install(&ruleset, XT_LOCK_PATH, &what) == 0;
    if (!is_done) {
        *is_touched = what.left != XT_LEFT_OLD;
        xt_fault_print(&what, fault);
    }
    free(ruleset.rules);
    return is_done;
}

bool layers_install(const struct policy *policy, bool *is_touched, struct text *fault)
{
    return commit(policy, LAYER_POLICY, is_touched, fault);
}

bool layers_close(const struct policy *policy, struct text *fault)
{
    bool is_touched;

    return commit(policy, LAYER_CLOSED, &is_touched, fault);
}

bool layers_remove(const struct policy *policy, struct text *fault)
{
    struct xt_fault what;

    if (xt_commit_remove(policy->cage_uid, XT_LOCK_PATH, &what) == 0)
        return true;
    xt_fault_print(&what, fault);
    return false;
}

bool layers_are_there(const struct policy *policy)
{
    const struct ruleset none = {.cage = ruleset_cage_of(policy)};
    struct xt_fault what;
    bool is_none = false;

    return xt_commit_is_installed(&none, XT_LOCK_PATH, &is_none, &what) < 0 || !is_none;
}

bool layers_end_sockets(const struct policy *policy, struct text *fault)
{
    size_t count;
    int status = sock_destroy_uid(policy->cage_uid, &count);

    if (status == 0)
        return true;
    text_put(fault, "sockets of the cage's user cannot be destroyed: ");
    text_put(fault, status == -EOPNOTSUPP ? "the kernel needs CONFIG_INET_DIAG_DESTROY"
                                          : strerror(-status));
    return false;
}

bool layers_hold_sockets(const struct policy *policy)
{
    bool has_any;

    return sock_has_uid(policy->cage_uid, &has_any) < 0 || has_any;
}

void layers_free_port(uint16_t port)
{
    sock_destroy_port(port);
}
