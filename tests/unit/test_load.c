#include "config/load.h"

/* A busy machine is no reason to fail; hanging_file sets one of its own. */
static int deadline_ms = 120000;
#define LOAD_DEADLINE_MS deadline_ms
#include "config/load_child.c"

#include "tests/lib/unit.h"

#include <sys/stat.h>
#include <sys/xattr.h>

enum { CAGE = 5001, PROXY = 5002, PERSON = 5003 };

#define ACL_NAME "system.posix_acl_access"
#define USERS    "claude_cage { user = '5001', proxy = { user = '5002' } }\n"

static char root[] = "/tmp/cage-test-load-XXXXXX";

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
    assert_int_equal(chown(path, 0, 0), 0);
    assert_int_equal(chmod(path, 0644), 0);
}

static void make_directory(const char *path)
{
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* The faults of loading one file, a line each. */
static const char *faults_of(const struct load_request *request)
{
    static char out[20000];
    struct text text = TEXT_OF(out);
    struct policy policy;
    struct faults faults;

    faults_init(&faults);
    bool is_loaded = load_run(request, &policy, &faults);
    assert_int_equal(is_loaded, !faults_any(&faults));
    if (is_loaded)
        policy_fini(&policy);
    for (size_t i = 0; i < faults.count; i++) {
        fault_print(&faults.list[i], &text);
        text_put_char(&text, '\n');
    }
    faults_fini(&faults);
    return out;
}

static const char *faults_of_file(const char *name)
{
    struct load_request request = {&name, 1, NULL};

    return faults_of(&request);
}

static void assert_fault(const char *faults, const char *part)
{
    if (strstr(faults, part) == NULL)
        fail_msg("got:\n%swanted: %s", faults, part);
}

static void whole(void **state)
{
    const char *files[] = {"one.lua", "two.lua"};
    struct load_request request = {files, 2, NULL};
    struct policy policy;
    struct faults faults;

    (void)state;
    write_file("one.lua", USERS "claude_cage { networkMode = 'allowlist', allow = { domains = {\n"
                                "'a.example' } } }");
    write_file("two.lua", "claude_cage { allow = { ips = { '1.2.3.4' } } }");
    faults_init(&faults);
    assert_true(load_run(&request, &policy, &faults));
    assert_int_equal(policy.mode, MODE_ALLOWLIST);
    assert_int_equal(policy.cage_uid, CAGE);
    assert_int_equal(policy.proxy_uid, PROXY);
    assert_int_equal(policy.allow.count, 2);
    assert_int_equal(policy.allow.rules[0].source.line, 3);
    assert_int_equal(policy.allow.rules[1].source.file, 1);
    assert_string_equal(policy.files[1], "two.lua");
    policy_fini(&policy);
    faults_fini(&faults);
}

static void faults_come_through(void **state)
{
    (void)state;
    write_file("bad.lua", "claude_cage {\n user = 1 }\nx(");
    assert_string_equal(faults_of_file("bad.lua"), "bad.lua:3: unexpected symbol near <eof>\n");
    write_file("bad.lua", "claude_cage {\n user = 1,\n usr = '\\27' }");
    assert_string_equal(faults_of_file("bad.lua"),
                        "bad.lua:2: user: this is a number; write it as text: \"1\"\n"
                        "bad.lua:3: usr: unknown key; did you mean \"user\"?\n");
    write_file("bad.lua", "while true do end");
    assert_fault(faults_of_file("bad.lua"), "bad.lua:1: the file runs for too long");
}

static void users(void **state)
{
    const char *file = "user.lua";
    struct load_request request = {&file, 1, "root"};
    struct policy policy;
    struct faults faults;

    (void)state;
    write_file(file, "claude_cage { user = 'no-such-account-here' }");
    faults_init(&faults);
    request.user = NULL;
    assert_true(load_run(&request, &policy, &faults));
    assert_int_equal(policy.cage_uid, POLICY_UID_NONE);
    policy_fini(&policy);

    request.user = "5001";
    assert_true(load_run(&request, &policy, &faults));
    assert_int_equal(policy.cage_uid, CAGE);
    assert_string_equal(policy.settings.user, "5001");
    policy_fini(&policy);
    faults_fini(&faults);

    request.user = "root";
    assert_fault(faults_of(&request), "--user \"root\": root cannot be confined");
    request.user = "../x";
    assert_fault(faults_of(&request), "--user \"../x\": this is neither");
    write_file(file, "claude_cage { user = 'nobody',\n proxy = { user = '65534' } }");
    assert_fault(faults_of_file(file),
                 "user.lua:2: proxy.user \"65534\": the proxy needs an account of its own");
}

static void set_acl(const char *path, uint16_t tag, uint32_t id, uint16_t mask)
{
    struct {
        uint32_t version;
        struct {
            uint16_t tag;
            uint16_t perm;
            uint32_t id;
        } entries[5];
    } acl = {2,
             {{1, 6, UINT32_MAX},
              {tag, 6, id},
              {4, 4, UINT32_MAX},
              {16, mask, UINT32_MAX},
              {32, 4, UINT32_MAX}}};

    if (tag == 8) {
        uint16_t perm = acl.entries[1].perm;
        acl.entries[1].tag = 4;
        acl.entries[1].perm = acl.entries[2].perm;
        acl.entries[1].id = UINT32_MAX;
        acl.entries[2].tag = tag;
        acl.entries[2].perm = perm;
        acl.entries[2].id = id;
    }
    if (setxattr(path, ACL_NAME, &acl, sizeof(acl), 0) < 0) {
        assert_int_equal(errno, ENOTSUP);
        skip();
    }
}

static void acls(void **state)
{
    (void)state;
    need_root();
    write_file("acl.lua", USERS);
    set_acl("acl.lua", 2, CAGE, 6);
    assert_fault(faults_of_file("acl.lua"), "the cage's user (uid 5001) may, by an ACL entry of "
                                            "its own, change");
    set_acl("acl.lua", 2, CAGE, 4);
    assert_string_equal(faults_of_file("acl.lua"), "");
    set_acl("acl.lua", 2, PERSON, 6);
    assert_string_equal(faults_of_file("acl.lua"), "");
    set_acl("acl.lua", 8, PROXY, 6);
    assert_fault(faults_of_file("acl.lua"), "the proxy's user (uid 5002) may, through a group");
}

struct judge_row {
    const char *path; /* below the directory; "" is the directory itself */
    uid_t uid;
    gid_t gid;
    mode_t mode;
    const char *fault; /* NULL: none */
};

/* Each row changes one thing of outer/inner/c.lua, which is root's otherwise. */
static void judged(void **state)
{
    static const struct judge_row rows[] = {
        {"outer/inner/c.lua", 0, 0, 0644, NULL},
        {"outer/inner/c.lua", PERSON, PERSON, 0600, NULL},
        {"outer/inner/c.lua", CAGE, 0, 0400, "the cage's user (uid 5001) owns"},
        {"outer/inner/c.lua", PROXY, 0, 0400, "the proxy's user (uid 5002) owns"},
        {"outer/inner/c.lua", 0, CAGE, 0664, "the cage's user (uid 5001) may, through a group"},
        {"outer/inner/c.lua", 0, CAGE, 0644, NULL},
        {"outer/inner/c.lua", 0, PROXY, 0664, "the proxy's user (uid 5002) may, through a group"},
        {"outer/inner/c.lua", 0, PERSON, 0664, NULL},
        {"outer/inner/c.lua", 0, 0, 0646, "the cage's user (uid 5001) may, like everybody"},
        {"outer/inner", CAGE, 0, 0755, "(uid 5001) owns"},
        {"outer/inner", CAGE, 0, 01755, "(uid 5001) owns"},
        {"outer/inner", 0, CAGE, 0775, "(uid 5001) may, through a group"},
        {"outer/inner", 0, CAGE, 01775, NULL},
        {"outer/inner", 0, 0, 0777, "(uid 5001) may, like everybody"},
        {"outer/inner", 0, 0, 01777, NULL},
        {"outer", CAGE, 0, 0755, "(uid 5001) owns"},
        {"outer", PROXY, 0, 0755, "(uid 5002) owns"},
        {"outer", 0, 0, 0777, "(uid 5002) may, like everybody"},
        {"outer", PERSON, PERSON, 0700, NULL},
    };

    (void)state;
    need_root();
    make_directory("outer");
    make_directory("outer/inner");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        write_file("outer/inner/c.lua", USERS);
        assert_int_equal(chown(rows[i].path, rows[i].uid, rows[i].gid), 0);
        assert_int_equal(chmod(rows[i].path, rows[i].mode), 0);
        const char *faults = faults_of_file("outer/inner/c.lua");
        if (rows[i].fault == NULL ? faults[0] != '\0' : strstr(faults, rows[i].fault) == NULL)
            fail_msg("row %zu: got\n%s", i, faults);
        if (rows[i].fault != NULL)
            assert_fault(faults, rows[i].path);
        assert_int_equal(chown(rows[i].path, 0, 0), 0);
        assert_int_equal(chmod(rows[i].path, 0755), 0);
    }
}

static void command_line_user_is_judged(void **state)
{
    const char *file = "mine.lua";
    struct load_request request = {&file, 1, "7001"};

    (void)state;
    need_root();
    write_file(file, USERS);
    assert_int_equal(chown(file, 7001, 0), 0);
    assert_fault(faults_of(&request), "the cage's user (uid 7001) owns");
    request.user = NULL;
    assert_string_equal(faults_of(&request), "");
}

static void refused_paths(void **state)
{
    char absolute[200];
    char deep[9000] = "";

    (void)state;
    make_directory("real");
    write_file("real/c.lua", USERS);
    assert_int_equal(symlink("real", "link"), 0);
    assert_int_equal(symlink("real/c.lua", "link.lua"), 0);
    assert_int_equal(symlink("nowhere", "dangling.lua"), 0);
    assert_int_equal(mkfifo("fifo", 0644), 0);

    assert_string_equal(faults_of_file("real/c.lua"), "");
    assert_string_equal(faults_of_file("./real/../real//c.lua"), "");
    snprintf(absolute, sizeof(absolute), "%s/real/c.lua", root);
    assert_string_equal(faults_of_file(absolute), "");
    snprintf(absolute, sizeof(absolute), "link/c.lua: %s/link is a symbolic link", root);
    assert_fault(faults_of_file("link/c.lua"), absolute);
    assert_fault(faults_of_file("link/../real/c.lua"), "/link is a symbolic link");
    assert_fault(faults_of_file("link.lua"), "/link.lua is a symbolic link");
    assert_fault(faults_of_file("dangling.lua"), "/dangling.lua is a symbolic link");
    assert_fault(faults_of_file("/proc/self/fd/0"), "/proc/self is a symbolic link");
    assert_fault(faults_of_file("absent.lua"), "/absent.lua cannot be opened: No such file");
    assert_fault(faults_of_file("absent/c.lua"), "/absent cannot be opened: No such file");
    assert_fault(faults_of_file("real/c.lua/x"), "/real/c.lua is not a directory");
    assert_fault(faults_of_file("real"), "/real is not a regular file");
    assert_fault(faults_of_file("."), "/. is not a regular file");
    assert_fault(faults_of_file("/"), "/ is not a regular file");
    assert_fault(faults_of_file("fifo"), "/fifo is not a regular file");
    assert_fault(faults_of_file("/dev/null"), "/dev/null is not a regular file");
    assert_fault(faults_of_file(""), "no file is named");
    memset(deep, 'x', 300);
    assert_fault(faults_of_file(deep), "a name that is too long");
    memset(deep, '/', sizeof(deep) - 1);
    assert_fault(faults_of_file(deep), "the path is too long");
}

static void large_files(void **state)
{
    FILE *file = fopen("large.lua", "w");

    (void)state;
    assert_non_null(file);
    fputs("claude_cage { networkMode = 'allowlist', allow = { domains = {\n", file);
    for (int i = 0; i < 200000; i++)
        fprintf(file, "'host-%d.example.com:443',\n", i);
    fputs("} } }\n" USERS, file);
    assert_int_equal(fclose(file), 0);
    assert_string_equal(faults_of_file("large.lua"), "");
    assert_int_equal(truncate("large.lua", LOAD_FILE_MAX + 1), 0);
    assert_fault(faults_of_file("large.lua"), "/large.lua is larger than 16 MiB");
}

/* What was judged is what is read, whoever writes meanwhile. */
static void read_once(void **state)
{
    const char *file = "once.lua";
    struct load_request request = {&file, 1, NULL};
    struct load load;
    struct load_sources sources;
    struct policy policy;
    struct faults faults;

    (void)state;
    write_file(file, "claude_cage { networkMode = 'allowlist' }");
    faults_init(&faults);
    load_open(&request, &load, &faults);
    write_file(file, "claude_cage { networkMode = 'blocklist' }");
    assert_true(load_evaluate_apart(&load, &policy, &sources, &faults));
    assert_int_equal(policy.mode, MODE_ALLOWLIST);
    policy_fini(&policy);
    load_fini(&load);
}

static void hanging_file(void **state)
{
    (void)state;
    write_file("hang.lua", "local s = 'x' for i = 1, 23 do s = s .. s end\n"
                           "local a, b = s .. 'a', s .. 'b'\nwhile a ~= b do end");
    deadline_ms = 500;
    assert_fault(faults_of_file("hang.lua"), "takes too long to read");
    deadline_ms = 120000;
}

static void default_places(void **state)
{
    struct load_request request = {NULL, 0, NULL};

    (void)state;
    need_root();
    if (access("/etc/claude-cage/config", F_OK) == 0)
        skip();
    assert_int_equal(unsetenv("SUDO_USER"), 0);
    make_directory("project");
    assert_int_equal(chdir("project"), 0);
    assert_fault(faults_of(&request), "no configuration: none of /etc/claude-cage/config, ");
    assert_fault(faults_of(&request), "/.config/claude-cage/config, ./claude-cage.config exists");
    write_file("claude-cage.config", USERS);
    assert_string_equal(faults_of(&request), "");
    assert_int_equal(chown("claude-cage.config", CAGE, CAGE), 0);
    assert_fault(faults_of(&request), "./claude-cage.config: the cage's user (uid 5001) owns");
    assert_int_equal(unlink("claude-cage.config"), 0);
    assert_int_equal(symlink("x", "claude-cage.config"), 0);
    assert_fault(faults_of(&request), "/claude-cage.config is a symbolic link");
    assert_int_equal(chdir(root), 0);
}

/* Whatever a child sends that was taken over: a fault, or what a file could have said as well. */
/* A file above a directory that the cage's user owns, named from inside of it. */
static void file_above_the_current_directory(void **state)
{
    (void)state;
    need_root();
    make_directory("above");
    make_directory("above/owned");
    assert_int_equal(chown("above/owned", CAGE, CAGE), 0);
    write_file("above/cage.lua", USERS);
    write_file("above/owned/cage.lua", USERS);
    assert_int_equal(chdir("above/owned"), 0);
    assert_string_equal(faults_of_file("../cage.lua"), "");
    assert_string_equal(faults_of_file("./../cage.lua"), "");
    assert_fault(faults_of_file("./cage.lua"), "owns");
    assert_fault(faults_of_file("../owned/cage.lua"), "owns");
    assert_int_equal(chdir(root), 0);
}

static void hostile_child(void **state)
{
    struct load_file files[1] = {{.name = (char *)(uintptr_t) "f"}};
    struct load load = {files, 1};
    struct load_sources sources;
    struct span text = SPAN_NONE;
    struct faults faults;
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 5000; round++) {
        uint8_t bytes[64];
        size_t len = test_random(&random) % sizeof(bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)(test_random(&random) % 4 == 0 ? test_random(&random) % 6 : 0);
        struct guarded g = guarded_copy(span_of(bytes, len), GUARDED_END);
        faults_init(&faults);
        read_frames(g.bytes, &load, &sources, &text, &faults);
        faults_fini(&faults);
        guarded_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),          cmocka_unit_test(faults_come_through),
        cmocka_unit_test(users),          cmocka_unit_test(acls),
        cmocka_unit_test(judged),         cmocka_unit_test(command_line_user_is_judged),
        cmocka_unit_test(refused_paths),  cmocka_unit_test(large_files),
        cmocka_unit_test(read_once),      cmocka_unit_test(hanging_file),
        cmocka_unit_test(default_places), cmocka_unit_test(file_above_the_current_directory),
        cmocka_unit_test(hostile_child),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
