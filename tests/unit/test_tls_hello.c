#include "proxy/core/tls_hello.h"
#include "tests/lib/tls_records.h"
#include "tests/lib/unit.h"

/* Where things are in what build() makes. */
enum {
    AT_RECORD_TYPE = 0,
    AT_RECORD_MAJOR = 1,
    AT_RECORD_MINOR = 2,
    AT_RECORD_LEN = 3,
    AT_TYPE = 5,
    AT_LEN = 6,
    AT_MAJOR = 9,
    AT_MINOR = 10,
    AT_SESSION_ID_LEN = 43,
    AT_SUITES_LEN = 76,
    AT_COMPRESSION_LEN = 80,
    AT_COMPRESSION = 81,
    AT_EXTENSIONS_LEN = 82,
    AT_EXTENSIONS = 84,
    NO_FIX = -1,
};

static struct tls_hello_scratch scratch;

/* A hello in one record, with a session id of 32 bytes, one cipher suite and these extensions. */
static size_t build(struct span extensions, uint8_t *out)
{
    size_t end = AT_EXTENSIONS + extensions.len;

    memset(out, 0, AT_EXTENSIONS);
    out[AT_RECORD_TYPE] = 22;
    out[AT_RECORD_MAJOR] = 3;
    out[AT_RECORD_MINOR] = 1;
    out[AT_RECORD_LEN] = (uint8_t)((end - AT_TYPE) >> 8);
    out[AT_RECORD_LEN + 1] = (uint8_t)(end - AT_TYPE);
    out[AT_TYPE] = 1;
    out[AT_LEN + 1] = (uint8_t)((end - AT_MAJOR) >> 8);
    out[AT_LEN + 2] = (uint8_t)(end - AT_MAJOR);
    out[AT_MAJOR] = 3;
    out[AT_MINOR] = 3;
    out[AT_SESSION_ID_LEN] = 32;
    memset(out + AT_SESSION_ID_LEN + 1, 0x5a, 32);
    out[AT_SUITES_LEN + 1] = 2;
    out[AT_SUITES_LEN + 2] = 0x13;
    out[AT_SUITES_LEN + 3] = 0x01;
    out[AT_COMPRESSION_LEN] = 1;
    out[AT_EXTENSIONS_LEN] = (uint8_t)(extensions.len >> 8);
    out[AT_EXTENSIONS_LEN + 1] = (uint8_t)extensions.len;
    memcpy(out + AT_EXTENSIONS, extensions.data, extensions.len);
    return end;
}

struct answer {
    enum tls_hello_status status;
    enum reason reason;
    struct tls_hello hello;
};

/* Reads with outputs that were marked before, and checks which of them were written. */
static struct answer read_marked(struct span stream)
{
    struct answer a = {.reason = REASON_COUNT};

    a.hello.stream_len = SIZE_MAX;
    a.status = tls_hello_read(stream, &scratch, &a.hello, &a.reason);
    assert_int_equal(a.hello.stream_len != SIZE_MAX, a.status == TLS_HELLO_OK);
    assert_int_equal(a.reason != REASON_COUNT, a.status == TLS_HELLO_BAD);
    return a;
}

static void assert_same(const struct answer *got, const struct answer *want)
{
    assert_int_equal(got->status, want->status);
    assert_int_equal(got->reason, want->reason);
    if (want->status == TLS_HELLO_OK)
        assert_true(tls_hello_equal(&got->hello, &want->hello));
}

/*
 * Every prefix of a stream says MORE, until one gives the whole stream's answer; from there on all
 * do. An answer of OK comes exactly with the hello's last byte.
 */
static void check_prefixes(struct span stream, const struct answer *want)
{
    bool is_answered = false;

    for (size_t len = 0; len <= stream.len; len++) {
        struct answer got = read_marked(span_first(stream, len));
        if (!is_answered && got.status == TLS_HELLO_MORE) {
            assert_true(want->status != TLS_HELLO_OK || len < want->hello.stream_len);
            continue;
        }
        is_answered = true;
        assert_same(&got, want);
        if (want->status == TLS_HELLO_OK)
            assert_true(len >= want->hello.stream_len);
    }
}

/* The same message in other records: cut in two at each byte, and in many small ones. */
static void check_framings(struct span stream, const struct answer *want)
{
    static uint8_t message[TLS_FRAMED_LEN_MAX];
    static uint8_t framed[TLS_FRAMED_LEN_MAX];
    static const size_t sizes[][2] = {{1, 1}, {2, 2}, {3, 7}, {1, 64}};
    struct span whole = span_of(message, tls_unframe(stream, message));

    for (size_t cut = 1; cut < whole.len; cut++) {
        size_t len = tls_frame(whole, cut, whole.len, framed);
        struct answer got = read_marked(span_of(framed, len));
        assert_same(&got, want);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t len = tls_frame(whole, sizes[i][0], sizes[i][1], framed);
        struct answer got = read_marked(span_of(framed, len));
        assert_same(&got, want);
        if (got.status == TLS_HELLO_OK)
            assert_int_equal(got.hello.stream_len, len);
        check_prefixes(span_of(framed, len), &got);
    }
}

static void check_guarded(struct span stream, const struct answer *want)
{
    for (size_t len = 0; len <= stream.len; len++) {
        for (int side = 0; side < 2; side++) {
            struct guarded g = guarded_copy(span_first(stream, len), (enum guarded_side)side);
            struct answer got = read_marked(g.bytes);
            if (len == stream.len)
                assert_same(&got, want);
            guarded_free(&g);
        }
    }
}

struct row {
    const char *what;
    const char *extensions;
    size_t len;
    enum reason reason; /* REASON_ALLOWED: OK */
    const char *name;   /* of an OK row, or of the mended one; NULL: none */
    int fix_at;         /* the extension byte that mends the row, */
    uint8_t fix;        /* and its value */
};

#define ROW(what, extensions, reason, name, fix_at, fix)                                           \
    {                                                                                              \
        what, extensions, sizeof(extensions) - 1, reason, name, fix_at, fix                        \
    }
#define GOOD(what, extensions, name) ROW(what, extensions, REASON_ALLOWED, name, NO_FIX, 0)

#define SNI "\0\0\0\x11\0\x0f\0\0\x0cgood.example"

static const struct row rows[] = {
    GOOD("no extension", "", NULL),
    GOOD("a name", SNI, "good.example"),
    GOOD("folded", "\0\0\0\x11\0\x0f\0\0\x0cGOOD.eXample", "good.example"),
    GOOD("a trailing dot", "\0\0\0\x12\0\x10\0\0\x0dgood.example.", "good.example"),
    GOOD("behind another", "\0\x17\0\0" SNI "\xff\x01\0\1\0", "good.example"),
    GOOD("one label", "\0\0\0\x06\0\x04\0\0\x01x", "x"),
    GOOD("no name but others", "\0\x17\0\0\0\x23\0\0", NULL),

    ROW("NUL", "\0\0\0\x11\0\x0f\0\0\x0cgood\0example", REASON_BAD_NAME, "good.example", 13, '.'),
    ROW("NUL at the end", "\0\0\0\x12\0\x10\0\0\x0dgood.example\0", REASON_BAD_NAME, "good.example",
        21, '.'),
    ROW("control", "\0\0\0\x11\0\x0f\0\0\x0cgood\nexample", REASON_BAD_NAME, "good.example", 13,
        '.'),
    ROW("8 bit",
        "\0\0\0\x11\0\x0f\0\0\x0cgood\xff"
        "example",
        REASON_BAD_NAME, "good.example", 13, '.'),
    ROW("star", "\0\0\0\x06\0\x04\0\0\x01*", REASON_BAD_NAME, "x", 9, 'x'),
    ROW("v4",
        "\0\0\0\x0c\0\x0a\0\0\x07"
        "1.2.3.4",
        REASON_BAD_NAME, "1.2.3.x", 15, 'x'),
    ROW("v4 in one number",
        "\0\0\0\x0f\0\x0d\0\0\x0a"
        "2130706433",
        REASON_BAD_NAME, "213070643x", 18, 'x'),
    ROW("v6",
        "\0\0\0\x10\0\x0e\0\0\x0b"
        "2001:db8::1",
        REASON_BAD_NAME, NULL, NO_FIX, 0),
    ROW("v6 loopback", "\0\0\0\x08\0\x06\0\0\x03::1", REASON_BAD_NAME, NULL, NO_FIX, 0),
    ROW("brackets", "\0\0\0\x08\0\x06\0\0\x03[a]", REASON_BAD_NAME, NULL, NO_FIX, 0),
    ROW("port",
        "\0\0\0\x08\0\x06\0\0\x03"
        "a:1",
        REASON_BAD_NAME, NULL, NO_FIX, 0),
    ROW("a dot alone", "\0\0\0\x06\0\x04\0\0\x01.", REASON_BAD_NAME, "x", 9, 'x'),
    ROW("two dots at the end",
        "\0\0\0\x08\0\x06\0\0\x03"
        "a..",
        REASON_BAD_NAME, "a.x", 11, 'x'),
    ROW("empty name", "\0\0\0\x05\0\x03\0\0\x00", REASON_BAD_NAME, NULL, NO_FIX, 0),
    ROW("empty list", "\0\0\0\x02\0\x00", REASON_BAD_NAME, NULL, NO_FIX, 0),
    ROW("empty extension", "\0\0\0\0", REASON_BAD_NAME, NULL, 1, 0x17),
    ROW("other name type", "\0\0\0\x11\0\x0f\1\0\x0cgood.example", REASON_BAD_NAME, "good.example",
        6, 0),
    ROW("two names", "\0\0\0\x15\0\x13\0\0\x0cgood.example\0\0\x01x", REASON_BAD_NAME, NULL, NO_FIX,
        0),
    ROW("two name types", "\0\0\0\x15\0\x13\0\0\x0cgood.example\1\0\x01x", REASON_BAD_NAME, NULL,
        NO_FIX, 0),
    ROW("other type first", "\0\0\0\x15\0\x13\1\0\x01x\0\0\x0cgood.example", REASON_BAD_NAME, NULL,
        NO_FIX, 0),
    ROW("two server_name",
        SNI "\0\0\0\x11\0\x0f\0\0\x0c"
            "evil.example",
        REASON_BAD_NAME, "good.example", 22, 0x99),
    ROW("the same name twice", SNI SNI, REASON_BAD_NAME, "good.example", 22, 0x99),
    ROW("second one empty", SNI "\0\0\0\0", REASON_BAD_NAME, "good.example", 22, 0x17),
    ROW("name too short", "\0\0\0\x11\0\x0f\0\0\x0bgood.example", REASON_BAD_NAME, "good.example",
        8, 0x0c),
    ROW("name too long", "\0\0\0\x11\0\x0f\0\0\x0dgood.example", REASON_BAD_NAME, "good.example", 8,
        0x0c),
    ROW("list too short", "\0\0\0\x11\0\x0e\0\0\x0cgood.example", REASON_BAD_NAME, "good.example",
        5, 0x0f),
    ROW("list too long", "\0\0\0\x11\0\x10\0\0\x0cgood.example", REASON_BAD_NAME, "good.example", 5,
        0x0f),
    ROW("garbage behind the list", "\0\0\0\x12\0\x0f\0\0\x0cgood.example.", REASON_BAD_NAME, NULL,
        NO_FIX, 0),

    ROW("extension too long", "\0\0\0\x12\0\x0f\0\0\x0cgood.example", REASON_BAD_HELLO,
        "good.example", 3, 0x11),
    ROW("half an extension header", SNI "\0\x17\0", REASON_BAD_HELLO, NULL, NO_FIX, 0),
    ROW("one type twice", "\0\x17\0\0" SNI "\0\x17\0\0", REASON_BAD_HELLO, "good.example", 26,
        0x16),
    ROW("an unknown type twice", "\xfa\xfa\0\0" SNI "\xfa\xfa\0\0", REASON_BAD_HELLO,
        "good.example", 25, 0xea),
    ROW("ALPN empty list", SNI "\0\x10\0\2\0\0", REASON_BAD_HELLO, "good.example", 22, 0x99),
    ROW("ALPN empty protocol", SNI "\0\x10\0\3\0\1\0", REASON_BAD_HELLO, "good.example", 22, 0x99),
    ROW("ALPN without list", SNI "\0\x10\0\0", REASON_BAD_HELLO, "good.example", 22, 0x99),
    ROW("ALPN garbage behind", SNI "\0\x10\0\6\0\3\2h2x", REASON_BAD_HELLO, "good.example", 22,
        0x99),
    ROW("ALPN short list", SNI "\0\x10\0\5\0\2\2h2", REASON_BAD_HELLO, "good.example", 26, 3),
    ROW("ALPN long protocol", SNI "\0\x10\0\5\0\3\3h2", REASON_BAD_HELLO, "good.example", 27, 2),
};

static void extension_table(void **state)
{
    uint8_t bytes[512];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct span stream = span_of(bytes, build(span_of(row->extensions, row->len), bytes));
        struct answer got = read_marked(stream);
        print_message("%s\n", row->what);
        check_guarded(stream, &got);
        check_prefixes(stream, &got);
        check_framings(stream, &got);
        if (row->reason != REASON_ALLOWED) {
            assert_int_equal(got.status, TLS_HELLO_BAD);
            assert_int_equal(got.reason, row->reason);
            if (row->fix_at == NO_FIX)
                continue;
            bytes[AT_EXTENSIONS + row->fix_at] = row->fix;
            got = read_marked(stream);
        }
        assert_int_equal(got.status, TLS_HELLO_OK);
        assert_int_equal(got.hello.stream_len, stream.len);
        assert_int_equal(got.hello.has_name, row->name != NULL);
        if (row->name != NULL)
            assert_string_equal(got.hello.name.text, row->name);
    }
}

struct change {
    const char *what;
    size_t at;
    uint8_t value;
    enum tls_hello_status status;
    enum reason reason;
};

/* One changed byte of a good hello. */
static const struct change changes[] = {
    {"record type alert", AT_RECORD_TYPE, 21, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"record type data", AT_RECORD_TYPE, 23, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"record major", AT_RECORD_MAJOR, 2, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"DTLS", AT_RECORD_MAJOR, 0xfe, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"record 3.0", AT_RECORD_MINOR, 0, TLS_HELLO_OK, 0},
    {"record 3.4", AT_RECORD_MINOR, 4, TLS_HELLO_OK, 0},
    {"record 3.5", AT_RECORD_MINOR, 5, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"record longer than the hello", AT_RECORD_LEN + 1, 101, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"record shorter than the hello", AT_RECORD_LEN + 1, 99, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"empty record", AT_RECORD_LEN + 1, 0, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"record over 2^14", AT_RECORD_LEN, 0x40, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"ServerHello", AT_TYPE, 2, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"HelloRequest", AT_TYPE, 0, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"over 64 KiB", AT_LEN, 1, TLS_HELLO_BAD, REASON_TOO_LARGE},
    {"over 16 KiB", AT_LEN + 1, 0x41, TLS_HELLO_BAD, REASON_TOO_LARGE},
    {"in another record", AT_LEN + 2, 97, TLS_HELLO_MORE, 0},
    {"hello shorter than the record", AT_LEN + 2, 95, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"client major", AT_MAJOR, 2, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"client 3.0", AT_MINOR, 0, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"client 3.1", AT_MINOR, 1, TLS_HELLO_OK, 0},
    {"client 3.4", AT_MINOR, 4, TLS_HELLO_OK, 0},
    {"client 3.5", AT_MINOR, 5, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"session id of 33", AT_SESSION_ID_LEN, 33, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"session id of 31", AT_SESSION_ID_LEN, 31, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"session id of 255", AT_SESSION_ID_LEN, 255, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"no suite", AT_SUITES_LEN + 1, 0, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"half a suite", AT_SUITES_LEN + 1, 1, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"a suite and a half", AT_SUITES_LEN + 1, 3, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"suites past the end", AT_SUITES_LEN, 2, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"no compression", AT_COMPRESSION_LEN, 0, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"compression past the end", AT_COMPRESSION_LEN, 200, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"no null compression", AT_COMPRESSION, 1, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"extensions too short", AT_EXTENSIONS_LEN + 1, 20, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"extensions too long", AT_EXTENSIONS_LEN + 1, 22, TLS_HELLO_BAD, REASON_BAD_HELLO},
    {"no extensions, but bytes", AT_EXTENSIONS_LEN + 1, 0, TLS_HELLO_BAD, REASON_BAD_HELLO},
};

static void changed_bytes(void **state)
{
    uint8_t bytes[128];
    struct span stream = span_of(bytes, build(SPAN_LITERAL(SNI), bytes));

    (void)state;
    assert_int_equal(stream.len, AT_TYPE + 100);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        const struct change *change = &changes[i];
        uint8_t was = bytes[change->at];
        print_message("%s\n", change->what);
        bytes[change->at] = change->value;
        struct answer got = read_marked(stream);
        assert_int_equal(got.status, change->status);
        if (got.status == TLS_HELLO_BAD)
            assert_int_equal(got.reason, change->reason);
        check_guarded(stream, &got);
        check_prefixes(stream, &got);
        bytes[change->at] = was;
    }
    assert_int_equal(read_marked(stream).status, TLS_HELLO_OK);
}

/* Makes room for `by` bytes at `at`, or takes `-by` out there, and corrects the outer lengths. */
static size_t resize(uint8_t *bytes, size_t len, size_t at, int by)
{
    size_t from = by < 0 ? at + (size_t)-by : at;
    size_t end = (size_t)((int)len + by);

    memmove(bytes + (by < 0 ? at : at + (size_t)by), bytes + from, len - from);
    bytes[AT_RECORD_LEN + 1] = (uint8_t)(end - AT_TYPE);
    bytes[AT_LEN + 2] = (uint8_t)(end - AT_MAJOR);
    return end;
}

/* Fields that are too long or too short although every length agrees. */
static void changed_fields(void **state)
{
    static const struct {
        const char *what;
        size_t len_at;
        uint8_t len;
        int by;
        enum tls_hello_status status;
    } fields[] = {
        {"session id of 31", AT_SESSION_ID_LEN, 31, -1, TLS_HELLO_OK},
        {"no session id", AT_SESSION_ID_LEN, 0, -32, TLS_HELLO_OK},
        {"session id of 33", AT_SESSION_ID_LEN, 33, 1, TLS_HELLO_BAD},
        {"two suites", AT_SUITES_LEN + 1, 4, 2, TLS_HELLO_OK},
        {"a suite and a half", AT_SUITES_LEN + 1, 3, 1, TLS_HELLO_BAD},
        {"half a suite", AT_SUITES_LEN + 1, 1, -1, TLS_HELLO_BAD},
        {"no suite", AT_SUITES_LEN + 1, 0, -2, TLS_HELLO_BAD},
        {"two compressions", AT_COMPRESSION_LEN, 2, 1, TLS_HELLO_OK},
        {"no compression", AT_COMPRESSION_LEN, 0, -1, TLS_HELLO_BAD},
    };
    uint8_t bytes[256];

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        size_t len = build(SPAN_LITERAL(SNI), bytes);
        bytes[fields[i].len_at] = fields[i].len;
        len = resize(bytes, len, fields[i].len_at + 1, fields[i].by);
        struct answer got = read_marked(span_of(bytes, len));
        print_message("%s\n", fields[i].what);
        assert_int_equal(got.status, fields[i].status);
        if (got.status == TLS_HELLO_OK)
            assert_string_equal(got.hello.name.text, "good.example");
        else
            assert_int_equal(got.reason, REASON_BAD_HELLO);
    }
}

/* TLS 1.2 may leave the extensions out, with their length. */
static void no_extension_block(void **state)
{
    uint8_t bytes[128];

    (void)state;
    build(SPAN_LITERAL(""), bytes);
    bytes[AT_RECORD_LEN + 1] -= 2;
    bytes[AT_LEN + 2] -= 2;
    struct answer got = read_marked(span_of(bytes, AT_EXTENSIONS_LEN));
    assert_int_equal(got.status, TLS_HELLO_OK);
    assert_false(got.hello.has_name);
    check_framings(span_of(bytes, AT_EXTENSIONS_LEN), &got);
}

static void name_lengths(void **state)
{
    uint8_t extension[512] = {0};
    uint8_t bytes[1024];

    (void)state;
    for (size_t len = 240; len < 300; len++) {
        for (size_t i = 0; i < len; i++)
            extension[9 + i] = i % 64 == 63 ? '.' : 'a';
        for (int has_dot = 0; has_dot < 2; has_dot++) {
            size_t name_len = len + (size_t)has_dot;
            extension[9 + len] = '.';
            extension[2] = (uint8_t)((name_len + 5) >> 8);
            extension[3] = (uint8_t)(name_len + 5);
            extension[4] = (uint8_t)((name_len + 3) >> 8);
            extension[5] = (uint8_t)(name_len + 3);
            extension[7] = (uint8_t)(name_len >> 8);
            extension[8] = (uint8_t)name_len;
            size_t end = build(span_of(extension, 9 + name_len), bytes);
            struct answer got = read_marked(span_of(bytes, end));
            bool is_good = len <= HOSTNAME_LEN_MAX;
            assert_int_equal(got.status, is_good ? TLS_HELLO_OK : TLS_HELLO_BAD);
            if (is_good)
                assert_int_equal(got.hello.name.len, len);
            else
                assert_int_equal(got.reason, REASON_BAD_NAME);
        }
    }
}

static void ech_and_alpn(void **state)
{
    static const char extensions[] = SNI "\0\x10\0\x0e\0\x0c\2h2\x08http/1.1"
                                         "\xfe\x0d\0\1\0";
    uint8_t bytes[256];
    struct span stream = span_of(bytes, build(SPAN_LITERAL(extensions), bytes));
    struct answer got = read_marked(stream);

    (void)state;
    assert_int_equal(got.status, TLS_HELLO_OK);
    assert_true(got.hello.has_ech);
    assert_true(got.hello.has_name);
    assert_int_equal(got.hello.legacy_version, 0x0303);
    assert_int_equal(got.hello.alpn_count, 2);
    assert_true(span_equal(got.hello.alpn[0], SPAN_LITERAL("h2")));
    assert_true(span_equal(got.hello.alpn[1], SPAN_LITERAL("http/1.1")));
    check_framings(stream, &got);
    bytes[stream.len - 4] = 0x0c;
    got = read_marked(stream);
    assert_int_equal(got.status, TLS_HELLO_OK);
    assert_false(got.hello.has_ech);
}

/* More protocols than are kept are all read. */
static void many_protocols(void **state)
{
    uint8_t extension[6 + 2 * (TLS_HELLO_ALPN_MAX + 4)] = {0, 16};
    uint8_t bytes[256];
    size_t list_len = sizeof(extension) - 6;

    (void)state;
    extension[3] = (uint8_t)(list_len + 2);
    extension[5] = (uint8_t)list_len;
    for (size_t i = 0; i < list_len; i += 2) {
        extension[6 + i] = 1;
        extension[7 + i] = (uint8_t)('a' + i / 2);
    }
    struct span stream = span_of(bytes, build(span_of(extension, sizeof(extension)), bytes));
    struct answer got = read_marked(stream);
    assert_int_equal(got.status, TLS_HELLO_OK);
    assert_int_equal(got.hello.alpn_count, TLS_HELLO_ALPN_MAX);
    assert_int_equal(got.hello.alpn[TLS_HELLO_ALPN_MAX - 1].data[0], 'a' + TLS_HELLO_ALPN_MAX - 1);
    bytes[stream.len - 2] = 0;
    assert_int_equal(read_marked(stream).reason, REASON_BAD_HELLO);
}

/* What follows in the next record is not the hello's business; in the same record it is a fault. */
static void bytes_behind(void **state)
{
    static const char *const behind[] = {"\x14\3\3\0\1\1", "\x16\3\1\0\4\1\0\0\0", "GET /",
                                         "\x16\x16\x16\x16\x16"};
    uint8_t bytes[256];
    size_t len = build(SPAN_LITERAL(SNI), bytes);

    (void)state;
    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        memcpy(bytes + len, behind[i], 5);
        struct answer got = read_marked(span_of(bytes, len + 5));
        assert_int_equal(got.status, TLS_HELLO_OK);
        assert_int_equal(got.hello.stream_len, len);
    }
    memcpy(bytes + len, "\1\0\0\0", 4);
    bytes[AT_RECORD_LEN + 1] += 4;
    assert_int_equal(read_marked(span_of(bytes, len + 4)).reason, REASON_BAD_HELLO);
}

/* A hello in two records, with one thing wrong in the second's header. */
static void second_record(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{0, 20}, {0, 21}, {0, 23}, {1, 2}, {2, 3}, {2, 9}, {3, 0x41}};
    uint8_t bytes[128];
    uint8_t framed[256];
    const size_t second = TLS_RECORD_HEADER_LEN + 40;

    (void)state;
    struct span message =
        span_from(span_of(bytes, build(SPAN_LITERAL(SNI), bytes)), TLS_RECORD_HEADER_LEN);
    struct span stream = span_of(framed, tls_frame(message, 40, 60, framed));
    assert_int_equal(read_marked(stream).status, TLS_HELLO_OK);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t was = framed[second + wrong[i].at];
        framed[second + wrong[i].at] = wrong[i].value;
        struct answer got = read_marked(stream);
        assert_int_equal(got.status, TLS_HELLO_BAD);
        assert_int_equal(got.reason, REASON_BAD_HELLO);
        check_prefixes(stream, &got);
        framed[second + wrong[i].at] = was;
    }
    framed[second + 4] = 0;
    assert_int_equal(read_marked(stream).reason, REASON_BAD_HELLO);
    framed[second + 4] = 61;
    assert_int_equal(read_marked(stream).reason, REASON_BAD_HELLO);
    framed[second + 4] = 60;
    assert_int_equal(read_marked(stream).status, TLS_HELLO_OK);
}

/* An empty record before the hello and inside it. */
static void empty_records(void **state)
{
    static const uint8_t empty[TLS_RECORD_HEADER_LEN] = {22, 3, 1, 0, 0};
    const size_t ends[] = {0, TLS_RECORD_HEADER_LEN + 40};
    uint8_t bytes[128];
    uint8_t framed[256];

    (void)state;
    struct span message =
        span_from(span_of(bytes, build(SPAN_LITERAL(SNI), bytes)), TLS_RECORD_HEADER_LEN);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t len = tls_frame(message, 40, 60, framed);
        memmove(framed + ends[i] + sizeof(empty), framed + ends[i], len - ends[i]);
        memcpy(framed + ends[i], empty, sizeof(empty));
        struct answer got = read_marked(span_of(framed, len + sizeof(empty)));
        assert_int_equal(got.status, TLS_HELLO_BAD);
        assert_int_equal(got.reason, REASON_BAD_HELLO);
    }
}

/* The largest hello, in the largest records and in the smallest, and one byte more. */
static void largest(void **state)
{
    static uint8_t bytes[TLS_HELLO_LEN_MAX + 16];
    static uint8_t extensions[TLS_HELLO_LEN_MAX];
    static uint8_t framed[TLS_FRAMED_LEN_MAX];
    size_t fill = TLS_HELLO_LEN_MAX - (AT_EXTENSIONS - TLS_RECORD_HEADER_LEN);
    size_t padding = fill - (sizeof(SNI) - 1) - 4;

    (void)state;
    memcpy(extensions, SNI, sizeof(SNI) - 1);
    extensions[sizeof(SNI)] = 21;
    extensions[sizeof(SNI) + 1] = (uint8_t)(padding >> 8);
    extensions[sizeof(SNI) + 2] = (uint8_t)padding;
    size_t len = build(span_of(extensions, fill), bytes);
    struct span message = span_of(bytes + TLS_RECORD_HEADER_LEN, len - TLS_RECORD_HEADER_LEN);
    assert_int_equal(message.len, TLS_HELLO_LEN_MAX);
    for (size_t first = 1; first <= 1 << 14; first *= 2) {
        struct answer got = read_marked(span_of(framed, tls_frame(message, first, first, framed)));
        assert_int_equal(got.status, TLS_HELLO_OK);
        assert_string_equal(got.hello.name.text, "good.example");
    }
    len = tls_frame(message, TLS_HELLO_LEN_MAX, 1, framed);
    assert_int_equal(read_marked(span_of(framed, len)).reason, REASON_BAD_HELLO);
    bytes[AT_LEN + 2]++;
    len = tls_frame(message, 1 << 14, 1 << 14, framed);
    assert_int_equal(read_marked(span_of(framed, len)).reason, REASON_TOO_LARGE);
    assert_int_equal(read_marked(span_of(framed, AT_MAJOR)).reason, REASON_TOO_LARGE);
}

struct sample {
    const char *file;
    const char *name; /* NULL: none */
    const char *alpn; /* joined by commas */
};

/* The first flights of real clients. */
static const struct sample samples[] = {
    {"openssl_tls12", "tls12.example.com", ""},
    {"openssl_tls13_alpn", "tls13.example.com", "h2,http/1.1"},
    {"openssl_default", "a.b.c.example.org", ""},
    {"openssl_no_name", NULL, ""},
    {"openssl_no_name_tls12", NULL, ""},
    {"curl", "curl.example.com", "h2,http/1.1"},
    {"curl_http11", "www.example.net", "http/1.1"},
    {"curl_address", NULL, "h2,http/1.1"},
    {"gnutls", "gnutls.example.com", ""},
    {"gnutls_tls12_alpn", "gnutls12.example.com", "h2"},
    {"node", "node.example.com", "http/1.1"},
    {"python", "python.example.com", ""},
};

static struct span load(const struct sample *sample, uint8_t *bytes, size_t max)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/tls/%s.bin", TEST_DATA_DIR, sample->file);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("cannot read %s", path);
    size_t len = fread(bytes, 1, max, file);
    (void)fclose(file);
    return span_of(bytes, len);
}

static void recorded(void **state)
{
    uint8_t bytes[4096];

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct span stream = load(&samples[i], bytes, sizeof(bytes));
        struct answer got = read_marked(stream);
        char alpn[64] = "";
        print_message("%s\n", samples[i].file);
        assert_int_equal(got.status, TLS_HELLO_OK);
        assert_int_equal(got.hello.stream_len, stream.len);
        assert_int_equal(got.hello.legacy_version, 0x0303);
        assert_false(got.hello.has_ech);
        assert_int_equal(got.hello.has_name, samples[i].name != NULL);
        if (samples[i].name != NULL)
            assert_string_equal(got.hello.name.text, samples[i].name);
        for (size_t k = 0; k < got.hello.alpn_count; k++) {
            if (k > 0)
                strcat(alpn, ",");
            strncat(alpn, (const char *)got.hello.alpn[k].data, got.hello.alpn[k].len);
        }
        assert_string_equal(alpn, samples[i].alpn);
        check_guarded(stream, &got);
        check_prefixes(stream, &got);
        check_framings(stream, &got);
    }
}

/* Where `name` stands in `stream`, or its length. */
static size_t find_name(struct span stream, const char *name)
{
    struct span wanted = span_of_text(name);

    for (size_t i = 0; i + wanted.len <= stream.len; i++) {
        if (span_equal_nocase(span_of(stream.data + i, wanted.len), wanted))
            return i;
    }
    return stream.len;
}

/* No changed byte outside of the name makes it another name, or gives a name to who had none. */
static void mutated(void **state)
{
    uint8_t bytes[4096];

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct span stream = load(&samples[i], bytes, sizeof(bytes));
        const char *name = samples[i].name == NULL ? "" : samples[i].name;
        size_t name_at = find_name(stream, name);
        for (size_t at = 0; at < stream.len; at++) {
            uint8_t was = bytes[at];
            if (at >= name_at && at < name_at + strlen(name))
                continue;
            for (unsigned value = 0; value < 256; value++) {
                struct tls_hello hello;
                enum reason reason;
                bytes[at] = (uint8_t)value;
                if (tls_hello_read(stream, &scratch, &hello, &reason) != TLS_HELLO_OK)
                    continue;
                if (hello.has_name)
                    assert_string_equal(hello.name.text, name);
            }
            bytes[at] = was;
        }
    }
}

static void guess(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum tls_hello_guess guess;
    } streams[] = {
        {"", 0, TLS_HELLO_GUESS_MORE},           {"\x16", 1, TLS_HELLO_GUESS_MORE},
        {"\x16\3", 2, TLS_HELLO_GUESS_YES},      {"\x16\3\1\2\0\1", 6, TLS_HELLO_GUESS_YES},
        {"\x16\3\x09", 3, TLS_HELLO_GUESS_YES},  {"\x16\2", 2, TLS_HELLO_GUESS_YES},
        {"\x16\x0f", 2, TLS_HELLO_GUESS_YES},    {"\x16\x10", 2, TLS_HELLO_GUESS_NO},
        {"\x16\xfe\xfd", 3, TLS_HELLO_GUESS_NO}, {"\x15", 1, TLS_HELLO_GUESS_MORE},
        {"\x15\3", 2, TLS_HELLO_GUESS_YES},      {"\x15\1", 2, TLS_HELLO_GUESS_YES},
        {"\x14\3", 2, TLS_HELLO_GUESS_YES},      {"\x14\2", 2, TLS_HELLO_GUESS_NO},
        {"\x18\3", 2, TLS_HELLO_GUESS_YES},      {"\x19\3", 1, TLS_HELLO_GUESS_NO},
        {"GET / ", 6, TLS_HELLO_GUESS_NO},       {"\x80\x2e\1\3\1", 5, TLS_HELLO_GUESS_NO},
        {"\0", 1, TLS_HELLO_GUESS_NO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        struct guarded g = guarded_copy(span_of(streams[i].bytes, streams[i].len), GUARDED_END);
        assert_int_equal(tls_hello_guess(g.bytes), streams[i].guess);
        guarded_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extension_table), cmocka_unit_test(changed_bytes),
        cmocka_unit_test(changed_fields),  cmocka_unit_test(no_extension_block),
        cmocka_unit_test(name_lengths),    cmocka_unit_test(ech_and_alpn),
        cmocka_unit_test(many_protocols),  cmocka_unit_test(bytes_behind),
        cmocka_unit_test(second_record),   cmocka_unit_test(empty_records),
        cmocka_unit_test(largest),         cmocka_unit_test(recorded),
        cmocka_unit_test(mutated),         cmocka_unit_test(guess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
