#include "proxy/cli/commands.h"

#include "config/load.h"
#include "proxy/cli/advice.h"
#include "proxy/cli/report.h"
#include "tests/lib/unit.h"

#include <sys/stat.h>
#include <unistd.h>

enum { OUT_MAX = 20000 };

static char root[] = "/tmp/cage-test-check-XXXXXX";

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL || chdir(root) < 0 ? -1 : 0;
}

static int remove_root(void **state)
{
    char command[100];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return chdir("/") < 0 || system(command) != 0 ? -1 : 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void read_file(const char *path, char out[OUT_MAX])
{
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    out[fread(out, 1, OUT_MAX - 1, file)] = '\0';
    fclose(file);
}

/* Runs `check ARGS...` with its two streams in files. */
static int run_check(const char *const *args, char out[OUT_MAX], char err[OUT_MAX])
{
    char *argv[8] = {(char *)(uintptr_t) "check"};
    int argc = 1;
    int saved[2] = {dup(1), dup(2)};

    for (; args[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
    fflush(stdout);
    fflush(stderr);
    assert_non_null(freopen("out", "w", stdout));
    assert_non_null(freopen("err", "w", stderr));
    int status = cmd_check(argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(saved[0], 1);
    dup2(saved[1], 2);
    close(saved[0]);
    close(saved[1]);
    read_file("out", out);
    read_file("err", err);
    return status;
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("got:\n%swanted: %s", text, part);
}

static void good(void **state)
{
    static char out[OUT_MAX];
    static char err[OUT_MAX];
    static const char *const args[] = {"-c", "good.lua", NULL};
    static const char *const json[] = {"--json", "-c", "good.lua", NULL};

    (void)state;
    write_file("good.lua",
               "claude_cage { networkMode = 'allowlist', user = '5001', proxy = { user = '5002',\n"
               "audit = true }, allow = { domains = { 'a.example:443', 'b.example',\n"
               "{ 'c.example:443', private = true } }, ips = { '169.254.169.254:80', '9.9.9.9:53' "
               "} },\n block = { ips = { '1.2.3.4' } } }");
    assert_int_equal(run_check(args, out, err), 0);
    assert_has(out, "networkMode = \"allowlist\"\n");
    assert_has(out, "user = \"5001\"  -- ");
    assert_has(out, "proxy.limits.idle_s = 3600  -- ");
    assert_has(out, "allow a.example:443  -- good.lua:2\n");
    assert_has(out, "block 1.2.3.4  -- good.lua:4\n");
    assert_has(err, "warning: proxy.audit is true");
    assert_has(err, "warning: good.lua:2: b.example: no port is written");
    assert_has(err, "warning: good.lua:3: c.example:443: private = true is not carried out");
    assert_has(err, "warning: good.lua:3: 169.254.169.254:80: this opens a metadata address");
    assert_has(err, "warning: good.lua:3: 9.9.9.9:53: this opens DNS past");
    assert_has(err, "warning: good.lua:4: 1 block entry changes nothing in allowlist mode");

    assert_int_equal(run_check(json, out, err), 0);
    assert_string_equal(err, "");
    assert_has(out, "{\"kind\":\"mode\",\"mode\":\"allowlist\"}\n");
    assert_has(out, "{\"kind\":\"user\",\"role\":\"cage\",\"uid\":5001}\n");
    assert_has(out, "{\"kind\":\"setting\",\"path\":\"proxy.audit\",\"value\":true}\n");
    assert_has(out, "{\"kind\":\"setting\",\"path\":\"proxy.ech\",\"value\":\"outer\"}\n");
    assert_has(out,
               "{\"kind\":\"entry\",\"list\":\"allow\",\"entry\":\"c.example:443\",\"private\":"
               "true,\"file\":\"good.lua\",\"line\":3}\n");
    assert_has(out,
               "{\"kind\":\"warning\",\"file\":\"good.lua\",\"line\":2,\"message\":\"b.example: ");
}

static void faulty(void **state)
{
    static char out[OUT_MAX];
    static char err[OUT_MAX];
    static const char *const args[] = {"-c", "bad.lua", "-c", "none.lua", NULL};
    static const char *const json[] = {"--json", "-c", "bad.lua", NULL};

    (void)state;
    write_file("bad.lua", "claude_cage { networkMode = 'allowlist', allow = { domains = {\n"
                          "'githb.com:99999', } } }");
    assert_int_equal(run_check(args, out, err), 1);
    assert_string_equal(out, "");
    assert_has(err, "bad.lua:2: allow.domains[1] \"githb.com:99999\": port 99999 is above 65535\n");
    assert_has(err, "none.lua cannot be opened: No such file or directory\n");
    assert_int_equal(run_check(json, out, err), 1);
    assert_string_equal(out, "{\"kind\":\"fault\",\"file\":\"bad.lua\",\"line\":2,\"message\":"
                             "\"allow.domains[1] \\\"githb.com:99999\\\": port 99999 is above "
                             "65535\"}\n");
}

static void disabled(void **state)
{
    static char out[OUT_MAX];
    static char err[OUT_MAX];
    static const char *const args[] = {"-c", "off.lua", NULL};
    static const char *const wrong[] = {"off.lua", NULL};

    (void)state;
    write_file("off.lua", "claude_cage { user = 'no-such-account-here' }");
    assert_int_equal(run_check(args, out, err), 0);
    assert_has(err, "warning: networkMode is \"disabled\": nothing would be installed");
    assert_has(err, "warning: user \"no-such-account-here\" does not exist");
    assert_int_equal(run_check(wrong, out, err), 2);
    assert_has(err, "cage-proxy check: files are named with -c: off.lua");
}

static void make_directories(const char *path)
{
    char part[200];

    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        mkdir(part, 0755);
    }
}

/* What each file says of the account "agent", uid 5001, in the groups 5001 and 0. */
struct place {
    const char *path;
    const char *text;
    bool is_told;
};

static void accounts(void **state)
{
    static const struct place places[] = {
        {"etc/sudoers", "root ALL=(ALL) ALL\n%admins ALL=(ALL) ALL\n# agent ALL\n", false},
        {"etc/sudoers", "agent ALL=(ALL) NOPASSWD: ALL\n", true},
        {"etc/sudoers", "\t#5001 ALL=(ALL) ALL\n", true},
        {"etc/sudoers", "%#5001 ALL=(ALL) ALL\n", true},
        {"etc/sudoers", "%root ALL=(ALL) ALL\n", true},
        {"etc/sudoers", "ALL ALL=(ALL) /bin/ls\n", true},
        {"etc/sudoers", "User_Alias OPS = me,agent\n", true},
        {"etc/sudoers", "User_Alias OPS = me,agent2\n", false},
        {"etc/sudoers.d/x", "agent ALL=(ALL) ALL\n", true},
        {"etc/sudoers.d/x.bak", "agent ALL=(ALL) ALL\n", false},
        {"etc/subuid", "agent:100000:65536\n", true},
        {"etc/subuid", "agents:100000:65536\n", false},
        {"etc/subgid", "5001:100000:65536\n", true},
        {"var/lib/systemd/linger/agent", "", true},
        {"var/spool/cron/crontabs/agent", "", true},
        {"var/spool/cron/crontabs/other", "", false},
    };
    uint32_t gids[] = {5001, 0};
    struct account_ids ids = {5001, 5001, gids, 1};
    struct faults warnings;

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        faults_init(&warnings);
        ids.gid_count = strstr(places[i].text, "%root") != NULL ? 2 : 1;
        make_directories(places[i].path);
        write_file(places[i].path, places[i].text);
        advice_account("agent", &ids, root, &warnings);
        bool is_told = false;
        for (size_t j = 0; j < warnings.count; j++)
            is_told = is_told || strstr(warnings.list[j].message, places[i].path) != NULL;
        if (is_told != places[i].is_told)
            fail_msg("row %zu", i);
        faults_fini(&warnings);
        unlink(places[i].path);
    }
    faults_init(&warnings);
    ids.gid_count = 2;
    advice_account("agent", &ids, root, &warnings);
    assert_int_equal(warnings.count, 1);
    assert_has(warnings.list[0].message, "it is in the group root");
    faults_fini(&warnings);
}

static void json_text(void **state)
{
    static const char bytes[] = "a\"\\\n\x7f\xc3\xbc\xff\xed\xa0\x80\xe2\x82";
    static char out[OUT_MAX];
    FILE *file = fopen("json", "w");

    (void)state;
    report_json_text(file, span_of(bytes, sizeof(bytes) - 1));
    fclose(file);
    read_file("json", out);
    assert_string_equal(out, "\"a\\\"\\\\\\u000a\\u007f\xc3\xbc\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd"
                             "\\ufffd\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),     cmocka_unit_test(faulty),    cmocka_unit_test(disabled),
        cmocka_unit_test(accounts), cmocka_unit_test(json_text),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
