/*
 * The cage as it is, from its command's point of view.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cage_front.h"

static void exit_statuses(void **state)
{
    static const struct {
        const char *script;
        int status;
    } rows[] = {
        {"exit 0", 0},
        {"exit 7", 7},
        {"exit 255", 255},
        {"kill -TERM $$", 128 + SIGTERM},
        {"kill -KILL $$", 128 + SIGKILL},
        {"kill -SEGV $$", 128 + SIGSEGV},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        RUN("sh", "-c", rows[i].script);
        assert_made();
        assert_int_equal(outcome->exit_status, rows[i].status);
    }
}

static void commands_that_cannot_run(void **state)
{
    (void)state;
    RUN("no-such-command");
    assert_int_equal(outcome->go, -ENOENT);
    assert_int_equal(outcome->exit_status, 127);
    assert_string_equal(outcome->message, "no-such-command: No such file or directory");
    RUN("/no/such/command");
    assert_int_equal(outcome->exit_status, 127);
    RUN("/etc/passwd");
    assert_int_equal(outcome->go, -EACCES);
    assert_int_equal(outcome->exit_status, 126);
    RUN("/tmp");
    assert_int_equal(outcome->exit_status, 126);
}

static void nothing_is_inherited(void **state)
{
    int leaked = open("/etc/passwd", O_RDONLY);

    (void)state;
    RUN(front_self, "inside", "status");
    close(leaked);
    assert_made();
    assert_line("CapInh:\t0000000000000000");
    assert_line("CapPrm:\t0000000000000000");
    assert_line("CapEff:\t0000000000000000");
    assert_line("CapBnd:\t0000000000000000");
    assert_line("CapAmb:\t0000000000000000");
    assert_line("NoNewPrivs:\t1");
    assert_line("Seccomp:\t2");
    assert_line("Uid:\t64001\t64001\t64001\t64001");
    assert_line("Gid:\t64001\t64001\t64001\t64001");
    assert_line("Groups:\t ");
    assert_line("core 1");
    assert_line("session 1");
    assert_line("fd 0");
    assert_line("fd 1");
    assert_line("fd 2");
    for (const char *at = front_output; (at = strstr(at, "\nfd ")) != NULL; at++)
        assert_true(at[4] >= '0' && at[4] <= '2' && at[5] == '\n');
    assert_line("tty ENXIO");
    assert_line("holder ENOENT");
    assert_line("kill-holder EPERM");
}

static void environment(void **state)
{
    static const char *const env[] = {
        "PATH=/usr/bin:/bin",
        "KEPT=1",
        "http_proxy=x",
        "HTTPS_PROXY=x",
        "All_Proxy=x",
        "no_proxy=x",
        "npm_config_noproxy=x",
        "npm_config_https_proxy=x",
        "LD_PRELOAD=/none.so",
        "HOSTALIASES=/x",
        "LOCALDOMAIN=x",
        "RES_OPTIONS=x",
        "DBUS_SESSION_BUS_ADDRESS=x",
        "DISPLAY=:0",
        "WAYLAND_DISPLAY=x",
        "XDG_RUNTIME_DIR=/run/user/0",
        "SSH_AUTH_SOCK=/x",
        "DOCKER_HOST=x",
        "GPG_AGENT_INFO=x",
        "SUDO_USER=root",
        "HOME=/root",
        "USER=root",
        "LOGNAME=root",
        "SHELL=/none",
        "broken",
        NULL,
    };
    static const char expected[] = "HOME=/\nKEPT=1\nLOGNAME=64001\nPATH=/usr/bin:/bin\n"
                                   "SHELL=/bin/sh\nUSER=64001\n";

    (void)state;
    front_do(&(struct front){
        .argv = (const char *const[]){"sh", "-c", "env -u PWD -u _ | grep -v ^PWD= | sort", NULL},
        .envp = env});
    assert_made();
    assert_string_equal(front_output, expected);
}

static void directory_and_umask(void **state)
{
    mode_t before = umask(027);

    (void)state;
    assert_int_equal(chdir("/usr/share"), 0);
    RUN("sh", "-c", "pwd; umask");
    assert_string_equal(front_output, "/usr/share\n0027\n");
    umask(before);
    /* A directory that the user may not enter; its home is "/". */
    assert_int_equal(mkdir("/tmp/test-cage-private", 0700), 0);
    assert_int_equal(chdir("/tmp/test-cage-private"), 0);
    RUN("pwd");
    assert_string_equal(front_output, "/\n");
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir("/tmp/test-cage-private"), 0);
}

static void filter(void **state)
{
    static const char *const lines[] = {
        "family-3 EAFNOSUPPORT",
        "family-4 EAFNOSUPPORT",
        "family-9 EAFNOSUPPORT",
        "family-15 EAFNOSUPPORT",
        "family-17 EAFNOSUPPORT",
        "family-21 EAFNOSUPPORT",
        "family-31 EAFNOSUPPORT",
        "family-38 EAFNOSUPPORT",
        "family-40 EAFNOSUPPORT",
        "family-43 EAFNOSUPPORT",
        "family-44 EAFNOSUPPORT",
        "family-45 EAFNOSUPPORT",
        "family-46 EAFNOSUPPORT",
        "family-255 EAFNOSUPPORT",
        "family-high EAFNOSUPPORT",
        "family-pair EAFNOSUPPORT",
        "unix ok",
        "unix-pair ok",
        "inet ok",
        "inet6 ok",
        "inet-high ok",
        "netlink ok",
        "raw EPERM",
        "smc EPROTONOSUPPORT",
        "mptcp EPROTONOSUPPORT",
        "io_uring_setup ENOSYS",
        "io_uring_enter ENOSYS",
        "io_uring_register ENOSYS",
        "request_key EPERM",
        "add_key EPERM",
        "join6 EPERM",
        "join4 EPERM",
        "join4-any EPERM",
        "join6-any EPERM",
        "anycast EPERM",
    };

    (void)state;
    RUN(front_self, "inside", "filter");
    assert_made();
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(lines[i]);
    RUN(front_self, "inside", "foreign", "i386");
    assert_true(outcome->exit_status == 128 + SIGSYS || outcome->exit_status == 128 + SIGSEGV);
    RUN(front_self, "inside", "foreign", "x32");
    assert_int_equal(outcome->exit_status, 128 + SIGSYS);
}

static void refused_descriptors(void **state)
{
    int inputs[] = {
        socket(AF_INET, SOCK_STREAM, 0),
        socket(AF_INET6, SOCK_DGRAM, 0),
        socket(AF_PACKET, SOCK_RAW, 0),
        open("/", O_RDONLY | O_DIRECTORY),
        open("/", O_PATH),
    };
    int pair[2];

    (void)state;
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        assert_true(inputs[i] >= 0);
        front_do(&(struct front){.argv = (const char *const[]){"true", NULL}, .input = inputs[i]});
        assert_int_equal(outcome->start, -ENOTSUP);
        assert_int_equal(outcome->exit_status, 125);
        assert_non_null(strstr(outcome->message, "standard input is a"));
        close(inputs[i]);
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    front_do(&(struct front){.argv = (const char *const[]){"true", NULL}, .input = pair[0]});
    assert_made();
    close(pair[0]);
    close(pair[1]);
    front_do(&(struct front){.argv = (const char *const[]){"readlink", "/proc/self/fd/0", NULL},
                             .input = -1});
    assert_made();
    assert_string_equal(front_output, "/dev/null\n");
}

/* The holder as the host sees it: root in name only. */
static void holder_is_powerless(void **state)
{
    char path[64];
    char text[4096] = "";
    char net[2][64] = {"", ""};
    int holder = 0;
    int out;

    (void)state;
    front_output[0] = '\0';
    pid_t pid = front_start(
        &(struct front){.argv = (const char *const[]){front_self, "inside", "wait", NULL}}, &out);
    assert_true(front_read(out, "ready\n", 10));
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "r");
    assert_int_equal(fscanf(file, "%d", &holder), 1);
    fclose(file);
    snprintf(path, sizeof(path), "/proc/%d/status", holder);
    file = fopen(path, "r");
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    fclose(file);
    assert_non_null(strstr(text, "Name:\tcage-holder\n"));
    assert_non_null(strstr(text, "Uid:\t0\t0\t0\t0\n"));
    assert_non_null(strstr(text, "CapPrm:\t0000000000000020\n"));
    assert_non_null(strstr(text, "CapEff:\t0000000000000020\n"));
    assert_non_null(strstr(text, "CapBnd:\t0000000000000000\n"));
    assert_non_null(strstr(text, "NoNewPrivs:\t1\n"));
    snprintf(path, sizeof(path), "/proc/%d/ns/net", holder);
    assert_true(readlink(path, net[0], sizeof(net[0]) - 1) > 0);
    assert_true(readlink("/proc/self/ns/net", net[1], sizeof(net[1]) - 1) > 0);
    assert_string_not_equal(net[0], net[1]);
    kill(pid, SIGTERM);
    front_finish(pid, out);
}

static void orphans_end(void **state)
{
    int out;
    pid_t pid;

    (void)state;
    RUN(front_self, "inside", "orphan");
    assert_made();
    assert_line("orphan up");
    front_do(&(struct front){
        .argv = (const char *const[]){front_self, "inside", "orphan-wait", NULL}, .kills = true});
    assert_int_equal(outcome->go, 0);

    front_output[0] = '\0';
    pid = front_start(
        &(struct front){.argv = (const char *const[]){front_self, "inside", "orphan-wait", NULL}},
        &out);
    assert_true(front_read(out, "ready\n", 10));
    kill(pid, SIGKILL);
    assert_true(front_read(out, NULL, 5));
    close(out);
    waitpid(pid, NULL, 0);
}

static void signals_are_passed(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1};
    int out;

    (void)state;
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        front_output[0] = '\0';
        pid_t pid = front_start(
            &(struct front){.argv = (const char *const[]){front_self, "inside", "wait", NULL}},
            &out);
        assert_true(front_read(out, "ready\n", 10));
        kill(pid, signals[i]);
        front_finish(pid, out);
        assert_made();
        assert_int_equal(outcome->exit_status, 128 + signals[i]);
    }
}

static int watch_ends(void *arg)
{
    (void)arg;
    return -ECONNRESET;
}

static void watch_kills(void **state)
{
    int pair[2];
    int out;
    char byte = 0;

    (void)state;
    front_output[0] = '\0';
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    struct cage_watch watch = {pair[0], watch_ends, NULL};
    pid_t pid = front_start(
        &(struct front){.argv = (const char *const[]){front_self, "inside", "orphan-wait", NULL},
                        .watch = &watch},
        &out);
    assert_true(front_read(out, "ready\n", 10));
    assert_int_equal(write(pair[1], &byte, 1), 1);
    front_finish(pid, out);
    assert_int_equal(outcome->wait, -ECONNRESET);
    assert_int_equal(outcome->exit_status, 125);
    close(pair[0]);
    close(pair[1]);
}

static void accounts(void **state)
{
    static const struct {
        const char *user;
        int err;
    } rows[] = {
        {"nobody", 0},           {"65534", 0},  {"64001", 0},        {"4294967294", 0},
        {"root", -EPERM},        {"0", -EPERM}, {"-1", -ENOENT},     {"no-such-user", -ENOENT},
        {"4294967295", -ENOENT}, {"", -ENOENT}, {"064001", -ENOENT},
    };
    static struct cage_account found;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (cage_account_find(rows[i].user, &found) != rows[i].err)
            fail_msg("user \"%s\"", rows[i].user);
    assert_int_equal(cage_account_find("nobody", &found), 0);
    assert_true(found.has_entry);
    assert_int_equal(found.uid, 65534);
    assert_string_equal(found.name, "nobody");
    assert_string_equal(found.home, "/nonexistent");
    assert_int_equal(found.group_count, 1);
    /* A failure leaves it as it was. */
    assert_int_equal(cage_account_find("root", &found), -EPERM);
    assert_int_equal(found.uid, 65534);
    assert_int_equal(cage_account_find("64001", &found), 0);
    assert_false(found.has_entry);
    assert_int_equal(found.gid, 64001);
    assert_string_equal(found.name, "64001");
    assert_int_equal(found.group_count, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_statuses),        cmocka_unit_test(commands_that_cannot_run),
        cmocka_unit_test(nothing_is_inherited), cmocka_unit_test(environment),
        cmocka_unit_test(directory_and_umask),  cmocka_unit_test(filter),
        cmocka_unit_test(refused_descriptors),  cmocka_unit_test(holder_is_powerless),
        cmocka_unit_test(orphans_end),          cmocka_unit_test(signals_are_passed),
        cmocka_unit_test(watch_kills),          cmocka_unit_test(accounts),
    };

    front_init(argc, argv);
    int failed = cmocka_run_group_tests_name("cage", tests, NULL, NULL);
    front_fini();
    return failed;
}
