#include "config/hostname.h"
#include "tests/lib/unit.h"

struct row {
    const char *bytes;
    size_t len;
    enum hostname_status status;
    const char *text;
};

#define ROW(bytes, status, text)                                                                   \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, status, text                                                     \
    }

static const struct row rows[] = {
    ROW("example.com", HOSTNAME_OK, "example.com"),
    ROW("EXAMPLE.Com", HOSTNAME_OK, "example.com"),
    ROW("example.com.", HOSTNAME_OK, "example.com"),
    ROW("localhost", HOSTNAME_OK, "localhost"),
    ROW("_dmarc.example.com", HOSTNAME_OK, "_dmarc.example.com"),
    ROW("-a.example", HOSTNAME_OK, "-a.example"),
    ROW("xn--mnchen-3ya.de", HOSTNAME_OK, "xn--mnchen-3ya.de"),
    ROW("1.2.3.4.example", HOSTNAME_OK, "1.2.3.4.example"),
    ROW("0xg.0xzz", HOSTNAME_OK, "0xg.0xzz"),
    ROW("", HOSTNAME_EMPTY, NULL),
    ROW(".", HOSTNAME_EMPTY, NULL),
    ROW("..", HOSTNAME_BAD_LABEL, NULL),
    ROW(".example.com", HOSTNAME_BAD_LABEL, NULL),
    ROW("example..com", HOSTNAME_BAD_LABEL, NULL),
    ROW("example.com..", HOSTNAME_BAD_LABEL, NULL),
    ROW("good.example\0.evil.example", HOSTNAME_BAD_BYTE, NULL),
    ROW("good.example\0", HOSTNAME_BAD_BYTE, NULL),
    ROW("exa mple.com", HOSTNAME_BAD_BYTE, NULL),
    ROW("*.example.com", HOSTNAME_BAD_BYTE, NULL),
    ROW("user@example.com", HOSTNAME_BAD_BYTE, NULL),
    ROW("example.com/", HOSTNAME_BAD_BYTE, NULL),
    ROW("m\xc3\xbcnchen.de", HOSTNAME_BAD_BYTE, NULL),
    ROW("example.com\n", HOSTNAME_BAD_BYTE, NULL),
    ROW("1.2.3.4", HOSTNAME_IP_LITERAL, NULL),
    ROW("1.2.3.4.", HOSTNAME_IP_LITERAL, NULL),
    ROW("127.1", HOSTNAME_IP_LITERAL, NULL),
    ROW("2130706433", HOSTNAME_IP_LITERAL, NULL),
    ROW("0x7f000001", HOSTNAME_IP_LITERAL, NULL),
    ROW("0X7F.0x0.0x0.0X1", HOSTNAME_IP_LITERAL, NULL),
    ROW("example.0x", HOSTNAME_IP_LITERAL, NULL),
    ROW("example.256", HOSTNAME_IP_LITERAL, NULL),
    ROW("::1", HOSTNAME_IP_LITERAL, NULL),
    ROW("[::1]", HOSTNAME_IP_LITERAL, NULL),
    ROW("[1.2.3.4]", HOSTNAME_IP_LITERAL, NULL),
    ROW("example.com:443", HOSTNAME_IP_LITERAL, NULL),
};

static void parse_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int side = 0; side < 2; side++) {
            struct hostname name = {.len = 7, .text = "touched"};
            struct guarded g =
                guarded_copy(span_of(rows[i].bytes, rows[i].len), (enum guarded_side)side);
            enum hostname_status status = hostname_parse(g.bytes, &name);
            if (status != rows[i].status)
                fail_msg("row %zu \"%s\": status %d", i, rows[i].bytes, (int)status);
            assert_string_equal(name.text, status == HOSTNAME_OK ? rows[i].text : "touched");
            assert_int_equal(name.len, strlen(name.text));
            guarded_free(&g);
        }
    }
}

static void lengths(void **state)
{
    char text[HOSTNAME_LEN_MAX + 3];
    struct hostname name;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 64 == 63 ? '.' : 'a';
    assert_int_equal(hostname_parse(span_of(text, 253), &name), HOSTNAME_OK);
    assert_int_equal(hostname_parse(span_of(text, 254), &name), HOSTNAME_TOO_LONG);
    text[253] = '.';
    assert_int_equal(hostname_parse(span_of(text, 254), &name), HOSTNAME_OK);
    assert_int_equal(name.len, 253);
    memset(text, 'a', sizeof(text));
    assert_int_equal(hostname_parse(span_of(text, 63), &name), HOSTNAME_OK);
    assert_int_equal(hostname_parse(span_of(text, 64), &name), HOSTNAME_TOO_LONG);
}

static struct hostname name_of(const char *text)
{
    struct hostname name;

    assert_int_equal(hostname_parse(span_of_text(text), &name), HOSTNAME_OK);
    return name;
}

static void below(void **state)
{
    struct hostname apex = name_of("example.com");
    struct hostname deep = name_of("a.b.example.com");
    struct hostname glued = name_of("evilexample.com");
    struct hostname longer = name_of("example.com.evil.test");

    (void)state;
    assert_true(hostname_is_below(&deep, &apex));
    assert_false(hostname_is_below(&apex, &apex));
    assert_false(hostname_is_below(&glued, &apex));
    assert_false(hostname_is_below(&longer, &apex));
    assert_false(hostname_is_below(&apex, &deep));
}

static void labels(void **state)
{
    struct hostname name = name_of("a.bc.d");

    (void)state;
    assert_int_equal(hostname_next_label(&name, 0), 2);
    assert_int_equal(hostname_next_label(&name, 2), 5);
    assert_int_equal(hostname_next_label(&name, 5), 6);
}

/* What is canonical stays what it is. */
static void canonical_is_stable(void **state)
{
    static const char alphabet[] = "ab.AZ-_09.x";
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[24];
        struct hostname once;
        struct hostname twice;
        size_t len = test_random(&random) % sizeof(text);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[test_random(&random) % (sizeof(alphabet) - 1)];
        if (hostname_parse(span_of(text, len), &once) != HOSTNAME_OK)
            continue;
        assert_int_equal(hostname_parse(hostname_span(&once), &twice), HOSTNAME_OK);
        assert_true(hostname_equal(&once, &twice));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_table),
        cmocka_unit_test(lengths),
        cmocka_unit_test(below),
        cmocka_unit_test(labels),
        cmocka_unit_test(canonical_is_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
