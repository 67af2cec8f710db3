#include "proxy/core/dns_write.h"
#include "tests/lib/unit.h"

enum { QUESTION_END = 33, ADDRESS_RECORD_V4 = 16, ADDRESS_RECORD_V6 = 28, OPT_LEN = 11 };

/* A query as dns_query_parse reads it from "\3www\7Example\3com". */
static const struct dns_query plain_query = {
    .id = 0x1234,
    .is_recursion_desired = true,
    .has_question = true,
    .name = {17, "\3www\7Example\3com"},
    .type = DNS_TYPE_A,
    .class = DNS_CLASS_IN,
    .host = {15, "www.example.com"},
};

static struct dns_query edns_query(uint16_t udp_size)
{
    struct dns_query query = plain_query;

    query.has_edns = true;
    query.udp_size = udp_size;
    return query;
}

/* Writes to the first `cap` bytes before an inaccessible page. */
static size_t write_guarded(const struct dns_query *query, const struct dns_answer *answer,
                            enum dns_transport transport, size_t cap, uint8_t *copy)
{
    static const uint8_t zeros[DNS_MESSAGE_MAX];
    struct guarded g = guarded_copy(span_of(zeros, cap), GUARDED_END);
    uint8_t *out = (uint8_t *)g.mapping + (g.bytes.data - (const uint8_t *)g.mapping);
    size_t len = dns_answer_write(query, answer, transport, out, cap);

    assert_true(len <= cap);
    memcpy(copy, out, len);
    guarded_free(&g);
    return len;
}

static struct dns_question question_of(const struct dns_query *query)
{
    return (struct dns_question){query->id, query->type, query->name, true};
}

static void refusal_bytes(void **state)
{
    static const char expected[] = "\x12\x34\x81\x83\0\1\0\0\0\1\0\1"
                                   "\3www\7Example\3com\0\0\1\0\1"
                                   "\xc0\x0c\0\6\0\1\0\0\0\x3c\0\x38"
                                   "\xa"
                                   "cage-proxy\7invalid\0"
                                   "\6nobody\7invalid\0"
                                   "\0\0\0\1\0\0\xe\x10\0\0\2\x58\0\1\x51\x80\0\0\0\x3c"
                                   "\0\0\x29\4\xd0\0\0\0\0\0\x11"
                                   "\0\xf\0\xd\0\xf"
                                   "not-allowed";
    const struct dns_answer answer = {
        .rcode = DNS_RCODE_NXDOMAIN,
        .has_soa = true,
        .ttl_s = DNS_NEGATIVE_TTL_S,
        .has_ede = true,
        .ede = {DNS_EDE_BLOCKED, SPAN_LITERAL("not-allowed")},
    };
    struct dns_query query = edns_query(1232);
    uint8_t bytes[DNS_UDP_MAX];

    (void)state;
    assert_int_equal(write_guarded(&query, &answer, DNS_UDP, sizeof(bytes), bytes),
                     sizeof(expected) - 1);
    assert_memory_equal(bytes, expected, sizeof(expected) - 1);
    /* Without EDNS there is no OPT, and so no place for the reason. */
    query = plain_query;
    size_t len = write_guarded(&query, &answer, DNS_UDP, sizeof(bytes), bytes);
    assert_int_equal(len, sizeof(expected) - 1 - OPT_LEN - 17);
    assert_int_equal(bytes[11], 0);
    assert_memory_equal(bytes + 12, expected + 12, len - 12);
}

static void flags(void **state)
{
    static const struct {
        uint8_t opcode;
        bool rd;
        bool cd;
        bool dnssec_ok;
        uint16_t rcode;
        uint16_t flags;
        uint32_t opt_ttl;
    } rows[] = {
        {0, true, false, false, DNS_RCODE_NOERROR, 0x8180, 0},
        {0, false, false, false, DNS_RCODE_SERVFAIL, 0x8082, 0},
        {0, true, true, true, DNS_RCODE_REFUSED, 0x8195, 0x8000},
        {5, false, false, false, DNS_RCODE_NOTIMP, 0xa884, 0},
        {15, true, false, true, DNS_RCODE_FORMERR, 0xf981, 0x8000},
        {0, true, false, false, DNS_RCODE_BADVERS, 0x8180, 0x01000000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dns_query query = edns_query(1232);
        const struct dns_answer answer = {.rcode = rows[i].rcode};
        uint8_t bytes[DNS_UDP_MAX];
        query.opcode = rows[i].opcode;
        query.is_recursion_desired = rows[i].rd;
        query.is_checking_disabled = rows[i].cd;
        query.is_dnssec_ok = rows[i].dnssec_ok;
        size_t len = write_guarded(&query, &answer, DNS_UDP, sizeof(bytes), bytes);
        assert_int_equal(len, QUESTION_END + OPT_LEN);
        assert_int_equal(bytes[2] << 8 | bytes[3], rows[i].flags);
        assert_int_equal((uint32_t)bytes[len - 6] << 24 | (uint32_t)bytes[len - 5] << 16 |
                             (uint32_t)bytes[len - 4] << 8 | bytes[len - 3],
                         rows[i].opt_ttl);
    }
}

static void no_question_to_repeat(void **state)
{
    const struct dns_query query = {.id = 0x1234};
    const struct dns_answer answer = {.rcode = DNS_RCODE_FORMERR};
    uint8_t bytes[DNS_UDP_MAX];

    (void)state;
    assert_int_equal(write_guarded(&query, &answer, DNS_UDP, sizeof(bytes), bytes), 12);
    assert_memory_equal(bytes, "\x12\x34\x80\x81\0\0\0\0\0\0\0\0", 12);
}

static void what_cannot_be_said(void **state)
{
    struct netaddr addresses[DNS_ADDRESSES_MAX + 1];
    struct dns_query query = plain_query;
    struct dns_answer answer = {.addresses = addresses, .count = 1};
    uint8_t bytes[DNS_MESSAGE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
        addresses[i] = netaddr_v4((const uint8_t *)"\1\2\3\4");
    assert_int_not_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    query.type = DNS_TYPE_AAAA;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    query.type = DNS_TYPE_HTTPS;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    query.type = DNS_TYPE_A;
    answer.rcode = DNS_RCODE_NXDOMAIN;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    answer.rcode = DNS_RCODE_NOERROR;
    answer.has_soa = true;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    answer.has_soa = false;
    answer.count = DNS_ADDRESSES_MAX + 1;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    answer.count = DNS_ADDRESSES_MAX;
    assert_int_not_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    query.class = 3;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    query.class = DNS_CLASS_IN;
    query.has_question = false;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    answer.count = 0;
    assert_int_not_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    answer.rcode = DNS_RCODE_BADVERS;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    query.has_edns = true;
    assert_int_not_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
    answer.rcode = 0x1000;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes)), 0);
}

/* How many addresses fit the client, and what it is told when one more does not. */
static void truncation(void **state)
{
    static const struct {
        bool has_edns;
        uint16_t udp_size;
        enum dns_transport transport;
        size_t limit;
    } rows[] = {
        {false, 0, DNS_UDP, 512},    {true, 0, DNS_UDP, 512},      {true, 511, DNS_UDP, 512},
        {true, 512, DNS_UDP, 512},   {true, 700, DNS_UDP, 700},    {true, 1232, DNS_UDP, 1232},
        {true, 4096, DNS_UDP, 1232}, {true, 65535, DNS_UDP, 1232}, {false, 0, DNS_TCP, 65535},
        {true, 512, DNS_TCP, 65535},
    };
    struct netaddr addresses[DNS_ADDRESSES_MAX];

    (void)state;
    for (size_t i = 0; i < DNS_ADDRESSES_MAX; i++)
        addresses[i] = netaddr_v6((const uint8_t *)"\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t count = 1; count <= DNS_ADDRESSES_MAX; count++) {
            struct dns_query query = edns_query(rows[i].udp_size);
            const struct dns_answer answer = {.addresses = addresses, .count = count, .ttl_s = 60};
            struct dns_question asked;
            struct dns_reply reply;
            uint8_t bytes[DNS_MESSAGE_MAX];
            query.has_edns = rows[i].has_edns;
            query.type = DNS_TYPE_AAAA;
            size_t opt_len = query.has_edns ? OPT_LEN : 0;
            size_t whole = QUESTION_END + count * ADDRESS_RECORD_V6 + opt_len;
            size_t len = dns_answer_write(&query, &answer, rows[i].transport, bytes, sizeof(bytes));
            asked = question_of(&query);
            assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked, &reply), DNS_REPLY_OK);
            assert_int_equal(reply.is_truncated, whole > rows[i].limit);
            assert_int_equal(reply.count, whole > rows[i].limit ? 0 : count);
            assert_int_equal(len, whole > rows[i].limit ? QUESTION_END + opt_len : whole);
        }
    }
}

/* The longest refusal is cut for nobody, and its text is. */
static void longest_refusal(void **state)
{
    static const char text[DNS_EDE_TEXT_MAX + 1] = "abc";
    struct dns_query query = edns_query(0);
    struct dns_answer answer = {
        .rcode = DNS_RCODE_NXDOMAIN,
        .has_soa = true,
        .ttl_s = 60,
        .has_ede = true,
        .ede = {DNS_EDE_BLOCKED, {(const uint8_t *)text, sizeof(text)}},
    };
    uint8_t bytes[DNS_MESSAGE_MAX];

    (void)state;
    query.name.len = DNS_NAME_MAX;
    memset(query.name.bytes, 'x', DNS_NAME_MAX);
    for (size_t i = 0; i < 4; i++)
        query.name.bytes[64 * i] = i < 3 ? 63 : 61;
    query.name.bytes[DNS_NAME_MAX - 1] = 0;
    struct dns_question asked = question_of(&query);
    struct dns_reply reply;
    size_t len = write_guarded(&query, &answer, DNS_UDP, DNS_UDP_MIN, bytes);
    assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked, &reply), DNS_REPLY_OK);
    assert_false(reply.is_truncated);
    assert_true(reply.has_negative_ttl);
    assert_int_equal(bytes[len - DNS_EDE_TEXT_MAX - 4], 0);
    assert_int_equal(bytes[len - DNS_EDE_TEXT_MAX - 3], DNS_EDE_TEXT_MAX + 2);
    answer.ede.text.len = DNS_EDE_TEXT_MAX;
    assert_int_equal(dns_answer_write(&query, &answer, DNS_UDP, bytes, sizeof(bytes)), len);
}

/* Whatever the capacity: whole, or truncated and well-formed, or nothing. */
static void every_capacity(void **state)
{
    const struct netaddr addresses[2] = {netaddr_v4((const uint8_t *)"\1\2\3\4"),
                                         netaddr_v4((const uint8_t *)"\5\6\7\x8")};
    const struct dns_answer answer = {.addresses = addresses, .count = 2, .ttl_s = 60};
    struct dns_query query = edns_query(1232);
    struct dns_question asked = question_of(&query);
    size_t short_len = QUESTION_END + OPT_LEN;
    size_t whole = short_len + 2 * ADDRESS_RECORD_V4;

    (void)state;
    for (size_t cap = 0; cap <= whole + 1; cap++) {
        uint8_t bytes[DNS_UDP_MAX];
        struct dns_reply reply;
        size_t len = write_guarded(&query, &answer, DNS_UDP, cap, bytes);
        assert_int_equal(len, cap < short_len ? 0 : cap < whole ? short_len : whole);
        if (len == 0)
            continue;
        assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked, &reply), DNS_REPLY_OK);
        assert_int_equal(reply.is_truncated, cap < whole);
    }
}

static void question_bytes(void **state)
{
    static const char expected[] = "\x12\x34\1\0\0\1\0\0\0\0\0\1"
                                   "\3www\7Example\3com\0\0\1\0\1"
                                   "\0\0\x29\4\xd0\0\0\0\0\0\0";
    struct dns_question asked = question_of(&plain_query);
    uint8_t bytes[DNS_QUERY_LEN_MAX];

    (void)state;
    assert_int_equal(dns_query_write(&asked, bytes, sizeof(bytes)), sizeof(expected) - 1);
    assert_memory_equal(bytes, expected, sizeof(expected) - 1);
    for (size_t cap = 0; cap < sizeof(expected) - 1; cap++) {
        struct guarded g = guarded_copy(span_of(expected, cap), GUARDED_END);
        uint8_t *out = (uint8_t *)g.mapping + (g.bytes.data - (const uint8_t *)g.mapping);
        assert_int_equal(dns_query_write(&asked, out, cap), 0);
        guarded_free(&g);
    }
}

static void random_name(uint64_t *random, struct dns_name *out)
{
    static const char alphabet[] = "abcXYZ019-_";
    size_t labels = 1 + test_random(random) % 6;

    out->len = 0;
    for (size_t i = 0; i < labels; i++) {
        size_t len = 1 + test_random(random) % 40;
        out->bytes[out->len++] = (uint8_t)len;
        while (len-- > 0)
            out->bytes[out->len++] =
                (uint8_t)alphabet[test_random(random) % (sizeof(alphabet) - 1)];
    }
    out->bytes[out->len++] = 0;
}

/* What is written is what is read, as a question and as an answer to it. */
static void written_is_read(void **state)
{
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 5000; round++) {
        struct dns_question asked = {.id = (uint16_t)test_random(&random), .is_case_exact = true};
        struct netaddr addresses[DNS_ADDRESSES_MAX];
        struct dns_query query;
        struct dns_reply reply;
        uint8_t bytes[DNS_MESSAGE_MAX];
        asked.type = test_random(&random) % 2 == 0 ? DNS_TYPE_A : DNS_TYPE_AAAA;
        random_name(&random, &asked.name);
        size_t len = dns_query_write(&asked, bytes, DNS_QUERY_LEN_MAX);
        enum dns_query_status status = dns_query_parse(span_of(bytes, len), &query);
        if (status == DNS_QUERY_NAME_INVALID)
            continue; /* the last label came out as a number */
        assert_int_equal(status, DNS_QUERY_OK);
        assert_int_equal(query.id, asked.id);
        assert_int_equal(query.type, asked.type);
        assert_int_equal(query.udp_size, DNS_UDP_MAX);
        assert_true(query.has_edns && query.is_recursion_desired && !query.is_dnssec_ok);
        assert_true(span_equal(dns_name_span(&query.name), dns_name_span(&asked.name)));

        struct dns_answer answer = {.addresses = addresses,
                                    .count = test_random(&random) % DNS_ADDRESSES_MAX,
                                    .ttl_s = (uint32_t)test_random(&random) >> 1};
        for (size_t i = 0; i < answer.count; i++) {
            uint64_t bits[2] = {test_random(&random), test_random(&random)};
            addresses[i] = asked.type == DNS_TYPE_A ? netaddr_v4((const uint8_t *)bits)
                                                    : netaddr_v6((const uint8_t *)bits);
        }
        answer.has_soa = answer.count == 0;
        len = dns_answer_write(&query, &answer, DNS_TCP, bytes, sizeof(bytes));
        assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked, &reply), DNS_REPLY_OK);
        assert_int_equal(reply.rcode, DNS_RCODE_NOERROR);
        assert_int_equal(reply.count, answer.count);
        assert_int_equal(reply.ttl_s, answer.ttl_s);
        assert_int_equal(reply.has_negative_ttl, answer.has_soa);
        assert_memory_equal(reply.addresses, addresses, answer.count * sizeof(addresses[0]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusal_bytes),
        cmocka_unit_test(flags),
        cmocka_unit_test(no_question_to_repeat),
        cmocka_unit_test(what_cannot_be_said),
        cmocka_unit_test(truncation),
        cmocka_unit_test(longest_refusal),
        cmocka_unit_test(every_capacity),
        cmocka_unit_test(question_bytes),
        cmocka_unit_test(written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
