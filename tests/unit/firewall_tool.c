/*
 * Drives firewall/ from the end-to-end tests: a canonical policy text in, rules into the kernel of
 * the network namespace that it is started in. It includes the file that talks to libiptc, so that
 * a call of libiptc can be made to fail.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <libiptc/libip6tc.h>
#include <libiptc/libiptc.h>

#include "config/policy_text.h"
#include "firewall/ruleset_text.h"
#include "firewall/sock_destroy.h"

/* Calls of libiptc that fail: the first `count` behind the first `skip` of their kind. */
struct failure {
    int family;
    char table[16];
    char call[16];
    int error;
    int skip;
    int count;
};

static struct failure failures[8];
static const char *table_at_hand[2]; /* the table that was opened last, by family */

static bool is_failing(int family, const char *call, const char *table)
{
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        struct failure *f = &failures[i];
        if (f->family != family || strcmp(f->call, call) != 0 || strcmp(f->table, table) != 0)
            continue;
        if (f->skip-- > 0)
            continue;
        if (f->count-- <= 0)
            continue;
        errno = f->error;
        return true;
    }
    return false;
}

static struct xtc_handle *tool_init4(const char *table)
{
    table_at_hand[0] = table;
    return is_failing(4, "init", table) ? NULL : iptc_init(table);
}

static struct xtc_handle *tool_init6(const char *table)
{
    table_at_hand[1] = table;
    return is_failing(6, "init", table) ? NULL : ip6tc_init(table);
}

static int tool_commit4(struct xtc_handle *h)
{
    return is_failing(4, "commit", table_at_hand[0]) ? 0 : iptc_commit(h);
}

static int tool_commit6(struct xtc_handle *h)
{
    return is_failing(6, "commit", table_at_hand[1]) ? 0 : ip6tc_commit(h);
}

#define iptc_init    tool_init4
#define ip6tc_init   tool_init6
#define iptc_commit  tool_commit4
#define ip6tc_commit tool_commit6
#include "firewall/xt_commit.c"

static void put(void *context, struct span line)
{
    fwrite(line.data, 1, line.len, context);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "r");
    char *data = NULL;
    size_t size = 0;

    if (file == NULL || getdelim(&data, &size, '\0', file) < 0) {
        perror(path);
        exit(2);
    }
    *len = strlen(data);
    fclose(file);
    return data;
}

static void load(const char *path, struct policy *policy)
{
    char complaint[512];
    struct text fault = TEXT_OF(complaint);
    size_t len;
    char *data = read_file(path, &len);

    if (!policy_text_parse(span_of(data, len), policy, &fault)) {
        fprintf(stderr, "%s: %s\n", path, complaint);
        exit(2);
    }
    free(data);
}

static bool build(const struct policy *policy, bool is_closed, struct ruleset *out)
{
    struct ruleset_cage cage = ruleset_cage_of(policy);

    return is_closed ? ruleset_build_closed(&cage, out) : ruleset_build(policy, &cage, out);
}

static struct ruleset make_rules(const struct policy *policy, bool is_closed)
{
    struct ruleset rules = {0};

    if (!build(policy, is_closed, &rules)) {
        fprintf(stderr, "there is no such cage\n");
        exit(2);
    }
    rules.cap = rules.count;
    rules.rules = calloc(rules.cap, sizeof(*rules.rules));
    if (rules.rules == NULL)
        exit(2);
    build(policy, is_closed, &rules);
    return rules;
}

static int report(int rc, const struct xt_fault *fault)
{
    char data[512];
    struct text text = TEXT_OF(data);

    if (rc == 0)
        return 0;
    xt_fault_print(fault, &text);
    fprintf(stderr, "%s\n", data);
    return 1;
}

static int with_policy(const char *command, const char *path, const char *lock)
{
    struct policy policy;
    struct xt_fault fault;
    bool is_closed = strcmp(command, "close") == 0 || strcmp(command, "print-closed") == 0;
    bool is_installed = false;
    int rc = 0;

    load(path, &policy);
    struct ruleset rules = make_rules(&policy, is_closed);
    if (strncmp(command, "print", 5) == 0) {
        for (unsigned family = 0; family < RULESET_FAMILIES; family++) {
            printf("#### %s\n", family == RULESET_V4 ? "IPv4" : "IPv6");
            ruleset_text(&rules, (enum ruleset_family)family, put, stdout);
        }
    } else if (strcmp(command, "check") == 0) {
        rc = xt_commit_is_installed(&rules, lock, &is_installed, &fault);
        printf("%s\n", is_installed ? "installed" : "not installed");
    } else {
        rc = xt_commit_install(&rules, lock, &fault);
    }
    free(rules.rules);
    policy_fini(&policy);
    return report(rc, &fault);
}

static int with_uid(const char *command, uint32_t uid, const char *lock)
{
    struct xt_fault fault;
    size_t count = 0;

    if (strcmp(command, "remove") == 0)
        return report(xt_commit_remove(uid, lock, &fault), &fault);
    if (strcmp(command, "destroy") == 0) {
        int rc = sock_destroy_uid(uid, &count);
        printf("%zu %d\n", count, rc);
        return rc < 0;
    }
    if (strcmp(command, "sockets") == 0) {
        bool has_any = false;
        int rc = sock_has_uid(uid, &has_any);
        printf("%s %d\n", has_any ? "some" : "none", rc);
        return rc < 0;
    }
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 12) {
        fprintf(stderr,
                "usage: firewall_tool LOCK "
                "install|close|check|print|print-closed POLICY | remove|destroy|sockets UID "
                "[FAMILY:TABLE:CALL:ERRNO:SKIP:COUNT]...\n");
        return 2;
    }
    for (int i = 4; i < argc; i++) {
        struct failure *f = &failures[i - 4];
        if (sscanf(argv[i], "%d:%15[^:]:%15[^:]:%d:%d:%d", &f->family, f->table, f->call, &f->error,
                   &f->skip, &f->count) != 6)
            return 2;
    }
    if (argv[3][0] >= '0' && argv[3][0] <= '9')
        return with_uid(argv[2], (uint32_t)strtoul(argv[3], NULL, 10), argv[1]);
    return with_policy(argv[2], argv[3], argv[1]);
}
