#include "config/idna.h"
#include "config/text.h"
#include "tests/lib/unit.h"

struct row {
    const char *bytes;
    size_t len;
    const char *name; /* NULL: refused */
};

#define ROW(bytes, name)                                                                           \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, name                                                             \
    }

static const struct row rows[] = {
    ROW("example.com", "example.com"),
    ROW("EXAMPLE.com.", "example.com"),
    ROW("_dmarc.example.com", "_dmarc.example.com"),
    ROW("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
    ROW("a--b.example", "a--b.example"),
    ROW("m\xc3\xbcnchen.de", "xn--mnchen-3ya.de"),
    ROW("M\xc3\x9cNCHEN.DE", "xn--mnchen-3ya.de"),
    ROW("mu\xcc\x88nchen.de", "xn--mnchen-3ya.de"),
    ROW("m\xc3\xbcnchen.de.", "xn--mnchen-3ya.de"),
    ROW("_x.m\xc3\xbcnchen.de", "_x.xn--mnchen-3ya.de"),
    ROW("fa\xc3\x9f.de", "xn--fa-hia.de"),
    ROW("m\xc3\xbcnchen\xe3\x80\x82"
        "de",
        "xn--mnchen-3ya.de"),
    ROW("\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88", "xn--r8jz45g.xn--zckzah"),
    ROW("", NULL),
    ROW("1.2.3.4", NULL),
    ROW("\xef\xbc\x91.2.3.4", NULL),
    ROW("m\xc3\xbcnchen.de\0.evil.example", NULL),
    ROW("m\xc3nchen.de", NULL),
    ROW("\xc3\xbc..de", NULL),
    ROW("\xc3\xbc .de", NULL),
    ROW("\xc3\xbc/x.de", NULL),
    ROW("\xc3\xbc:443", NULL),
    ROW("\xe2\x98\x83\xe2\x80\x8b.example", NULL),
    ROW("\xcc\x88.example", NULL),
};

static void parse_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int side = 0; side < 2; side++) {
            struct hostname name = {.len = 7, .text = "touched"};
            const char *why = NULL;
            struct guarded g =
                guarded_copy(span_of(rows[i].bytes, rows[i].len), (enum guarded_side)side);
            bool is_name = idna_parse(g.bytes, &name, &why);
            if (is_name != (rows[i].name != NULL))
                fail_msg("row %zu \"%s\": %s", i, rows[i].bytes, is_name ? name.text : why);
            assert_string_equal(name.text, is_name ? rows[i].name : "touched");
            assert_int_equal(why == NULL, is_name);
            guarded_free(&g);
        }
    }
}

static void length_is_bounded(void **state)
{
    char text[5000];
    struct hostname name;
    const char *why = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xbc", 2);
    for (size_t len = 2; len <= sizeof(text); len += 2) {
        if (idna_parse(span_of(text, len), &name, &why))
            assert_true(name.len <= HOSTNAME_LABEL_MAX);
    }
    assert_false(idna_parse(span_of(text, sizeof(text)), &name, &why));
}

/* Whatever comes out is canonical: reading it again changes nothing. */
static void result_is_canonical(void **state)
{
    static const char *const parts[] = {"\xc3\xbc", "a",        "A",    ".",    "-",
                                        "_",        "\xc3\x9f", "\xe4", "xn--", "\xef\xbc\xa1"};
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char bytes[64];
        struct text text = TEXT_OF(bytes);
        struct hostname once;
        struct hostname twice;
        const char *why;
        for (size_t n = test_random(&random) % 10; n > 0; n--)
            text_put(&text, parts[test_random(&random) % (sizeof(parts) / sizeof(parts[0]))]);
        if (!idna_parse(text_span(&text), &once, &why))
            continue;
        assert_int_equal(hostname_parse(hostname_span(&once), &twice), HOSTNAME_OK);
        assert_true(hostname_equal(&once, &twice));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_table),
        cmocka_unit_test(length_is_bounded),
        cmocka_unit_test(result_is_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
