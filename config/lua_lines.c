#include "config/lua_lines.h"

#include <stdlib.h>

#include "config/lua_token.h"

/* What a configuration can need; the rest of a larger or deeper text is nowhere. */
enum { CALLS_MAX = 1024, PLACES_MAX = 1 << 20, DEPTH_MAX = 8, SLOTS_MIN = 64 };

/* A value: item `index` of the table at `parent`, or its key when the index is zero. */
struct place {
    struct span key;
    uint64_t index;
    uint32_t parent;
    uint32_t line;
};

/* Lua reports the line of the name or, in later versions, of what opens the arguments. */
struct call {
    uint32_t first_line;
    uint32_t last_line;
    uint32_t place;
};

struct lua_lines {
    struct place *places; /* [0] is nowhere */
    size_t count;
    size_t cap;
    uint32_t *slots; /* open addressing by (parent, key, index); 0 is free */
    size_t slot_count;
    struct call calls[CALLS_MAX];
    size_t call_count;
};

struct scan {
    struct lua_tokens tokens;
    struct lua_token token; /* the current one; `tokens` stands behind it */
    struct lua_lines *lines;
};

static size_t place_hash(uint32_t parent, struct span key, uint64_t index)
{
    uint64_t hash = 14695981039346656037u ^ parent;

    hash = (hash * 1099511628211u) ^ index;
    for (size_t i = 0; i < key.len; i++)
        hash = (hash * 1099511628211u) ^ key.data[i];
    hash *= 0x9e3779b97f4a7c15u;
    return (size_t)(hash >> 32);
}

/* The slot that holds the place or would hold it. There is always a free one. */
static uint32_t *place_slot(const struct lua_lines *lines, uint32_t parent, struct span key,
                            uint64_t index)
{
    size_t mask = lines->slot_count - 1;
    size_t at = place_hash(parent, key, index) & mask;

    for (;; at = (at + 1) & mask) {
        const struct place *place = &lines->places[lines->slots[at]];
        if (lines->slots[at] == 0 ||
            (place->parent == parent && place->index == index && span_equal(place->key, key)))
            return &lines->slots[at];
    }
}

static bool grow(struct lua_lines *lines)
{
    size_t cap = lines->cap == 0 ? SLOTS_MIN / 2 : lines->cap * 2;
    struct place *places = realloc(lines->places, cap * sizeof(*places));

    if (places == NULL)
        return false;
    lines->places = places;
    uint32_t *slots = calloc(cap * 2, sizeof(*slots));
    if (slots == NULL)
        return false;
    free(lines->slots);
    lines->slots = slots;
    lines->slot_count = cap * 2;
    lines->cap = cap;
    for (size_t i = 1; i < lines->count; i++) {
        const struct place *place = &places[i];
        *place_slot(lines, place->parent, place->key, place->index) = (uint32_t)i;
    }
    return true;
}

/* A later value of the same key takes the earlier one's place, as it does in Lua. */
static uint32_t add_place(struct lua_lines *lines, const struct place *place)
{
    if (lines->count == PLACES_MAX || (lines->count == lines->cap && !grow(lines)))
        return 0;
    uint32_t id = (uint32_t)lines->count++;

    lines->places[id] = *place;
    *place_slot(lines, place->parent, place->key, place->index) = id;
    return id;
}

static void advance(struct scan *scan)
{
    scan->token = lua_token_next(&scan->tokens);
}

static bool is_symbol(const struct lua_token *token, char c)
{
    return token->kind == LUA_TOKEN_SYMBOL && token->text.len == 1 &&
           token->text.data[0] == (uint8_t)c;
}

static bool is_name(const struct lua_token *token, const char *name)
{
    return token->kind == LUA_TOKEN_NAME && span_equal(token->text, span_of_text(name));
}

static struct lua_token peek(const struct scan *scan)
{
    struct lua_tokens tokens = scan->tokens;

    return lua_token_next(&tokens);
}

static bool opens(const struct lua_token *token)
{
    return is_symbol(token, '{') || is_symbol(token, '(') || is_symbol(token, '[') ||
           is_name(token, "function") || is_name(token, "if") || is_name(token, "do") ||
           is_name(token, "repeat");
}

static bool closes(const struct lua_token *token)
{
    return is_symbol(token, '}') || is_symbol(token, ')') || is_symbol(token, ']') ||
           is_name(token, "end") || is_name(token, "until");
}

/* To the separator or the brace that ends the value here. */
static void skip_value(struct scan *scan)
{
    size_t depth = 0;

    for (; scan->token.kind != LUA_TOKEN_END; advance(scan)) {
        const struct lua_token *token = &scan->token;
        if (depth == 0 && (is_symbol(token, ',') || is_symbol(token, ';') || is_symbol(token, '}')))
            return;
        if (opens(token))
            depth++;
        else if (closes(token) && depth > 0)
            depth--;
    }
}

/* Past the bracket that closes the one here. */
static void skip_brackets(struct scan *scan)
{
    size_t depth = 0;

    for (; scan->token.kind != LUA_TOKEN_END; advance(scan)) {
        if (opens(&scan->token))
            depth++;
        else if (closes(&scan->token) && --depth == 0)
            break;
    }
    advance(scan);
}

/* Reads `["key"] =` or `[1] =`; false with the key skipped when it is computed. */
static bool read_bracket_key(struct scan *scan, struct place *place)
{
    struct scan ahead = *scan;
    advance(&ahead);
    struct lua_token key = ahead.token;
    advance(&ahead);
    bool is_literal = is_symbol(&ahead.token, ']');

    skip_brackets(scan);
    if (is_symbol(&scan->token, '='))
        advance(scan);
    if (is_literal && key.kind == LUA_TOKEN_STRING && !key.has_escapes) {
        place->key = key.text;
        return true;
    }
    return is_literal && key.kind == LUA_TOKEN_NUMBER &&
           span_parse_number(key.text, 1, UINT64_MAX, &place->index);
}

static void read_table(struct scan *scan, uint32_t parent, unsigned depth);

static void read_field(struct scan *scan, uint32_t parent, uint64_t *items, unsigned depth)
{
    struct place place = {SPAN_NONE, 0, parent, scan->token.line};
    bool is_known = true;
    struct lua_token next = peek(scan);

    if (scan->token.kind == LUA_TOKEN_NAME && is_symbol(&next, '=')) {
        place.key = scan->token.text;
        advance(scan);
        advance(scan);
    } else if (is_symbol(&scan->token, '[')) {
        is_known = read_bracket_key(scan, &place);
    } else {
        place.index = ++*items;
    }
    uint32_t id = is_known ? add_place(scan->lines, &place) : 0;

    if (is_symbol(&scan->token, '{') && id != 0 && depth < DEPTH_MAX)
        read_table(scan, id, depth + 1);
    skip_value(scan);
}

/* The table that opens here, up to behind its closing brace. */
static void read_table(struct scan *scan, uint32_t parent, unsigned depth)
{
    uint64_t items = 0;

    advance(scan);
    while (scan->token.kind != LUA_TOKEN_END && !is_symbol(&scan->token, '}')) {
        read_field(scan, parent, &items, depth);
        if (is_symbol(&scan->token, ',') || is_symbol(&scan->token, ';'))
            advance(scan);
    }
    advance(scan);
}

static void read_call(struct scan *scan)
{
    struct lua_lines *lines = scan->lines;
    uint32_t first_line = scan->token.line;

    advance(scan);
    uint32_t last_line = scan->token.line;
    if (is_symbol(&scan->token, '('))
        advance(scan);
    if (!is_symbol(&scan->token, '{') || lines->call_count == CALLS_MAX)
        return;
    struct call *call = &lines->calls[lines->call_count++];
    /* A call is nobody's item: its own number keeps it apart from the others. */
    struct place place = {SPAN_NONE, lines->call_count, 0, first_line};

    *call = (struct call){first_line, last_line, add_place(lines, &place)};
    if (call->place != 0)
        read_table(scan, call->place, 1);
}

struct lua_lines *lua_lines_scan(struct span text)
{
    struct lua_lines *lines = calloc(1, sizeof(*lines));

    if (lines == NULL || !grow(lines)) {
        lua_lines_free(lines);
        return NULL;
    }
    lines->places[0] = (struct place){SPAN_NONE, 0, 0, 0};
    lines->count = 1;
    struct scan scan = {.tokens = lua_tokens_of(text), .lines = lines};

    advance(&scan);
    while (scan.token.kind != LUA_TOKEN_END) {
        if (is_name(&scan.token, "claude_cage"))
            read_call(&scan);
        else
            advance(&scan);
    }
    return lines;
}

void lua_lines_free(struct lua_lines *lines)
{
    if (lines == NULL)
        return;
    free(lines->places);
    free(lines->slots);
    free(lines);
}

uint32_t lua_lines_call(const struct lua_lines *lines, uint32_t line)
{
    uint32_t place = 0;

    for (size_t i = 0; i < lines->call_count; i++) {
        const struct call *call = &lines->calls[i];
        if (line < call->first_line || line > call->last_line)
            continue;
        if (place != 0)
            return 0;
        place = call->place;
    }
    return place;
}

static uint32_t find_place(const struct lua_lines *lines, uint32_t parent, struct span key,
                           uint64_t index)
{
    return parent == 0 ? 0 : *place_slot(lines, parent, key, index);
}

uint32_t lua_lines_key(const struct lua_lines *lines, uint32_t place, struct span key)
{
    return find_place(lines, place, key, 0);
}

uint32_t lua_lines_item(const struct lua_lines *lines, uint32_t place, uint64_t index)
{
    return index == 0 ? 0 : find_place(lines, place, SPAN_NONE, index);
}

uint32_t lua_lines_at(const struct lua_lines *lines, uint32_t place, uint32_t otherwise)
{
    return place == 0 ? otherwise : lines->places[place].line;
}
