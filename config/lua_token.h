/*
 * Lua 5.4 source text as tokens with their lines (reference manual, 3.1), as far as telling where
 * things stand needs it: any bytes yield tokens, malformed text yields odd ones.
 */
#ifndef CONFIG_LUA_TOKEN_H
#define CONFIG_LUA_TOKEN_H

#include "config/span.h"

enum lua_token_kind {
    LUA_TOKEN_END,
    LUA_TOKEN_NAME, /* keywords too */
    LUA_TOKEN_STRING,
    LUA_TOKEN_NUMBER,
    LUA_TOKEN_SYMBOL, /* one byte, or "==", "~=", "<=", ">=" */
};

struct lua_token {
    enum lua_token_kind kind;
    struct span text; /* a string without its quotes, escapes as written */
    bool has_escapes; /* a string whose bytes are not its text */
    uint32_t line;    /* where it starts, from 1 */
};

/* A cursor; a copy of it is a place to come back to. */
struct lua_tokens {
    struct span rest;
    uint32_t line;
};

struct lua_tokens lua_tokens_of(struct span text);

/* The next token; LUA_TOKEN_END at the end, again and again. */
struct lua_token lua_token_next(struct lua_tokens *tokens);

#endif
