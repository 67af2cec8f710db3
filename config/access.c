#include "config/access.h"

/* linux/posix_acl_xattr.h and linux/posix_acl.h; all fields are little-endian. */
enum {
    ACL_VERSION = 2,
    ACL_HEADER_LEN = 4,
    ACL_ENTRY_LEN = 8,
    ACL_USER_OBJ = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP_OBJ = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHER = 0x20,
    ACL_WRITE = 0x02,
};

enum { MODE_TYPE = 0170000, MODE_DIRECTORY = 0040000, MODE_STICKY = 01000 };
enum { MODE_GROUP_WRITE = 0020, MODE_OTHER_WRITE = 0002 };

struct acl_entry {
    uint32_t tag;
    uint32_t perm;
    uint32_t id;
};

static uint32_t read_le(const uint8_t *at, size_t len)
{
    uint32_t value = 0;

    while (len-- > 0)
        value = value << 8 | at[len];
    return value;
}

static struct acl_entry acl_entry_at(struct span acl, size_t index)
{
    const uint8_t *at = acl.data + ACL_HEADER_LEN + index * ACL_ENTRY_LEN;

    return (struct acl_entry){read_le(at, 2), read_le(at + 2, 2), read_le(at + 4, 4)};
}

static bool is_readable_acl(struct span acl)
{
    return acl.len >= ACL_HEADER_LEN && (acl.len - ACL_HEADER_LEN) % ACL_ENTRY_LEN == 0 &&
           read_le(acl.data, ACL_HEADER_LEN) == ACL_VERSION;
}

static bool is_member(const struct access_subject *subject, uint32_t gid)
{
    for (size_t i = 0; i < subject->gid_count; i++) {
        if (subject->gids[i] == gid)
            return true;
    }
    return false;
}

static enum access entry_access(const struct access_facts *facts, const struct acl_entry *entry,
                                const struct access_subject *subject)
{
    if ((entry->perm & ACL_WRITE) == 0)
        return ACCESS_NONE;
    switch (entry->tag) {
    case ACL_USER_OBJ:
    case ACL_MASK:
        return ACCESS_NONE;
    case ACL_USER:
        return entry->id == subject->uid ? ACCESS_USER : ACCESS_NONE;
    case ACL_GROUP_OBJ:
        return is_member(subject, facts->gid) ? ACCESS_GROUP : ACCESS_NONE;
    case ACL_GROUP:
        return is_member(subject, entry->id) ? ACCESS_GROUP : ACCESS_NONE;
    case ACL_OTHER:
        return ACCESS_OTHER;
    }
    return ACCESS_UNCLEAR;
}

/* What the mask takes away is counted as given when there is no mask. */
static enum access acl_access(const struct access_facts *facts,
                              const struct access_subject *subject)
{
    size_t count;
    bool mask_writes = true;

    if (!is_readable_acl(facts->acl))
        return ACCESS_UNCLEAR;
    count = (facts->acl.len - ACL_HEADER_LEN) / ACL_ENTRY_LEN;
    for (size_t i = 0; i < count; i++) {
        struct acl_entry entry = acl_entry_at(facts->acl, i);
        if (entry.tag == ACL_MASK)
            mask_writes = (entry.perm & ACL_WRITE) != 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct acl_entry entry = acl_entry_at(facts->acl, i);
        enum access access = entry_access(facts, &entry, subject);
        bool is_masked = access == ACCESS_USER || access == ACCESS_GROUP;
        if (access != ACCESS_NONE && (mask_writes || !is_masked))
            return access;
    }
    return ACCESS_NONE;
}

enum access access_of(const struct access_facts *facts, const struct access_subject *subject)
{
    bool is_directory = (facts->mode & MODE_TYPE) == MODE_DIRECTORY;

    if (facts->uid == subject->uid)
        return ACCESS_OWNER;
    if (is_directory && (facts->mode & MODE_STICKY) != 0)
        return ACCESS_NONE;
    if ((facts->mode & MODE_OTHER_WRITE) != 0)
        return ACCESS_OTHER;
    /* With an ACL the group bits of the mode are its mask. */
    if (!span_is_empty(facts->acl))
        return acl_access(facts, subject);
    if ((facts->mode & MODE_GROUP_WRITE) != 0 && is_member(subject, facts->gid))
        return ACCESS_GROUP;
    return ACCESS_NONE;
}

const char *access_text(enum access access)
{
    switch (access) {
    case ACCESS_NONE:
        return "cannot change";
    case ACCESS_OWNER:
        return "owns";
    case ACCESS_USER:
        return "may, by an ACL entry of its own, change";
    case ACCESS_GROUP:
        return "may, through a group, change";
    case ACCESS_OTHER:
        return "may, like everybody, change";
    case ACCESS_UNCLEAR:
        return "may, by an ACL that cannot be read, change";
    }
    return "may change";
}
