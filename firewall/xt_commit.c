#include "firewall/xt_commit.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <libiptc/libip6tc.h>
#include <libiptc/libiptc.h>

#include "firewall/xt_compare.h"
#include "firewall/xt_image.h"

enum { LOCK_TRIES = 500, LOCK_PAUSE_MS = 10, COMMIT_TRIES = 8 };

/*
 * libiptc once for each family: the same calls, with entries of other types. Results are libiptc's:
 * not 0, or 0 and errno.
 */
struct xt_calls {
    struct xtc_handle *(*init)(const char *table);
    void (*free)(struct xtc_handle *h);
    int (*commit)(struct xtc_handle *h);
    const char *(*first_chain)(struct xtc_handle *h);
    const char *(*next_chain)(struct xtc_handle *h);
    int (*builtin)(const char *chain, struct xtc_handle *h);
    int (*is_chain)(const char *chain, struct xtc_handle *h);
    int (*create)(const char *chain, struct xtc_handle *h);
    int (*flush)(const char *chain, struct xtc_handle *h);
    int (*delete_chain)(const char *chain, struct xtc_handle *h);
    int (*delete_rule)(const char *chain, unsigned place, struct xtc_handle *h);
    int (*append)(const char *chain, const void *entry, struct xtc_handle *h);
    int (*insert)(const char *chain, const void *entry, unsigned place, struct xtc_handle *h);
    const void *(*first_rule)(const char *chain, struct xtc_handle *h);
    const void *(*next_rule)(const void *entry, struct xtc_handle *h);
    const char *(*target)(const void *entry, struct xtc_handle *h);
};

#define XT_CALLS(family, lib, entry_type)                                                          \
    static int family##_append(const char *chain, const void *entry, struct xtc_handle *h)         \
    {                                                                                              \
        return lib##_append_entry(chain, entry, h);                                                \
    }                                                                                              \
    static int family##_insert(const char *chain, const void *entry, unsigned place,               \
                               struct xtc_handle *h)                                               \
    {                                                                                              \
        return lib##_insert_entry(chain, entry, place, h);                                         \
    }                                                                                              \
    static const void *family##_first_rule(const char *chain, struct xtc_handle *h)                \
    {                                                                                              \
        return lib##_first_rule(chain, h);                                                         \
    }                                                                                              \
    static const void *family##_next_rule(const void *entry, struct xtc_handle *h)                 \
    {                                                                                              \
        return lib##_next_rule(entry, h);                                                          \
    }                                                                                              \
    static const char *family##_target(const void *entry, struct xtc_handle *h)                    \
    {                                                                                              \
        return lib##_get_target(entry, h);                                                         \
    }                                                                                              \
    static const struct xt_calls family##_calls = {                                                \
        .init = lib##_init,                                                                        \
        .free = lib##_free,                                                                        \
        .commit = lib##_commit,                                                                    \
        .first_chain = lib##_first_chain,                                                          \
        .next_chain = lib##_next_chain,                                                            \
        .builtin = lib##_builtin,                                                                  \
        .is_chain = lib##_is_chain,                                                                \
        .create = lib##_create_chain,                                                              \
        .flush = lib##_flush_entries,                                                              \
        .delete_chain = lib##_delete_chain,                                                        \
        .delete_rule = lib##_delete_num_entry,                                                     \
        .append = family##_append,                                                                 \
        .insert = family##_insert,                                                                 \
        .first_rule = family##_first_rule,                                                         \
        .next_rule = family##_next_rule,                                                           \
        .target = family##_target,                                                                 \
    }

XT_CALLS(v4, iptc, ipt_entry);
XT_CALLS(v6, ip6tc, ip6t_entry);

static const struct xt_calls *const calls_of[RULESET_FAMILIES] = {&v4_calls, &v6_calls};

/* A table of a family, open: `fault` says where we are when something fails. */
struct table {
    const struct xt_calls *calls;
    struct xtc_handle *handle;
    enum ruleset_family family;
    enum ruleset_table table;
    char prefix[RULESET_CHAIN_TEXT_MAX]; /* of our chains' names */
};

/* The errno of a libiptc call that failed; it is 0 when the library's versions do not agree. */
static int last_error(void)
{
    return errno != 0 ? -errno : -EPROTO;
}

static int failed(struct xt_fault *fault, const struct table *t, enum xt_step step, int error)
{
    fault->step = step;
    fault->family = t->family;
    fault->table = t->table;
    fault->error = error;
    return error;
}

static bool is_ours(const struct table *t, const char *name)
{
    return strncmp(name, t->prefix, strlen(t->prefix)) == 0;
}

static int table_open(struct table *t, struct xt_fault *fault)
{
    errno = 0;
    t->handle = t->calls->init(ruleset_table_text(t->table));
    return t->handle != NULL ? 0 : failed(fault, t, XT_READ, last_error());
}

static void table_close(struct table *t)
{
    if (t->handle != NULL)
        t->calls->free(t->handle);
    t->handle = NULL;
}

/* --- Reading what is there */

static struct span entry_span(const struct table *t, const void *entry)
{
    if (t->family == RULESET_V4)
        return span_of(entry, ((const struct ipt_entry *)entry)->next_offset);
    return span_of(entry, ((const struct ip6t_entry *)entry)->next_offset);
}

static bool is_cage_chain(const char *name)
{
    return strncmp(name, "CAGE-", strlen("CAGE-")) == 0;
}

/*
 * All rules of a chain of ours, or the jumps of ours in a chain of the kernel's. An empty chain of
 * ours leaves no entry, so that it has to be noted.
 */
static int read_chain(const struct table *t, const char *chain, bool is_kernels,
                      struct xt_image *out)
{
    struct xt_image_entry entry = {.chain = xt_name_of(chain), .is_jump = is_kernels};
    bool is_behind = false;
    const void *at = t->calls->first_rule(chain, t->handle);

    for (; at != NULL; at = t->calls->next_rule(at, t->handle), entry.place++) {
        const char *target = t->calls->target(at, t->handle);
        if (is_kernels && !is_ours(t, target)) {
            is_behind = is_behind || !is_cage_chain(target);
            continue;
        }
        out->is_disturbed = out->is_disturbed || is_behind;
        struct span bytes = entry_span(t, at);
        uint8_t *copy = xt_image_add(out, &entry, bytes);
        if (copy == NULL)
            return -ENOMEM;
        xt_entry_name_target(t->family, copy, bytes.len, target);
    }
    out->is_disturbed = out->is_disturbed || (!is_kernels && entry.place == 0);
    return 0;
}

static int read_image(const struct table *t, struct xt_image *out)
{
    static const char *const kernels[] = {"OUTPUT", "POSTROUTING"};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        if (t->calls->builtin(kernels[i], t->handle))
            rc = read_chain(t, kernels[i], true, out);
    }
    const char *chain = t->calls->first_chain(t->handle);
    for (; rc == 0 && chain != NULL; chain = t->calls->next_chain(t->handle)) {
        if (is_ours(t, chain))
            rc = read_chain(t, chain, false, out);
    }
    if (rc < 0)
        xt_image_free(out);
    return rc;
}

/* --- Changing libiptc's copy */

static bool delete_jumps(const struct table *t, const char *chain)
{
    const void *at = t->calls->first_rule(chain, t->handle);
    unsigned place = 0;

    while (at != NULL) {
        if (!is_ours(t, t->calls->target(at, t->handle))) {
            at = t->calls->next_rule(at, t->handle);
            place++;
            continue;
        }
        if (!t->calls->delete_rule(chain, place, t->handle))
            return false;
        /* The iterator does not survive a deletion. */
        at = t->calls->first_rule(chain, t->handle);
        for (unsigned i = 0; at != NULL && i < place; i++)
            at = t->calls->next_rule(at, t->handle);
    }
    return true;
}

static bool empty_chains(const struct table *t)
{
    const char *chain = t->calls->first_chain(t->handle);

    for (; chain != NULL; chain = t->calls->next_chain(t->handle)) {
        if (is_ours(t, chain) && !t->calls->flush(chain, t->handle))
            return false;
    }
    return true;
}

static bool create_chains(const struct table *t, const struct xt_image *image)
{
    for (size_t i = 0; i < image->count; i++) {
        const struct xt_image_entry *e = &image->entries[i];
        bool is_new = i == 0 || strcmp(image->entries[i - 1].chain.text, e->chain.text) != 0;
        if (e->is_jump || !is_new || t->calls->is_chain(e->chain.text, t->handle))
            continue;
        if (!t->calls->create(e->chain.text, t->handle))
            return false;
    }
    return true;
}

static bool put_entry(const struct table *t, const struct xt_image *image, size_t index)
{
    const struct xt_image_entry *e = &image->entries[index];
    const void *entry = xt_image_bytes(image, index).data;

    if (e->is_jump)
        return t->calls->insert(e->chain.text, entry, e->place, t->handle) != 0;
    return t->calls->append(e->chain.text, entry, t->handle) != 0;
}

/* Deleting a chain ends libiptc's walk over the chains, hence one at a time. */
static const char *unwanted_chain(const struct table *t, const struct xt_image *image)
{
    const char *chain = t->calls->first_chain(t->handle);

    for (; chain != NULL; chain = t->calls->next_chain(t->handle)) {
        if (is_ours(t, chain) && !xt_image_has_chain(image, chain))
            return chain;
    }
    return NULL;
}

static bool delete_chains(const struct table *t, const struct xt_image *image)
{
    const char *chain;

    while ((chain = unwanted_chain(t, image)) != NULL) {
        struct xt_name name = xt_name_of(chain);
        if (!t->calls->delete_chain(name.text, t->handle))
            return false;
    }
    return true;
}

/* Ours become the image; the rest of the table stays as it is, in its order. */
static int change_table(const struct table *t, const struct xt_image *image)
{
    errno = 0;
    bool is_done =
        (!t->calls->builtin("OUTPUT", t->handle) || delete_jumps(t, "OUTPUT")) &&
        (!t->calls->builtin("POSTROUTING", t->handle) || delete_jumps(t, "POSTROUTING")) &&
        empty_chains(t) && create_chains(t, image);

    for (size_t i = 0; is_done && i < image->count; i++)
        is_done = put_entry(t, image, i);
    return is_done && delete_chains(t, image) ? 0 : last_error();
}

/* --- One table */

static int replace_once(struct table *t, const struct xt_image *wanted, struct xt_image *before,
                        struct xt_fault *fault)
{
    int rc = table_open(t, fault);

    if (rc < 0)
        return rc;
    if (before->count == 0) {
        rc = read_image(t, before);
        if (rc < 0) {
            failed(fault, t, XT_MEMORY, rc);
            goto out;
        }
    }
    rc = change_table(t, wanted);
    if (rc < 0) {
        failed(fault, t, XT_CHANGE, rc);
        goto out;
    }
    errno = 0;
    if (!t->calls->commit(t->handle))
        rc = failed(fault, t, XT_COMMIT, last_error());
out:
    table_close(t);
    return rc;
}

/* Tries again when somebody who takes no lock was faster. */
static int replace_table(struct table *t, const struct xt_image *wanted, struct xt_image *before,
                         struct xt_fault *fault)
{
    int rc = -EAGAIN;

    for (int i = 0; rc == -EAGAIN && i < COMMIT_TRIES; i++) {
        xt_image_free(before);
        rc = replace_once(t, wanted, before, fault);
    }
    return rc;
}

/* Whether the kernel holds the image. */
static int compare_table(struct table *t, const struct xt_image *wanted, bool *is_in_force,
                         struct xt_fault *fault)
{
    struct xt_image kernels = {0};
    int rc = table_open(t, fault);

    if (rc < 0)
        return rc;
    rc = read_image(t, &kernels);
    if (rc < 0)
        failed(fault, t, XT_MEMORY, rc);
    else
        *is_in_force = xt_image_is_in_force(t->family, wanted, &kernels);
    xt_image_free(&kernels);
    table_close(t);
    return rc;
}

/* --- All tables */

enum { STEPS = RULESET_FAMILIES * RULESET_TABLES };

/* A table on its way to what the ruleset says; `before` is what it had once `is_done`. */
struct change {
    struct table table;
    struct xt_image before;
    bool is_done;
};

struct plan {
    const struct ruleset *ruleset; /* NULL: without rules */
    struct change changes[STEPS];  /* in the order in which they happen */
};

static void plan_free(struct plan *plan)
{
    for (size_t i = 0; i < STEPS; i++)
        xt_image_free(&plan->changes[i].before);
}

static void plan_init(struct plan *plan, uint32_t uid, const struct ruleset *ruleset)
{
    bool is_removal = ruleset == NULL;

    memset(plan, 0, sizeof(*plan));
    plan->ruleset = ruleset;
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned table = i / RULESET_FAMILIES;
        struct table *t = &plan->changes[i].table;
        t->family = (enum ruleset_family)(i % RULESET_FAMILIES);
        t->table = (enum ruleset_table)(is_removal ? RULESET_TABLES - 1 - table : table);
        t->calls = calls_of[t->family];
        ruleset_chain_prefix(uid, t->prefix);
    }
}

/* What a table should hold. Large rulesets: one table's at a time. */
static int plan_image(const struct plan *plan, const struct table *t, struct xt_image *wanted,
                      struct xt_fault *fault)
{
    if (plan->ruleset == NULL || xt_image_of_rules(plan->ruleset, t->family, t->table, wanted))
        return 0;
    return failed(fault, t, XT_MEMORY, -ENOMEM);
}

/* Whether the kernel holds the image. A table that is not there holds nothing of ours. */
static int plan_compare(struct table *t, const struct xt_image *wanted, bool *is_in_force,
                        struct xt_fault *fault)
{
    int rc = compare_table(t, wanted, is_in_force, fault);

    if (wanted->count == 0 && (rc == -ENOENT || rc == -ENOPROTOOPT)) {
        *is_in_force = true;
        return 0;
    }
    return rc;
}

static int plan_step(struct plan *plan, struct change *c, struct xt_fault *fault)
{
    struct xt_image wanted = {0};
    bool is_in_force = false;
    int rc = plan_image(plan, &c->table, &wanted, fault);

    if (rc == 0)
        rc = plan_compare(&c->table, &wanted, &is_in_force, fault);
    if (rc == 0 && !is_in_force) {
        rc = replace_table(&c->table, &wanted, &c->before, fault);
        c->is_done = rc == 0;
    }
    xt_image_free(&wanted);
    return rc;
}

/* Gives the tables back what they had, the last changed first. */
static int plan_undo(struct plan *plan)
{
    struct xt_fault ignored;
    struct xt_image discarded = {0};
    int rc = 0;

    for (size_t i = STEPS; i-- > 0;) {
        struct change *c = &plan->changes[i];
        if (!c->is_done)
            continue;
        int step = replace_table(&c->table, &c->before, &discarded, &ignored);
        xt_image_free(&discarded);
        rc = step < 0 ? step : rc;
    }
    return rc;
}

/* Every table as far as it goes: a filter table that is closed is worth having alone. */
static int install_closed(const struct ruleset_cage *cage)
{
    struct ruleset closed = {0};
    struct xt_fault ignored;
    struct plan plan;
    int rc = 0;

    if (!ruleset_build_closed(cage, &closed))
        return -EINVAL;
    closed.cap = closed.count;
    closed.rules = calloc(closed.cap, sizeof(*closed.rules));
    if (closed.rules == NULL)
        return -ENOMEM;
    ruleset_build_closed(cage, &closed);
    plan_init(&plan, cage->uid, &closed);
    for (size_t i = 0; i < STEPS; i++) {
        int step = plan_step(&plan, &plan.changes[i], &ignored);
        if (step < 0 && plan.changes[i].table.table == RULESET_FILTER)
            rc = step;
    }
    plan_free(&plan);
    free(closed.rules);
    return rc;
}

static int plan_run(struct plan *plan, const struct ruleset_cage *cage, struct xt_fault *fault)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < STEPS; i++)
        rc = plan_step(plan, &plan->changes[i], fault);
    if (rc == 0)
        return 0;
    fault->left = XT_LEFT_OLD;
    if (plan_undo(plan) < 0)
        fault->left = install_closed(cage) < 0 ? XT_LEFT_BROKEN : XT_LEFT_CLOSED;
    return rc;
}

/* --- The lock of iptables, and what happens under it */

/* The descriptor that holds it, or a negative errno: -EWOULDBLOCK when somebody keeps it. */
static int lock_take(const char *path, struct xt_fault *fault)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : -EWOULDBLOCK;

    *fault = (struct xt_fault){.step = XT_LOCK};
    for (int i = 0; rc == -EWOULDBLOCK && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        rc = errno == EINTR ? -EWOULDBLOCK : -errno;
        nanosleep(&pause, NULL);
    }
    if (fd >= 0)
        close(fd);
    fault->error = rc;
    return rc;
}

int xt_commit_install(const struct ruleset *ruleset, const char *lock_path, struct xt_fault *fault)
{
    struct plan plan;
    int lock = lock_take(lock_path, fault);

    if (lock < 0)
        return lock;
    plan_init(&plan, ruleset->cage.uid, ruleset);
    int rc = plan_run(&plan, &ruleset->cage, fault);
    plan_free(&plan);
    close(lock);
    return rc;
}

int xt_commit_remove(uint32_t uid, const char *lock_path, struct xt_fault *fault)
{
    const struct ruleset_cage cage = {.uid = uid, .proxy_uid = POLICY_UID_NONE, .zone = 1};
    struct plan plan;
    int lock = lock_take(lock_path, fault);

    if (lock < 0)
        return lock;
    plan_init(&plan, uid, NULL);
    int rc = plan_run(&plan, &cage, fault);
    plan_free(&plan);
    close(lock);
    return rc;
}

int xt_commit_is_installed(const struct ruleset *ruleset, const char *lock_path, bool *is_installed,
                           struct xt_fault *fault)
{
    struct plan plan;
    bool is_in_force = true;
    int rc = 0;
    int lock = lock_take(lock_path, fault);

    if (lock < 0)
        return lock;
    plan_init(&plan, ruleset->cage.uid, ruleset);
    for (size_t i = 0; rc == 0 && is_in_force && i < STEPS; i++) {
        struct table *t = &plan.changes[i].table;
        struct xt_image wanted = {0};
        rc = plan_image(&plan, t, &wanted, fault);
        if (rc == 0)
            rc = plan_compare(t, &wanted, &is_in_force, fault);
        xt_image_free(&wanted);
    }
    if (rc == 0)
        *is_installed = is_in_force;
    plan_free(&plan);
    close(lock);
    return rc;
}
