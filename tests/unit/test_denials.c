#include "proxy/cli/denials.h"
#include "tests/lib/unit.h"

#define DECISION(rest) "{\"v\":1,\"event\":\"decision\"," rest "}"

static char *summary_of(const struct denials *denials)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    denials_print(denials, MODE_ALLOWLIST, out);
    fclose(out);
    return text;
}

static void take(struct denials *denials, const char *line)
{
    denials_take(denials, span_of_text(line));
}

static void folds_and_suggests(void **state)
{
    static struct denials denials;

    (void)state;
    take(&denials, DECISION("\"name\":\"a.example\",\"address\":null,\"port\":null,"
                            "\"verdict\":\"deny\",\"reason\":\"not-allowed\""));
    take(&denials, DECISION("\"name\":\"a.example\",\"address\":\"8.8.8.8\",\"port\":80,"
                            "\"verdict\":\"deny\",\"reason\":\"not-allowed\""));
    take(&denials, DECISION("\"name\":null,\"address\":\"8.8.8.8\",\"port\":22,"
                            "\"verdict\":\"deny\",\"reason\":\"no-name\""));
    take(&denials, DECISION("\"name\":null,\"address\":\"169.254.169.254\",\"port\":80,"
                            "\"verdict\":\"deny\",\"reason\":\"metadata-address\""));
    take(&denials, DECISION("\"name\":\"b.example\",\"verdict\":\"allow\",\"reason\":\"allowed\""));
    take(&denials, "{\"v\":1,\"event\":\"close\",\"verdict\":\"deny\",\"reason\":\"no-name\"}");
    take(&denials, DECISION("\"name\":\"c.example\",\"verdict\":\"deny\","
                            "\"reason\":\"upstream-refused\""));
    take(&denials, "no line");
    assert_int_equal(denials.count, 3);
    char *text = summary_of(&denials);
    assert_string_equal(
        text, "cage-proxy: refused by policy:\n"
              "  2 x a.example port 80  not-allowed"
              "  to allow: allow = { domains = { \"a.example:80\" } }\n"
              "  1 x 8.8.8.8 port 22  no-name  to allow: allow = { ips = { \"8.8.8.8:22\" } }\n"
              "  1 x 169.254.169.254 port 80  metadata-address\n");
    free(text);
}

/* What exec tried itself is not shown; what the command tried as well is. */
static void probes_are_taken_back(void **state)
{
    static struct denials denials;
    struct hostname name;

    (void)state;
    assert_int_equal(hostname_parse(SPAN_LITERAL("probe.invalid"), &name), HOSTNAME_OK);
    denials_take_back(&denials, &name);
    for (int i = 0; i < 3; i++)
        take(&denials, DECISION("\"name\":\"probe.invalid\",\"port\":80,"
                                "\"verdict\":\"deny\",\"reason\":\"not-allowed\""));
    take(&denials, DECISION("\"name\":\"b.example\",\"port\":80,"
                            "\"verdict\":\"deny\",\"reason\":\"not-allowed\""));
    denials_take_back(&denials, &name);
    denials_take_back(&denials, &name);
    assert_int_equal(denials.count, 2);
    assert_int_equal(denials.list[0].count, 1);
    denials_take_back(&denials, &name);
    char *text = summary_of(&denials);
    assert_string_equal(text, "cage-proxy: refused by policy:\n"
                              "  1 x b.example port 80  not-allowed"
                              "  to allow: allow = { domains = { \"b.example:80\" } }\n");
    free(text);
}

/* Only canonical names are printed: the summary is pasted into configurations. */
static void hostile_names_are_not_printed(void **state)
{
    static struct denials denials;

    (void)state;
    take(&denials, DECISION("\"name\":\"a\\u001b[0m\",\"address\":\"8.8.8.8\",\"port\":443,"
                            "\"verdict\":\"deny\",\"reason\":\"bad-name\""));
    char *text = summary_of(&denials);
    assert_string_equal(text, "cage-proxy: refused by policy:\n  1 x 8.8.8.8 port 443  bad-name\n");
    free(text);
}

static void bounded(void **state)
{
    static struct denials denials;

    (void)state;
    for (int i = 0; i < DENIALS_MAX + 5; i++) {
        char line[300];
        snprintf(line, sizeof(line),
                 DECISION("\"name\":\"n%d.example\",\"verdict\":\"deny\","
                          "\"reason\":\"not-allowed\""),
                 i);
        take(&denials, line);
    }
    assert_int_equal(denials.count, DENIALS_MAX);
    assert_int_equal(denials.dropped, 5);
    char *text = summary_of(&denials);
    assert_non_null(strstr(text, "and 5 more\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds_and_suggests),
        cmocka_unit_test(probes_are_taken_back),
        cmocka_unit_test(hostile_names_are_not_printed),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
