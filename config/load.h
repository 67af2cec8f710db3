/*
 * Files and tiers -> policy: the I/O around policy_lua.
 *
 * load_run() is all of it: files are opened once, a short-lived child without privileges runs the
 * Lua in them, and the files are judged by what was found when they were opened. Nothing of Lua
 * runs in the caller.
 */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include "config/access.h"
#include "config/account_lookup.h"
#include "config/faults.h"
#include "config/policy.h"

enum {
    LOAD_FILE_MAX = 16 << 20, /* bytes of one file */
    LOAD_DEADLINE_MS = 10000, /* for all files together */
};

struct load_request {
    const char *const *files; /* in the order of their tiers */
    size_t file_count;        /* 0: the default places that exist */
    const char *user;         /* the cage user instead of the configured one, or NULL */
};

/* A file or a directory on the way to it. */
struct load_step {
    char *path;
    uint8_t *acl; /* what facts.acl points into */
    struct access_facts facts;
};

/* An open configuration: its bytes, and how it was found, from "/" to the file itself. */
struct load_file {
    char *name; /* as it was asked for; messages carry it */
    char *text;
    size_t len;
    struct load_step *steps;
    size_t step_count;
};

struct load {
    struct load_file *files;
    size_t file_count;
};

/*
 * The policy of the files, users resolved to uids (POLICY_UID_NONE where there is no such
 * account). False with at least one fault; *policy, which must not be initialised, then owns
 * nothing.
 */
bool load_run(const struct load_request *request, struct policy *policy, struct faults *faults);

/*
 * Opens and reads the files. No symbolic link is followed, not even on the way. *load is valid,
 * and needs load_fini(), even when there were faults.
 */
void load_open(const struct load_request *request, struct load *load, struct faults *faults);
void load_fini(struct load *load);

/* Where the users of a policy were written; line 0: nowhere. */
struct load_sources {
    struct rule_source user;
    struct rule_source proxy_user;
};

/* Runs the Lua of the files in this process, into an initialised policy. */
void load_evaluate(const struct load *load, struct policy *policy, struct load_sources *sources,
                   struct faults *faults);

/* The same in a child; *policy must not be initialised. False with at least one fault. */
bool load_evaluate_apart(const struct load *load, struct policy *policy,
                         struct load_sources *sources, struct faults *faults);

/* Adds a fault for each step that `who`, called `role` in messages, could change. */
void load_judge(const struct load *load, const struct account_ids *who, const char *role,
                struct faults *faults);

#endif
