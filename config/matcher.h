/*
 * The compiled policy: one immutable table that the proxy, the DNS front, `explain` and the tests
 * ask, so that the same question has the same answer everywhere.
 *
 * Order of judgement: allow, block (blocklist mode), base layer, default. A domain entry does not
 * apply to an address that the base layer or a block entry refuses; the address's own denial is
 * then the answer. Judging allocates nothing and makes no system call.
 */
#ifndef CONFIG_MATCHER_H
#define CONFIG_MATCHER_H

#include "config/policy.h"
#include "config/reason.h"

struct matcher;

enum protocol { PROTOCOL_TCP, PROTOCOL_UDP };

/* A rule that decided, for log and refusal: "*.example.com:443", "/etc/claude-cage/config", 7. */
struct matcher_rule {
    const char *text;
    const char *file;
    uint32_t line;
};

struct verdict {
    enum verdict_kind kind;
    enum reason reason;
    bool is_enforced;                /* false: audit mode, a denial that is only logged */
    const struct matcher_rule *rule; /* NULL when no entry decided; lives as long as the matcher */
};

/* What is asked: a destination as far as it is known. */
struct destination {
    const struct hostname *name;   /* proven on the wire, or NULL */
    const struct netaddr *address; /* the original destination or a candidate, or NULL */
    uint16_t port;
    enum protocol protocol;
};

/* NULL when memory ran out. Keeps nothing of the policy. Starts with one reference. */
struct matcher *matcher_compile(const struct policy *policy);
struct matcher *matcher_ref(struct matcher *matcher);
void matcher_unref(struct matcher *matcher);

/* The verdict on a destination: the original one, or an address about to be dialled for a name. */
struct verdict matcher_judge(const struct matcher *matcher, const struct destination *where);

/*
 * The verdict on a connection that carries no name, to an address that the DNS front gave out
 * under `names`. Allowlist: all of them must be allowed on this port. Blocklist: none may be
 * blocked.
 */
struct verdict matcher_judge_nameless(const struct matcher *matcher, const struct netaddr *address,
                                      uint16_t port, const struct hostname *names, size_t count);

/* The verdict on looking a name up: may it be reached on any port at all? */
struct verdict matcher_judge_name(const struct matcher *matcher, const struct hostname *name);

/*
 * The verdict on giving out an address in a DNS answer: allowed, or the base layer's reason when
 * no address entry opens it on any port.
 */
struct verdict matcher_judge_answer(const struct matcher *matcher, const struct hostname *name,
                                    const struct netaddr *address);

enum network_mode matcher_mode(const struct matcher *matcher);
const struct policy_settings *matcher_settings(const struct matcher *matcher);

/* A denial that is only logged lets through; a verdict that nobody set (all zero) never does. */
static inline bool verdict_lets_through(struct verdict v)
{
    return v.kind == VERDICT_ALLOW || (!v.is_enforced && v.reason != REASON_INTERNAL_ERROR);
}

#endif
