#include "proxy/core/log_line.h"
#include "tests/lib/unit.h"

struct line {
    char bytes[LOG_LINE_MAX];
    struct text text;
};

static struct text *line_start(struct line *line)
{
    line->text = TEXT_OF(line->bytes);
    return &line->text;
}

static void is_one_printable_line(const struct text *text)
{
    assert_false(text->is_cut);
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] < 0x20 || text->data[i] > 0x7e)
            fail_msg("byte %zu is 0x%02x", i, (unsigned char)text->data[i]);
}

static const struct netaddr v6 = {{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

static void decision(void **state)
{
    const struct matcher_rule rule = {"*.example.com:443", "/etc/claude-cage/config", 7};
    const uint8_t v4_bytes[4] = {203, 0, 113, 10};
    struct netaddr v4 = netaddr_v4(v4_bytes);
    struct log_decision d = {
        .ts_ms = 951827696789, /* 2000-02-29 12:34:56.789 */
        .id = 4294967301,
        .layer = LOG_LAYER_PROXY,
        .kind = LOG_KIND_TLS,
        .name = SPAN_LITERAL("a.example.com"),
        .address = &v4,
        .port = 443,
        .verdict = {VERDICT_ALLOW, REASON_ALLOWED, true, &rule},
    };
    struct line line;

    (void)state;
    log_line_decision(line_start(&line), &d);
    assert_string_equal(
        line.bytes,
        "{\"v\":1,\"ts\":\"2000-02-29T12:34:56.789Z\",\"event\":\"decision\",\"id\":4294967301,"
        "\"layer\":\"proxy\",\"kind\":\"tls\",\"name\":\"a.example.com\","
        "\"address\":\"203.0.113.10\",\"port\":443,\"verdict\":\"allow\",\"reason\":\"allowed\","
        "\"rule\":\"*.example.com:443 at /etc/claude-cage/config:7\"}");

    d = (struct log_decision){
        .layer = LOG_LAYER_DNS,
        .kind = LOG_KIND_DNS,
        .name = SPAN_LITERAL("evil.example"),
        .qtype = 28,
        .verdict = {VERDICT_DENY, REASON_NOT_ALLOWED, false, NULL},
    };
    log_line_decision(line_start(&line), &d);
    assert_string_equal(
        line.bytes,
        "{\"v\":1,\"ts\":\"1970-01-01T00:00:00.000Z\",\"event\":\"decision\",\"id\":null,"
        "\"layer\":\"dns\",\"kind\":\"dns\",\"name\":\"evil.example\",\"address\":null,"
        "\"port\":null,\"qtype\":\"AAAA\",\"verdict\":\"deny\",\"reason\":\"not-allowed\","
        "\"rule\":null,\"enforced\":false}");

    d.verdict.is_enforced = true;
    d.qtype = 4711;
    d.name = SPAN_NONE;
    log_line_decision(line_start(&line), &d);
    assert_non_null(strstr(line.bytes, "\"name\":null"));
    assert_non_null(strstr(line.bytes, "\"qtype\":\"TYPE4711\""));
    assert_null(strstr(line.bytes, "enforced"));
}

static void close_line(void **state)
{
    struct log_close c = {.id = 5,
                          .upstream = &v6,
                          .upstream_port = 443,
                          .bytes_up = 1,
                          .bytes_down = UINT64_MAX,
                          .requests = 2,
                          .duration_ms = 60000,
                          .why = "policy"};
    struct line line;

    (void)state;
    log_line_close(line_start(&line), &c);
    assert_string_equal(line.bytes,
                        "{\"v\":1,\"ts\":\"1970-01-01T00:00:00.000Z\",\"event\":\"close\",\"id\":5,"
                        "\"upstream\":\"[2001:db8::1]:443\",\"bytes_up\":1,"
                        "\"bytes_down\":18446744073709551615,\"requests\":2,"
                        "\"duration_ms\":60000,\"why\":\"policy\"}");
    c.upstream = NULL;
    log_line_close(line_start(&line), &c);
    assert_non_null(strstr(line.bytes, "\"upstream\":null"));
}

static void life(void **state)
{
    struct log_ready ready = {.version = "0.1.0",
                              .user = SPAN_LITERAL("claude-cage"),
                              .uid = 4242,
                              .proxy_uid = 4243,
                              .mode = "allowlist",
                              .rules = 3,
                              .generation = 1,
                              .tcp_port = 15080,
                              .dns_port = 15053};
    struct log_reload reload = {.generation = 2, .mode = "blocklist", .rules = 9, .closed = 4};
    struct log_fault fault = {
        .what = "reload", .message = SPAN_LITERAL("a.lua:7: \"x\"\n"), .generation = 2};
    struct log_stop stop = {.why = "SIGTERM", .left = "deny-all"};
    struct line line;

    (void)state;
    log_line_ready(line_start(&line), &ready);
    assert_string_equal(line.bytes,
                        "{\"v\":1,\"ts\":\"1970-01-01T00:00:00.000Z\",\"event\":\"ready\","
                        "\"version\":\"0.1.0\",\"user\":\"claude-cage\",\"uid\":4242,"
                        "\"proxy_uid\":4243,\"mode\":\"allowlist\",\"rules\":3,\"generation\":1,"
                        "\"listen\":{\"tcp\":15080,\"dns\":15053}}");
    log_line_reload(line_start(&line), &reload);
    assert_string_equal(line.bytes, "{\"v\":1,\"ts\":\"1970-01-01T00:00:00.000Z\",\"event\":"
                                    "\"reload\",\"generation\":2,\"mode\":\"blocklist\","
                                    "\"rules\":9,\"closed\":4}");
    log_line_fault(line_start(&line), &fault);
    assert_string_equal(line.bytes,
                        "{\"v\":1,\"ts\":\"1970-01-01T00:00:00.000Z\",\"event\":\"fault\","
                        "\"what\":\"reload\",\"message\":\"a.lua:7: \\\"x\\\"\\u000a\","
                        "\"generation\":2}");
    log_line_stop(line_start(&line), &stop);
    assert_string_equal(line.bytes, "{\"v\":1,\"ts\":\"1970-01-01T00:00:00.000Z\",\"event\":"
                                    "\"stop\",\"why\":\"SIGTERM\",\"left\":\"deny-all\"}");
}

static void strings(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        size_t max;
        const char *text;
    } rows[] = {
        {"plain", 5, 8, "\"plain\""},
        {"12345678", 8, 8, "\"12345678\""},
        {"123456789", 9, 8, "\"12345...\""},
        {"a\"\\b", 4, 20, "\"a\\\"\\\\b\""},
        {"\0\n\r\x1b\x7f\x80\xff", 7, 99, "\"\\u0000\\u000a\\u000d\\u001b\\u007f\\u0080\\u00ff\""},
        {"\xe2\x80\xa8", 3, 99, "\"\\u00e2\\u0080\\u00a8\""},
        {"aaaa\n", 5, 9, "\"aaaa...\""}, /* an escape is never cut in its middle */
        {"aaa\n", 4, 9, "\"aaa\\u000a\""},
        {"", 0, 8, "\"\""},
    };
    struct line line;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        log_line_string(line_start(&line), span_of(rows[i].bytes, rows[i].len), rows[i].max);
        assert_string_equal(line.bytes, rows[i].text);
    }
}

/* Whatever a client sends, the line is one printable line that fits. */
static void hostile(void **state)
{
    uint64_t random = test_seed();
    char bytes[5000];
    char text[801];
    const struct matcher_rule rule = {text, bytes, UINT32_MAX};
    struct line line;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct log_decision d = {.ts_ms = UINT64_MAX,
                                 .id = UINT64_MAX,
                                 .kind = LOG_KIND_DNS,
                                 .address = &v6,
                                 .port = UINT16_MAX,
                                 .qtype = UINT16_MAX,
                                 .verdict = {.reason = REASON_AMBIGUOUS_ADDRESS, .rule = &rule}};
        struct log_fault f = {.ts_ms = UINT64_MAX, .what = "policy", .generation = UINT32_MAX};
        bool is_worst = round % 2;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)(is_worst ? 0x9b : test_random(&random));
        d.name = f.message = span_of(bytes, test_random(&random) % sizeof(bytes));
        bytes[sizeof(bytes) - 1] = '\0';
        memset(text, '"', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        log_line_decision(line_start(&line), &d);
        is_one_printable_line(&line.text);
        log_line_fault(line_start(&line), &f);
        is_one_printable_line(&line.text);
    }
}

static void times(void **state)
{
    static const struct {
        uint64_t ts_ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {86399999, "1970-01-01T23:59:59.999Z"},
        {68169600000, "1972-02-29T00:00:00.000Z"},
        {946684799999, "1999-12-31T23:59:59.999Z"},
        {951868800000, "2000-03-01T00:00:00.000Z"},
        {1709164800000, "2024-02-29T00:00:00.000Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "9999-12-31T23:59:59.999Z"},
        {UINT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    struct line line;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct log_stop stop = {.ts_ms = rows[i].ts_ms, .why = "", .left = ""};
        log_line_stop(line_start(&line), &stop);
        assert_memory_equal(line.bytes + strlen("{\"v\":1,\"ts\":\""), rows[i].text, 24);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decision), cmocka_unit_test(close_line), cmocka_unit_test(life),
        cmocka_unit_test(strings),  cmocka_unit_test(hostile),    cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
