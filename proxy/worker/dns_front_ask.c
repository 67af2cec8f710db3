#include <stdlib.h>

#include "proxy/worker/dns_front_parts.h"
#include "proxy/worker/names.h"
#include "proxy/worker/resolver.h"

/* What the policy of the moment says, and what the session is told of it. */
struct judgement {
    struct matcher *matcher;
    const struct hostname *name;
    struct verdict verdict;
};

static enum reason judge_address(const struct netaddr *address, void *context)
{
    const struct judgement *judgement = context;
    struct verdict v = matcher_judge_answer(judgement->matcher, judgement->name, address);

    return verdict_lets_through(v) ? REASON_ALLOWED : v.reason;
}

/* `judgement` is written, and must live as long as the facts. */
static struct dns_facts facts_of(const struct dns_ask *ask, struct judgement *judgement)
{
    struct worker_thread *thread = ask->front->thread;
    struct dns_facts facts = {
        .status = ask->status, .query = &ask->query, .filter = {judge_address, judgement}};

    *judgement = (struct judgement){.matcher = thread_matcher(thread), .name = &ask->query.host};
    if (ask->status != DNS_QUERY_OK)
        return facts;
    judgement->verdict = matcher_judge_name(judgement->matcher, judgement->name);
    if (verdict_lets_through(judgement->verdict))
        facts.verdict = (struct dns_verdict){VERDICT_ALLOW, REASON_ALLOWED};
    else
        facts.verdict = (struct dns_verdict){VERDICT_DENY, judgement->verdict.reason};
    return facts;
}

/* The name as it came, its labels between dots; for a log that escapes it. */
static struct span name_of(const struct dns_query *query, uint8_t text[DNS_NAME_MAX])
{
    size_t len = 0;

    if (!query->has_question)
        return SPAN_NONE;
    if (query->host.len > 0)
        return hostname_span(&query->host);
    for (size_t at = 0; query->name.bytes[at] != 0; at += query->name.bytes[at] + 1u) {
        if (len > 0)
            text[len++] = '.';
        memcpy(text + len, query->name.bytes + at + 1, query->name.bytes[at]);
        len += query->name.bytes[at];
    }
    return len > 0 ? span_of(text, len) : SPAN_LITERAL(".");
}

static void log_outcome(struct dns_front *front, const struct dns_query *query,
                        struct verdict verdict)
{
    uint8_t text[DNS_NAME_MAX];
    struct log_decision decision = {.id = thread_next_id(front->thread),
                                    .layer = LOG_LAYER_DNS,
                                    .kind = LOG_KIND_DNS,
                                    .verdict = verdict};

    if (query) {
        decision.name = name_of(query, text);
        decision.qtype = query->type;
    }
    thread_log_decision(front->thread, &decision);
}

void dns_front_log_denial(struct dns_front *front, enum reason reason)
{
    log_outcome(front, NULL, (struct verdict){VERDICT_DENY, reason, true, NULL});
}

/* What the session decided, with the policy's rule where it was the policy that decided. */
static struct verdict outcome_of(const struct dns_action *action, const struct verdict *policy)
{
    if (action->verdict == VERDICT_ALLOW)
        return *policy;
    return (struct verdict){.kind = VERDICT_DENY,
                            .reason = action->reason,
                            .is_enforced = true,
                            .rule = action->reason == policy->reason ? policy->rule : NULL};
}

/* Not NXDOMAIN: the name is a good one and may be asked for again later. */
static void refuse_over_limit(struct dns_action *action)
{
    *action = (struct dns_action){
        .kind = DNS_ACTION_ANSWER,
        .answer = {.rcode = DNS_RCODE_REFUSED,
                   .has_ede = true,
                   .ede = {DNS_EDE_OTHER, span_of_text(reason_token(REASON_LIMIT_REACHED))}},
        .verdict = VERDICT_DENY,
        .reason = REASON_LIMIT_REACHED,
    };
}

static void send_answer(const struct dns_asker *asker, struct span message)
{
    switch (asker->transport) {
    case DNS_UDP:
        /* A client that does not get it asks again. */
        (void)sendto(asker->fd, message.data, message.len, MSG_DONTWAIT,
                     (const struct sockaddr *)&asker->peer, asker->peer_len);
        return;
    case DNS_TCP:
        dns_client_answer(asker->client, message);
        return;
    }
}

static void ask_free(struct dns_ask *ask)
{
    LIST_REMOVE(ask, in_front);
    if (ask->asker.transport == DNS_TCP)
        LIST_REMOVE(ask, in_client);
    ask->front->ask_count--;
    free(ask);
}

void dns_ask_cancel(struct dns_ask *ask)
{
    resolver_cancel(ask->lookup);
    ask_free(ask);
}

/* What is given out is known before the client can connect to it. */
static bool learn(const struct dns_ask *ask, const struct dns_answer *answer)
{
    return answer->count == 0 ||
           names_learn(ask->front->thread->names, &ask->query.host, answer->addresses,
                       answer->count, answer->ttl_s, thread_now_ms());
}

/* Answers, logs, and forgets the question. */
static void ask_end(struct dns_ask *ask, struct dns_action *action, const struct verdict *policy)
{
    uint8_t message[DNS_FRONT_ANSWER_MAX];
    size_t len = 0;

    if (action->kind == DNS_ACTION_ANSWER) {
        if (!learn(ask, &action->answer))
            refuse_over_limit(action);
        len = dns_answer_write(&ask->query, &action->answer, ask->asker.transport, message,
                               sizeof(message));
    }
    log_outcome(ask->front, &ask->query, outcome_of(action, policy));
    if (len > 0)
        send_answer(&ask->asker, span_of(message, len));
    ask_free(ask);
}

static void on_resolved(void *arg, enum resolver_status status, const struct dns_reply *reply);

/* Takes an event; false when the question has come to its end and is gone. */
static bool ask_step(struct dns_ask *ask, enum dns_event_kind kind, const struct dns_reply *reply)
{
    const struct dns_event event = {kind, reply};
    struct judgement judgement;
    struct dns_facts facts = facts_of(ask, &judgement);
    struct dns_action action;

    dns_session_step(&ask->session, &facts, &event, &action);
    if (action.kind == DNS_ACTION_RESOLVE) {
        if (ask->front->ask_count <= DNS_FRONT_ASKS_MAX) {
            ask->lookup = resolver_ask(ask->front->thread->resolver, action.name, action.type,
                                       on_resolved, ask);
            if (ask->lookup)
                return true;
        }
        refuse_over_limit(&action);
    }
    ask_end(ask, &action, &judgement.verdict);
    return false;
}

static enum dns_event_kind event_of(enum resolver_status status)
{
    switch (status) {
    case RESOLVER_OK:
        return DNS_EVENT_RESOLVED;
    case RESOLVER_FAILED:
        return DNS_EVENT_FAILED;
    case RESOLVER_TIMEOUT:
        return DNS_EVENT_TIMEOUT;
    }
    return DNS_EVENT_FAILED;
}

static void on_resolved(void *arg, enum resolver_status status, const struct dns_reply *reply)
{
    struct dns_ask *ask = arg;
    struct dns_client *client = ask->asker.client;

    ask->lookup = NULL;
    ask_step(ask, event_of(status), reply);
    if (client)
        dns_client_settle(client);
}

void dns_ask_start(struct dns_front *front, const struct dns_asker *asker, struct span message,
                   struct dns_ask_list *waiting)
{
    struct dns_ask *ask = calloc(1, sizeof(*ask));

    thread_count(front->thread, COUNTER_QUESTIONS, 1);
    if (!ask)
        return;
    ask->front = front;
    ask->asker = *asker;
    ask->status = dns_query_parse(message, &ask->query);
    front->ask_count++;
    LIST_INSERT_HEAD(&front->asks, ask, in_front);
    if (asker->transport == DNS_TCP)
        LIST_INSERT_HEAD(waiting, ask, in_client);
    ask_step(ask, DNS_EVENT_QUERY, NULL);
}
