#include "proxy/core/dns_session.h"
#include "tests/lib/unit.h"

static const struct dns_query query_a = {
    .has_question = true,
    .name = {17, "\3www\7example\3com"},
    .type = DNS_TYPE_A,
    .class = DNS_CLASS_IN,
    .host = {15, "www.example.com"},
    .has_edns = true,
    .udp_size = DNS_UDP_MAX,
};

/* 10.0.0.0/8 is private, 169.254.0.0/16 is metadata, the rest may be given out. */
static enum reason judge(const struct netaddr *addr, void *context)
{
    size_t *calls = context;

    (*calls)++;
    if (!netaddr_is_v4(addr))
        return REASON_ALLOWED;
    if (netaddr_v4_bytes(addr)[0] == 10)
        return REASON_PRIVATE_ADDRESS;
    return netaddr_v4_bytes(addr)[0] == 169 ? REASON_METADATA_ADDRESS : REASON_ALLOWED;
}

static struct dns_facts facts_of(const struct dns_query *query, size_t *calls)
{
    return (struct dns_facts){
        .status = DNS_QUERY_OK,
        .query = query,
        .verdict = {VERDICT_ALLOW, REASON_ALLOWED},
        .filter = {judge, calls},
    };
}

static struct dns_action step(struct dns_session *session, const struct dns_facts *facts,
                              enum dns_event_kind kind, const struct dns_reply *reply)
{
    const struct dns_event event = {kind, reply};
    struct dns_action action;

    dns_session_step(session, facts, &event, &action);
    return action;
}

/* An answer that carries the token of its reason, or none at all. */
static void check_ede(const struct dns_action *action, bool has_ede, enum dns_ede_code code)
{
    assert_int_equal(action->answer.has_ede, has_ede);
    if (!has_ede)
        return;
    assert_int_equal(action->answer.ede.code, code);
    assert_true(span_equal(action->answer.ede.text, span_of_text(reason_token(action->reason))));
}

struct query_row {
    const char *what;
    enum dns_query_status status;
    enum verdict_kind verdict;
    enum reason verdict_reason;
    uint16_t type;
    enum dns_action_kind kind;
    uint16_t rcode;
    enum reason reason;
    bool has_soa;
    bool has_ede;
    enum dns_ede_code ede;
};

#define DENIED(what, reason, type)                                                                 \
    {                                                                                              \
        what, DNS_QUERY_OK, VERDICT_DENY, reason, type, DNS_ACTION_ANSWER, DNS_RCODE_NXDOMAIN,     \
            reason, true, true, DNS_EDE_BLOCKED                                                    \
    }
#define TYPE_REFUSED(what, type)                                                                   \
    {                                                                                              \
        what, DNS_QUERY_OK, VERDICT_ALLOW, REASON_ALLOWED, type, DNS_ACTION_ANSWER,                \
            DNS_RCODE_NOTIMP, REASON_DNS_REFUSED, false, true, DNS_EDE_NOT_SUPPORTED               \
    }
#define FAULT(what, status, rcode)                                                                 \
    {                                                                                              \
        what, status, VERDICT_ALLOW, REASON_ALLOWED, DNS_TYPE_A, DNS_ACTION_ANSWER, rcode,         \
            REASON_DNS_REFUSED, false, false, DNS_EDE_OTHER                                        \
    }
#define ALLOWED(what, type)                                                                        \
    {                                                                                              \
        what, DNS_QUERY_OK, VERDICT_ALLOW, REASON_ALLOWED, type, DNS_ACTION_RESOLVE, 0,            \
            REASON_ALLOWED, false, false, DNS_EDE_OTHER                                            \
    }
#define EMPTY(what, type)                                                                          \
    {                                                                                              \
        what, DNS_QUERY_OK, VERDICT_ALLOW, REASON_ALLOWED, type, DNS_ACTION_ANSWER,                \
            DNS_RCODE_NOERROR, REASON_ALLOWED, true, false, DNS_EDE_OTHER                          \
    }

static const struct query_row query_rows[] = {
    ALLOWED("A", DNS_TYPE_A),
    ALLOWED("AAAA", DNS_TYPE_AAAA),
    DENIED("denied A", REASON_NOT_ALLOWED, DNS_TYPE_A),
    DENIED("denied AAAA", REASON_BLOCKED, DNS_TYPE_AAAA),
    DENIED("denied HTTPS", REASON_NOT_ALLOWED, DNS_TYPE_HTTPS),
    DENIED("denied TXT", REASON_NOT_ALLOWED, 16),
    DENIED("denied ANY", REASON_BLOCKED, DNS_TYPE_ANY),
    DENIED("a verdict that nobody gave", REASON_INTERNAL_ERROR, DNS_TYPE_A),
    EMPTY("HTTPS", DNS_TYPE_HTTPS),
    EMPTY("SVCB", DNS_TYPE_SVCB),
    TYPE_REFUSED("TXT", 16),
    TYPE_REFUSED("CNAME", DNS_TYPE_CNAME),
    TYPE_REFUSED("ANY", DNS_TYPE_ANY),
    TYPE_REFUSED("OPT", DNS_TYPE_OPT),
    TYPE_REFUSED("AXFR", 252),
    TYPE_REFUSED("NULL", 10),
    TYPE_REFUSED("type 0", 0),
    {"no host's name", DNS_QUERY_NAME_INVALID, VERDICT_ALLOW, REASON_ALLOWED, DNS_TYPE_A,
     DNS_ACTION_ANSWER, DNS_RCODE_NXDOMAIN, REASON_BAD_NAME, true, true, DNS_EDE_BLOCKED},
    FAULT("malformed", DNS_QUERY_FORMERR, DNS_RCODE_FORMERR),
    FAULT("opcode", DNS_QUERY_NOTIMP, DNS_RCODE_NOTIMP),
    FAULT("class", DNS_QUERY_REFUSED, DNS_RCODE_REFUSED),
    FAULT("EDNS version", DNS_QUERY_BADVERS, DNS_RCODE_BADVERS),
    {"no header", DNS_QUERY_DROP, VERDICT_ALLOW, REASON_ALLOWED, DNS_TYPE_A, DNS_ACTION_DROP, 0,
     REASON_DNS_REFUSED, false, false, DNS_EDE_OTHER},
};

static void query_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(query_rows) / sizeof(query_rows[0]); i++) {
        const struct query_row *row = &query_rows[i];
        struct dns_session session = {0};
        struct dns_query query = query_a;
        size_t calls = 0;
        query.type = row->type;
        struct dns_facts facts = facts_of(&query, &calls);
        facts.status = row->status;
        facts.verdict = (struct dns_verdict){row->verdict, row->verdict_reason};
        struct dns_action action = step(&session, &facts, DNS_EVENT_QUERY, NULL);
        if (action.kind != row->kind || action.answer.rcode != row->rcode ||
            action.reason != row->reason || action.answer.has_soa != row->has_soa)
            fail_msg("%s: action %d, rcode %d, %s, SOA %d", row->what, (int)action.kind,
                     action.answer.rcode, reason_token(action.reason), action.answer.has_soa);
        assert_int_equal(action.verdict == VERDICT_ALLOW, action.reason == REASON_ALLOWED);
        assert_int_equal(action.answer.count, 0);
        assert_int_equal(action.answer.ttl_s, row->has_soa ? DNS_NEGATIVE_TTL_S : 0);
        check_ede(&action, row->has_ede, row->ede);
        bool is_lookup = row->kind == DNS_ACTION_RESOLVE;
        assert_int_equal(session.state, is_lookup ? DNS_SESSION_LOOKUP : DNS_SESSION_DONE);
        if (!is_lookup)
            continue;
        assert_int_equal(action.type, row->type);
        assert_string_equal(action.name->text, "www.example.com");
    }
}

struct reply_row {
    const char *what;
    enum dns_event_kind event;
    uint16_t type;
    struct dns_reply reply; /* without its addresses */
    const char *addresses[4];
    uint16_t rcode;
    enum reason reason;
    const char *given[4];
    bool has_soa;
    uint32_t ttl_s;
    bool has_ede;
    enum dns_ede_code ede;
    size_t removed_count;
    enum reason removed_reason;
};

#define REPLY(...)                                                                                 \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static const struct reply_row reply_rows[] = {
    {"one address",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 300),
     {"1.2.3.4"},
     0,
     REASON_ALLOWED,
     {"1.2.3.4"},
     false,
     300,
     false,
     0,
     0,
     0},
    {"cached",
     DNS_EVENT_CACHED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 7),
     {"1.2.3.4", "5.6.7.8"},
     0,
     REASON_ALLOWED,
     {"1.2.3.4", "5.6.7.8"},
     false,
     7,
     false,
     0,
     0,
     0},
    {"AAAA",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_AAAA,
     REPLY(.ttl_s = 300),
     {"2001:db8::1"},
     0,
     REASON_ALLOWED,
     {"2001:db8::1"},
     false,
     300,
     false,
     0,
     0,
     0},
    {"TTL 0",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 0),
     {"1.2.3.4"},
     0,
     REASON_ALLOWED,
     {"1.2.3.4"},
     false,
     1,
     false,
     0,
     0,
     0},
    {"TTL of a day",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 86400),
     {"1.2.3.4"},
     0,
     REASON_ALLOWED,
     {"1.2.3.4"},
     false,
     3600,
     false,
     0,
     0,
     0},
    {"some removed",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 300),
     {"169.254.169.254", "1.2.3.4", "10.0.0.1", "5.6.7.8"},
     0,
     REASON_ALLOWED,
     {"1.2.3.4", "5.6.7.8"},
     false,
     300,
     false,
     0,
     2,
     REASON_METADATA_ADDRESS},
    {"all removed",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 300),
     {"10.0.0.1"},
     0,
     REASON_PRIVATE_ADDRESS,
     {0},
     true,
     DNS_NEGATIVE_TTL_S,
     true,
     DNS_EDE_BLOCKED,
     1,
     REASON_PRIVATE_ADDRESS},
    {"all removed from the cache",
     DNS_EVENT_CACHED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 300),
     {"169.254.169.254", "10.0.0.1"},
     0,
     REASON_METADATA_ADDRESS,
     {0},
     true,
     DNS_NEGATIVE_TTL_S,
     true,
     DNS_EDE_BLOCKED,
     2,
     REASON_METADATA_ADDRESS},
    {"mapped in AAAA",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_AAAA,
     REPLY(.ttl_s = 300),
     {"::ffff:1.2.3.4", "2001:db8::1"},
     0,
     REASON_ALLOWED,
     {"2001:db8::1"},
     false,
     300,
     false,
     0,
     1,
     REASON_PRIVATE_ADDRESS},
    {"mapped metadata in AAAA",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_AAAA,
     REPLY(.ttl_s = 300),
     {"::ffff:169.254.169.254"},
     0,
     REASON_METADATA_ADDRESS,
     {0},
     true,
     DNS_NEGATIVE_TTL_S,
     true,
     DNS_EDE_BLOCKED,
     1,
     REASON_METADATA_ADDRESS},
    {"v6 for A",
     DNS_EVENT_CACHED,
     DNS_TYPE_A,
     REPLY(.ttl_s = 300),
     {"2001:db8::1"},
     0,
     REASON_PRIVATE_ADDRESS,
     {0},
     true,
     DNS_NEGATIVE_TTL_S,
     true,
     DNS_EDE_BLOCKED,
     1,
     REASON_PRIVATE_ADDRESS},
    {"NXDOMAIN",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.rcode = 3, .has_negative_ttl = true, .ttl_s = 30),
     {0},
     3,
     REASON_ALLOWED,
     {0},
     true,
     30,
     false,
     0,
     0,
     0},
    {"NXDOMAIN for a day",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.rcode = 3, .has_negative_ttl = true, .ttl_s = 86400),
     {0},
     3,
     REASON_ALLOWED,
     {0},
     true,
     3600,
     false,
     0,
     0,
     0},
    {"NXDOMAIN without SOA",
     DNS_EVENT_CACHED,
     DNS_TYPE_A,
     REPLY(.rcode = 3),
     {0},
     3,
     REASON_ALLOWED,
     {0},
     false,
     1,
     false,
     0,
     0,
     0},
    {"NODATA",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_AAAA,
     REPLY(.has_negative_ttl = true, .ttl_s = 30),
     {0},
     0,
     REASON_ALLOWED,
     {0},
     true,
     30,
     false,
     0,
     0,
     0},
    {"SERVFAIL",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.rcode = 2),
     {0},
     2,
     REASON_NAME_UNRESOLVABLE,
     {0},
     false,
     0,
     true,
     DNS_EDE_NO_REACHABLE_AUTHORITY,
     0,
     0},
    {"REFUSED",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.rcode = 5),
     {0},
     2,
     REASON_NAME_UNRESOLVABLE,
     {0},
     false,
     0,
     true,
     DNS_EDE_NO_REACHABLE_AUTHORITY,
     0,
     0},
    {"BADVERS",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.rcode = 16),
     {0},
     2,
     REASON_NAME_UNRESOLVABLE,
     {0},
     false,
     0,
     true,
     DNS_EDE_NO_REACHABLE_AUTHORITY,
     0,
     0},
    {"truncated",
     DNS_EVENT_RESOLVED,
     DNS_TYPE_A,
     REPLY(.is_truncated = true),
     {0},
     2,
     REASON_NAME_UNRESOLVABLE,
     {0},
     false,
     0,
     true,
     DNS_EDE_NETWORK_ERROR,
     0,
     0},
    {"failed",
     DNS_EVENT_FAILED,
     DNS_TYPE_A,
     REPLY(0),
     {0},
     2,
     REASON_NAME_UNRESOLVABLE,
     {0},
     false,
     0,
     true,
     DNS_EDE_NETWORK_ERROR,
     0,
     0},
    {"timeout",
     DNS_EVENT_TIMEOUT,
     DNS_TYPE_A,
     REPLY(0),
     {0},
     2,
     REASON_UPSTREAM_TIMEOUT,
     {0},
     false,
     0,
     true,
     DNS_EDE_NETWORK_ERROR,
     0,
     0},
};

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr;

    assert_true(netaddr_parse(span_of_text(text), &addr));
    return addr;
}

static void check_given(const struct reply_row *row, const struct dns_answer *answer)
{
    size_t count = 0;

    for (; count < 4 && row->given[count] != NULL; count++) {
        struct netaddr addr = addr_of(row->given[count]);
        if (count >= answer->count || !netaddr_equal(&answer->addresses[count], &addr))
            fail_msg("%s: address %zu", row->what, count);
    }
    assert_int_equal(answer->count, count);
}

static void reply_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(reply_rows) / sizeof(reply_rows[0]); i++) {
        const struct reply_row *row = &reply_rows[i];
        struct dns_session session = {0};
        struct dns_query query = query_a;
        struct dns_reply reply = row->reply;
        uint8_t bytes[DNS_MESSAGE_MAX];
        size_t calls = 0;
        query.type = row->type;
        for (; reply.count < 4 && row->addresses[reply.count] != NULL; reply.count++)
            reply.addresses[reply.count] = addr_of(row->addresses[reply.count]);
        struct dns_facts facts = facts_of(&query, &calls);
        assert_int_equal(step(&session, &facts, DNS_EVENT_QUERY, NULL).kind, DNS_ACTION_RESOLVE);
        struct dns_action action = step(&session, &facts, row->event, &reply);
        if (action.kind != DNS_ACTION_ANSWER || action.answer.rcode != row->rcode ||
            action.reason != row->reason || action.answer.has_soa != row->has_soa ||
            action.answer.ttl_s != row->ttl_s)
            fail_msg("%s: action %d, rcode %d, %s, SOA %d, TTL %u", row->what, (int)action.kind,
                     action.answer.rcode, reason_token(action.reason), action.answer.has_soa,
                     action.answer.ttl_s);
        assert_int_equal(session.state, DNS_SESSION_DONE);
        assert_int_equal(action.verdict == VERDICT_ALLOW, action.reason == REASON_ALLOWED);
        check_given(row, &action.answer);
        check_ede(&action, row->has_ede, row->ede);
        assert_int_equal(action.removed_count, row->removed_count);
        if (row->removed_count > 0)
            assert_int_equal(action.removed_reason, row->removed_reason);
        /* Every answer that the machine gives can be said. */
        assert_int_not_equal(
            dns_answer_write(&query, &action.answer, DNS_UDP, bytes, sizeof(bytes)), 0);
    }
}

/* The policy was replaced while the name was looked up. */
static void judged_again(void **state)
{
    struct dns_session session = {0};
    struct dns_reply reply = {.count = 1, .ttl_s = 60};
    size_t calls = 0;
    struct dns_facts facts = facts_of(&query_a, &calls);

    (void)state;
    reply.addresses[0] = addr_of("1.2.3.4");
    assert_int_equal(step(&session, &facts, DNS_EVENT_QUERY, NULL).kind, DNS_ACTION_RESOLVE);
    facts.verdict = (struct dns_verdict){VERDICT_DENY, REASON_BLOCKED};
    struct dns_action action = step(&session, &facts, DNS_EVENT_RESOLVED, &reply);
    assert_int_equal(action.answer.rcode, DNS_RCODE_NXDOMAIN);
    assert_int_equal(action.reason, REASON_BLOCKED);
    assert_int_equal(action.answer.count, 0);
    assert_int_equal(calls, 0);
}

static void no_filter_gives_nothing(void **state)
{
    struct dns_session session = {0};
    struct dns_reply reply = {.count = 1, .ttl_s = 60};
    struct dns_facts facts = facts_of(&query_a, NULL);

    (void)state;
    reply.addresses[0] = addr_of("1.2.3.4");
    facts.filter.judge = NULL;
    assert_int_equal(step(&session, &facts, DNS_EVENT_QUERY, NULL).kind, DNS_ACTION_RESOLVE);
    struct dns_action action = step(&session, &facts, DNS_EVENT_RESOLVED, &reply);
    assert_int_equal(action.answer.count, 0);
    assert_int_equal(action.reason, REASON_INTERNAL_ERROR);
}

static void most_addresses(void **state)
{
    struct dns_session session = {0};
    struct dns_reply reply = {.count = DNS_ADDRESSES_MAX, .ttl_s = 60};
    size_t calls = 0;
    struct dns_facts facts = facts_of(&query_a, &calls);

    (void)state;
    for (size_t i = 0; i < DNS_ADDRESSES_MAX; i++)
        reply.addresses[i] = addr_of(i % 2 == 0 ? "1.2.3.4" : "10.0.0.1");
    assert_int_equal(step(&session, &facts, DNS_EVENT_QUERY, NULL).kind, DNS_ACTION_RESOLVE);
    struct dns_action action = step(&session, &facts, DNS_EVENT_RESOLVED, &reply);
    assert_int_equal(action.answer.count, DNS_ADDRESSES_MAX / 2);
    assert_int_equal(action.removed_count, DNS_ADDRESSES_MAX / 2);
    assert_int_equal(calls, DNS_ADDRESSES_MAX);
}

/* Each event in each state: what is not legal ends the session, and nothing is given out. */
static void illegal_events(void **state)
{
    (void)state;
    for (int at = DNS_SESSION_NEW; at <= DNS_SESSION_DONE; at++) {
        for (int kind = DNS_EVENT_QUERY; kind <= DNS_EVENT_TIMEOUT; kind++) {
            struct dns_session session = {.state = (enum dns_session_state)at};
            struct dns_reply reply = {.count = 1, .ttl_s = 60};
            size_t calls = 0;
            struct dns_facts facts = facts_of(&query_a, &calls);
            reply.addresses[0] = addr_of("1.2.3.4");
            struct dns_action action = step(&session, &facts, (enum dns_event_kind)kind, &reply);
            bool is_legal = (at == DNS_SESSION_NEW && kind == DNS_EVENT_QUERY) ||
                            (at == DNS_SESSION_LOOKUP && kind != DNS_EVENT_QUERY);
            assert_int_equal(action.reason != REASON_INTERNAL_ERROR, is_legal);
            if (is_legal)
                continue;
            assert_int_equal(session.state, DNS_SESSION_DONE);
            assert_int_equal(action.verdict, VERDICT_DENY);
            assert_int_equal(action.kind,
                             at == DNS_SESSION_LOOKUP ? DNS_ACTION_ANSWER : DNS_ACTION_DROP);
            assert_int_equal(action.answer.count, 0);
            assert_int_equal(action.answer.rcode, at == DNS_SESSION_LOOKUP ? 2 : 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_table),    cmocka_unit_test(reply_table),
        cmocka_unit_test(judged_again),   cmocka_unit_test(no_filter_gives_nothing),
        cmocka_unit_test(most_addresses), cmocka_unit_test(illegal_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
