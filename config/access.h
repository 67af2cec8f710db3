/*
 * Could somebody change a file, or put another one in its place?
 *
 * Judges what the kernel says of a file or directory: owner, mode and POSIX ACL (acl(5)). A denial
 * that an ACL or a group entry would give is not counted on: a process may leave its groups.
 */
#ifndef CONFIG_ACCESS_H
#define CONFIG_ACCESS_H

#include "config/span.h"

struct access_facts {
    uint32_t uid;
    uint32_t gid;
    uint32_t mode;   /* st_mode */
    struct span acl; /* the xattr system.posix_acl_access (linux/posix_acl_xattr.h); may be empty */
};

struct access_subject {
    uint32_t uid;
    const uint32_t *gids; /* every group, the primary one included */
    size_t gid_count;
};

enum access {
    ACCESS_NONE,    /* cannot change it */
    ACCESS_OWNER,   /* owns it, and could give itself any right */
    ACCESS_USER,    /* an ACL entry of its own lets it write */
    ACCESS_GROUP,   /* one of its groups may write */
    ACCESS_OTHER,   /* everybody may write */
    ACCESS_UNCLEAR, /* the ACL cannot be read */
};

/*
 * In a directory with the sticky bit one may write but not replace what belongs to others: only its
 * owner could, and whoever owns the next entry, which is judged for itself.
 */
enum access access_of(const struct access_facts *facts, const struct access_subject *subject);

/* "may write" in words: "owns", "may write through a group", ...; static storage. */
const char *access_text(enum access access);

#endif
