#include "proxy/core/log_line.h"
#include "proxy/core/log_text.h"
#include "tests/lib/unit.h"

static const struct {
    const char *line;
    bool is_line;
} rows[] = {
    {"{}", true},
    {"{\"a\":1}", true},
    {"{\"a\":1,\"b\":null,\"c\":\"x\\\"y\",\"d\":{\"e\":\"}\"}}", true},
    {"{\"a\":\"\\u001b\"}", true},
    {"", false},
    {"{", false},
    {"{\"a\":1", false},
    {"{\"a\":1}x", false},
    {"{\"a\":1},", false},
    {"{\"a\":1,}", false},
    {"{,\"a\":1}", false},
    {"{\"a\" :1}", false},
    {"{\"a\":}", false},
    {"{\"a\":-1}", false},
    {"{\"a\":[1]}", false},
    {"{\"a\":\"\x1b\"}", false},
    {"{\"a\":\"\xc3\xbc\"}", false},
    {"{\"a\":\"x\n\"}", false},
    {"{\"a\":\"\\\"}", false},
    {"{\"a\":\"x}", false},
    {"{\"a\":{\"b\":{\"c\":1}}}", false},
    {"plain text", false},
};

static void lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guarded g = guarded_copy(span_of_text(rows[i].line), GUARDED_END);
        if (log_text_is_line(g.bytes) != rows[i].is_line)
            fail_msg("row %zu: %s", i, rows[i].line);
        guarded_free(&g);
    }
}

static void decision(void **state)
{
    const struct matcher_rule rule = {"*.a.example:443", "/etc/my cage.lua", 7};
    struct log_decision d = {.id = 9,
                             .layer = LOG_LAYER_PROXY,
                             .kind = LOG_KIND_TLS,
                             .name = SPAN_LITERAL("x\x1b[0m.example"),
                             .port = 443,
                             .verdict = {VERDICT_DENY, REASON_BLOCKED, true, &rule}};
    char buffer[LOG_LINE_MAX];
    char printed[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    struct text text = TEXT_OF(printed);
    struct span value;

    (void)state;
    log_line_decision(&line, &d);
    assert_true(log_text_print(text_span(&line), &text));
    assert_string_equal(printed, "1970-01-01T00:00:00.000Z decision id=9 layer=proxy kind=tls "
                                 "name=x\\u001b[0m.example port=443 verdict=deny reason=blocked "
                                 "rule=\"*.a.example:443 at /etc/my cage.lua:7\"");
    assert_true(log_text_field(text_span(&line), "verdict", &value));
    assert_true(span_equal(value, SPAN_LITERAL("deny")));
    assert_true(log_text_field(text_span(&line), "address", &value));
    assert_true(span_equal(value, SPAN_LITERAL("null")));
    assert_false(log_text_field(text_span(&line), "text", &value));
    assert_false(log_text_field(span_first(text_span(&line), line.len - 1), "verdict", &value));
    assert_false(log_text_print(SPAN_LITERAL("{\"ts\":\"now\"}"), &text));
}

/* No beginning of a line is a line, and no changed byte makes the reader leave its bounds. */
static void cut_and_changed(void **state)
{
    static const char line[] =
        "{\"v\":1,\"ts\":\"t\",\"event\":\"e\",\"r\":{\"t\":\"a b\",\"n\":2}}";
    uint64_t random = test_seed();

    (void)state;
    for (size_t len = 0; len < sizeof(line) - 1; len++) {
        struct guarded g = guarded_copy(span_of(line, len), GUARDED_END);
        assert_false(log_text_is_line(g.bytes));
        guarded_free(&g);
    }
    for (int round = 0; round < 20000; round++) {
        char copy[sizeof(line)];
        char printed[200];
        struct text text = TEXT_OF(printed);
        memcpy(copy, line, sizeof(line));
        copy[test_random(&random) % (sizeof(line) - 1)] = (char)test_random(&random);
        if (log_text_print(span_of(copy, sizeof(line) - 1), &text))
            for (size_t i = 0; i < text.len; i++)
                assert_in_range(printed[i], 0x20, 0x7e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(decision),
        cmocka_unit_test(cut_and_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
