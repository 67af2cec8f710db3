#include "config/public_suffix.h"
#include "tests/lib/unit.h"

static bool is_suffix(const char *text)
{
    struct hostname name;

    assert_int_equal(hostname_parse(span_of_text(text), &name), HOSTNAME_OK);
    return public_suffix_is(&name);
}

static void suffixes(void **state)
{
    static const char *const names[] = {
        "com",         "org", "co.uk",     "COM.", "xn--p1ai",
        "anything.ck", "ck",  "localhost", "corp", "internal",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!is_suffix(names[i]))
            fail_msg("%s is a public suffix", names[i]);
    }
}

static void no_suffixes(void **state)
{
    static const char *const names[] = {
        "example.com",  "example.co.uk", "www.ck",       "a.anything.ck",    "github.io",
        "corp.example", "host.internal", "blogspot.com", "s3.amazonaws.com", "a.b.example",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is_suffix(names[i]))
            fail_msg("%s is no public suffix", names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suffixes),
        cmocka_unit_test(no_suffixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
