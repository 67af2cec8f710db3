#include <arpa/inet.h>

#include "config/netaddr.h"
#include "tests/lib/unit.h"

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr;

    if (!netaddr_parse(span_of_text(text), &addr))
        fail_msg("%s is no address", text);
    return addr;
}

static struct netprefix prefix_of(const char *text)
{
    struct netprefix prefix;

    if (netprefix_parse(span_of_text(text), &prefix) != NETPREFIX_OK)
        fail_msg("%s is no prefix", text);
    return prefix;
}

static void good_addresses(void **state)
{
    static const char *const rows[][2] = {
        {"1.2.3.4", "1.2.3.4"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::ffff:1.2.3.4", "1.2.3.4"},
        {"::FFFF:0102:0304", "1.2.3.4"},
        {"0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"},
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"2001:0db8::0001", "2001:db8::1"},
        {"64:ff9b::10.0.0.1", "64:ff9b::a00:1"},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[NETADDR_TEXT_MAX];
        struct netaddr addr = addr_of(rows[i][0]);
        assert_int_equal(netaddr_print(&addr, text), strlen(rows[i][1]));
        assert_string_equal(text, rows[i][1]);
    }
}

static void bad_addresses(void **state)
{
    static const char *const rows[] = {
        "",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1..3.4",
        "1.2.3.",
        "0x1.2.3.4",
        "+1.2.3.4",
        "127.1",
        "2130706433",
        ":",
        ":::",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "fe80::1%1",
        "1:2:3:4:5:6:7:8:9",
        "12345::",
        "g::",
        ":1::",
        "1:2:3:4:5:6:7:8::",
        "[::1]",
        "::1.2.3",
        "1.2.3.4::",
        "::1.2.3.4:5",
        "1:",
        "::1:",
        "1:2:3:4:5:6:7:1.2.3.4",
        "1::2:3:4:5:6:7:8",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct netaddr addr;
        if (netaddr_parse(span_of_text(rows[i]), &addr))
            fail_msg("%s was taken", rows[i]);
    }
}

/* The C library as an oracle: what both take is the same bytes; what we take, it takes. */
static void agrees_with_inet_pton(void **state)
{
    static const char alphabet[] = "0123456789abcf:::...";
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 200000; round++) {
        char text[20];
        uint8_t theirs[16];
        struct netaddr ours;
        size_t len = test_random(&random) % (sizeof(text) - 1);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[test_random(&random) % (sizeof(alphabet) - 1)];
        text[len] = '\0';
        bool is_ours = netaddr_parse(span_of(text, len), &ours);
        if (inet_pton(AF_INET, text, theirs) == 1) {
            struct netaddr want = netaddr_v4(theirs);
            assert_true(is_ours && netaddr_equal(&ours, &want));
        } else if (inet_pton(AF_INET6, text, theirs) == 1) {
            assert_true(is_ours && memcmp(ours.bytes, theirs, 16) == 0);
        } else if (is_ours) {
            fail_msg("%s is no address", text);
        }
    }
}

static void prints_like_inet_ntop(void **state)
{
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 50000; round++) {
        uint8_t bytes[16];
        char ours[NETADDR_TEXT_MAX];
        struct netaddr back;
        uint64_t zeros = test_random(&random);
        for (int i = 0; i < 16; i++)
            bytes[i] = (zeros >> (i / 2)) & 1 ? 0 : (uint8_t)test_random(&random);
        struct netaddr addr = netaddr_v6(bytes);
        size_t len = netaddr_print(&addr, ours);
        assert_true(netaddr_parse(span_of(ours, len), &back));
        assert_true(netaddr_equal(&addr, &back));
    }
}

static void prefixes(void **state)
{
    static const struct {
        const char *text;
        enum netprefix_status status;
        const char *print;
    } rows[] = {
        {"10.0.0.0/8", NETPREFIX_OK, "10.0.0.0/8"},
        {"0.0.0.0/0", NETPREFIX_OK, "0.0.0.0/0"},
        {"::/0", NETPREFIX_OK, "::/0"},
        {"10.0.0.1", NETPREFIX_OK, "10.0.0.1/32"},
        {"2001:db8::/32", NETPREFIX_OK, "2001:db8::/32"},
        {"::ffff:10.0.0.0/104", NETPREFIX_OK, "10.0.0.0/8"},
        {"10.0.0.1/8", NETPREFIX_HOST_BITS, "10.0.0.0/8"},
        {"10.0.0.1/31", NETPREFIX_HOST_BITS, "10.0.0.0/31"},
        {"2001:db8::1/127", NETPREFIX_HOST_BITS, "2001:db8::/127"},
        {"10.0.0.0/33", NETPREFIX_BAD, NULL},
        {"::/129", NETPREFIX_BAD, NULL},
        {"10.0.0.0/", NETPREFIX_BAD, NULL},
        {"10.0.0.0/08", NETPREFIX_BAD, NULL},
        {"10.0.0.0/-1", NETPREFIX_BAD, NULL},
        {"::ffff:0.0.0.0/95", NETPREFIX_BAD, NULL},
        {"10.0.0/8", NETPREFIX_BAD, NULL},
        {"/8", NETPREFIX_BAD, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct netprefix prefix;
        char text[NETPREFIX_TEXT_MAX];
        if (netprefix_parse(span_of_text(rows[i].text), &prefix) != rows[i].status)
            fail_msg("%s", rows[i].text);
        if (rows[i].status == NETPREFIX_BAD)
            continue;
        netprefix_print(&prefix, text);
        assert_string_equal(text, rows[i].print);
    }
}

/* Flip a host bit: still inside; flip a prefix bit: outside. */
static void contains_exactly(void **state)
{
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[16];
        bool is_v4 = round % 2 == 0;
        unsigned base = is_v4 ? 96 : 0;
        for (int i = 0; i < 16; i++)
            bytes[i] = (uint8_t)test_random(&random);
        bytes[0] |= 1; /* never the mapped form by chance */
        struct netaddr addr = is_v4 ? netaddr_v4(bytes) : netaddr_v6(bytes);
        char text[NETADDR_TEXT_MAX + 8];
        netaddr_print(&addr, text);
        unsigned len = (unsigned)(test_random(&random) % (is_v4 ? 33 : 129));
        sprintf(text + strlen(text), "/%u", len);
        struct netprefix prefix;
        netprefix_parse(span_of_text(text), &prefix);
        unsigned bit = base + (unsigned)(test_random(&random) % (is_v4 ? 32 : 128));
        struct netaddr other = addr;
        other.bytes[bit / 8] ^= (uint8_t)(0x80 >> (bit % 8));
        assert_true(netprefix_contains(&prefix, &addr));
        assert_int_equal(netprefix_contains(&prefix, &other), bit >= base + len);
    }
}

static void families_stay_apart(void **state)
{
    struct netprefix all_v6 = prefix_of("::/0");
    struct netprefix all_v4 = prefix_of("0.0.0.0/0");
    struct netaddr v4 = addr_of("::ffff:1.2.3.4");
    struct netaddr v6 = addr_of("2001:db8::1");

    (void)state;
    assert_false(netprefix_contains(&all_v6, &v4));
    assert_true(netprefix_contains(&all_v4, &v4));
    assert_true(netprefix_contains(&all_v6, &v6));
    assert_false(netprefix_contains(&all_v4, &v6));
}

static void classes(void **state)
{
    enum { M = NETADDR_METADATA, L = NETADDR_LOOPBACK, P = NETADDR_PRIVATE };
    static const struct {
        const char *text;
        unsigned classes;
    } rows[] = {
        {"8.8.8.8", 0},
        {"2606:4700::1111", 0},
        {"2001:db8::1", 0},
        {"2001:1::1", 0},
        {"169.254.169.254", M},
        {"169.253.255.255", 0},
        {"fe80::1", M},
        {"febf::1", M},
        {"fec0::1", 0},
        {"fd00:ec2::254", M | P},
        {"fd00:ec3::254", P},
        {"168.63.129.16", M},
        {"168.63.129.17", 0},
        {"100.100.100.200", M | P},
        {"192.0.0.192", M | P},
        {"127.0.0.1", L},
        {"127.255.255.255", L},
        {"::1", L},
        {"10.255.255.255", P},
        {"11.0.0.0", 0},
        {"172.16.0.1", P},
        {"172.32.0.0", 0},
        {"192.168.0.1", P},
        {"100.64.0.1", P},
        {"100.128.0.0", 0},
        {"198.19.255.255", P},
        {"192.0.0.1", P},
        {"0.0.0.0", P},
        {"224.0.0.251", P},
        {"240.0.0.1", P},
        {"255.255.255.255", P},
        {"fc00::1", P},
        {"ff02::1", P},
        {"::", P},
        {"::ffff:169.254.169.254", M},
        {"::ffff:10.0.0.1", P},
        {"::ffff:8.8.8.8", 0},
        {"64:ff9b::8.8.8.8", P},
        {"64:ff9b::169.254.169.254", M | P},
        {"64:ff9b::127.0.0.1", L | P},
        {"64:ff9b:1::169.254.169.254", M | P},
        {"64:ff9b:1:a9fe:a9:fe00::", M | P},
        {"2002:a9fe:a9fe::1", M | P},
        {"2002:808:808::1", P},
        {"2002:7f00:1::1", L | P},
        {"2001:0:a9fe:a9fe::1", M | P},
        {"2001:0:808:808:0:0:5601:5601", M | P},
        {"::169.254.169.254", M | P},
        {"::8.8.8.8", P},
        {"::128.0.0.1", P},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct netaddr addr = addr_of(rows[i].text);
        unsigned got = netaddr_classes(&addr);
        if (got != rows[i].classes)
            fail_msg("%s: classes %u, not %u", rows[i].text, got, rows[i].classes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(agrees_with_inet_pton),
        cmocka_unit_test(prints_like_inet_ntop),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(contains_exactly),
        cmocka_unit_test(families_stay_apart),
        cmocka_unit_test(classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
