#include "proxy/core/dns_session.h"

#include <assert.h>

static const bool successor_is_allowed[DNS_SESSION_DONE + 1][DNS_SESSION_DONE + 1] = {
    [DNS_SESSION_NEW] = {[DNS_SESSION_LOOKUP] = true, [DNS_SESSION_DONE] = true},
    [DNS_SESSION_LOOKUP] = {[DNS_SESSION_DONE] = true},
};

static void set_state(struct dns_session *session, enum dns_session_state state)
{
    assert(successor_is_allowed[session->state][state]);
    session->state = state;
}

static bool event_is_legal(enum dns_session_state state, enum dns_event_kind kind)
{
    switch (kind) {
    case DNS_EVENT_QUERY:
        return state == DNS_SESSION_NEW;
    case DNS_EVENT_CACHED:
    case DNS_EVENT_RESOLVED:
    case DNS_EVENT_FAILED:
    case DNS_EVENT_TIMEOUT:
        return state == DNS_SESSION_LOOKUP;
    }
    return false;
}

static struct dns_action drop(enum reason reason)
{
    return (struct dns_action){.kind = DNS_ACTION_DROP, .verdict = VERDICT_DENY, .reason = reason};
}

/* An answer that only its rcode explains. */
static struct dns_action refuse(uint16_t rcode, enum reason reason)
{
    return (struct dns_action){.kind = DNS_ACTION_ANSWER,
                               .answer = {.rcode = rcode},
                               .verdict = VERDICT_DENY,
                               .reason = reason};
}

/* The same with an Extended DNS Error whose text is the reason token. */
static struct dns_action refuse_explained(uint16_t rcode, enum dns_ede_code code,
                                          enum reason reason)
{
    struct dns_action action = refuse(rcode, reason);

    action.answer.has_ede = true;
    action.answer.ede = (struct dns_ede){code, span_of_text(reason_token(reason))};
    return action;
}

/* Policy, in a form that stub resolvers take for final and cache (RFC 2308, RFC 8914 4.16). */
static struct dns_action refuse_by_policy(uint16_t rcode, enum reason reason)
{
    struct dns_action action = refuse_explained(rcode, DNS_EDE_BLOCKED, reason);

    action.answer.has_soa = true;
    action.answer.ttl_s = DNS_NEGATIVE_TTL_S;
    return action;
}

static struct dns_action answer_allowed(struct dns_answer answer)
{
    return (struct dns_action){.kind = DNS_ACTION_ANSWER,
                               .answer = answer,
                               .verdict = VERDICT_ALLOW,
                               .reason = REASON_ALLOWED};
}

/* What the policy has against the question, if anything, into *out. */
static bool is_denied(const struct dns_facts *facts, struct dns_action *out)
{
    switch (facts->status) {
    case DNS_QUERY_DROP:
        *out = drop(REASON_DNS_REFUSED);
        return true;
    case DNS_QUERY_FORMERR:
        *out = refuse(DNS_RCODE_FORMERR, REASON_DNS_REFUSED);
        return true;
    case DNS_QUERY_NOTIMP:
        *out = refuse(DNS_RCODE_NOTIMP, REASON_DNS_REFUSED);
        return true;
    case DNS_QUERY_BADVERS:
        *out = refuse(DNS_RCODE_BADVERS, REASON_DNS_REFUSED);
        return true;
    case DNS_QUERY_REFUSED:
        *out = refuse(DNS_RCODE_REFUSED, REASON_DNS_REFUSED);
        return true;
    case DNS_QUERY_NAME_INVALID:
        *out = refuse_by_policy(DNS_RCODE_NXDOMAIN, REASON_BAD_NAME);
        return true;
    case DNS_QUERY_OK:
        if (facts->verdict.kind == VERDICT_ALLOW)
            return false;
        *out = refuse_by_policy(DNS_RCODE_NXDOMAIN, facts->verdict.reason);
        return true;
    }
    *out = drop(REASON_INTERNAL_ERROR);
    return true;
}

/* An allowed name: what is asked about it. */
static struct dns_action judge_type(const struct dns_facts *facts)
{
    const struct dns_query *query = facts->query;

    switch (query->type) {
    case DNS_TYPE_A:
    case DNS_TYPE_AAAA:
        return (struct dns_action){.kind = DNS_ACTION_RESOLVE,
                                   .name = &query->host,
                                   .type = query->type,
                                   .verdict = VERDICT_ALLOW,
                                   .reason = REASON_ALLOWED};
    case DNS_TYPE_SVCB:
    case DNS_TYPE_HTTPS:
        /* These would give out ECH keys, and so hide the name that is judged later. */
        return answer_allowed((struct dns_answer){
            .rcode = DNS_RCODE_NOERROR, .has_soa = true, .ttl_s = DNS_NEGATIVE_TTL_S});
    default:
        return refuse_explained(DNS_RCODE_NOTIMP, DNS_EDE_NOT_SUPPORTED, REASON_DNS_REFUSED);
    }
}

static enum reason judge_address(const struct dns_facts *facts, const struct netaddr *addr)
{
    if (!facts->filter.judge)
        return REASON_INTERNAL_ERROR;
    enum reason reason = facts->filter.judge(addr, facts->filter.context);
    /*
     * An IPv4 address that an AAAA record hides in the mapped form: the base layer refuses such
     * packets, and no client needs it, having A records.
     */
    bool is_mapped = netaddr_is_v4(addr) != (facts->query->type == DNS_TYPE_A);
    return reason == REASON_ALLOWED && is_mapped ? REASON_PRIVATE_ADDRESS : reason;
}

/* NOERROR with those of the reply's addresses that may be given out. */
static struct dns_action answer_addresses(struct dns_session *session,
                                          const struct dns_facts *facts,
                                          const struct dns_reply *reply)
{
    size_t kept = 0;
    size_t removed = 0;
    enum reason removed_reason = REASON_ALLOWED;
    struct dns_action action;

    assert(reply->count <= DNS_ADDRESSES_MAX);
    for (size_t i = 0; i < reply->count; i++) {
        enum reason reason = judge_address(facts, &reply->addresses[i]);
        if (reason == REASON_ALLOWED)
            session->addresses[kept++] = reply->addresses[i];
        else if (removed++ == 0)
            removed_reason = reason;
    }
    if (kept == 0)
        action = refuse_by_policy(DNS_RCODE_NOERROR, removed_reason);
    else
        action = answer_allowed((struct dns_answer){.rcode = DNS_RCODE_NOERROR,
                                                    .addresses = session->addresses,
                                                    .count = kept,
                                                    .ttl_s = dns_ttl_clamp(reply->ttl_s)});
    action.removed_count = removed;
    action.removed_reason = removed_reason;
    return action;
}

/* What the resolver said of an allowed name, now or when it was put into the cache. */
static struct dns_action judge_reply(struct dns_session *session, const struct dns_facts *facts,
                                     const struct dns_reply *reply)
{
    bool is_final = reply->rcode == DNS_RCODE_NOERROR || reply->rcode == DNS_RCODE_NXDOMAIN;

    if (!is_final)
        return refuse_explained(DNS_RCODE_SERVFAIL, DNS_EDE_NO_REACHABLE_AUTHORITY,
                                REASON_NAME_UNRESOLVABLE);
    if (reply->is_truncated)
        return refuse_explained(DNS_RCODE_SERVFAIL, DNS_EDE_NETWORK_ERROR,
                                REASON_NAME_UNRESOLVABLE);
    if (reply->rcode == DNS_RCODE_NOERROR && reply->count > 0)
        return answer_addresses(session, facts, reply);
    return answer_allowed((struct dns_answer){
        .rcode = reply->rcode,
        .has_soa = reply->has_negative_ttl,
        .ttl_s = dns_ttl_clamp(reply->ttl_s),
    });
}

static struct dns_action judge_event(struct dns_session *session, const struct dns_facts *facts,
                                     const struct dns_event *event)
{
    struct dns_action action;

    if (!event_is_legal(session->state, event->kind))
        return session->state == DNS_SESSION_LOOKUP
                   ? refuse(DNS_RCODE_SERVFAIL, REASON_INTERNAL_ERROR)
                   : drop(REASON_INTERNAL_ERROR);
    /* After a lookup too: the policy may be another one by now. */
    if (is_denied(facts, &action))
        return action;
    switch (event->kind) {
    case DNS_EVENT_QUERY:
        return judge_type(facts);
    case DNS_EVENT_CACHED:
    case DNS_EVENT_RESOLVED:
        return judge_reply(session, facts, event->reply);
    case DNS_EVENT_FAILED:
        return refuse_explained(DNS_RCODE_SERVFAIL, DNS_EDE_NETWORK_ERROR,
                                REASON_NAME_UNRESOLVABLE);
    case DNS_EVENT_TIMEOUT:
        return refuse_explained(DNS_RCODE_SERVFAIL, DNS_EDE_NETWORK_ERROR, REASON_UPSTREAM_TIMEOUT);
    }
    return drop(REASON_INTERNAL_ERROR);
}

static enum dns_session_state state_after(enum dns_action_kind kind)
{
    switch (kind) {
    case DNS_ACTION_RESOLVE:
        return DNS_SESSION_LOOKUP;
    case DNS_ACTION_ANSWER:
    case DNS_ACTION_DROP:
        return DNS_SESSION_DONE;
    }
    return DNS_SESSION_DONE;
}

void dns_session_step(struct dns_session *session, const struct dns_facts *facts,
                      const struct dns_event *event, struct dns_action *out)
{
    *out = judge_event(session, facts, event);
    if (session->state != DNS_SESSION_DONE)
        set_state(session, state_after(out->kind));
}
