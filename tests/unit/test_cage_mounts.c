/*
 * What the command can reach of the host's file system.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/cage_front.h"

static int unix_listen(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(at.sun_path, path, strlen(path));
    if (path[0] == '@')
        at.sun_path[0] = '\0';
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    if (path[0] != '@')
        chmod(path, 0777);
    return fd;
}

static void hidden_sockets(void **state)
{
    static const char file[] = "/tmp/test-cage-socket";
    static const char inside_dir[] = "/tmp/test-cage-hidden/socket";
    static const char in_run[] = "/run/test-cage-socket";
    static const char *const hidden[] = {file, "/tmp/test-cage-hidden", "/no/such/path"};
    int fds[4];

    (void)state;
    mkdir("/tmp/test-cage-hidden", 0755);
    fds[0] = unix_listen(file);
    fds[1] = unix_listen(inside_dir);
    fds[2] = unix_listen(in_run);
    fds[3] = unix_listen("@test-cage");
    RUN(front_self, "inside", "connect", file);
    assert_string_equal(front_output, "connect ok\n");
    RUN(front_self, "inside", "connect", in_run);
    assert_string_equal(front_output, "connect ENOENT\n");
    front_do(
        &(struct front){.argv = (const char *const[]){front_self, "inside", "connect", file, NULL},
                        .hidden = hidden,
                        .hidden_count = 3});
    assert_string_equal(front_output, "connect EACCES\n");
    front_do(&(struct front){
        .argv = (const char *const[]){front_self, "inside", "connect", inside_dir, NULL},
        .hidden = hidden,
        .hidden_count = 3});
    assert_string_equal(front_output, "connect EACCES\n");
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 6) {
        RUN(front_self, "inside", "connect", "@test-cage");
        assert_string_equal(front_output, "connect EPERM\n");
    }
    RUN("sh", "-c",
        "ls -A /run | grep -vxE 'lock|shm|postgresql|mysqld|redis|resolvconf|.hidden.*';"
        "cat /etc/resolv.conf >/dev/null && test -e /proc/self && echo readable");
    assert_string_equal(front_output, "readable\n");
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
    unlink(file);
    unlink(inside_dir);
    unlink(in_run);
    rmdir("/tmp/test-cage-hidden");
}

static void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        exit(1);
}

/* A host as systemd-resolved leaves it, with /run as a real directory under /var as well. */
static void resolved_host(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, NULL) != 0 ||
        mount("tmpfs", "/etc", "tmpfs", 0, NULL) != 0 ||
        mount("tmpfs", "/var", "tmpfs", 0, NULL) != 0)
        exit(1);
    mkdir("/run/systemd", 0755);
    mkdir("/run/systemd/resolve", 0755);
    mkdir("/run/nscd", 0755);
    mkdir("/run/lock", 0755);
    mkdir("/run/lock/kept", 0755);
    mkdir("/var/run", 0755);
    mkdir("/var/run/nscd", 0755);
    file_write("/run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n");
    if (symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf") != 0)
        exit(1);
    close(unix_listen("/run/systemd/resolve/io.systemd.Resolve"));
    close(unix_listen("/run/nscd/socket"));
    close(unix_listen("/run/snapd.socket"));
}

static void resolver_file_stays(void **state)
{
    (void)state;
    front_do(&(struct front){
        .argv = (const char *const[]){"sh", "-c",
                                      "cat /etc/resolv.conf; ls -A /run /var/run; cd /run; "
                                      "find lock systemd",
                                      NULL},
        .setup = resolved_host});
    assert_made();
    assert_string_equal(front_output, "nameserver 127.0.0.53\n"
                                      "/run:\n.hidden-directory\n.hidden-file\nlock\nsystemd\n\n"
                                      "/var/run:\n"
                                      "lock\nlock/kept\nsystemd\nsystemd/resolve\n"
                                      "systemd/resolve/stub-resolv.conf\n");
}

/* A user namespace of the command's own has all capabilities, but the covers are locked in it. */
static void hidden_in_user_namespaces(void **state)
{
    static const char in_run[] = "/run/test-cage-socket";
    static const char file[] = "/tmp/test-cage-socket";
    static const char *const hidden[] = {file};
    static const char script[] =
        "unshare -Urm sh -c '"
        "umount /run || umount -l /run; umount /tmp/test-cage-socket || umount -l "
        "/tmp/test-cage-socket;"
        "mkdir /tmp/test-cage-$$; mount --bind / /tmp/test-cage-$$; mount --move /run "
        "/tmp/test-cage-$$;"
        "mount --rbind / /tmp/test-cage-$$ && umount /tmp/test-cage-$$/run;"
        "umount -l /proc; ls /proc/1;"
        "ls -d /run/test-cage-socket /tmp/test-cage-$$/run/test-cage-socket; cat "
        "/tmp/test-cage-socket;"
        "umount -l /tmp/test-cage-$$; rmdir /tmp/test-cage-$$; echo done' 2>/dev/null";

    (void)state;
    file_write(file, "seen\n");
    chmod(file, 0644);
    close(unix_listen(in_run));
    front_do(&(struct front){.argv = (const char *const[]){"sh", "-c", script, NULL},
                             .hidden = hidden,
                             .hidden_count = 1});
    assert_made();
    assert_string_equal(front_output, "done\n");
    unlink(in_run);
    unlink(file);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hidden_sockets),
        cmocka_unit_test(resolver_file_stays),
        cmocka_unit_test(hidden_in_user_namespaces),
    };

    front_init(argc, argv);
    int failed = cmocka_run_group_tests_name("cage_mounts", tests, NULL, NULL);
    front_fini();
    return failed;
}
