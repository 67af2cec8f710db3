/*
 * A configuration in Lua -> policy.
 *
 * Every file is run in a virtual machine of its own that has `claude_cage` and five harmless
 * functions, is given only source text, and is stopped when it takes too many instructions or too
 * much memory. What a file says is added to the policy: scalars replace, entries are appended.
 * Nothing here reads a file or asks the system.
 *
 * A file that holds a loop around one slow instruction can still take long: the caller runs this in
 * a process with a deadline (config/load.h).
 */
#ifndef CONFIG_POLICY_LUA_H
#define CONFIG_POLICY_LUA_H

#include "config/faults.h"
#include "config/policy.h"

enum {
    POLICY_LUA_OPTIONS_MAX = 64,     /* settings whose source is kept */
    POLICY_LUA_ENTRIES_MAX = 262144, /* of allow and block, over all files */
    POLICY_LUA_CALLS_MAX = 1000,     /* of claude_cage, over all files */
};

/* A reading in progress; `policy` and `faults` are the caller's. */
struct policy_lua {
    struct policy *policy;
    struct faults *faults;
    size_t entry_count;
    size_t call_count;

    /* Where each of policy_options() was written last; line 0: nowhere. */
    struct rule_source option_source[POLICY_LUA_OPTIONS_MAX];
    struct rule_source servers_source;
};

/* `policy` is initialised and empty. */
void policy_lua_init(struct policy_lua *reader, struct policy *policy, struct faults *faults);

/*
 * Adds one file, under the name that messages and rules carry. Faults are added to `faults`; a
 * policy with any fault must not be used.
 */
void policy_lua_read(struct policy_lua *reader, const char *name, struct span text);

/* The checks that need all files: users, ports, and what this version does not carry out. */
void policy_lua_finish(struct policy_lua *reader);

#endif
