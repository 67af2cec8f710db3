#include "config/policy_lua.h"
#include "config/policy_option.h"
#include "config/policy_text.h"
#include "tests/lib/unit.h"

enum { OUT_MAX = 60000 };

/* The faults, a line each; "and N more" for those without words. */
static void print_faults(const struct faults *faults, struct text *out)
{
    for (size_t i = 0; i < faults->count; i++) {
        fault_print(&faults->list[i], out);
        text_put_char(out, '\n');
    }
    if (faults->dropped > 0) {
        text_put(out, "and ");
        text_put_number(out, faults->dropped);
        text_put(out, " more\n");
    }
}

static bool is_default_setting(struct span line)
{
    struct policy_settings settings;
    char bytes[5000];
    size_t count;
    const struct option_def *options = policy_options(&count);

    policy_settings_init(&settings);
    for (size_t i = 0; i < count; i++) {
        struct text text = TEXT_OF(bytes);
        text_put(&text, "set ");
        text_put(&text, options[i].path);
        text_put_char(&text, ' ');
        policy_option_print(&settings, &options[i], &text);
        if (span_equal(line, text_span(&text)))
            return true;
    }
    return false;
}

/* What the policy says beyond the defaults, as lines of the canonical text. */
static void print_policy(const struct policy *policy, struct text *out)
{
    size_t len;
    char *canonical = policy_text_print(policy, &len);

    assert_non_null(canonical);
    for (char *line = strtok(canonical, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        bool is_frame = strncmp(line, "policy ", 7) == 0 || strncmp(line, "uid ", 4) == 0 ||
                        strncmp(line, "file ", 5) == 0 || strcmp(line, "end") == 0;
        if (is_frame || is_default_setting(span_of_text(line)))
            continue;
        text_put(out, line);
        text_put_char(out, '\n');
    }
    free(canonical);
}

/* Reads files named "1", "2", ...; `out` gets the faults, or else the policy. */
static void read_files(const char *const *files, size_t count, char out[OUT_MAX])
{
    struct policy policy;
    struct faults faults;
    struct policy_lua reader;
    struct text text = text_init(out, OUT_MAX);

    policy_init(&policy);
    faults_init(&faults);
    policy_lua_init(&reader, &policy, &faults);
    for (size_t i = 0; i < count; i++) {
        char name[2] = {(char)('1' + i), '\0'};
        policy_lua_read(&reader, name, span_of_text(files[i]));
    }
    policy_lua_finish(&reader);
    if (faults_any(&faults))
        print_faults(&faults, &text);
    else
        print_policy(&policy, &text);
    assert_false(text.is_cut);
    policy_fini(&policy);
    faults_fini(&faults);
}

static void read_one(const char *file, char out[OUT_MAX])
{
    read_files(&file, 1, out);
}

struct row {
    const char *text;
    const char *result; /* faults, or the policy */
};

static void check_rows(const struct row *rows, size_t count)
{
    static char out[OUT_MAX];

    for (size_t i = 0; i < count; i++) {
        read_one(rows[i].text, out);
        if (strcmp(out, rows[i].result) != 0)
            fail_msg("row %zu: %s\n--- got\n%s--- wanted\n%s", i, rows[i].text, out,
                     rows[i].result);
    }
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static const struct row good[] = {
    {"", "mode disabled\n"},
    {"claude_cage {}", "mode disabled\n"},
    {"#!/usr/bin/lua\nclaude_cage { networkMode = 'allowlist' }", "mode allowlist\n"},
    {"\xef\xbb\xbf"
     "claude_cage { networkMode = 'blocklist' }",
     "mode blocklist\n"},
    {"claude_cage {\n networkMode = 'allowlist',\n allow = {\n"
     "  domains = { 'github.com:443', 'PyPI.org.',\n '*.githubusercontent.com:443' },\n"
     "  ips = { '1.2.3.4:80,443', '[2001:db8::5]:443' },\n"
     "  networks = { '10.0.0.0/24:443', '2001:db8:1::/48' } } }",
     "mode allowlist\n"
     "allow name github.com:443 @0:4\nallow name pypi.org @0:4\n"
     "allow name *.githubusercontent.com:443 @0:5\n"
     "allow address 1.2.3.4:80,443 @0:6\nallow address [2001:db8::5]:443 @0:6\n"
     "allow address 10.0.0.0/24:443 @0:7\nallow address 2001:db8:1::/48 @0:7\n"},
    {"claude_cage { allow = { ips = { '10.0.0.0/8' }, networks = { '1.2.3.4' } } }",
     "mode disabled\nallow address 10.0.0.0/8 @0:1\nallow address 1.2.3.4 @0:1\n"},
    {"claude_cage { block = { domains = { 'evil.example' } } }",
     "mode disabled\nblock name evil.example @0:1\n"},
    {"claude_cage { allow = { domains = {\n { 'jira.corp.example:443', private = true },\n"
     "{ 'a.example', private = false } } } }",
     "mode disabled\nallow private jira.corp.example:443 @0:2\nallow name a.example @0:3\n"},
    {"claude_cage { allow = { domains = { [1] = 'a.example', [2] = 'b.example' } } }",
     "mode disabled\nallow name a.example @0:1\nallow name b.example @0:1\n"},
    {"claude_cage { allow = { domains = { 'm\xc3\xbcnchen.de' } } }",
     "mode disabled\nallow name xn--mnchen-3ya.de @0:1\n"},
    {"claude_cage { allow = { domains = {} }, block = {} }", "mode disabled\n"},
    /* Repeated calls: scalars are replaced, lists are joined. */
    {"claude_cage { networkMode = 'allowlist', user = 'a',\n allow = { domains = { 'a.example' } } "
     "}"
     "\nclaude_cage { networkMode = 'blocklist', user = 'b',\n allow = { domains = { 'b.example' } "
     "} }",
     "mode blocklist\nset user b\nallow name a.example @0:2\nallow name b.example @0:4\n"},
    {"claude_cage { networkMode = 'allowlist' } claude_cage { networkMode = nil }",
     "mode allowlist\n"},
    /* The launcher's own keys, known and new. */
    {"claude_cage { project = 'x', isolationMode = 'bwrap', docker = { image = 'y' },\n"
     "directMount = true, source = '.', sync = {}, mounted = 1, showBanner = false,\n"
     "exclude = { 'node_modules' }, cageLocal = true, homeConfigSync = { '.gitconfig' },\n"
     "somethingNew = { allow = 1 } }",
     "mode disabled\n"},
    /* Settings. */
    {"claude_cage { user = '5001', proxy = { user = '5002', base = { metadata = false, private = "
     "false }, ech = 'deny', audit = true, ports = { tcp = 15090, dns = 15091 },\n"
     "dns = { servers = { '9.9.9.9', '[2620:fe::fe]:53' }, addresses = 'real', cache = 5,\n"
     "label_max = 40, new_names_per_minute = 7 }, workers = 2,\n"
     "limits = { connections = 10, sniff_ms = 20, sniff_bytes = 1024, idle_s = 30, dial_ms = 400,\n"
     "header_bytes = 8192, new_per_second = 50 }, log = { file = '/var/log/c', format = 'json' } } "
     "}",
     "mode disabled\nset user 5001\nset proxy.user 5002\nset proxy.base.metadata false\n"
     "set proxy.base.private false\nset proxy.ech deny\nset proxy.audit true\n"
     "set proxy.ports.tcp 15090\nset proxy.ports.dns 15091\nset proxy.dns.addresses real\n"
     "set proxy.dns.cache 5\nset proxy.dns.label_max 40\nset proxy.dns.new_names_per_minute 7\n"
     "set proxy.limits.connections 10\nset proxy.limits.sniff_ms 20\n"
     "set proxy.limits.sniff_bytes 1024\nset proxy.limits.idle_s 30\n"
     "set proxy.limits.dial_ms 400\nset proxy.limits.header_bytes 8192\n"
     "set proxy.limits.new_per_second 50\nset proxy.workers 2\nset proxy.log.file /var/log/c\n"
     "set proxy.log.format json\nserver 9.9.9.9:53\nserver [2620:fe::fe]:53\n"},
    {"claude_cage { proxy = { workers = 2.0 } }", "mode disabled\nset proxy.workers 2\n"},
    {"claude_cage { proxy = { dns = { servers = { '9.9.9.9' } } } }\n"
     "claude_cage { proxy = { dns = { servers = { '1.1.1.1' } } } }",
     "mode disabled\nserver 1.1.1.1:53\n"},
    /* It is a program. */
    {"local names = {}\nfor i, n in ipairs { 'a', 'b' } do names[i] = n .. '.example:' .. 80 + i "
     "end\n"
     "claude_cage { allow = { domains = names } }",
     "mode disabled\nallow name a.example:81 @0:3\nallow name b.example:82 @0:3\n"},
    {"local function host(n) return n .. '.example' end\n"
     "claude_cage { allow = {\n domains = { host 'a',\n host 'b' } } }",
     "mode disabled\nallow name a.example @0:3\nallow name b.example @0:4\n"},
    {"for k, v in pairs { x = 'a.example' } do claude_cage { allow = { domains = { v } } } end",
     "mode disabled\nallow name a.example @0:1\n"},
    {"claude_cage { allow = { ips = { '1.2.3.4:' .. tostring(443), '1.2.3.' .. tonumber('5') } } }",
     "mode disabled\nallow address 1.2.3.4:443 @0:1\nallow address 1.2.3.5 @0:1\n"},
    {"if type(claude_cage) == 'function' then claude_cage { networkMode = 'allowlist' } end",
     "mode allowlist\n"},
    {"local c = claude_cage\nc {\n allow = { domains = { 'a.example' } } }",
     "mode disabled\nallow name a.example @0:2\n"},
    {"return claude_cage { networkMode = 'allowlist' }", "mode allowlist\n"},
    {"_ENV = { claude_cage = claude_cage } claude_cage { networkMode = 'allowlist' }",
     "mode allowlist\n"},
};

static void good_files(void **state)
{
    (void)state;
    CHECK(good);
}

static const struct row bad_entries[] = {
    {"\n\n\n\n\nclaude_cage { allow = { domains = {\n 'a.example', 'githb.com:99999' } } }",
     "1:7: allow.domains[2] \"githb.com:99999\": port 99999 is above 65535\n"},
    {"claude_cage { allow = { domains = { 'a.example:0' } } }",
     "1:1: allow.domains[1] \"a.example:0\": port 0 does not exist; ports are 1 to 65535\n"},
    {"claude_cage { allow = { domains = { '1.2.3.4:80' } } }",
     "1:1: allow.domains[1] \"1.2.3.4:80\": this is an address, not a name; write it under ips or "
     "networks\n"},
    {"claude_cage { block = { ips = { 'a.example' } } }",
     "1:1: block.ips[1] \"a.example\": this is not an address; names belong under domains\n"},
    {"claude_cage { block = { networks = { '10.0.0.1/8' } } }",
     "1:1: block.networks[1] \"10.0.0.1/8\": bits are set behind the prefix length; write "
     "10.0.0.0/8\n"},
    {"claude_cage { allow = { domains = { '*.com' } } }",
     "1:1: allow.domains[1] \"*.com\": com is a public suffix: anybody may register below it; name "
     "the hosts that are meant\n"},
    {"claude_cage { allow = { domains = { 'a\\27[31m\\n\"\\0' } } }",
     "1:1: allow.domains[1] \"a\\x1b[31m\\x0a\\\"\\x00\": a name holds only letters, digits, '-', "
     "'_' and dots\n"},
    {"claude_cage { allow = { domains = { 5, true, claude_cage } } }",
     "1:1: allow.domains[1]: this is a number; write the entry as text: \"name:port\"\n"
     "1:1: allow.domains[2]: this is a boolean; write the entry as text: \"name:port\"\n"
     "1:1: allow.domains[3]: this is a function; write the entry as text: \"name:port\"\n"},
    {"claude_cage { allow = { domains = 'a.example' } }",
     "1:1: allow.domains \"a.example\": this is a string; write a list: { \"first\", \"second\" "
     "}\n"},
    {"claude_cage { allow = { 'a.example' } }",
     "1:1: allow \"a.example\": entries stand in a list: { domains = { ... }, ips = { ... }, "
     "networks = { ... } }\n"},
    {"claude_cage { allow = 'a.example' }",
     "1:1: allow \"a.example\": this is a string; write a table: { domains = { ... } }\n"},
    {"claude_cage { allow = {\n domains = { 'a.example', nil,\n 'b.example' } } }",
     "1:2: allow.domains[2]: nothing stands here, but the list goes on behind it\n"},
    {"claude_cage { allow = {\n domains = { [0] = 'a.example' } } }",
     "1:1: allow.domains \"a.example\": a list has only items, no keys; write { \"first\", "
     "\"second\" }\n"},
    {"claude_cage { allow = {\n domains = {\n x = 'a.example' } } }",
     "1:3: allow.domains.x \"a.example\": a list has only items, no keys; write { \"first\", "
     "\"second\" }\n"},
    {"claude_cage { allow = { domains = { [9223372036854775807] = 'a.example' } } }",
     "1:1: allow.domains[1]: nothing stands here, but the list goes on behind it\n"},
    {"claude_cage { allow = { domains = { [1.5] = 'a.example' } } }",
     "1:1: allow.domains \"a.example\": a list has only items, no keys; write { \"first\", "
     "\"second\" }\n"},
    {"claude_cage { allow = { domains = { { '*.a.example', private = true } } } }",
     "1:1: allow.domains[1] \"*.a.example\": a wildcard may not be private; name the hosts that "
     "are "
     "meant\n"},
    {"claude_cage { allow = { ips = { { '10.0.0.1', private = true } } } }",
     "1:1: allow.ips[1] \"10.0.0.1\": an address entry opens private addresses by itself; leave "
     "private out\n"},
    {"claude_cage { block = { domains = { { 'a.example', private = true } } } }",
     "1:1: block.domains[1] \"a.example\": private says what an allow entry opens; it means "
     "nothing "
     "in block\n"},
    {"claude_cage { allow = { domains = { { 'a.example', privat = true } } } }",
     "1:1: allow.domains[1].privat: unknown key; did you mean \"private\"?\n"},
    {"claude_cage { allow = { domains = { { 'a.example', private = 'yes' } } } }",
     "1:1: allow.domains[1].private \"yes\": this is a string; write true or false\n"},
    {"claude_cage { allow = { domains = { { private = true } } } }",
     "1:1: allow.domains[1]: this is a nil; write the entry first: { \"name:port\", ... }\n"},
    {"claude_cage { allow = { domains = { { 'a.example', 'b.example' } } } }",
     "1:1: allow.domains[1] \"b.example\": a table holds one entry; write the others beside it\n"},
    {"claude_cage { allow = { domains = { { 5 } } } }",
     "1:1: allow.domains[1]: this is a number; write the entry first: { \"name:port\", ... }\n"},
};

static void entry_faults(void **state)
{
    (void)state;
    CHECK(bad_entries);
}

static const struct row bad_keys[] = {
    {"claude_cage {\n networkmode = 'allowlist' }",
     "1:2: networkmode: unknown key; did you mean \"networkMode\"?\n"},
    {"claude_cage { allows = {} }", "1:1: allows: unknown key; did you mean \"allow\"?\n"},
    {"claude_cage { Block = {} }", "1:1: Block: unknown key; did you mean \"block\"?\n"},
    {"claude_cage { users = 'x' }", "1:1: users: unknown key; did you mean \"user\"?\n"},
    {"claude_cage { prxy = {} }", "1:1: prxy: unknown key; did you mean \"proxy\"?\n"},
    {"claude_cage { allowlist = {} }",
     "1:1: allowlist: unknown key; there are: networkMode, allow, block, user, proxy\n"},
    {"claude_cage { domains = {} }",
     "1:1: domains: this is a table; this belongs inside allow or block\n"},
    {"claude_cage { 'github.com' }",
     "1:1: \"github.com\": claude_cage takes keys with values, as networkMode = \"allowlist\"\n"},
    {"claude_cage { allow = {\n domain = {} } }",
     "1:2: allow.domain: unknown key; did you mean \"domains\"?\n"},
    {"claude_cage { allow = { hosts = {} } }",
     "1:1: allow.hosts: unknown key; there are: domains, ips, networks\n"},
    {"claude_cage { allow = { ['a\\nb'] = {} } }",
     "1:1: allow.a\\x0ab: unknown key; there are: domains, ips, networks\n"},
    {"claude_cage { networkMode = 'allow' }",
     "1:1: networkMode \"allow\": write \"disabled\", \"allowlist\" or \"blocklist\"\n"},
    {"claude_cage { networkMode = 1 }",
     "1:1: networkMode: this is a number; write \"disabled\", \"allowlist\" or \"blocklist\"\n"},
    {"claude_cage { user = 5001 }", "1:1: user: this is a number; write it as text: \"5001\"\n"},
    {"claude_cage { user = {} }", "1:1: user: this is a table; write a text in quotes\n"},
    {"claude_cage { proxy = true }",
     "1:1: proxy: this is a boolean; write a table: { key = value }\n"},
    {"claude_cage { proxy = { 'x' } }",
     "1:1: proxy \"x\": settings have names; write { key = value }\n"},
    {"claude_cage { proxy = {\n limits = {\n idle = 5 } } }",
     "1:3: proxy.limits.idle: unknown key; did you mean \"idle_s\"?\n"},
    {"claude_cage { proxy = { limit = {} } }",
     "1:1: proxy.limit: unknown key; did you mean \"limits\"?\n"},
    {"claude_cage { proxy = { ['limits.idle_s'] = 5 } }",
     "1:1: proxy.limits.idle_s: unknown key; there are: user, base, ech, audit, ports, dns, "
     "limits, "
     "workers, upstream, log\n"},
    {"claude_cage { proxy = { dns = { server = {} } } }",
     "1:1: proxy.dns.server: unknown key; did you mean \"servers\"?\n"},
    {"claude_cage { proxy = { limits = 5 } }",
     "1:1: proxy.limits: this is a number; write a table: { key = value }\n"},
    {"claude_cage { proxy = { limits = { idle_s = '5' } } }",
     "1:1: proxy.limits.idle_s \"5\": this is a string; write a whole number from 1 to 604800\n"},
    {"claude_cage { proxy = { limits = { idle_s = 1.5 } } }",
     "1:1: proxy.limits.idle_s: write a whole number from 1 to 604800\n"},
    {"claude_cage { proxy = { limits = { idle_s = -1 } } }",
     "1:1: proxy.limits.idle_s: write a whole number from 1 to 604800\n"},
    {"claude_cage { proxy = { limits = { idle_s = 0 } } }",
     "1:1: proxy.limits.idle_s: 0 is not within 1 to 604800\n"},
    {"claude_cage { proxy = { audit = 'yes' } }",
     "1:1: proxy.audit \"yes\": this is a string; write true or false\n"},
    {"claude_cage { proxy = { ech = 'inner' } }",
     "1:1: proxy.ech \"inner\": \"inner\" is not one of \"outer\", \"deny\"\n"},
    {"claude_cage { proxy = { log = { file = '/a\\nb' } } }",
     "1:1: proxy.log.file \"/a\\x0ab\": only printable ASCII may stand here\n"},
    {"claude_cage { proxy = { dns = { servers = { 'dns.example', 5 } } } }",
     "1:1: proxy.dns.servers[1] \"dns.example\": this is not an address; names belong under "
     "domains\n"
     "1:1: proxy.dns.servers[2]: this is a number; write the resolver's address in quotes\n"},
    {"claude_cage { proxy = { dns = { servers =\n{ '1.1.1.1', '1.1.1.1', '1.1.1.1', '1.1.1.1', "
     "'1.1.1.1', '1.1.1.1', '1.1.1.1', '1.1.1.1',\n'1.1.1.9' } } } }",
     "1:3: proxy.dns.servers[9] \"1.1.1.9\": too many resolvers: 8 are the limit\n"},
    {"claude_cage()", "1:1: claude_cage takes one table: claude_cage { ... }\n"},
    {"claude_cage(nil)", "1:1: claude_cage takes one table: claude_cage { ... }\n"},
    {"claude_cage('x')", "1:1: \"x\": claude_cage takes one table: claude_cage { ... }\n"},
    {"claude_cage({}, {})", "1:1: claude_cage takes one table: claude_cage { ... }\n"},
    {"claude_cage(claude_cage)", "1:1: claude_cage takes one table: claude_cage { ... }\n"},
};

static void key_faults(void **state)
{
    (void)state;
    CHECK(bad_keys);
}

static const struct row bad_wholes[] = {
    {"claude_cage {\n user = 'root' }",
     "1:2: user \"root\": root cannot be confined; name another account\n"},
    {"claude_cage { proxy = { user = '0' } }",
     "1:1: proxy.user \"0\": root cannot be confined; name another account\n"},
    {"claude_cage { user = '' }", "1:1: user \"\": no user is named\n"},
    {"claude_cage { user = '../x' }",
     "1:1: user \"../x\": this is neither an account name nor a uid\n"},
    {"claude_cage { user = '007' }",
     "1:1: user \"007\": a uid is a number up to 4294967294 without leading zeros\n"},
    {"claude_cage { user = '4294967295' }",
     "1:1: user \"4294967295\": a uid is a number up to 4294967294 without leading zeros\n"},
    {"claude_cage { user = 'x', proxy = {\n user = 'x' } }",
     "1:2: proxy.user \"x\": the proxy needs an account of its own, not the cage's\n"},
    {"claude_cage { user = 'cage-proxy' }",
     "proxy.user \"cage-proxy\": the proxy needs an account of its own, not the cage's\n"},
    {"claude_cage { proxy = { ports = { tcp = 5000 } } }",
     "1:1: proxy.ports.tcp \"5000\": set both of proxy.ports.tcp and proxy.ports.dns, or "
     "neither\n"},
    {"claude_cage { proxy = { ports = { tcp = 5000,\n dns = 5000 } } }",
     "1:2: proxy.ports.dns \"5000\": proxy.ports.tcp and proxy.ports.dns must differ\n"},
    {"claude_cage { proxy = { upstream = 'http://p:3128' } }",
     "1:1: proxy.upstream \"http://p:3128\": this version cannot leave through another proxy\n"},
    {"claude_cage { proxy = { dns = { addresses = 'synthetic' } } }",
     "1:1: proxy.dns.addresses \"synthetic\": this version gives out real addresses only; write "
     "\"real\"\n"},
    {"claude_cage { proxy = { dns = { servers = { 'tls://9.9.9.9#dns.quad9.net' } } } }",
     "1:1: proxy.dns.servers \"tls://9.9.9.9:853#dns.quad9.net\": this version cannot ask over "
     "TLS; "
     "name a plain resolver\n"},
};

static void whole_faults(void **state)
{
    (void)state;
    CHECK(bad_wholes);
}

static const struct row bad_programs[] = {
    {"claude_cage {", "1:1: unexpected symbol near <eof>\n"},
    {"\n\nclaude_cage { x = ) }", "1:3: unexpected symbol near ')'\n"},
    {"# comment\n\nx x", "1:3: syntax error near 'x'\n"},
    {"local t = nil\nt.x = 1", "1:2: attempt to index a nil value (local 't')\n"},
    {"\x1bLua", "1: attempt to load a binary chunk (mode is 't')\n"},
    {"x = ('x'):rep(5)", "1:1: attempt to index a string value (constant 'x')\n"},
    {"x = ('x').len", "1:1: attempt to index a string value (constant 'x')\n"},
    {"x = #'abc' x()", "1:1: attempt to call a number value (global 'x')\n"},
    {"load('x = 1')()", "1:1: attempt to call a nil value (global 'load')\n"},
    {"error { 1 }", "1:1: attempt to call a nil value (global 'error')\n"},
    {"for i = 1, 1001 do\n claude_cage {}\nend",
     "1:2: claude_cage is called too often: 1,000 calls are the limit\n"},
    {"while true do end",
     "1:1: the file runs for too long: it must end within 50,000,000 instructions\n"},
    {"local function f() return f() end\n\nf()",
     "1:1: the file runs for too long: it must end within 50,000,000 instructions\n"},
    {"local s = 'x' while true do s = s .. s end", "1: the file takes too much memory\n"},
    {"local t = {} for i = 1, 1e9 do t[i] = i end", "1: the file takes too much memory\n"},
    {"local s = 'x' for i = 1, 25 do s = s .. s end\nwhile true do local x = s .. 'y' end",
     "1: the file takes too much memory\n"},
    {"for k in pairs(claude_cage) do end",
     "1:1: bad argument #1 to 'for iterator' (table expected, got function)\n"},
    {"tostring()", "1:1: bad argument #1 to 'tostring' (value expected)\n"},
    {"tonumber('z', 99)", "1:1: bad argument #2 to 'tonumber' (base out of range)\n"},
    /* A fault does not hide the ones before it. */
    {"claude_cage { networkMode = 1 }\nclaude_cage { user = 1 }\nx()",
     "1:1: networkMode: this is a number; write \"disabled\", \"allowlist\" or \"blocklist\"\n"
     "1:2: user: this is a number; write it as text: \"1\"\n"
     "1:3: attempt to call a nil value (global 'x')\n"},
    /* claude_cage as something else than a call with a table. */
    {"for i in claude_cage, {} do break end",
     "1:1: claude_cage takes one table: claude_cage { ... }\n"},
    {"pairs(claude_cage { networkMode = 'allowlist' } or {})", "mode allowlist\n"},
};

static void program_faults(void **state)
{
    (void)state;
    CHECK(bad_programs);
}

/* Nothing is there but what the launcher gives. */
static void globals(void **state)
{
    static const char *const absent[] = {
        "load",    "loadstring",   "loadfile",     "dofile",         "require",   "print",
        "warn",    "error",        "assert",       "pcall",          "xpcall",    "select",
        "next",    "rawget",       "rawset",       "rawequal",       "rawlen",    "unpack",
        "getfenv", "setfenv",      "_G",           "_VERSION",       "string",    "table",
        "math",    "os",           "io",           "debug",          "coroutine", "package",
        "utf8",    "setmetatable", "getmetatable", "collectgarbage",
    };
    static char out[OUT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        char file[100];
        struct text text = TEXT_OF(file);
        text_put(&text, absent[i]);
        text_put(&text, ".x = 1");
        read_one(file, out);
        assert_non_null(strstr(out, "attempt to index a nil value"));
    }
    read_one("local n = 0\nfor k, v in pairs(_ENV) do n = n + 1 end\n"
             "claude_cage { proxy = { workers = n } }",
             out);
    assert_string_equal(out, "mode disabled\nset proxy.workers 6\n");
    read_one("claude_cage { user = tostring({}) .. '-' .. tostring(nil) .. '-' .. tostring(pairs)\n"
             " .. '-' .. tostring(true) .. '-' .. tostring('x') .. '-' .. tostring(5) }",
             out);
    assert_string_equal(out, "mode disabled\nset user table-nil-function-true-x-5\n");
}

static void tiers(void **state)
{
    static const char *const files[] = {
        "claude_cage { networkMode = 'allowlist', user = 'a', allow = { domains = { 'a.example' } "
        "},"
        " proxy = { audit = true, limits = { idle_s = 5 } } }\nleft = 1",
        "claude_cage { user = 'b', block = { ips = { '1.2.3.4' } }, proxy = { audit = false } }\n"
        "claude_cage { allow = {\n domains = { 'b.example' } } }\n"
        "if left then claude_cage { user = 'leak' } end",
    };
    static const char *const faulty[] = {"claude_cage { user = 1 }", "claude_cage {",
                                         "claude_cage { usr = 1 }"};
    static char out[OUT_MAX];

    (void)state;
    read_files(files, 2, out);
    assert_string_equal(out, "mode allowlist\nset user b\nset proxy.limits.idle_s 5\n"
                             "allow name a.example @0:1\nallow name b.example @1:3\n"
                             "block address 1.2.3.4 @1:1\n");
    read_files(faulty, 3, out);
    assert_string_equal(out, "1:1: user: this is a number; write it as text: \"1\"\n"
                             "2:1: unexpected symbol near <eof>\n"
                             "3:1: usr: unknown key; did you mean \"user\"?\n");
}

/* All faults of a file, in the order of the lines, at most so many with words. */
static void many_faults(void **state)
{
    static char file[OUT_MAX];
    static char out[OUT_MAX];
    struct text text = TEXT_OF(file);

    (void)state;
    text_put(&text, "claude_cage { allow = { domains = {\n");
    for (int i = 0; i < 150; i++)
        text_put(&text, "'x:0',\n");
    text_put(&text, "} }, networkMode = 1 }");
    read_one(file, out);
    assert_non_null(strstr(out, "1:2: allow.domains[1] \"x:0\": port 0"));
    assert_non_null(strstr(out, "and 51 more\n"));
}

struct built {
    char *bytes;
    size_t len;
};

static struct built repeat(const char *head, const char *body, size_t count, const char *tail)
{
    size_t body_len = strlen(body);
    struct built built = {malloc(strlen(head) + body_len * count + strlen(tail) + 1), 0};

    assert_non_null(built.bytes);
    char *at = stpcpy(built.bytes, head);
    for (size_t i = 0; i < count; i++) {
        memcpy(at, body, body_len);
        at += body_len;
    }
    strcpy(at, tail);
    built.len = strlen(built.bytes);
    return built;
}

static size_t entries_of(struct built file, struct faults *faults)
{
    struct policy policy;
    struct policy_lua reader;

    policy_init(&policy);
    faults_init(faults);
    policy_lua_init(&reader, &policy, faults);
    policy_lua_read(&reader, "big", span_of(file.bytes, file.len));
    size_t count = policy.allow.count;
    if (!faults_any(faults))
        assert_int_equal(policy.allow.rules[count - 1].source.line, count + 1);
    policy_fini(&policy);
    free(file.bytes);
    return count;
}

/* What is large but meant works; what is larger than anybody needs ends with a fault. */
static void large_files(void **state)
{
    struct faults faults;

    (void)state;
    assert_int_equal(
        entries_of(repeat("claude_cage { allow = { domains = {\n",
                          "'a-host-with-a-long-name.example.com:443',\n", 200000, "} } }"),
                   &faults),
        200000);
    assert_int_equal(faults.count, 0);

    entries_of(repeat("claude_cage { allow = { domains = {\n", "'a.b',\n", 262145, "} } }"),
               &faults);
    assert_int_equal(faults.count, 1);
    assert_string_equal(faults.list[0].message, "too many entries: 262,144 are the limit");
    faults_fini(&faults);

    entries_of(repeat("claude_cage { allow = ", "{", 100000, ""), &faults);
    assert_int_equal(faults.count, 1);
    assert_non_null(strstr(faults.list[0].message, "overflow"));
    faults_fini(&faults);

    entries_of(repeat("x = ", "-", 100000, "1"), &faults);
    faults_fini(&faults);
    entries_of(repeat("x = '", "y", 10 << 20, "' claude_cage { allow = { domains = { x } } }"),
               &faults);
    assert_int_equal(faults.count, 1);
    assert_true(strlen(faults.list[0].message) < 300);
    faults_fini(&faults);
    entries_of(repeat("", "(", 10 << 20, ""), &faults);
    assert_int_equal(faults.count, 1);
    faults_fini(&faults);
}

/* Any bytes yield a policy or a fault, with lines that exist. */
static void any_bytes(void **state)
{
    static const char *const parts[] = {
        "claude_cage", "{",           "}",       "(",     ")",       "[",       "]",
        "=",           ",",           "'a.b'",   "allow", "domains", "private", "proxy",
        "limits",      "'",           "\\",      "\n",    "--",      "[[",      "]]",
        "end",         "1",           "true",    "local", "nil",     "..",      "for i=1,9 do ",
        "tostring",    "function() ", "return ", "\0",    "\xff",    " ",       "block",
        "ips",
    };
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 3000; round++) {
        char bytes[400];
        size_t len = 0;
        uint32_t lines = 1;
        struct policy policy;
        struct faults faults;
        struct policy_lua reader;
        len = (size_t)(stpcpy(bytes, "claude_cage { allow = {") - bytes);
        while (len < 300 && test_random(&random) % 40 != 0) {
            const char *part = parts[test_random(&random) % (sizeof(parts) / sizeof(parts[0]))];
            size_t part_len = *part == '\0' ? 1 : strlen(part);
            memcpy(bytes + len, part, part_len);
            len += part_len;
        }
        for (size_t i = 0; i < len; i++)
            lines += bytes[i] == '\n';
        struct guarded g = guarded_copy(span_of(bytes, len), GUARDED_END);
        policy_init(&policy);
        faults_init(&faults);
        policy_lua_init(&reader, &policy, &faults);
        policy_lua_read(&reader, "f", g.bytes);
        for (size_t i = 0; i < faults.count; i++)
            assert_true(faults.list[i].line <= lines);
        for (size_t i = 0; i < policy.allow.count; i++)
            assert_true(policy.allow.rules[i].source.line <= lines);
        policy_fini(&policy);
        faults_fini(&faults);
        guarded_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files),     cmocka_unit_test(entry_faults),
        cmocka_unit_test(key_faults),     cmocka_unit_test(whole_faults),
        cmocka_unit_test(program_faults), cmocka_unit_test(globals),
        cmocka_unit_test(tiers),          cmocka_unit_test(many_faults),
        cmocka_unit_test(large_files),    cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
