/* Paths, faults and lists: what reading any table of a configuration needs. */
#include <lauxlib.h>

#include "config/policy_lua_table.h"

enum { SHOWN_MAX = 80, KEY_SHOWN_MAX = 40 };

struct span policy_lua_string(lua_State *lua, int at)
{
    size_t len = 0;
    const char *bytes;

    if (lua_type(lua, at) != LUA_TSTRING)
        return SPAN_NONE;
    bytes = lua_tolstring(lua, at, &len);
    return span_of(bytes, len);
}

void policy_lua_path_key(struct policy_lua_call *call, struct span key)
{
    text_put(&call->path, call->path.len > 0 ? "." : "");
    text_put_escaped(&call->path, key, KEY_SHOWN_MAX);
}

void policy_lua_path_item(struct policy_lua_call *call, uint64_t index)
{
    text_put_char(&call->path, '[');
    text_put_number(&call->path, index);
    text_put_char(&call->path, ']');
}

void policy_lua_path_cut(struct policy_lua_call *call, struct text mark)
{
    call->path = mark;
    call->path.data[mark.len] = '\0';
}

void policy_lua_complain(struct policy_lua_call *call, uint32_t place, const char *complaint)
{
    char message[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(message);
    const struct policy *policy = call->reader->policy;
    struct span value = policy_lua_string(call->lua, -1);

    text_put_span(&text, text_span(&call->path));
    if (value.data != NULL) {
        text_put(&text, text.len > 0 ? " \"" : "\"");
        text_put_escaped(&text, value, SHOWN_MAX);
        text_put_char(&text, '"');
    }
    text_put(&text, text.len > 0 ? ": " : "");
    text_put(&text, complaint);
    faults_add(call->reader->faults, policy->files[call->file],
               lua_lines_at(call->lines, place, call->line), text_span(&text));
}

void policy_lua_complain_type(struct policy_lua_call *call, uint32_t place, const char *wanted)
{
    char complaint[300];
    struct text text = TEXT_OF(complaint);

    text_put(&text, "this is a ");
    text_put(&text, luaL_typename(call->lua, -1));
    text_put(&text, "; ");
    text_put(&text, wanted);
    policy_lua_complain(call, place, complaint);
}

void policy_lua_complain_key(struct policy_lua_call *call, uint32_t place, struct span key,
                             const struct words *words)
{
    char message[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(message);
    const struct policy *policy = call->reader->policy;

    text_put_span(&text, text_span(&call->path));
    text_put(&text, ": unknown key; ");
    words_suggest(words, key, &text);
    faults_add(call->reader->faults, policy->files[call->file],
               lua_lines_at(call->lines, place, call->line), text_span(&text));
}

/* Item numbers of the list on top; false after a fault of a key that is none. */
static bool count_items(struct policy_lua_call *call, uint32_t place, uint64_t *count)
{
    lua_State *lua = call->lua;
    bool is_list = true;

    *count = 0;
    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        struct text mark = call->path;
        if (lua_isinteger(lua, -2) && lua_tointeger(lua, -2) >= 1) {
            ++*count;
        } else {
            struct span key = policy_lua_string(lua, -2);
            if (key.data != NULL)
                policy_lua_path_key(call, key);
            policy_lua_complain(call, lua_lines_key(call->lines, place, key),
                                "a list has only items, no keys; write { \"first\", \"second\" }");
            policy_lua_path_cut(call, mark);
            is_list = false;
        }
        lua_pop(lua, 1);
    }
    return is_list;
}

void policy_lua_list(struct policy_lua_call *call, uint32_t place, policy_lua_item *read,
                     void *context)
{
    lua_State *lua = call->lua;
    uint64_t count;

    if (!lua_istable(lua, -1)) {
        policy_lua_complain_type(call, place, "write a list: { \"first\", \"second\" }");
        return;
    }
    if (!count_items(call, place, &count))
        return;
    for (uint64_t i = 1; i <= count; i++) {
        struct text mark = call->path;
        policy_lua_path_item(call, i);
        bool is_hole = lua_rawgeti(lua, -1, (lua_Integer)i) == LUA_TNIL;
        uint32_t item = lua_lines_item(call->lines, place, i);
        if (is_hole)
            policy_lua_complain(call, item, "nothing stands here, but the list goes on behind it");
        else
            read(call, item, context);
        lua_pop(lua, 1);
        policy_lua_path_cut(call, mark);
        if (is_hole)
            return;
    }
}
