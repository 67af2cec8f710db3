/*
 * The lines on which the values of a `claude_cage { ... }` call stand.
 *
 * Lua knows the line of a call but not of an entry in its table. This reads the text once more, as
 * tokens, and notes where each key and each item of the literal tables stands. What it says decides
 * nothing but the line number of a message: a text that fools it yields a wrong number and no more.
 */
#ifndef CONFIG_LUA_LINES_H
#define CONFIG_LUA_LINES_H

#include "config/span.h"

struct lua_lines;

/* NULL when memory ran out; any bytes are welcome. Keeps pointing into `text`. */
struct lua_lines *lua_lines_scan(struct span text);
void lua_lines_free(struct lua_lines *lines);

/*
 * A place is a number; zero is nowhere, and what lies below nowhere is nowhere.
 *
 * The call that Lua says is on `line`; nowhere when there is none or more than one.
 */
uint32_t lua_lines_call(const struct lua_lines *lines, uint32_t line);

/* The value of `key`, or the item `index` (from 1), in the table at `place`. */
uint32_t lua_lines_key(const struct lua_lines *lines, uint32_t place, struct span key);
uint32_t lua_lines_item(const struct lua_lines *lines, uint32_t place, uint64_t index);

/* The line of a place; `otherwise` for nowhere. */
uint32_t lua_lines_at(const struct lua_lines *lines, uint32_t place, uint32_t otherwise);

#endif
