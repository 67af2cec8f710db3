#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/cli/cage_parts.h"

/* include/uapi/linux/landlock.h of ABI 6; the libc's header ends earlier. */
struct landlock_scopes {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

enum {
    LANDLOCK_VERSION_FLAG = 1 << 0,
    LANDLOCK_ABI_WITH_SCOPES = 6,
    LANDLOCK_ABSTRACT_UNIX = 1 << 0,
    LANDLOCK_SIGNAL = 1 << 1,
};

/* Best effort: 0 on kernels that cannot. */
static int scope_set(char message[CAGE_MESSAGE_MAX])
{
    struct landlock_scopes scopes = {.scoped = LANDLOCK_ABSTRACT_UNIX | LANDLOCK_SIGNAL};
    int err = 0;

    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG) <
        LANDLOCK_ABI_WITH_SCOPES)
        return 0;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &scopes, sizeof(scopes), 0);
    if (ruleset < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        err = cage_fail(message, errno, "Landlock: %s: see dmesg", strerror(errno));
    if (ruleset >= 0)
        close(ruleset);
    return err;
}

/* While the capabilities are still there: it takes one to drop them from the bounding set. */
static int bounds_drop(char message[CAGE_MESSAGE_MAX])
{
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_BOUNDS) != 0)
        return cage_fail(message, EPERM, "bounding set: cannot be dropped: run as root");
    return 0;
}

/* Every set but the bounding one is left with `kept`, or with nothing when it is negative. */
static int capabilities_keep(int kept, char message[CAGE_MESSAGE_MAX])
{
    capng_clear(CAPNG_SELECT_ALL);
    if (kept >= 0)
        capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, (unsigned)kept);
    if (capng_apply(CAPNG_SELECT_AMBIENT) != 0 || capng_apply(CAPNG_SELECT_CAPS) != 0)
        return cage_fail(message, EPERM, "capabilities: cannot be dropped: run as root");
    return 0;
}

/* What the kernel says now, whatever the calls before returned. */
static int drop_check(const struct cage_account *account, char message[CAGE_MESSAGE_MAX])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
    uid_t uids[3];
    gid_t gids[3];
    bool is_clean = syscall(SYS_capget, &header, sets) == 0;

    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        is_clean = is_clean && sets[i].effective == 0 && sets[i].permitted == 0 &&
                   sets[i].inheritable == 0;
    for (unsigned long cap = 0; cap < 64; cap++)
        is_clean = is_clean && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) <= 0 &&
                   prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) <= 0;
    is_clean = is_clean && getresuid(&uids[0], &uids[1], &uids[2]) == 0 &&
               getresgid(&gids[0], &gids[1], &gids[2]) == 0;
    for (size_t i = 0; i < 3; i++)
        is_clean = is_clean && uids[i] == account->uid && gids[i] == account->gid;
    is_clean = is_clean && getgroups(0, NULL) == (int)account->group_count &&
               prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_SECCOMP) == 2;
    if (!is_clean)
        return cage_fail(message, EPERM,
                         "privileges: the kernel kept some of them: the command was not run");
    return 0;
}

int cage_drop(const struct cage_account *account, char message[CAGE_MESSAGE_MAX])
{
    int err = bounds_drop(message);

    if (err != 0)
        return err;
    if (setgroups(account->group_count, account->groups) != 0 ||
        setresgid(account->gid, account->gid, account->gid) != 0 ||
        setresuid(account->uid, account->uid, account->uid) != 0)
        return cage_fail(message, errno, "user %s: %s: run as root", account->name,
                         strerror(errno));
    /* fs.suid_dumpable may say otherwise; a same-uid process must not trace what is still ours. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return cage_fail(message, errno, "no_new_privs: %s", strerror(errno));
    err = capabilities_keep(-1, message);
    if (err == 0)
        err = scope_set(message);
    if (err == 0)
        err = cage_filter_load(message);
    if (err == 0)
        err = drop_check(account, message);
    return err;
}

int cage_drop_holder(char message[CAGE_MESSAGE_MAX])
{
    int err = bounds_drop(message);

    if (err == 0)
        err = capabilities_keep(CAP_KILL, message);
    if (err == 0 &&
        (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0))
        err = cage_fail(message, errno, "holder: %s", strerror(errno));
    return err;
}
