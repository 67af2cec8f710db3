#include "proxy/core/dns_message.h"
#include "tests/lib/unit.h"

/* A good query for www.Example.com A with EDNS: DO, 1232 bytes and a cookie (RFC 7873). */
static const char good_query[] = "\x12\x34\x01\x00"      /* 0: id, flags */
                                 "\0\1\0\0\0\0\0\1"      /* 4: counts */
                                 "\3www\7Example\3com\0" /* 12 */
                                 "\0\1\0\1"              /* 29: type, class */
                                 "\0\0\x29\x04\xd0"      /* 33: root, OPT, size */
                                 "\0\0\x80\0"            /* 38: rcode, version, DO */
                                 "\0\xc\0\xa\0\x8"
                                 "cookie!!"; /* 42 */

enum { QUERY_LEN = sizeof(good_query) - 1, QUERY_NAME_AT = 12, QUERY_NAME_END = 29 };

/* One byte of the good query set to another value; the byte set back makes it good again. */
struct patch {
    const char *what;
    size_t at;
    uint8_t value;
    enum dns_query_status status;
    bool has_question;
    bool has_edns;
};

static const struct patch patches[] = {
    {"another id", 0, 0x99, DNS_QUERY_OK, true, true},
    {"QR", 2, 0x81, DNS_QUERY_FORMERR, false, false},
    {"TC", 2, 0x03, DNS_QUERY_FORMERR, false, false},
    {"AA means nothing", 2, 0x05, DNS_QUERY_OK, true, true},
    {"RD clear", 2, 0x00, DNS_QUERY_OK, true, true},
    {"AD and CD", 3, 0x30, DNS_QUERY_OK, true, true},
    {"IQUERY", 2, 0x08, DNS_QUERY_NOTIMP, false, false},
    {"NOTIFY", 2, 0x20, DNS_QUERY_NOTIMP, false, false},
    {"UPDATE", 2, 0x28, DNS_QUERY_NOTIMP, false, false},
    {"opcode 15", 2, 0x78, DNS_QUERY_NOTIMP, false, false},
    {"QR and UPDATE", 2, 0xa8, DNS_QUERY_FORMERR, false, false},
    {"no question", 5, 0, DNS_QUERY_FORMERR, false, false},
    {"two questions", 5, 2, DNS_QUERY_FORMERR, false, false},
    {"257 questions", 4, 1, DNS_QUERY_FORMERR, false, false},
    {"an answer", 7, 1, DNS_QUERY_FORMERR, false, false},
    {"an authority", 9, 1, DNS_QUERY_FORMERR, false, false},
    {"OPT not counted", 11, 0, DNS_QUERY_FORMERR, true, false},
    {"two additionals", 11, 2, DNS_QUERY_FORMERR, true, false},
    {"pointer in the question", 12, 0xc0, DNS_QUERY_FORMERR, false, false},
    {"label type 01", 12, 0x43, DNS_QUERY_FORMERR, false, false},
    {"name runs on", 28, 1, DNS_QUERY_FORMERR, true, false},
    {"NUL in the name", 13, 0, DNS_QUERY_NAME_INVALID, true, true},
    {"dot in a label", 14, '.', DNS_QUERY_NAME_INVALID, true, true},
    {"star", 14, '*', DNS_QUERY_NAME_INVALID, true, true},
    {"8-bit byte", 14, 0xfc, DNS_QUERY_NAME_INVALID, true, true},
    {"AAAA", 30, 28, DNS_QUERY_OK, true, true},
    {"type 65281", 29, 0xff, DNS_QUERY_OK, true, true},
    {"CH", 32, 3, DNS_QUERY_REFUSED, true, true},
    {"class ANY", 32, 255, DNS_QUERY_REFUSED, true, true},
    {"OPT below a name", 33, 1, DNS_QUERY_FORMERR, true, false},
    {"TSIG for OPT", 35, 250, DNS_QUERY_FORMERR, true, false},
    {"small size", 36, 0, DNS_QUERY_OK, true, true},
    {"upper rcode means nothing", 38, 9, DNS_QUERY_OK, true, true},
    {"EDNS 1", 39, 1, DNS_QUERY_BADVERS, true, true},
    {"DO clear", 40, 0, DNS_QUERY_OK, true, true},
    {"OPT longer", 43, 13, DNS_QUERY_FORMERR, true, false},
    {"OPT shorter", 43, 11, DNS_QUERY_FORMERR, true, false},
    {"option code 3", 45, 3, DNS_QUERY_OK, true, true},
    {"option longer", 47, 9, DNS_QUERY_FORMERR, true, true},
    {"option shorter", 47, 7, DNS_QUERY_FORMERR, true, true},
    {"option leaves four", 47, 4, DNS_QUERY_FORMERR, true, true},
};

static enum dns_query_status parse_guarded(struct span bytes, struct dns_query *out)
{
    enum dns_query_status first = DNS_QUERY_DROP;

    for (int side = 0; side < 2; side++) {
        struct guarded g = guarded_copy(bytes, (enum guarded_side)side);
        enum dns_query_status status = dns_query_parse(g.bytes, out);
        guarded_free(&g);
        if (side == 0)
            first = status;
        assert_int_equal(status, first);
    }
    return first;
}

static void query_values(void **state)
{
    struct dns_query query;

    (void)state;
    assert_int_equal(parse_guarded(span_of(good_query, QUERY_LEN), &query), DNS_QUERY_OK);
    assert_int_equal(query.id, 0x1234);
    assert_int_equal(query.opcode, 0);
    assert_true(query.is_recursion_desired);
    assert_false(query.is_checking_disabled);
    assert_false(query.is_authentic_wanted);
    assert_true(query.has_question);
    assert_int_equal(query.name.len, 17);
    assert_memory_equal(query.name.bytes, good_query + QUERY_NAME_AT, 17);
    assert_string_equal(query.host.text, "www.example.com");
    assert_int_equal(query.type, DNS_TYPE_A);
    assert_int_equal(query.class, DNS_CLASS_IN);
    assert_true(query.has_edns);
    assert_true(query.is_dnssec_ok);
    assert_int_equal(query.edns_version, 0);
    assert_int_equal(query.udp_size, 1232);
}

static void query_patches(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
        const struct patch *patch = &patches[i];
        uint8_t bytes[QUERY_LEN];
        struct dns_query query;
        memcpy(bytes, good_query, QUERY_LEN);
        bytes[patch->at] = patch->value;
        enum dns_query_status status = parse_guarded(span_of(bytes, QUERY_LEN), &query);
        if (status != patch->status)
            fail_msg("%s: status %d", patch->what, (int)status);
        if (query.has_question != patch->has_question || query.has_edns != patch->has_edns)
            fail_msg("%s: question %d, EDNS %d", patch->what, query.has_question, query.has_edns);
        assert_int_equal(query.host.len, status == DNS_QUERY_OK ? 15 : 0);
        bytes[patch->at] = (uint8_t)good_query[patch->at];
        assert_int_equal(parse_guarded(span_of(bytes, QUERY_LEN), &query), DNS_QUERY_OK);
    }
}

/* No other byte than those of the name changes the name of a query that is good. */
static void query_single_bytes(void **state)
{
    struct dns_query good;

    (void)state;
    assert_int_equal(dns_query_parse(span_of(good_query, QUERY_LEN), &good), DNS_QUERY_OK);
    for (size_t at = 0; at < QUERY_LEN; at++) {
        if (at >= QUERY_NAME_AT && at < QUERY_NAME_END)
            continue;
        for (unsigned value = 0; value < 256; value++) {
            uint8_t bytes[QUERY_LEN];
            struct dns_query query;
            memcpy(bytes, good_query, QUERY_LEN);
            bytes[at] = (uint8_t)value;
            if (dns_query_parse(span_of(bytes, QUERY_LEN), &query) == DNS_QUERY_OK)
                assert_true(hostname_equal(&query.host, &good.host));
        }
    }
}

static void query_prefixes(void **state)
{
    (void)state;
    for (size_t len = 0; len < QUERY_LEN; len++) {
        struct dns_query query = {.id = 7};
        enum dns_query_status status = parse_guarded(span_of(good_query, len), &query);
        assert_int_equal(status, len < DNS_HEADER_LEN ? DNS_QUERY_DROP : DNS_QUERY_FORMERR);
        assert_int_equal(query.id, len < DNS_HEADER_LEN ? 7 : 0x1234);
        assert_int_equal(query.has_question, len >= 33);
        assert_false(query.has_edns);
    }
}

static void query_garbage_behind(void **state)
{
    uint8_t bytes[QUERY_LEN + 1] = {0};
    struct dns_query query;

    (void)state;
    memcpy(bytes, good_query, QUERY_LEN);
    assert_int_equal(parse_guarded(span_of(bytes, QUERY_LEN + 1), &query), DNS_QUERY_FORMERR);
    /* Without EDNS, too. */
    bytes[11] = 0;
    assert_int_equal(parse_guarded(span_of(bytes, 33), &query), DNS_QUERY_OK);
    assert_false(query.has_edns);
    assert_int_equal(query.udp_size, 0);
    assert_int_equal(parse_guarded(span_of(bytes, 34), &query), DNS_QUERY_FORMERR);
    assert_true(query.has_question);
}

static void query_root_and_address(void **state)
{
    static const char root[] = "\0\0\1\0\0\1\0\0\0\0\0\0"
                               "\0\0\2\0\1";
    static const char address[] = "\0\0\1\0\0\1\0\0\0\0\0\0"
                                  "\003127\1"
                                  "1\0\0\1\0\1";
    struct dns_query query;

    (void)state;
    assert_int_equal(parse_guarded(span_of(root, sizeof(root) - 1), &query),
                     DNS_QUERY_NAME_INVALID);
    assert_int_equal(query.name.len, 1);
    assert_int_equal(query.type, 2);
    assert_int_equal(parse_guarded(span_of(address, sizeof(address) - 1), &query),
                     DNS_QUERY_NAME_INVALID);
}

/* Replies: the question's name stands at 12, "example.com" at 16, "com" at 24, "" at 28. */
#define QNAME      "\3www\7example\3com\0"
#define OWNER      "\xc0\x0c"
#define EXAMPLE    "\xc0\x10"
#define COM        "\xc0\x18"
#define IN         "\0\1"
#define TTL(s)     "\0\0\0" s
#define A(ttl, a)  "\0\1" IN TTL(ttl) "\0\4" a
#define AAAA(ttl)  "\0\x1c" IN TTL(ttl) "\0\x10\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define CNAME(ttl) "\0\5" IN TTL(ttl)
#define TO_A       "\0\4\1a" EXAMPLE
#define TO_B       "\0\4\1b" EXAMPLE
#define NAME_A     "\1a" EXAMPLE
#define NAME_B     "\1b" EXAMPLE
#define SOA(ttl, minimum)                                                                          \
    "\0\6" IN TTL(ttl) "\0\x18" COM COM "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0" minimum
#define OPT(high) "\0\0\x29\4\xd0" high "\0\0\0\0\0"
#define IP1       "\1\2\3\4"
#define IP2       "\5\6\7\x8"

struct reply_row {
    const char *what;
    uint16_t flags;
    uint8_t counts[4];
    uint16_t type;
    const char *records;
    size_t records_len;
    enum dns_reply_status status;
    uint16_t rcode;
    size_t count;
    const char *first; /* the first address */
    size_t chain_len;
    bool has_negative_ttl;
    uint32_t ttl_s;
};

#define COUNTS(q, an, ns, ar)                                                                      \
    {                                                                                              \
        q, an, ns, ar                                                                              \
    }
#define OK(what, flags, counts, type, records, ...)                                                \
    {                                                                                              \
        what, flags, counts, type, records, sizeof(records) - 1, DNS_REPLY_OK, __VA_ARGS__         \
    }
#define BAD(what, counts, records)                                                                 \
    {                                                                                              \
        what, 0x8180, counts, DNS_TYPE_A, records, sizeof(records) - 1, DNS_REPLY_BAD, 0, 0, NULL, \
            0, false, 0                                                                            \
    }

static const struct reply_row reply_rows[] = {
    OK("one A", 0x8180, COUNTS(1, 1, 0, 0), 1, OWNER A("\x3c", IP1), 0, 1, "1.2.3.4", 0, false, 60),
    OK("two A", 0x8180, COUNTS(1, 2, 0, 0), 1, OWNER A("\x3c", IP1) OWNER A("\x3b", IP2), 0, 2,
       "1.2.3.4", 0, false, 59),
    OK("AAAA", 0x8180, COUNTS(1, 1, 0, 0), 28, OWNER AAAA("\x3c"), 0, 1, "2001:db8::1", 0, false,
       60),
    OK("another case", 0x8180, COUNTS(1, 1, 0, 0), 1, "\3WWW\xc0\x10" A("\x3c", IP1), 0, 1,
       "1.2.3.4", 0, false, 60),
    OK("chain", 0x8180, COUNTS(1, 2, 0, 0), 1, OWNER CNAME("\x5") TO_A NAME_A A("\x3c", IP1), 0, 1,
       "1.2.3.4", 1, false, 5),
    OK("chain backwards", 0x8180, COUNTS(1, 3, 0, 0), 1,
       NAME_B A("\x3c", IP1) NAME_A CNAME("\x3c") TO_B OWNER CNAME("\x6") TO_A, 0, 1, "1.2.3.4", 2,
       false, 6),
    OK("a CNAME twice", 0x8180, COUNTS(1, 3, 0, 0), 1,
       OWNER CNAME("\x8") TO_A OWNER CNAME("\x7") TO_A NAME_A A("\x3c", IP1), 0, 1, "1.2.3.4", 1,
       false, 7),
    OK("other owners ignored", 0x8180, COUNTS(1, 3, 0, 0), 1,
       NAME_A A("\1", IP2) OWNER A("\x3c", IP1) EXAMPLE A("\1", IP2), 0, 1, "1.2.3.4", 0, false,
       60),
    OK("address beside an alias ignored", 0x8180, COUNTS(1, 3, 0, 0), 1,
       OWNER A("\1", IP2) OWNER CNAME("\x3c") TO_A NAME_A A("\x3c", IP1), 0, 1, "1.2.3.4", 1, false,
       60),
    OK("other types ignored", 0x8180, COUNTS(1, 3, 0, 0), 1,
       OWNER AAAA("\1") OWNER "\0\x10\0\1\0\0\0\1\0\2\1x" OWNER A("\x3c", IP1), 0, 1, "1.2.3.4", 0,
       false, 60),
    OK("other classes ignored", 0x8180, COUNTS(1, 2, 0, 0), 1,
       OWNER "\0\1\0\3\0\0\0\1\0\3\1\1\1" OWNER A("\x3c", IP1), 0, 1, "1.2.3.4", 0, false, 60),
    OK("a CNAME of another class ignored", 0x8180, COUNTS(1, 2, 0, 0), 1,
       OWNER "\0\5\0\3\0\0\0\1" TO_A OWNER A("\x3c", IP1), 0, 1, "1.2.3.4", 0, false, 60),
    OK("a CNAME that was asked for", 0x8180, COUNTS(1, 1, 0, 0), 5, OWNER CNAME("\x3c") TO_A, 0, 0,
       NULL, 0, false, 0),
    OK("TTL with its top bit", 0x8180, COUNTS(1, 1, 0, 0), 1, OWNER "\0\1\0\1\x80\0\0\1\0\4" IP1, 0,
       1, "1.2.3.4", 0, false, 0),
    OK("TTL just below it", 0x8180, COUNTS(1, 1, 0, 0), 1, OWNER "\0\1\0\1\x7f\xff\xff\xff\0\4" IP1,
       0, 1, "1.2.3.4", 0, false, 0x7fffffff),
    OK("additional and authority", 0x8180, COUNTS(1, 1, 1, 2), 1,
       OWNER A("\x3c", IP1) COM SOA("\1", "\1") NAME_A A("\1", IP2) OPT("\0"), 0, 1, "1.2.3.4", 0,
       false, 60),
    OK("NXDOMAIN, SOA's TTL", 0x8183, COUNTS(1, 0, 1, 0), 1, COM SOA("\x1e", "\x1f"), 3, 0, NULL, 0,
       true, 30),
    OK("NXDOMAIN, SOA's MINIMUM", 0x8183, COUNTS(1, 0, 1, 0), 1, COM SOA("\x1e", "\x1d"), 3, 0,
       NULL, 0, true, 29),
    OK("NXDOMAIN at a chain's end", 0x8183, COUNTS(1, 1, 1, 0), 1,
       OWNER CNAME("\x14") TO_A COM SOA("\x1e", "\x1e"), 3, 0, NULL, 1, true, 20),
    OK("NXDOMAIN with an address", 0x8183, COUNTS(1, 1, 0, 0), 1, OWNER A("\x3c", IP1), 3, 0, NULL,
       0, false, 0),
    OK("NODATA", 0x8180, COUNTS(1, 0, 1, 0), 28, EXAMPLE SOA("\x1e", "\x1e"), 0, 0, NULL, 0, true,
       30),
    OK("NODATA, SOA of the root", 0x8180, COUNTS(1, 0, 1, 0), 28, "\0" SOA("\x1e", "\x1e"), 0, 0,
       NULL, 0, true, 30),
    OK("NODATA, SOA of elsewhere", 0x8180, COUNTS(1, 0, 1, 0), 28, "\1x\0" SOA("\x1e", "\x1e"), 0,
       0, NULL, 0, false, 0),
    OK("NODATA, SOA of another class", 0x8180, COUNTS(1, 0, 1, 0), 28,
       COM "\0\6\0\3\0\0\0\1\0\x18" COM COM "aaaabbbbccccddddeeee", 0, 0, NULL, 0, false, 0),
    OK("NODATA without SOA", 0x8180, COUNTS(1, 0, 0, 0), 28, "", 0, 0, NULL, 0, false, 0),
    OK("only the other type", 0x8180, COUNTS(1, 1, 0, 0), 28, OWNER A("\x3c", IP1), 0, 0, NULL, 0,
       false, 0),
    OK("SERVFAIL", 0x8182, COUNTS(1, 0, 0, 0), 1, "", 2, 0, NULL, 0, false, 0),
    OK("REFUSED with an address", 0x8185, COUNTS(1, 1, 0, 0), 1, OWNER A("\x3c", IP1), 5, 0, NULL,
       0, false, 0),
    OK("BADVERS", 0x8180, COUNTS(1, 0, 0, 1), 1, OPT("\1"), 16, 0, NULL, 0, false, 0),
    OK("upper rcode hides an address", 0x8180, COUNTS(1, 1, 0, 1), 1,
       OWNER A("\x3c", IP1) OPT("\1"), 16, 0, NULL, 0, false, 0),
    BAD("A of three bytes", COUNTS(1, 1, 0, 0), OWNER "\0\1\0\1\0\0\0\1\0\3\1\2\3"),
    BAD("A of five bytes", COUNTS(1, 1, 0, 0), OWNER "\0\1\0\1\0\0\0\1\0\5\1\2\3\4\5"),
    BAD("A of three bytes elsewhere", COUNTS(1, 1, 0, 1),
        OWNER A("\1", IP1) "\0\0\1\0\1\0\0\0\1\0"
                           "\3\1\2\3"),
    BAD("AAAA of four bytes", COUNTS(1, 1, 0, 0), OWNER "\0\x1c\0\1\0\0\0\1\0\4\1\2\3\4"),
    BAD("a byte behind", COUNTS(1, 1, 0, 0), OWNER A("\1", IP1) "\0"),
    BAD("a record not counted", COUNTS(1, 0, 0, 0), OWNER A("\1", IP1)),
    BAD("a record less than counted", COUNTS(1, 2, 0, 0), OWNER A("\1", IP1)),
    BAD("no authority", COUNTS(1, 1, 1, 0), OWNER A("\1", IP1)),
    BAD("no additional", COUNTS(1, 1, 0, 1), OWNER A("\1", IP1)),
    BAD("no question", COUNTS(0, 1, 0, 0), OWNER A("\1", IP1)),
    BAD("two questions", COUNTS(2, 0, 0, 0), OWNER IN IN),
    BAD("owner points to itself", COUNTS(1, 1, 0, 0), "\xc0\x21" A("\1", IP1)),
    BAD("owner points forward", COUNTS(1, 1, 0, 0), "\xc0\x23" A("\1", IP1)),
    BAD("owner points into the header", COUNTS(1, 1, 0, 0), "\xc0\x04" A("\1", IP1)),
    BAD("CNAME of itself", COUNTS(1, 1, 0, 0), OWNER CNAME("\1") "\0\2" OWNER),
    BAD("circle of two", COUNTS(1, 2, 0, 0),
        OWNER CNAME("\1") TO_A NAME_A CNAME("\1") "\0\2" OWNER),
    BAD("two different CNAMEs", COUNTS(1, 3, 0, 0),
        OWNER CNAME("\1") TO_A OWNER CNAME("\1") TO_B NAME_A A("\1", IP1)),
    BAD("CNAME with a byte behind", COUNTS(1, 1, 0, 0), OWNER CNAME("\1") "\0\3" COM "\0"),
    BAD("CNAME cut", COUNTS(1, 1, 0, 0), OWNER CNAME("\1") "\0\1\xc0"),
    BAD("CNAME empty", COUNTS(1, 1, 0, 0), OWNER CNAME("\1") "\0\0"),
    BAD("SOA with a byte behind", COUNTS(1, 0, 1, 0),
        COM "\0\6\0\1\0\0\0\1\0\x19" COM COM "aaaabbbbccccddddeeeex"),
    BAD("SOA cut", COUNTS(1, 0, 1, 0), COM "\0\6\0\1\0\0\0\1\0\x17" COM COM "aaaabbbbccccddddeee"),
    BAD("two OPT", COUNTS(1, 0, 0, 2), OPT("\0") OPT("\0")),
    BAD("OPT among the answers", COUNTS(1, 1, 0, 0), OPT("\0")),
    BAD("OPT below a name", COUNTS(1, 0, 0, 1), "\1x" OPT("\0")),
    BAD("OPT with a cut option", COUNTS(1, 0, 0, 1), "\0\0\x29\4\xd0\0\0\0\0\0\3\0\xf\0"),
};

static const struct dns_question asked_a = {0x1234, DNS_TYPE_A, {17, "\3www\7example\3com"}, false};

/* Header, question and the row's records. */
static size_t build_reply(const struct reply_row *row, uint8_t out[512])
{
    const uint8_t header[12] = {0x12,
                                0x34,
                                (uint8_t)(row->flags >> 8),
                                (uint8_t)row->flags,
                                0,
                                row->counts[0],
                                0,
                                row->counts[1],
                                0,
                                row->counts[2],
                                0,
                                row->counts[3]};
    const uint8_t tail[4] = {0, (uint8_t)row->type, 0, 1};
    size_t len = 0;

    memcpy(out, header, sizeof(header));
    len += sizeof(header);
    memcpy(out + len, QNAME, sizeof(QNAME) - 1);
    len += sizeof(QNAME) - 1;
    memcpy(out + len, tail, sizeof(tail));
    len += sizeof(tail);
    memcpy(out + len, row->records, row->records_len);
    return len + row->records_len;
}

static void check_reply(const struct reply_row *row, const struct dns_reply *reply)
{
    struct netaddr expected;

    if (reply->rcode != row->rcode || reply->count != row->count ||
        reply->chain_len != row->chain_len || reply->has_negative_ttl != row->has_negative_ttl ||
        reply->ttl_s != row->ttl_s || reply->is_truncated)
        fail_msg("%s: rcode %d, %zu addresses, chain %zu, negative %d, TTL %u", row->what,
                 reply->rcode, reply->count, reply->chain_len, reply->has_negative_ttl,
                 reply->ttl_s);
    if (row->first == NULL)
        return;
    assert_true(netaddr_parse(span_of_text(row->first), &expected));
    if (!netaddr_equal(&reply->addresses[0], &expected))
        fail_msg("%s: another address", row->what);
}

static void reply_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(reply_rows) / sizeof(reply_rows[0]); i++) {
        for (int side = 0; side < 2; side++) {
            const struct reply_row *row = &reply_rows[i];
            struct dns_question asked = asked_a;
            uint8_t bytes[512];
            struct dns_reply reply = {.rcode = 777};
            asked.type = row->type;
            struct guarded g =
                guarded_copy(span_of(bytes, build_reply(row, bytes)), (enum guarded_side)side);
            enum dns_reply_status status = dns_reply_parse(g.bytes, &asked, &reply);
            guarded_free(&g);
            if (status != row->status)
                fail_msg("%s: status %d", row->what, (int)status);
            if (status == DNS_REPLY_OK)
                check_reply(row, &reply);
            else
                assert_int_equal(reply.rcode, 777);
        }
    }
}

/* Every part of a good reply is malformed; with TC only the question has to be there. */
static void reply_prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(reply_rows) / sizeof(reply_rows[0]); i++) {
        const struct reply_row *row = &reply_rows[i];
        struct dns_question asked = asked_a;
        uint8_t bytes[512];
        size_t whole = build_reply(row, bytes);
        asked.type = row->type;
        for (size_t len = 0; row->status == DNS_REPLY_OK && len < whole; len++) {
            struct dns_reply reply = {.rcode = 777};
            struct guarded g = guarded_copy(span_of(bytes, len), GUARDED_END);
            if (dns_reply_parse(g.bytes, &asked, &reply) != DNS_REPLY_BAD)
                fail_msg("%s: %zu bytes", row->what, len);
            assert_int_equal(reply.rcode, 777);
            guarded_free(&g);
        }
        bytes[2] |= DNS_FLAG_TC >> 8;
        for (size_t len = 0; row->counts[0] == 1 && len < whole; len++) {
            struct dns_reply reply;
            struct guarded g = guarded_copy(span_of(bytes, len), GUARDED_END);
            assert_int_equal(dns_reply_parse(g.bytes, &asked, &reply),
                             len < 33 ? DNS_REPLY_BAD : DNS_REPLY_OK);
            assert_true(len < 33 || (reply.is_truncated && reply.count == 0));
            guarded_free(&g);
        }
    }
}

/* One byte of a good reply: the answer to another question is not taken for malformed. */
static void reply_other_question(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        enum dns_reply_status status;
    } changes[] = {
        {0, 0x13, DNS_REPLY_OTHER}, /* id */
        {1, 0x35, DNS_REPLY_OTHER}, /* id */
        {2, 0x01, DNS_REPLY_OTHER}, /* a question */
        {2, 0x89, DNS_REPLY_OTHER}, /* opcode 1 */
        {13, 'v', DNS_REPLY_OTHER}, /* name */
        {13, 'W', DNS_REPLY_OK},    /* only its case */
        {30, 28, DNS_REPLY_OTHER},  /* type */
        {32, 3, DNS_REPLY_OTHER},   /* class */
        {12, 0xc0, DNS_REPLY_BAD},  /* a compressed question */
        {12, 0x40, DNS_REPLY_BAD},  /* a reserved label type */
    };
    uint8_t bytes[512];
    size_t len = build_reply(&reply_rows[0], bytes);

    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct dns_reply reply = {0};
        uint8_t before = bytes[changes[i].at];
        bytes[changes[i].at] = changes[i].value;
        if (dns_reply_parse(span_of(bytes, len), &asked_a, &reply) != changes[i].status)
            fail_msg("change %zu", i);
        bytes[changes[i].at] = before;
        assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked_a, &reply), DNS_REPLY_OK);
    }
}

static void reply_exact_case(void **state)
{
    struct dns_question asked = asked_a;
    struct dns_reply reply;
    uint8_t bytes[512];
    size_t len = build_reply(&reply_rows[0], bytes);

    (void)state;
    asked.name.bytes[1] = 'W';
    assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked, &reply), DNS_REPLY_OK);
    asked.is_case_exact = true;
    assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked, &reply), DNS_REPLY_OTHER);
    bytes[13] = 'W';
    assert_int_equal(dns_reply_parse(span_of(bytes, len), &asked, &reply), DNS_REPLY_OK);
}

struct builder {
    uint8_t bytes[DNS_MESSAGE_MAX + 1];
    size_t len;
};

static void append(struct builder *b, const void *data, size_t len)
{
    assert_true(len <= sizeof(b->bytes) - b->len);
    memcpy(b->bytes + b->len, data, len);
    b->len += len;
}

static void begin(struct builder *b, size_t answers)
{
    const uint8_t header[12] = {
        0x12, 0x34, 0x81, 0x80, 0, 1, (uint8_t)(answers >> 8), (uint8_t)answers};

    b->len = 0;
    append(b, header, sizeof(header));
    append(b, QNAME "\0\1\0\1", sizeof(QNAME "\0\1\0\1") - 1);
}

/* A chain of `links`, each name "X" below the root, in an order that takes a pass for each. */
static void build_chain(struct builder *b, size_t links)
{
    begin(b, links + 1);
    append(b, "\1A\0" A("\1", IP1), sizeof("\1A\0" A("\1", IP1)) - 1);
    b->bytes[b->len - sizeof(A("\1", IP1)) - 1] = (uint8_t)('A' + links);
    for (size_t i = links; i > 0; i--) {
        const uint8_t owner[3] = {1, (uint8_t)('A' + i - 1), 0};
        const uint8_t target[3] = {1, (uint8_t)('A' + i), 0};
        append(b, i == 1 ? (const void *)OWNER : (const void *)owner, i == 1 ? 2 : 3);
        append(b, CNAME("\x9") "\0\3", 10);
        append(b, target, 3);
    }
}

static void reply_chain_cap(void **state)
{
    static struct builder b;
    struct dns_reply reply;

    (void)state;
    build_chain(&b, DNS_CHAIN_MAX);
    assert_int_equal(dns_reply_parse(span_of(b.bytes, b.len), &asked_a, &reply), DNS_REPLY_OK);
    assert_int_equal(reply.chain_len, DNS_CHAIN_MAX);
    assert_int_equal(reply.count, 1);
    build_chain(&b, DNS_CHAIN_MAX + 1);
    assert_int_equal(dns_reply_parse(span_of(b.bytes, b.len), &asked_a, &reply), DNS_REPLY_BAD);
}

static void reply_many_records(void **state)
{
    static struct builder b;
    struct dns_reply reply;

    (void)state;
    for (size_t count = DNS_RECORDS_MAX; count <= DNS_RECORDS_MAX + 1; count++) {
        begin(&b, count);
        for (size_t i = 0; i < count; i++)
            append(&b, OWNER A("\1", IP1), sizeof(OWNER A("\1", IP1)) - 1);
        assert_int_equal(dns_reply_parse(span_of(b.bytes, b.len), &asked_a, &reply),
                         count <= DNS_RECORDS_MAX ? DNS_REPLY_OK : DNS_REPLY_BAD);
        assert_int_equal(reply.count, DNS_ADDRESSES_MAX);
    }
}

/* No transport can carry it. */
static void over_long_messages(void **state)
{
    static struct builder b;
    struct dns_query query;
    struct dns_reply reply;

    (void)state;
    begin(&b, 0);
    b.bytes[2] |= DNS_FLAG_TC >> 8;
    assert_int_equal(dns_reply_parse(span_of(b.bytes, DNS_MESSAGE_MAX), &asked_a, &reply),
                     DNS_REPLY_OK);
    assert_int_equal(dns_reply_parse(span_of(b.bytes, DNS_MESSAGE_MAX + 1), &asked_a, &reply),
                     DNS_REPLY_BAD);
    assert_int_equal(dns_query_parse(span_of(b.bytes, DNS_MESSAGE_MAX), &query), DNS_QUERY_FORMERR);
    assert_int_equal(dns_query_parse(span_of(b.bytes, DNS_MESSAGE_MAX + 1), &query),
                     DNS_QUERY_DROP);
}

static void ttl_clamp(void **state)
{
    (void)state;
    assert_int_equal(dns_ttl_clamp(0), 1);
    assert_int_equal(dns_ttl_clamp(1), 1);
    assert_int_equal(dns_ttl_clamp(3600), 3600);
    assert_int_equal(dns_ttl_clamp(3601), 3600);
    assert_int_equal(dns_ttl_clamp(UINT32_MAX), 3600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_values),         cmocka_unit_test(query_patches),
        cmocka_unit_test(query_single_bytes),   cmocka_unit_test(query_prefixes),
        cmocka_unit_test(query_garbage_behind), cmocka_unit_test(query_root_and_address),
        cmocka_unit_test(reply_table),          cmocka_unit_test(reply_prefixes),
        cmocka_unit_test(reply_other_question), cmocka_unit_test(reply_exact_case),
        cmocka_unit_test(reply_chain_cap),      cmocka_unit_test(reply_many_records),
        cmocka_unit_test(over_long_messages),   cmocka_unit_test(ttl_clamp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
