#include "config/policy_option.h"
#include "config/policy_text.h"
#include "tests/lib/policies.h"
#include "tests/lib/unit.h"

static const char *const allow[] = {"github.com:443", "*.b.example:80,443", "!p.example:1-9",
                                    "10.0.0.0/8:22",  "[2001:db8::5]:443",  NULL};
static const char *const block[] = {"**.evil.example", "8.8.8.8", NULL};

static char *sample(size_t *len)
{
    struct policy policy;
    struct host_line host;
    uint32_t file;
    struct text fault;
    char data[RULE_TEXT_MAX];
    struct dns_server server;

    fault = TEXT_OF(data);
    policy_for_test(&policy, MODE_BLOCKLIST, allow, block);
    assert_true(policy_add_file(&policy, "/home/a b/\xc3\xa9%.lua", &file));
    assert_int_equal(hostname_parse(SPAN_LITERAL("build.example"), &host.name), HOSTNAME_OK);
    assert_true(netaddr_parse(SPAN_LITERAL("10.1.1.1"), &host.address));
    assert_true(policy_add_host(&policy, &host));
    assert_true(dns_server_parse(SPAN_LITERAL("tls://9.9.9.9#dns.quad9.net"), &server, &fault));
    assert_true(policy_add_server(&policy, &server));
    char *text = policy_text_print(&policy, len);
    assert_non_null(text);
    policy_fini(&policy);
    return text;
}

static void text_is_stable(void **state)
{
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    struct policy policy;
    size_t len;
    size_t again_len;
    char *text = sample(&len);

    (void)state;
    if (!policy_text_parse(span_of(text, len), &policy, &fault))
        fail_msg("%s", data);
    char *again = policy_text_print(&policy, &again_len);
    assert_int_equal(len, again_len);
    assert_memory_equal(text, again, len);
    assert_int_equal(policy.allow.count, 5);
    assert_true(policy.allow.rules[2].is_private);
    assert_int_equal(policy.block.rules[1].source.line, 102);
    assert_string_equal(policy.files[1], "/home/a b/\xc3\xa9%.lua");
    assert_true(policy.servers[1].is_tls && policy.servers[1].port == 853);
    policy_fini(&policy);
    free(again);
    free(text);
}

/* A text that was cut anywhere is refused, never half of a policy. */
static void every_cut_is_refused(void **state)
{
    size_t len;
    char *text = sample(&len);

    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        char data[RULE_TEXT_MAX];
        struct text fault = TEXT_OF(data);
        struct policy policy;
        struct guarded g = guarded_copy(span_of(text, cut), GUARDED_END);
        assert_false(policy_text_parse(g.bytes, &policy, &fault));
        assert_true(fault.len > 0);
        guarded_free(&g);
    }
    free(text);
}

static void faults(void **state)
{
    static const char *const rows[][2] = {
        {"policy 2\nend\n", "line 1: not a policy of version 1"},
        {"policy 1\nmode open\nend\n", "line 2: no such mode"},
        {"policy 1\nset user\nuid root 0\nend\n", "line 3: neither"},
        {"policy 1\nuid cage 0\nend\n", "line 2: not a uid"},
        {"policy 1\nuid cage 4294967295\nend\n", "line 2: not a uid"},
        {"policy 1\nset nothing 1\nend\n", "line 2: no such setting"},
        {"policy 1\nset proxy.limits.idle_s 0\nend\n", "line 2: 0 is not within"},
        {"policy 1\nset proxy.ech maybe\nend\n", "is not one of"},
        {"policy 1\nset proxy.audit yes\nend\n", "neither true nor false"},
        {"policy 1\nfile 1 /a\nend\n", "numbered from 0"},
        {"policy 1\nfile 0 a b\nend\n", "not a path"},
        {"policy 1\nfile 0 %41\nend\n", "not a path"},
        {"policy 1\nfile 0 %0\nend\n", "not a path"},
        {"policy 1\nallow name a.example @0:1\nend\n", "no such source"},
        {"policy 1\nfile 0 /a\nallow name 1.2.3.4 @0:1\nend\n", "line 3: this is an address"},
        {"policy 1\nfile 0 /a\nallow private *.b.example @0:1\nend\n", "only a plain name"},
        {"policy 1\nfile 0 /a\nallow any b.example @0:1\nend\n", "no such kind"},
        {"policy 1\nfile 0 /a\nallow address 1.2.3.4 @0:x\nend\n", "no such source"},
        {"policy 1\nend\nend\n", "behind the end"},
        {"policy 1\n\nend\n", "no such statement"},
        {"policy 1\nlocal 1.2.3\nend\n", "not an address"},
        {"policy 1\nhost a..b 1.2.3.4\nend\n", "not a name"},
        {"policy 1\nserver 9.9.9.9:53,54\nend\n", "a resolver is one address"},
        {"policy 1\nserver tls://9.9.9.9\nend\n", "DNS over TLS needs the name"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char data[RULE_TEXT_MAX];
        struct text fault = TEXT_OF(data);
        struct policy policy;
        if (policy_text_parse(span_of_text(rows[i][0]), &policy, &fault))
            fail_msg("taken: %s", rows[i][0]);
        if (strstr(data, rows[i][1]) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", data, rows[i][1]);
    }
}

/* The option table: every default is within its own bounds and survives print and read. */
static void options_hold_together(void **state)
{
    struct policy_settings settings;
    size_t count;
    const struct option_def *options = policy_options(&count);

    (void)state;
    policy_settings_init(&settings);
    for (size_t i = 0; i < count; i++) {
        char value_data[POLICY_PATH_MAX];
        char again_data[POLICY_PATH_MAX];
        char fault_data[RULE_TEXT_MAX];
        struct text value = TEXT_OF(value_data);
        struct text again = TEXT_OF(again_data);
        struct text fault = TEXT_OF(fault_data);
        policy_option_print(&settings, &options[i], &value);
        if (!policy_option_read(&settings, &options[i], text_span(&value), &fault))
            fail_msg("%s: %s", options[i].path, fault_data);
        policy_option_print(&settings, &options[i], &again);
        assert_string_equal(value_data, again_data);
        assert_ptr_equal(policy_option_find(span_of_text(options[i].path)), &options[i]);
        assert_true(strlen(options[i].doc) > 0);
        if (options[i].kind == OPTION_NUMBER) {
            assert_false(policy_option_set_number(&settings, &options[i],
                                                  (uint64_t)options[i].max + 1, &fault));
        }
    }
    assert_string_equal(settings.user, "claude-cage");
    assert_string_equal(settings.proxy_user, "cage-proxy");
}

static void distance(void **state)
{
    (void)state;
    assert_int_equal(edit_distance(SPAN_LITERAL("allow"), SPAN_LITERAL("allow"), 3), 0);
    assert_int_equal(edit_distance(SPAN_LITERAL("allows"), SPAN_LITERAL("allow"), 3), 1);
    assert_int_equal(edit_distance(SPAN_LITERAL("networkmode"), SPAN_LITERAL("networkMode"), 3), 0);
    assert_int_equal(edit_distance(SPAN_LITERAL("doamins"), SPAN_LITERAL("domains"), 3), 2);
    assert_int_equal(edit_distance(SPAN_LITERAL(""), SPAN_LITERAL("abc"), 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_stable), cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(faults),         cmocka_unit_test(options_hold_together),
        cmocka_unit_test(distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
