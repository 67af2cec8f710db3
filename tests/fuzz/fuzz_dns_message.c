/*
 * The input as a client's question and as a resolver's answer to the question that it repeats.
 * Whatever is answered fits its limits and reads as an answer to that question with the same
 * values; names are canonical; a part of a whole message is never a message.
 */
#include <stdlib.h>

#include "proxy/core/dns_session.h"

static void check(bool holds)
{
    if (!holds)
        abort();
}

static enum reason judge(const struct netaddr *addr, void *context)
{
    (void)context;
    return addr->bytes[15] % 3 == 0 ? REASON_PRIVATE_ADDRESS : REASON_ALLOWED;
}

/* Writes `answer` to `query` with `cap` bytes and reads it back. */
static void check_answer(const struct dns_query *query, const struct dns_answer *answer,
                         enum dns_transport transport, size_t cap)
{
    uint8_t *bytes = malloc(cap > 0 ? cap : 1); /* of that size, for AddressSanitizer to watch */
    struct dns_question asked = {query->id, query->type, query->name, true};
    struct dns_reply reply;

    check(bytes != NULL);
    size_t len = dns_answer_write(query, answer, transport, bytes, cap);
    check(len <= cap);
    check(transport == DNS_TCP || len <= DNS_UDP_MAX);
    check(len > 0 || cap < DNS_QUERY_LEN_MAX);
    if (len > 0 && query->has_question && query->opcode == 0 && query->class == DNS_CLASS_IN) {
        check(dns_reply_parse(span_of(bytes, len), &asked, &reply) == DNS_REPLY_OK);
        if (!reply.is_truncated) {
            check(reply.rcode == answer->rcode);
            check(reply.count == answer->count);
            check(memcmp(reply.addresses,
                         answer->addresses == NULL ? reply.addresses : answer->addresses,
                         reply.count * sizeof(reply.addresses[0])) == 0);
            check(reply.has_negative_ttl == answer->has_soa);
            check(reply.ttl_s == (answer->count > 0 || answer->has_soa ? answer->ttl_s : 0));
        }
    }
    free(bytes);
}

/* A name that was taken for a host's is canonical, and our own question for it reads the same. */
static void check_query(const struct dns_query *query)
{
    const struct dns_question asked = {query->id, query->type, query->name, true};
    struct hostname host;
    struct dns_name name;
    struct dns_query again;
    uint8_t bytes[DNS_QUERY_LEN_MAX];

    check(hostname_parse(hostname_span(&query->host), &host) == HOSTNAME_OK);
    check(hostname_equal(&host, &query->host));
    dns_name_from_host(&query->host, &name);
    check(dns_name_equal(&name, &query->name));
    size_t len = dns_query_write(&asked, bytes, sizeof(bytes));
    check(len > 0 && dns_query_parse(span_of(bytes, len), &again) == DNS_QUERY_OK);
    check(again.id == query->id && again.type == query->type);
    check(span_equal(dns_name_span(&again.name), dns_name_span(&query->name)));
    check(hostname_equal(&again.host, &query->host));
}

/* The question through the machine, with `reply` for what the resolver said. */
static void run_session(enum dns_query_status status, const struct dns_query *query,
                        const struct dns_reply *reply, unsigned choice)
{
    const struct dns_facts facts = {
        .status = status,
        .query = query,
        .verdict = {choice % 4 == 0 ? VERDICT_DENY : VERDICT_ALLOW, REASON_NOT_ALLOWED},
        .filter = {judge, NULL},
    };
    struct dns_event event = {DNS_EVENT_QUERY, NULL};
    struct dns_session session = {0};
    struct dns_action action;

    dns_session_step(&session, &facts, &event, &action);
    if (action.kind == DNS_ACTION_RESOLVE) {
        event = (struct dns_event){DNS_EVENT_RESOLVED, reply};
        dns_session_step(&session, &facts, &event, &action);
    }
    check(session.state == DNS_SESSION_DONE);
    check((action.kind == DNS_ACTION_DROP) == (status == DNS_QUERY_DROP));
    if (action.kind != DNS_ACTION_ANSWER)
        return;
    for (size_t i = 0; i < action.answer.count; i++)
        check(judge(&action.answer.addresses[i], NULL) == REASON_ALLOWED);
    check_answer(query, &action.answer, DNS_UDP, DNS_MESSAGE_MAX);
    check_answer(query, &action.answer, DNS_TCP, DNS_MESSAGE_MAX);
    check_answer(query, &action.answer, DNS_UDP, choice * 2);
}

/* Reads the input as the answer to the question that it repeats; false when it is none. */
static bool read_reply(struct span message, unsigned choice, struct dns_reply *out)
{
    struct dns_question asked = {.is_case_exact = true};
    struct dns_reply ignored;
    struct reader r = reader_init_whole(message);
    struct span skipped;

    if (reader_u16(&r, &asked.id) != READ_OK || reader_bytes(&r, 10, &skipped) != READ_OK ||
        dns_name_read_plain(&r, &asked.name) != READ_OK || reader_u16(&r, &asked.type) != READ_OK)
        return false;
    if (dns_reply_parse(message, &asked, out) != DNS_REPLY_OK)
        return false;
    check(out->count <= DNS_ADDRESSES_MAX && out->chain_len <= DNS_CHAIN_MAX);
    check(out->count == 0 || (out->rcode == DNS_RCODE_NOERROR && !out->is_truncated));
    check(out->count == 0 || !out->has_negative_ttl);
    if (!out->is_truncated)
        check(dns_reply_parse(span_first(message, message.len * choice / 256), &asked, &ignored) ==
              DNS_REPLY_BAD);
    asked.id ^= 1;
    check(dns_reply_parse(message, &asked, &ignored) == DNS_REPLY_OTHER);
    return true;
}

/* The reply as the answer to a query for its own question. */
static void answer_from_reply(struct span message, const struct dns_reply *reply, unsigned choice)
{
    struct dns_query query;
    uint8_t bytes[DNS_QUERY_LEN_MAX];
    struct dns_question asked = {0};
    struct reader r = reader_init_whole(span_from(message, DNS_HEADER_LEN));

    check(dns_name_read_plain(&r, &asked.name) == READ_OK);
    check(reader_u16(&r, &asked.type) == READ_OK);
    size_t len = dns_query_write(&asked, bytes, sizeof(bytes));
    enum dns_query_status status = dns_query_parse(span_of(bytes, len), &query);
    check(status == DNS_QUERY_OK || status == DNS_QUERY_NAME_INVALID);
    run_session(status, &query, reply, choice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct dns_reply nothing;
    struct span message = span_of(data, size);
    unsigned choice = size > 0 ? data[0] : 0;
    struct dns_reply reply;
    struct dns_query query = {0};
    struct dns_query part;

    enum dns_query_status status = dns_query_parse(message, &query);
    if (status == DNS_QUERY_OK)
        check_query(&query);
    if (status == DNS_QUERY_OK || status == DNS_QUERY_NAME_INVALID)
        check(dns_query_parse(span_first(message, size * choice / 256), &part) < DNS_QUERY_REFUSED);
    run_session(status, &query, &nothing, choice);
    if (read_reply(message, choice, &reply))
        answer_from_reply(message, &reply, choice);
    return 0;
}
