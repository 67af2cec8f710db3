#include "config/account_lookup.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "config/account.h"

enum { GROUPS_START = 32, GROUPS_MAX = 65536 };

/* getgrouplist() says how many there are when the array is too small. */
static int lookup_groups(const struct passwd *account, struct account_ids *ids)
{
    int room = GROUPS_START;

    for (;;) {
        int count = room;
        gid_t *gids = calloc((size_t)room, sizeof(*gids));
        if (gids == NULL)
            return -ENOMEM;
        if (getgrouplist(account->pw_name, account->pw_gid, gids, &count) >= 0) {
            ids->gids = gids;
            ids->gid_count = (size_t)count;
            return 0;
        }
        free(gids);
        if (count <= room || count > GROUPS_MAX)
            return -E2BIG;
        room = count;
    }
}

static int own_group_only(struct account_ids *ids)
{
    ids->gid = ids->uid;
    ids->gids = malloc(sizeof(*ids->gids));
    if (ids->gids == NULL)
        return -ENOMEM;
    ids->gids[0] = ids->gid;
    ids->gid_count = 1;
    return 0;
}

int account_lookup(const char *account, struct account_ids *out)
{
    struct account_ids ids = {0};
    bool is_uid = account_is_uid(span_of_text(account), &ids.uid);
    int status;

    errno = 0;
    const struct passwd *entry = is_uid ? getpwuid(ids.uid) : getpwnam(account);
    /* Some sources of accounts report these for "there is none". */
    bool is_absent = errno == 0 || errno == ENOENT || errno == ESRCH;
    if (entry == NULL && !is_absent)
        return -errno;
    if (entry == NULL && !is_uid)
        return -ENOENT;
    if (entry == NULL) {
        status = own_group_only(&ids);
    } else {
        ids.uid = entry->pw_uid;
        ids.gid = entry->pw_gid;
        status = lookup_groups(entry, &ids);
    }
    if (status == 0)
        *out = ids;
    return status;
}

void account_ids_fini(struct account_ids *ids)
{
    free(ids->gids);
    ids->gids = NULL;
    ids->gid_count = 0;
}
