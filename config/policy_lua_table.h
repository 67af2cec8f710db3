/*
 * The table of one `claude_cage` call -> policy. Part of policy_lua.
 *
 * Tables are read raw, so that nothing of the configuration runs meanwhile. Any of these functions
 * may raise a Lua error when memory runs out.
 */
#ifndef CONFIG_POLICY_LUA_TABLE_H
#define CONFIG_POLICY_LUA_TABLE_H

#include <lua.h>

#include "config/lua_lines.h"
#include "config/policy_lua.h"
#include "config/words.h"

enum { POLICY_LUA_PATH_MAX = 256 };

/* A call being read. `path` is the value in hand as a person would write it: allow.domains[2]. */
struct policy_lua_call {
    struct policy_lua *reader;
    lua_State *lua;
    const struct lua_lines *lines;
    uint32_t file; /* in the policy's files */
    uint32_t line;
    struct text path;
    char path_data[POLICY_LUA_PATH_MAX];
};

/* Reads the call's table, which is on top of the stack; leaves the stack as it was. */
void policy_lua_table(struct policy_lua_call *call);

/* The value on top is what `proxy` is set to. */
void policy_lua_proxy(struct policy_lua_call *call, uint32_t place);

/* The value on top is what the setting of the path in hand is set to. */
void policy_lua_option(struct policy_lua_call *call, uint32_t place);

/*
 * Calls `read` for each item of the list on top, the item being on top. Holes, keys that are no
 * numbers and a value that is no table are faults.
 */
typedef void policy_lua_item(struct policy_lua_call *call, uint32_t place, void *context);
void policy_lua_list(struct policy_lua_call *call, uint32_t place, policy_lua_item *read,
                     void *context);

/* Faults of the value in hand, on top of the stack; `place` says where it stands. */
void policy_lua_complain(struct policy_lua_call *call, uint32_t place, const char *complaint);
void policy_lua_complain_type(struct policy_lua_call *call, uint32_t place, const char *wanted);
void policy_lua_complain_key(struct policy_lua_call *call, uint32_t place, struct span key,
                             const struct words *words);

/* The bytes of the string at `at`, none when it is no string: numbers are not converted. */
struct span policy_lua_string(lua_State *lua, int at);

/*
 * The path while a key or an item is in hand: policy_lua_path_cut(call, mark) takes off what was
 * added since mark = call->path.
 */
void policy_lua_path_key(struct policy_lua_call *call, struct span key);
void policy_lua_path_item(struct policy_lua_call *call, uint64_t index);
void policy_lua_path_cut(struct policy_lua_call *call, struct text mark);

#endif
