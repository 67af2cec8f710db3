#include "proxy/worker/isolate.h"

#include <cap-ng.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the caller had open is not ours to reach: a terminal, a log file, a netlink socket. */
static int close_files(const struct isolation *isolation)
{
    return close_range((unsigned)isolation->keep_below, ~0U, 0) < 0 ? -errno : 0;
}

/* Libraries read it (HOSTALIASES, RES_OPTIONS, LD_*), and root's may hold secrets. */
static int clear_environment(const struct isolation *isolation)
{
    (void)isolation;
    return clearenv() != 0 ? -ENOMEM : 0;
}

/* No path is relative to where root stood, and no mask of root's decides a mode. */
static int leave_directory(const struct isolation *isolation)
{
    (void)isolation;
    umask(077);
    return chdir("/") < 0 ? -errno : 0;
}

/*
 * No core holds what passed through. The descriptor limit is raised while that is still allowed;
 * where it is not (a container without CAP_SYS_RESOURCE) the hard limit must do.
 */
static int set_limits(const struct isolation *isolation)
{
    const struct rlimit core = {0, 0};
    struct rlimit files = {isolation->files_max, isolation->files_max};

    if (setrlimit(RLIMIT_CORE, &core) < 0)
        return -errno;
    if (setrlimit(RLIMIT_NOFILE, &files) == 0)
        return 0;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    files.rlim_cur = files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : 0;
}

/* The kernel layer knows this process by its uid; capabilities go with root's, bounding first. */
static int drop_user(const struct isolation *isolation)
{
    int status;

    if (isolation->uid == 0 || isolation->gid == 0)
        return -EINVAL;
    capng_clear(CAPNG_SELECT_ALL);
    errno = 0;
    status = capng_change_id((int)isolation->uid, (int)isolation->gid,
                             CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING | CAPNG_CLEAR_AMBIENT);
    if (status < 0)
        return errno > 0 ? -errno : -EPERM;
    return 0;
}

/* No program that this process could start gets more than it has. */
static int forbid_privileges(const struct isolation *isolation)
{
    (void)isolation;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Nobody of the same uid attaches a debugger or reads its memory. */
static int forbid_tracing(const struct isolation *isolation)
{
    (void)isolation;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

/* A worker without its supervisor, stopped ones included, must not live. Changing ids clears it. */
static int die_with_parent(const struct isolation *isolation)
{
    (void)isolation;
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

static bool has_user(const struct isolation *isolation)
{
    uid_t uid[3];
    gid_t gid[3];

    if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (uid[i] != isolation->uid || gid[i] != isolation->gid)
            return false;
    return getgroups(0, NULL) == 0;
}

/* What the stages did is believed only as far as the kernel confirms it. */
static int verify(const struct isolation *isolation)
{
    if (!has_user(isolation) || setuid(0) == 0)
        return -EPERM;
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_get_caps_process() < 0 || capng_have_capabilities(CAPNG_SELECT_ALL) != CAPNG_NONE)
        return -EPERM;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return -EPERM;
    return 0;
}

static const struct stage {
    const char *name;
    int (*run)(const struct isolation *isolation);
} stages[] = {
    {"files", close_files},
    {"environment", clear_environment},
    {"directory", leave_directory},
    {"limits", set_limits},
    {"user", drop_user},
    {"privileges", forbid_privileges},
    {"tracing", forbid_tracing},
    {"parent", die_with_parent},
    {"verify", verify},
};

int isolate(const struct isolation *isolation, const char **stage)
{
    for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
        int status = stages[i].run(isolation);
        if (status < 0) {
            *stage = stages[i].name;
            return status;
        }
    }
    return 0;
}
