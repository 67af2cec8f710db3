#include "config/access.h"
#include "tests/lib/unit.h"

enum { CAGE = 5001, CAGE_GROUP = 6001, OTHER_GROUP = 6002, DIR = 0040000, FILE_ = 0100000 };

#define ENTRY(tag, perm, id) tag, 0, perm, 0, (id)&255, (id) >> 8 & 255, 0, 0

struct row {
    uint32_t uid;
    uint32_t gid;
    uint32_t mode;
    enum access access;
};

static const uint32_t gids[] = {CAGE, CAGE_GROUP};
static const struct access_subject cage = {CAGE, gids, 2};

static void modes(void **state)
{
    static const struct row rows[] = {
        {0, 0, FILE_ | 0644, ACCESS_NONE},
        {CAGE, 0, FILE_ | 0400, ACCESS_OWNER},
        {CAGE, 0, DIR | 01755, ACCESS_OWNER},
        {0, CAGE_GROUP, FILE_ | 0664, ACCESS_GROUP},
        {0, CAGE_GROUP, FILE_ | 0644, ACCESS_NONE},
        {0, CAGE, FILE_ | 0664, ACCESS_GROUP},
        {0, OTHER_GROUP, FILE_ | 0664, ACCESS_NONE},
        {0, 0, FILE_ | 0666, ACCESS_OTHER},
        {0, 0, FILE_ | 0602, ACCESS_OTHER},
        /* The sticky bit protects entries of a directory, never a file. */
        {0, 0, FILE_ | 01666, ACCESS_OTHER},
        {0, 0, DIR | 0777, ACCESS_OTHER},
        {0, 0, DIR | 01777, ACCESS_NONE},
        {0, CAGE_GROUP, DIR | 0775, ACCESS_GROUP},
        {0, CAGE_GROUP, DIR | 01775, ACCESS_NONE},
        /* A group entry that denies is no protection. */
        {0, CAGE_GROUP, FILE_ | 0646, ACCESS_OTHER},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct access_facts facts = {rows[i].uid, rows[i].gid, rows[i].mode, SPAN_NONE};
        if (access_of(&facts, &cage) != rows[i].access)
            fail_msg("row %zu: %s", i, access_text(access_of(&facts, &cage)));
    }
}

struct acl_row {
    uint8_t bytes[64];
    size_t len;
    uint32_t gid;
    enum access access;
};

static void acls(void **state)
{
    static const struct acl_row rows[] = {
        {{2, 0, 0, 0, ENTRY(1, 7, 0), ENTRY(4, 5, 0), ENTRY(32, 5, 0)}, 28, 0, ACCESS_NONE},
        {{2, 0, 0, 0, ENTRY(2, 6, CAGE)}, 12, 0, ACCESS_USER},
        {{2, 0, 0, 0, ENTRY(2, 4, CAGE)}, 12, 0, ACCESS_NONE},
        {{2, 0, 0, 0, ENTRY(2, 6, CAGE + 1)}, 12, 0, ACCESS_NONE},
        {{2, 0, 0, 0, ENTRY(2, 6, CAGE), ENTRY(16, 4, 0)}, 20, 0, ACCESS_NONE},
        {{2, 0, 0, 0, ENTRY(2, 6, CAGE), ENTRY(16, 6, 0)}, 20, 0, ACCESS_USER},
        {{2, 0, 0, 0, ENTRY(8, 6, CAGE_GROUP)}, 12, 0, ACCESS_GROUP},
        {{2, 0, 0, 0, ENTRY(8, 6, OTHER_GROUP)}, 12, 0, ACCESS_NONE},
        {{2, 0, 0, 0, ENTRY(4, 6, 0)}, 12, CAGE_GROUP, ACCESS_GROUP},
        {{2, 0, 0, 0, ENTRY(4, 4, 0), ENTRY(16, 6, 0)}, 20, CAGE_GROUP, ACCESS_NONE},
        {{2, 0, 0, 0, ENTRY(32, 6, 0), ENTRY(16, 0, 0)}, 20, 0, ACCESS_OTHER},
        {{2, 0, 0, 0, ENTRY(64, 6, 0)}, 12, 0, ACCESS_UNCLEAR},
        {{1, 0, 0, 0, ENTRY(4, 4, 0)}, 12, 0, ACCESS_UNCLEAR},
        {{2, 0, 0, 0, ENTRY(4, 4, 0)}, 11, 0, ACCESS_UNCLEAR},
        {{2, 0, 0, 0}, 3, 0, ACCESS_UNCLEAR},
        {{2, 0, 0, 0}, 4, 0, ACCESS_NONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guarded g = guarded_copy(span_of(rows[i].bytes, rows[i].len), GUARDED_END);
        /* The group bits of the mode are the ACL's mask and mean nothing by themselves. */
        struct access_facts facts = {0, rows[i].gid, FILE_ | 0660, g.bytes};
        if (access_of(&facts, &cage) != rows[i].access)
            fail_msg("row %zu: %s", i, access_text(access_of(&facts, &cage)));
        guarded_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes),
        cmocka_unit_test(acls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
