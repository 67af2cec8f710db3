/*
 * The user that a command runs as.
 */
#ifndef PROXY_CLI_CAGE_ACCOUNT_H
#define PROXY_CLI_CAGE_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { CAGE_NAME_MAX = 256, CAGE_PATH_MAX = 4096, CAGE_GROUPS_MAX = 1024 };

/*
 * With an account: its name, home, shell, group and supplementary groups. Without one: the uid as
 * name and group, home "/", shell /bin/sh and no supplementary group.
 */
struct cage_account {
    uid_t uid;
    gid_t gid;
    bool has_entry;
    char name[CAGE_NAME_MAX];
    char home[CAGE_PATH_MAX];
    char shell[CAGE_PATH_MAX];
    gid_t groups[CAGE_GROUPS_MAX];
    size_t group_count;
};

/*
 * `user` is an account's name, or a decimal uid with or without an account. 0, -ENOENT (no such
 * user), -EPERM (uid 0 is no cage), -E2BIG (an account with longer paths or more groups than we
 * carry), or what the system's user database failed with; *out is untouched then. Asks NSS: call it
 * outside the cage.
 */
int cage_account_find(const char *user, struct cage_account *out);

#endif
