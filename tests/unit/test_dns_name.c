#include "proxy/core/dns_name.h"
#include "tests/lib/unit.h"

#define HEADER "hhhhhhhhhhhh"
#define X15    "xxxxxxxxxxxxxxx"
#define L63    "\x3f" X15 X15 X15 X15 "xxx"
#define L61    "\x3d" X15 X15 X15 X15 "x"
#define L62    "\x3e" X15 X15 X15 X15 "xx"

/* A message, where in it a name is read, and what comes out: wire form and what is left behind. */
struct row {
    const char *what;
    const char *bytes;
    size_t len;
    size_t at;
    enum read_status status;
    const char *name;
    size_t name_len;
    size_t rest_len;
};

#define ROW(what, bytes, at, status, name, rest)                                                   \
    {                                                                                              \
        what, bytes, sizeof(bytes) - 1, at, status, name, sizeof(name), rest                       \
    }

static const struct row rows[] = {
    ROW("root", HEADER "\0", 12, READ_OK, "", 0),
    ROW("plain", HEADER "\1a\2Bc\0zz", 12, READ_OK, "\1a\2Bc", 2),
    ROW("pointer", HEADER "\1a\0\1b\xc0\x0c", 15, READ_OK, "\1b\1a", 0),
    ROW("pointer alone", HEADER "\1a\0\xc0\x0cz", 15, READ_OK, "\1a", 1),
    ROW("pointer to pointer", HEADER "\1a\0\xc0\x0c\1b\xc0\x0f", 17, READ_OK, "\1b\1a", 0),
    ROW("pointer to root", HEADER "\0\1b\xc0\x0c", 13, READ_OK, "\1b", 0),
    ROW("pointer into a name", HEADER "\1a\1b\0\xc0\x0e", 17, READ_OK, "\1b", 0),
    ROW("255 bytes", HEADER L63 L63 L63 L61 "\0", 12, READ_OK, L63 L63 L63 L61, 0),
    ROW("256 bytes", HEADER L63 L63 L63 L62 "\0", 12, READ_BAD, "", 0),
    ROW("256 bytes by pointer", HEADER "\1a\0" L63 L63 L63 L61 "\xc0\x0c", 15, READ_BAD, "", 0),
    ROW("255 bytes by pointer", HEADER "\0" L63 L63 L63 L61 "\xc0\x0c", 13, READ_OK,
        L63 L63 L63 L61, 0),
    ROW("nothing", HEADER, 12, READ_BAD, "", 0),
    ROW("no root", HEADER "\1a", 12, READ_BAD, "", 0),
    ROW("cut label", HEADER "\5abcd", 12, READ_BAD, "", 0),
    ROW("cut pointer", HEADER "\1a\0\xc0", 15, READ_BAD, "", 0),
    ROW("label type 01", HEADER "\x41" X15 X15 X15 X15 "xxxxx\0", 12, READ_BAD, "", 0),
    ROW("label type 10", HEADER "\x81" X15 X15 X15 X15 X15 X15 X15 X15 "xxxxxxxxx\0", 12, READ_BAD,
        "", 0),
    ROW("to itself", HEADER "\xc0\x0c", 12, READ_BAD, "", 0),
    ROW("to its own label", HEADER "\1a\xc0\x0c", 12, READ_BAD, "", 0),
    ROW("forward", HEADER "\xc0\x0e\1a\0", 12, READ_BAD, "", 0),
    ROW("beyond the end", HEADER "\xff\xff", 12, READ_BAD, "", 0),
    ROW("into the header", HEADER "\xc0\x0b", 12, READ_BAD, "", 0),
    ROW("to the first byte", HEADER "\xc0\x00", 12, READ_BAD, "", 0),
    ROW("circle of two", HEADER "\xc0\x0e\xc0\x0c", 14, READ_BAD, "", 0),
    ROW("circle through a label", HEADER "\1a\xc0\x0f\1b\xc0\x0c", 16, READ_BAD, "", 0),
    ROW("target runs into the name", HEADER "\1a\1b\xc0\x0c", 14, READ_BAD, "", 0),
    ROW("target's pointer runs into the name", HEADER "\1a\xc0\x0c", 15, READ_BAD, "", 0),
    ROW("reserved type behind a pointer", HEADER "\x40\0\xc0\x0c", 14, READ_BAD, "", 0),
};

static void read_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int side = 0; side < 2; side++) {
            const struct row *row = &rows[i];
            struct guarded g = guarded_copy(span_of(row->bytes, row->len), (enum guarded_side)side);
            struct reader r = reader_init_whole(span_from(g.bytes, row->at));
            struct reader before = r;
            struct dns_name name = {.len = 77};
            enum read_status status = dns_name_read(&r, g.bytes, &name);
            if (status != row->status)
                fail_msg("%s: status %d", row->what, (int)status);
            if (status == READ_OK) {
                assert_int_equal(name.len, row->name_len);
                assert_memory_equal(name.bytes, row->name, name.len);
                assert_int_equal(r.rest.len, row->rest_len);
            } else {
                assert_int_equal(name.len, 77);
                assert_ptr_equal(r.rest.data, before.rest.data);
                assert_int_equal(r.rest.len, before.rest.len);
            }
            guarded_free(&g);
        }
    }
}

static void plain_refuses_pointers(void **state)
{
    static const char bytes[] = HEADER "\1a\0\1b\xc0\x0c";
    struct reader r = reader_init_whole(span_of(bytes + 12, sizeof(bytes) - 13));
    struct dns_name name = {.len = 77};

    (void)state;
    assert_int_equal(dns_name_read_plain(&r, &name), READ_OK);
    assert_int_equal(name.len, 3);
    assert_int_equal(dns_name_read_plain(&r, &name), READ_BAD);
    assert_int_equal(name.len, 3);
    assert_int_equal(r.rest.len, 4);
}

/* Each pointer to the one before it: the cap is what ends the walk. */
static void pointer_cap(void **state)
{
    uint8_t bytes[12 + 1 + 2 * (DNS_POINTERS_MAX + 1)] = {0};
    struct dns_name name;

    (void)state;
    for (size_t i = 0; i <= DNS_POINTERS_MAX; i++) {
        size_t target = i == 0 ? 12 : 13 + 2 * (i - 1);
        bytes[13 + 2 * i] = (uint8_t)(0xc0 | target >> 8);
        bytes[14 + 2 * i] = (uint8_t)target;
    }
    struct span message = span_of(bytes, sizeof(bytes));
    struct reader last = reader_init_whole(span_from(message, sizeof(bytes) - 2));
    struct reader one_less = reader_init_whole(span_from(message, sizeof(bytes) - 4));
    assert_int_equal(dns_name_read(&last, message, &name), READ_BAD);
    assert_int_equal(dns_name_read(&one_less, message, &name), READ_OK);
    assert_int_equal(name.len, 1);
}

struct host_row {
    const char *bytes;
    size_t len;
    const char *host; /* NULL: no host has this name */
};

#define HOST_ROW(bytes, host)                                                                      \
    {                                                                                              \
        bytes, sizeof(bytes), host                                                                 \
    }

static const struct host_row host_rows[] = {
    HOST_ROW("\3WWW\7eXample\3com", "www.example.com"),
    HOST_ROW("\6_dmarc\1a", "_dmarc.a"),
    HOST_ROW("\1"
             "1\1"
             "2\1"
             "3\1"
             "4\7in-addr\4arpa",
             "1.2.3.4.in-addr.arpa"),
    HOST_ROW("", NULL),
    HOST_ROW("\4good\3a.b", NULL),
    HOST_ROW("\4good\2b.", NULL),
    HOST_ROW("\4good\3a\0b", NULL),
    HOST_ROW("\1*\3com", NULL),
    HOST_ROW("\2a \3com", NULL),
    HOST_ROW("\2\xc3\xbc\3com", NULL),
    HOST_ROW("\1[\3com", NULL),
    HOST_ROW("\1"
             "1\1"
             "2\1"
             "3\1"
             "4",
             NULL),
};

static struct dns_name name_of_wire(const char *bytes, size_t len)
{
    struct dns_name name;
    struct reader r = reader_init_whole(span_of(bytes, len));

    assert_int_equal(dns_name_read_plain(&r, &name), READ_OK);
    assert_true(reader_at_end(&r));
    return name;
}

static void host_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(host_rows) / sizeof(host_rows[0]); i++) {
        struct dns_name name = name_of_wire(host_rows[i].bytes, host_rows[i].len);
        struct dns_name back;
        struct hostname host = {.text = "touched"};
        bool is_host = dns_name_to_host(&name, &host);
        if (is_host != (host_rows[i].host != NULL))
            fail_msg("row %zu: %d", i, is_host);
        assert_string_equal(host.text, is_host ? host_rows[i].host : "touched");
        if (!is_host)
            continue;
        dns_name_from_host(&host, &back);
        assert_true(dns_name_equal(&name, &back));
    }
}

static void longest_host(void **state)
{
    struct dns_name name = name_of_wire(L63 L63 L63 L61, sizeof(L63 L63 L63 L61));
    struct dns_name back;
    struct hostname host;

    (void)state;
    assert_true(dns_name_to_host(&name, &host));
    assert_int_equal(host.len, HOSTNAME_LEN_MAX);
    dns_name_from_host(&host, &back);
    assert_int_equal(back.len, DNS_NAME_MAX);
    assert_memory_equal(back.bytes, name.bytes, DNS_NAME_MAX);
}

static void within(void **state)
{
    struct dns_name name = name_of_wire("\1a\7example\3com", 15);
    struct dns_name apex = name_of_wire("\7EXAMPLE\3com", 13);
    struct dns_name glued = name_of_wire("\10aexample\3com", 14);
    struct dns_name root = name_of_wire("", 1);

    (void)state;
    assert_true(dns_name_is_within(&name, &apex));
    assert_true(dns_name_is_within(&apex, &apex));
    assert_true(dns_name_is_within(&apex, &root));
    assert_false(dns_name_is_within(&apex, &name));
    assert_false(dns_name_is_within(&glued, &apex));
    assert_false(dns_name_is_within(&root, &apex));
}

static void mixed_case(void **state)
{
    struct dns_name name = name_of_wire("\3wWw\1-\2"
                                        "a1",
                                        10);
    struct dns_name before = name;
    const uint8_t all[DNS_CASE_BYTES] = {0xff, 0xff};
    const uint8_t some[DNS_CASE_BYTES] = {0x02, 0x00};

    (void)state;
    dns_name_mix_case(&name, all);
    assert_memory_equal(name.bytes,
                        "\3WWW\1-\2"
                        "A1",
                        10);
    assert_true(dns_name_equal(&name, &before));
    dns_name_mix_case(&name, some);
    assert_memory_equal(name.bytes,
                        "\3Www\1-\2"
                        "a1",
                        10);
}

struct reverse_row {
    const char *host;
    const char *address; /* NULL: not the name of an address */
};

#define ZEROS_23 "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."

static const struct reverse_row reverse_rows[] = {
    {"4.3.2.1.in-addr.arpa", "1.2.3.4"},
    {"255.0.0.10.in-addr.arpa", "10.0.0.255"},
    {"3.2.1.in-addr.arpa", NULL},
    {"5.4.3.2.1.in-addr.arpa", NULL},
    {"256.3.2.1.in-addr.arpa", NULL},
    {"04.3.2.1.in-addr.arpa", NULL},
    {"x.3.2.1.in-addr.arpa", NULL},
    {"4.3.2.1.in-addr.arpa.example", NULL},
    {"4.3.2.1.in-addr.example", NULL},
    {"4.3.2.1.ip4.arpa", NULL},
    {"in-addr.arpa", NULL},
    {"arpa", NULL},
    {"b." ZEROS_23 "8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::b"},
    {"b." ZEROS_23 "8.b.d.0.1.0.0.ip6.arpa", NULL},
    {"b.0." ZEROS_23 "8.b.d.0.1.0.0.2.ip6.arpa", NULL},
    {"b." ZEROS_23 "8.b.d.0.1.0.0.g.ip6.arpa", NULL},
    {"b." ZEROS_23 "8.b.d.0.1.0.0.20.ip6.arpa", NULL},
};

static void reverse_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(reverse_rows) / sizeof(reverse_rows[0]); i++) {
        const struct reverse_row *row = &reverse_rows[i];
        struct hostname host;
        struct netaddr addr;
        struct netaddr expected;
        assert_int_equal(hostname_parse(span_of_text(row->host), &host), HOSTNAME_OK);
        if (dns_name_to_address(&host, &addr) != (row->address != NULL))
            fail_msg("%s", row->host);
        if (row->address == NULL)
            continue;
        assert_true(netaddr_parse(span_of_text(row->address), &expected));
        if (!netaddr_equal(&addr, &expected))
            fail_msg("%s: another address", row->host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_table),   cmocka_unit_test(plain_refuses_pointers),
        cmocka_unit_test(pointer_cap),  cmocka_unit_test(host_table),
        cmocka_unit_test(longest_host), cmocka_unit_test(within),
        cmocka_unit_test(mixed_case),   cmocka_unit_test(reverse_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
