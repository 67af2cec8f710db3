#include "proxy/core/http_reply.h"
#include "proxy/core/refusal.h"
#include "tests/lib/unit.h"

static struct hostname name_of(const char *text)
{
    struct hostname name;

    assert_int_equal(hostname_parse(span_of_text(text), &name), HOSTNAME_OK);
    return name;
}

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr;

    assert_true(netaddr_parse(span_of_text(text), &addr));
    return addr;
}

static void check_entry(enum reason reason, const char *name, const char *address,
                        const char *entry)
{
    struct hostname host;
    struct netaddr addr = addr_of(address);
    char data[RULE_TEXT_MAX];
    struct text out = TEXT_OF(data);
    struct refusal refusal = {.reason = reason, .address = &addr, .port = 443};

    if (name != NULL) {
        host = name_of(name);
        refusal.name = &host;
    }
    refusal_entry(&refusal, &out);
    assert_string_equal(data, entry);
}

static void entries(void **state)
{
    (void)state;
    check_entry(REASON_NOT_ALLOWED, "a.example", "8.8.8.8",
                "allow = { domains = { \"a.example:443\" } }");
    check_entry(REASON_NO_NAME, NULL, "8.8.8.8", "allow = { ips = { \"8.8.8.8:443\" } }");
    check_entry(REASON_NO_NAME, NULL, "2001:db8::1", "allow = { ips = { \"[2001:db8::1]:443\" } }");
    check_entry(REASON_PRIVATE_ADDRESS, "a.example", "10.0.0.1",
                "allow = { ips = { \"10.0.0.1:443\" } }");
    check_entry(REASON_METADATA_ADDRESS, "a.example", "169.254.169.254", "");
    check_entry(REASON_BAD_REQUEST, NULL, "8.8.8.8", "");
}

/* Every reason makes one whole response that a strict reader takes, and that carries its token. */
static void every_reason_is_a_response(void **state)
{
    struct netaddr addr = addr_of("2001:db8::1");
    char long_name[254];
    struct hostname host;
    char rule_text[RULE_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < 253; i++)
        long_name[i] = i % 64 == 63 ? '.' : 'a';
    assert_int_equal(hostname_parse(span_of(long_name, 253), &host), HOSTNAME_OK);
    memset(rule_text, 'r', sizeof(rule_text));
    rule_text[RULE_TEXT_MAX - 1] = '\0';
    struct matcher_rule rule = {rule_text, "/etc/cage.lua", 7};
    for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
        for (int form = 0; form < 4; form++) {
            char data[REFUSAL_MAX];
            struct text out = TEXT_OF(data);
            struct refusal refusal = {(enum reason)reason, &host, &addr, 65535,
                                      MODE_ALLOWLIST,      &rule};
            bool is_head = (form & 2) != 0;
            refusal_http(&refusal, form & 1, is_head, &out);
            assert_false(out.is_cut);
            assert_non_null(strstr(data, reason_token((enum reason)reason)));

            struct http_reply reply;
            struct http_head request = {.is_head = is_head, .keeps_alive = true};
            struct http_reply_item item;
            struct span rest = text_span(&out);
            enum http_reply_event event;
            http_reply_init(&reply, REFUSAL_MAX);
            http_reply_push(&reply, &request);
            while ((event = http_reply_read(&reply, rest, &item)) == HTTP_REPLY_MOVE)
                rest = span_from(rest, item.len);
            assert_int_equal(event, HTTP_REPLY_DONE);
            assert_int_equal(rest.len, 0);
        }
    }
}

static void statuses(void **state)
{
    static const struct {
        enum reason reason;
        enum network_mode mode;
        const char *status;
        const char *error;
    } rows[] = {
        {REASON_NOT_ALLOWED, MODE_ALLOWLIST, "HTTP/1.1 403 ", "blocked-by-allowlist"},
        {REASON_NO_NAME, MODE_ALLOWLIST, "HTTP/1.1 403 ", "blocked-by-allowlist"},
        {REASON_BLOCKED, MODE_BLOCKLIST, "HTTP/1.1 403 ", "blocked-by-denylist"},
        {REASON_PRIVATE_ADDRESS, MODE_ALLOWLIST, "HTTP/1.1 403 ", "blocked-by-policy"},
        {REASON_BAD_REQUEST, MODE_ALLOWLIST, "HTTP/1.1 400 ", "blocked-by-policy"},
        {REASON_HOST_CHANGED, MODE_ALLOWLIST, "HTTP/1.1 421 ", "blocked-by-policy"},
        {REASON_UPSTREAM_REFUSED, MODE_ALLOWLIST, "HTTP/1.1 502 ", NULL},
        {REASON_UPSTREAM_TIMEOUT, MODE_ALLOWLIST, "HTTP/1.1 504 ", NULL},
    };
    struct hostname host = name_of("a.example");
    struct netaddr addr = addr_of("8.8.8.8");

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char data[REFUSAL_MAX];
        struct text out = TEXT_OF(data);
        struct refusal refusal = {rows[i].reason, &host, &addr, 80, rows[i].mode, NULL};
        refusal_http(&refusal, false, false, &out);
        assert_memory_equal(data, rows[i].status, strlen(rows[i].status));
        const char *error = strstr(data, "X-Proxy-Error: ");
        assert_int_equal(error != NULL, rows[i].error != NULL);
        if (error != NULL)
            assert_memory_equal(error + 15, rows[i].error, strlen(rows[i].error));
    }
}

static void alerts(void **state)
{
    uint8_t name[REFUSAL_ALERT_LEN];
    uint8_t access[REFUSAL_ALERT_LEN];

    (void)state;
    refusal_alert(REASON_NOT_ALLOWED, name);
    refusal_alert(REASON_PRIVATE_ADDRESS, access);
    assert_memory_equal(name, "\x15\x03\x03\x00\x02\x02\x70", REFUSAL_ALERT_LEN);
    assert_memory_equal(access, "\x15\x03\x03\x00\x02\x02\x31", REFUSAL_ALERT_LEN);
}

static void goaway(void **state)
{
    uint8_t out[64];
    size_t len = refusal_h2(REASON_H2C_REFUSED, out, sizeof(out));

    (void)state;
    assert_int_equal(len, 9 + 9 + 8 + strlen("h2c-refused"));
    assert_int_equal(out[9 + 3], 7);
    assert_int_equal(out[9 + 2], 8 + strlen("h2c-refused"));
    assert_int_equal(refusal_h2(REASON_H2C_REFUSED, out, len - 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries),  cmocka_unit_test(every_reason_is_a_response),
        cmocka_unit_test(statuses), cmocka_unit_test(alerts),
        cmocka_unit_test(goaway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
