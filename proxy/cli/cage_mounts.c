/*
 * What the command sees of the file system: everything, but the sockets behind which a service of
 * the host would act for it.
 *
 * /run is replaced rather than picked over: an unknown entry is not there, and neither is a socket
 * that is created after the start. Elsewhere known places are covered one by one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/cli/cage_parts.h"

/*
 * Entries of /run that stay: what programs are loaded through (NixOS), locks, the resolver file's
 * usual place, and local databases, which are the one use of a host socket that a caged build has.
 */
static const char *const kept_entries[] = {
    "lock",          "shm",        "resolvconf", "current-system", "booted-system",
    "opengl-driver", "postgresql", "mysqld",     "redis",
};

/* Places outside /run; a directory is covered whole. */
static const char *const hidden_paths[] = {
    "/tmp/.X11-unix", "/tmp/.ICE-unix", "/var/lib/lxd", "/var/lib/incus", "/var/snap/lxd",
};

static const char *const cover_dir = "/run/.hidden-directory";
static const char *const cover_file = "/run/.hidden-file";

enum { RESOLV_LEN_MAX = 64 * 1024 };

/* The resolver's configuration before anything was hidden; path is empty when there is none. */
struct resolv_copy {
    char path[PATH_MAX];
    char text[RESOLV_LEN_MAX];
    size_t len;
};

static int path_fail(char *message, const char *what, const char *path)
{
    int err = errno;

    return cage_fail(message, err, "%s %s: %s: the command was not run", what, path, strerror(err));
}

static int proc_mount(char message[CAGE_MESSAGE_MAX])
{
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    /* Without hidepid where the kernel does not know it: the PID namespace hides the host anyway.
     */
    if (mount("proc", "/proc", "proc", flags, "hidepid=2") != 0 &&
        mount("proc", "/proc", "proc", flags, NULL) != 0)
        return path_fail(message, "mount", "/proc");
    return 0;
}

static void resolv_read(struct resolv_copy *copy)
{
    copy->len = 0;
    if (realpath("/etc/resolv.conf", copy->path) == NULL) {
        copy->path[0] = '\0';
        return;
    }
    int fd = open(copy->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd < 0 ? -1 : read(fd, copy->text, sizeof(copy->text));
    if (got > 0)
        copy->len = (size_t)got;
    if (fd >= 0)
        close(fd);
}

/* Writes the copy where it was, when that place was hidden: /run is ours to fill by then. */
static int resolv_write(const struct resolv_copy *copy, char message[CAGE_MESSAGE_MAX])
{
    char dir[PATH_MAX];

    if (copy->path[0] == '\0' || access(copy->path, F_OK) == 0)
        return 0;
    memcpy(dir, copy->path, sizeof(dir));
    for (char *slash = strchr(dir + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(dir, 0755) != 0 && errno != EEXIST)
            return path_fail(message, "make", dir);
        chmod(dir, 0755);
        *slash = '/';
    }
    int fd = open(copy->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return path_fail(message, "make", copy->path);
    ssize_t put = write(fd, copy->text, copy->len);
    fchmod(fd, 0644);
    close(fd);
    return put == (ssize_t)copy->len ? 0 : path_fail(message, "write", copy->path);
}

/* Brings one entry of the covered directory `old` back into `dir`; absent ones are no error. */
static int entry_keep(int old, const char *dir, const char *name, char message[CAGE_MESSAGE_MAX])
{
    char from[64];
    char to[PATH_MAX];
    char target[PATH_MAX];
    struct stat st;

    if (fstatat(old, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : path_fail(message, "look at", name);
    snprintf(from, sizeof(from), "/proc/self/fd/%d/%s", old, name);
    snprintf(to, sizeof(to), "%s/%s", dir, name);
    if (S_ISLNK(st.st_mode)) {
        ssize_t len = readlinkat(old, name, target, sizeof(target) - 1);
        if (len < 0)
            return path_fail(message, "read", to);
        target[len] = '\0';
        return symlink(target, to) == 0 ? 0 : path_fail(message, "make", to);
    }
    if (S_ISDIR(st.st_mode) &&
        (mkdir(to, 0755) != 0 || mount(from, to, NULL, MS_BIND | MS_REC, NULL) != 0))
        return path_fail(message, "keep", to);
    return 0;
}

static int run_replace(const char *dir, char message[CAGE_MESSAGE_MAX])
{
    int err = 0;
    int old = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (old < 0)
        return path_fail(message, "open", dir);
    if (mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m") != 0)
        err = path_fail(message, "mount", dir);
    for (size_t i = 0; i < sizeof(kept_entries) / sizeof(kept_entries[0]) && err == 0; i++)
        err = entry_keep(old, dir, kept_entries[i], message);
    close(old);
    return err;
}

static int covers_make(char message[CAGE_MESSAGE_MAX])
{
    if (mkdir(cover_dir, 0) != 0)
        return path_fail(message, "make", cover_dir);
    int fd = open(cover_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
    if (fd < 0)
        return path_fail(message, "make", cover_file);
    close(fd);
    if (chmod(cover_dir, 0) != 0 || chmod(cover_file, 0) != 0)
        return path_fail(message, "make", cover_file);
    return 0;
}

static int path_hide(const char *path, char message[CAGE_MESSAGE_MAX])
{
    struct stat st;

    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : path_fail(message, "look at", path);
    const char *cover = S_ISDIR(st.st_mode) ? cover_dir : cover_file;
    if (mount(cover, path, NULL, MS_BIND, NULL) != 0)
        return path_fail(message, "hide", path);
    return 0;
}

static int paths_hide(const char *const *paths, size_t count, char message[CAGE_MESSAGE_MAX])
{
    int err = 0;

    for (size_t i = 0; i < count && err == 0; i++)
        err = path_hide(paths[i], message);
    return err;
}

int cage_mounts_make(const struct cage_spec *spec, char message[CAGE_MESSAGE_MAX])
{
    struct resolv_copy *copy = malloc(sizeof(*copy));
    struct stat st;
    mode_t umask_before = umask(0);
    int err;

    if (copy == NULL)
        return cage_fail(message, ENOMEM, "mounts: out of memory");
    resolv_read(copy);
    /* Private before anything else: a shared /run would be replaced for the host. */
    err = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
              ? 0
              : path_fail(message, "make private", "/");
    if (err == 0)
        err = proc_mount(message);
    if (err == 0)
        err = run_replace("/run", message);
    if (err == 0 && lstat("/var/run", &st) == 0 && S_ISDIR(st.st_mode))
        err = run_replace("/var/run", message);
    if (err == 0)
        err = resolv_write(copy, message);
    if (err == 0)
        err = covers_make(message);
    if (err == 0)
        err = paths_hide(hidden_paths, sizeof(hidden_paths) / sizeof(hidden_paths[0]), message);
    if (err == 0)
        err = paths_hide(spec->hidden, spec->hidden_count, message);
    umask(umask_before);
    free(copy);
    return err;
}
