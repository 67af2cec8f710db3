/*
 * The decision machine of one DNS question: facts and an event in, one action out.
 *
 * Theory of operation. A question is judged by the name that it asks for, before and apart from
 * everything else: a denied name is NXDOMAIN whatever the type, and never leaves the machine; the
 * CNAMEs that an answer goes through are not judged, since the client cannot choose them and the
 * addresses at the end are. A and AAAA of an allowed name are looked up, the caller's cache first.
 * Every address that comes back is judged before it is given out, also one from the cache, because
 * the policy may have changed since. What the machine does not know how to answer is refused.
 *
 * The caller carries out actions, owns sockets, cache, clock and limits, and gives the same facts,
 * judged by the policy of the moment, with every event. A lookup that a limit forbids is refused by
 * the caller.
 */
#ifndef PROXY_CORE_DNS_SESSION_H
#define PROXY_CORE_DNS_SESSION_H

#include "config/reason.h"
#include "proxy/core/dns_write.h"

/* What the policy says of a name. */
struct dns_verdict {
    enum verdict_kind kind;
    enum reason reason;
};

/* REASON_ALLOWED when `addr` may be given out, else why not. Without `judge` none may. */
struct dns_filter {
    enum reason (*judge)(const struct netaddr *addr, void *context);
    void *context;
};

struct dns_facts {
    enum dns_query_status status;  /* what dns_query_parse returned */
    const struct dns_query *query; /* not read with DNS_QUERY_DROP */
    struct dns_verdict verdict;    /* on query->host; only read with DNS_QUERY_OK */
    struct dns_filter filter;
};

enum dns_event_kind {
    DNS_EVENT_QUERY,    /* the question came */
    DNS_EVENT_CACHED,   /* the cache has what the resolver said */
    DNS_EVENT_RESOLVED, /* the resolver said it */
    DNS_EVENT_FAILED,   /* the resolver could not be asked, or what it said is no answer */
    DNS_EVENT_TIMEOUT,  /* the resolver said nothing in time */
};

struct dns_event {
    enum dns_event_kind kind;
    const struct dns_reply *reply; /* CACHED and RESOLVED; borrowed for the call */
};

enum dns_session_state {
    /* Nothing is known. Legal: QUERY. */
    DNS_SESSION_NEW = 0,
    /* The name was found allowed and is being looked up. Legal: CACHED, RESOLVED, FAILED, TIMEOUT.
     */
    DNS_SESSION_LOOKUP,
    /* The last action was ANSWER or DROP. No event is legal; the answer may still be read. */
    DNS_SESSION_DONE,
};

enum dns_action_kind {
    DNS_ACTION_DROP = 0, /* send nothing, forget the question */
    DNS_ACTION_RESOLVE,  /* look up `name` and `type`; an event of LOOKUP must follow */
    DNS_ACTION_ANSWER,   /* dns_answer_write(query, &answer, ...) */
};

struct dns_action {
    enum dns_action_kind kind;
    /* RESOLVE */
    const struct hostname *name; /* the query's */
    uint16_t type;
    /* ANSWER; its addresses lie in the session, its text is static. */
    struct dns_answer answer;
    /* What the log says: for RESOLVE that the name is allowed, else the outcome. */
    enum verdict_kind verdict;
    enum reason reason;
    /* Addresses that the filter took out, and why the first one was. */
    size_t removed_count;
    enum reason removed_reason;
};

/* All zero is a new session. */
struct dns_session {
    enum dns_session_state state;
    struct netaddr addresses[DNS_ADDRESSES_MAX];
};

/*
 * Takes one event and says what to do. An event that the state does not allow is a programmer's
 * error and ends the session: SERVFAIL where a client waits for an answer, DROP otherwise, with
 * REASON_INTERNAL_ERROR.
 */
void dns_session_step(struct dns_session *session, const struct dns_facts *facts,
                      const struct dns_event *event, struct dns_action *out);

#endif
