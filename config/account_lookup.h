/*
 * The ids of an account, asked of the system (getpwnam, getgrouplist).
 */
#ifndef CONFIG_ACCOUNT_LOOKUP_H
#define CONFIG_ACCOUNT_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

struct account_ids {
    uint32_t uid;
    uint32_t gid;
    uint32_t *gids; /* every group, the primary one included; from malloc */
    size_t gid_count;
};

/*
 * An account name, or a uid in digits: one without an account has the gid of the same number and no
 * other group. 0, -ENOENT when there is no such account, or another negative errno; *out owns
 * something only with 0.
 */
int account_lookup(const char *account, struct account_ids *out);
void account_ids_fini(struct account_ids *ids);

#endif
