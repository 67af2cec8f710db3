#include "proxy/cli/cage_account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/span.h"

/* The largest uid that means one: (uid_t)-1 is "no change" to the kernel. */
static const uint64_t uid_max = UINT32_MAX - 1;

static int account_without_entry(uid_t uid, struct cage_account *out)
{
    if (uid == 0)
        return -EPERM;
    memset(out, 0, sizeof(*out));
    out->uid = uid;
    out->gid = (gid_t)uid;
    snprintf(out->name, sizeof(out->name), "%lu", (unsigned long)uid);
    strcpy(out->home, "/");
    strcpy(out->shell, "/bin/sh");
    return 0;
}

static bool text_set(char *out, size_t size, const char *text)
{
    size_t len = strlen(text);

    if (len >= size)
        return false;
    memcpy(out, text, len + 1);
    return true;
}

static int account_from_entry(const struct passwd *entry, struct cage_account *out)
{
    int count = CAGE_GROUPS_MAX;

    if (entry->pw_uid == 0)
        return -EPERM;
    out->uid = entry->pw_uid;
    out->gid = entry->pw_gid;
    out->has_entry = true;
    if (!text_set(out->name, sizeof(out->name), entry->pw_name) ||
        !text_set(out->home, sizeof(out->home), entry->pw_dir[0] == '/' ? entry->pw_dir : "/") ||
        !text_set(out->shell, sizeof(out->shell),
                  entry->pw_shell[0] == '/' ? entry->pw_shell : "/bin/sh"))
        return -E2BIG;
    if (getgrouplist(entry->pw_name, entry->pw_gid, out->groups, &count) < 0)
        return -E2BIG;
    out->group_count = (size_t)count;
    return 0;
}

int cage_account_find(const char *user, struct cage_account *out)
{
    struct cage_account *found = calloc(1, sizeof(*found));
    size_t text_len = 64 * (size_t)1024;
    char *text = malloc(text_len);
    struct passwd entry;
    struct passwd *result = NULL;
    uint64_t uid;
    bool is_number = span_parse_number(span_of_text(user), 0, uid_max, &uid);
    int err = -ENOMEM;

    if (found == NULL || text == NULL)
        goto out;
    /* A user database without the entry may say so with an errno, too: getpwnam(3). */
    err = is_number ? -getpwuid_r((uid_t)uid, &entry, text, text_len, &result)
                    : -getpwnam_r(user, &entry, text, text_len, &result);
    if (result != NULL)
        err = account_from_entry(result, found);
    else if (is_number)
        err = account_without_entry((uid_t)uid, found);
    else if (err == 0)
        err = -ENOENT;
    if (err == 0)
        memcpy(out, found, sizeof(*out));
out:
    free(text);
    free(found);
    return err;
}
