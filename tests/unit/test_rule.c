#include "config/rule.h"
#include "tests/lib/unit.h"

enum { D = RULE_IN_DOMAINS, A = RULE_IN_ADDRESSES };

struct row {
    const char *entry;
    int section;
    const char *print; /* canonical form, or NULL for a fault */
    const char *fault; /* what the complaint holds */
};

static const struct row rows[] = {
    {"example.com", D, "example.com", NULL},
    {"EXAMPLE.com.", D, "example.com", NULL},
    {"github.com:443", D, "github.com:443", NULL},
    {"admin.local:80,443", D, "admin.local:80,443", NULL},
    {"admin.local:443,80,443", D, "admin.local:80,443", NULL},
    {"a.example:8000-8100,22", D, "a.example:22,8000-8100", NULL},
    {"a.example:1,65535", D, "a.example:1,65535", NULL},
    {"a.example:9-9", D, "a.example:9", NULL},
    {"*.githubusercontent.com:443", D, "*.githubusercontent.com:443", NULL},
    {"**.example.com", D, "**.example.com", NULL},
    {"_x._tcp.example.com", D, "_x._tcp.example.com", NULL},
    {"localhost:3000", D, "localhost:3000", NULL},
    {"m\xc3\xbcnchen.de", D, "xn--mnchen-3ya.de", NULL},
    {"*.b\xc3\xbc"
     "cher.example:443",
     D, "*.xn--bcher-kva.example:443", NULL},
    {"1.2.3.4:80,443", A, "1.2.3.4:80,443", NULL},
    {"5.6.7.8", A, "5.6.7.8", NULL},
    {"2001:db8::1", A, "2001:db8::1", NULL},
    {"2001:db8::5:443", A, "2001:db8::5:443", NULL},
    {"[2001:DB8::5]:443", A, "[2001:db8::5]:443", NULL},
    {"[2001:db8::5]", A, "2001:db8::5", NULL},
    {"::ffff:10.0.0.1", A, "10.0.0.1", NULL},
    {"10.0.0.0/24:443", A, "10.0.0.0/24:443", NULL},
    {"10.0.0.0/8:22,3389", A, "10.0.0.0/8:22,3389", NULL},
    {"2001:db8:1::/48", A, "2001:db8:1::/48", NULL},
    {"2001:db8:1::/48:22", A, "2001:db8:1::/48:22", NULL},
    {"[2001:db8:1::/48]:22", A, "2001:db8:1::/48:22", NULL},
    {"0.0.0.0/0", A, "0.0.0.0/0", NULL},

    {"githb.com:99999", D, NULL, "port 99999 is above 65535"},
    {"a.example:65536", D, NULL, "port 65536 is above 65535"},
    {"a.example:99999999999999999999999", D, NULL, "is above 65535"},
    {"a.example:0", D, NULL, "port 0 does not exist"},
    {"a.example:", D, NULL, "a port is empty"},
    {"a.example:80,", D, NULL, "a port is empty"},
    {"a.example:,80", D, NULL, "a port is empty"},
    {"a.example:-80", D, NULL, "a port is empty"},
    {"a.example:80-", D, NULL, "a port is empty"},
    {"a.example:90-80", D, NULL, "runs backwards"},
    {"a.example:080", D, NULL, "leading zero"},
    {"a.example:http", D, NULL, "\"http\" is not a number"},
    {"a.example:80:443", D, NULL, "address"},
    {"a.example: 80", D, NULL, "no spaces"},
    {"a.example :80", D, NULL, "no spaces"},
    {" a.example", D, NULL, "no spaces"},
    {"a.example\t", D, NULL, "no spaces"},
    {"", D, NULL, "empty"},
    {":443", D, NULL, "empty"},
    {"*", D, NULL, "a star stands for whole labels"},
    {"*:443", D, NULL, "a star stands for whole labels"},
    {"**", D, NULL, "a star stands for whole labels"},
    {"*.", D, NULL, "a star stands for whole labels"},
    {"***.example.com", D, NULL, "a star stands for whole labels"},
    {"*example.com", D, NULL, "a star stands for whole labels"},
    {"*.com", D, NULL, "public suffix"},
    {"**.com", D, NULL, "public suffix"},
    {"*.co.uk:443", D, NULL, "public suffix"},
    {"www.*.example.com", D, NULL, "a star may only be the first label"},
    {"*.*.example.com", D, NULL, "a star may only be the first label"},
    {"a*b.example.com", D, NULL, "a star may only be the first label"},
    {"1.2.3.4", D, NULL, "write it under ips or networks"},
    {"1.2.3.4:443", D, NULL, "write it under ips or networks"},
    {"[::1]:443", D, NULL, "write it under ips or networks"},
    {"10.0.0.0/8", D, NULL, "write it under ips or networks"},
    {"127.1", D, NULL, "address"},
    {"a..example", D, NULL, "empty label"},
    {"user@a.example", D, NULL, "letters"},
    {"https://a.example", D, NULL, ""},
    {"a.example/path", D, NULL, ""},
    {"example.com:443", A, NULL, "names belong under domains"},
    {"1.2.3", A, NULL, "not an address"},
    {"1.2.3.4/33", A, NULL, "not an address with a prefix length"},
    {"10.0.0.1/8", A, NULL, "write 10.0.0.0/8"},
    {"10.0.0.1/8:443", A, NULL, "write 10.0.0.0/8"},
    {"2001:db8::1/32", A, NULL, "write 2001:db8::/32"},
    {"[1.2.3.4]:80", A, NULL, "only an IPv6 address stands in brackets"},
    {"[2001:db8::1", A, NULL, "without ']'"},
    {"[2001:db8::1]443", A, NULL, "after ']'"},
    {"fe80::1%eth0", A, NULL, "not an address"},
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char fault_data[RULE_TEXT_MAX];
        char print_data[RULE_TEXT_MAX];
        struct text fault = TEXT_OF(fault_data);
        struct text print = TEXT_OF(print_data);
        struct rule rule;
        bool is_read = rule_parse(span_of_text(rows[i].entry), (enum rule_section)rows[i].section,
                                  &rule, &fault);
        if (is_read != (rows[i].print != NULL))
            fail_msg("\"%s\": %s", rows[i].entry, is_read ? "was taken" : fault_data);
        if (!is_read) {
            if (strstr(fault_data, rows[i].fault) == NULL || fault.len == 0)
                fail_msg("\"%s\": the complaint is \"%s\"", rows[i].entry, fault_data);
            continue;
        }
        rule_print(&rule, &print);
        assert_string_equal(print_data, rows[i].print);
        assert_int_equal(fault.len, 0);
    }
}

static void print_is_read_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char data[RULE_TEXT_MAX];
        char again_data[RULE_TEXT_MAX];
        struct text fault = TEXT_OF(data);
        struct text print = TEXT_OF(data);
        struct text again = TEXT_OF(again_data);
        struct rule rule;
        if (rows[i].print == NULL)
            continue;
        rule_parse(span_of_text(rows[i].print), (enum rule_section)rows[i].section, &rule, &fault);
        rule_print(&rule, &print);
        rule_parse(text_span(&print), (enum rule_section)rows[i].section, &rule, &fault);
        rule_print(&rule, &again);
        assert_string_equal(data, again_data);
    }
}

static void ports(void **state)
{
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    struct port_set set;
    struct port_set none = {0};

    (void)state;
    assert_true(port_set_parse(SPAN_LITERAL("50-60,53,80"), &set, &fault));
    assert_true(port_set_has(&set, 50) && port_set_has(&set, 60) && port_set_has(&set, 80));
    assert_false(port_set_has(&set, 49) || port_set_has(&set, 61) || port_set_has(&set, 443));
    assert_true(port_set_writes(&set, 53));
    assert_true(port_set_parse(SPAN_LITERAL("50-60"), &set, &fault));
    assert_false(port_set_writes(&set, 53));
    assert_true(port_set_has(&none, 1) && port_set_has(&none, 65535));
    assert_false(port_set_writes(&none, 53));
}

static void too_many_ports(void **state)
{
    char entry[400] = "a.example:";
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    struct rule rule;

    (void)state;
    for (int port = 1; port <= 2 * PORT_RANGES_MAX; port += 2) {
        snprintf(entry + strlen(entry), 10, "%s%d", port > 1 ? "," : "", port);
    }
    assert_true(rule_parse(span_of_text(entry), RULE_IN_DOMAINS, &rule, &fault));
    strcat(entry, ",1000");
    assert_false(rule_parse(span_of_text(entry), RULE_IN_DOMAINS, &rule, &fault));
    assert_non_null(strstr(data, "another entry"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(print_is_read_back),
        cmocka_unit_test(ports),
        cmocka_unit_test(too_many_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
