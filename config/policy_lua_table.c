#include "config/policy_lua_table.h"

#include <lauxlib.h>

#include "config/policy_option.h"

struct section {
    const char *key;
    enum rule_section kind;
};

static const struct section sections[] = {
    {"domains", RULE_IN_DOMAINS},
    {"ips", RULE_IN_ADDRESSES},
    {"networks", RULE_IN_ADDRESSES},
};

enum { SECTION_COUNT = sizeof(sections) / sizeof(sections[0]) };

static const char *const own_keys[] = {"networkMode", "allow", "block", "user", "proxy"};
static const char *const launcher_keys[] = {
    "project", "isolationMode", "docker",  "directMount", "source",         "sync",
    "mounted", "showBanner",    "exclude", "cageLocal",   "homeConfigSync",
};

/* The list that an entry goes to. */
struct entry_list {
    struct rule_list *rules;
    enum rule_section section;
    bool is_allow;
};

static struct words words_of(const char *const *list, size_t count)
{
    struct words words = {.count = 0};

    for (size_t i = 0; i < count; i++)
        words_add(&words, span_of_text(list[i]));
    return words;
}

/* Pushes the value of `key` in the table on top. */
static void push_field(lua_State *lua, const char *key)
{
    lua_pushstring(lua, key);
    lua_rawget(lua, -2);
}

/* Why an entry may not be `private`; NULL when it may. */
static const char *private_complaint(const struct entry_list *list, const struct rule *rule)
{
    if (!list->is_allow)
        return "private says what an allow entry opens; it means nothing in block";
    if (list->section != RULE_IN_DOMAINS)
        return "an address entry opens private addresses by itself; leave private out";
    if (rule->kind != RULE_NAME)
        return "a wildcard may not be private; name the hosts that are meant";
    return NULL;
}

/* The text of an entry is on top. */
static void add_entry(struct policy_lua_call *call, uint32_t place, const struct entry_list *list,
                      bool is_private)
{
    char complaint[400];
    struct text fault = TEXT_OF(complaint);
    struct rule rule;

    if (!rule_parse(policy_lua_string(call->lua, -1), list->section, &rule, &fault)) {
        policy_lua_complain(call, place, complaint);
        return;
    }
    const char *refusal = is_private ? private_complaint(list, &rule) : NULL;
    if (refusal != NULL) {
        policy_lua_complain(call, place, refusal);
        return;
    }
    rule.is_private = is_private;
    rule.source = (struct rule_source){call->file, lua_lines_at(call->lines, place, call->line)};
    if (call->reader->entry_count == POLICY_LUA_ENTRIES_MAX)
        luaL_error(call->lua, "too many entries: 262,144 are the limit");
    if (!policy_add_rule(list->rules, &rule))
        luaL_error(call->lua, "no memory for another entry");
    call->reader->entry_count++;
}

/* The keys of { "name:port", private = true } beside the entry's text; false after a fault. */
static bool read_entry_keys(struct policy_lua_call *call, uint32_t place, bool *is_private)
{
    static const char *const keys[] = {"private"};
    struct words words = words_of(keys, 1);
    lua_State *lua = call->lua;
    bool is_good = true;

    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        struct span key = policy_lua_string(lua, -2);
        struct text mark = call->path;
        if (lua_isinteger(lua, -2) && lua_tointeger(lua, -2) == 1) {
            lua_pop(lua, 1);
            continue;
        }
        if (key.data != NULL)
            policy_lua_path_key(call, key);
        bool is_known = words_has(&words, key);
        if (key.data == NULL)
            policy_lua_complain(call, place, "a table holds one entry; write the others beside it");
        else if (!is_known)
            policy_lua_complain_key(call, place, key, &words);
        else if (!lua_isboolean(lua, -1))
            policy_lua_complain_type(call, place, "write true or false");
        else
            *is_private = lua_toboolean(lua, -1) != 0;
        is_good = is_good && is_known && lua_isboolean(lua, -1);
        policy_lua_path_cut(call, mark);
        lua_pop(lua, 1);
    }
    return is_good;
}

static void read_entry_table(struct policy_lua_call *call, uint32_t place,
                             const struct entry_list *list)
{
    lua_State *lua = call->lua;
    bool is_private = false;
    bool is_good = read_entry_keys(call, place, &is_private);

    lua_rawgeti(lua, -1, 1);
    if (lua_type(lua, -1) != LUA_TSTRING)
        policy_lua_complain_type(call, place, "write the entry first: { \"name:port\", ... }");
    else if (is_good)
        add_entry(call, place, list, is_private);
    lua_pop(lua, 1);
}

static void read_entry(struct policy_lua_call *call, uint32_t place, void *context)
{
    const struct entry_list *list = context;

    if (lua_type(call->lua, -1) == LUA_TSTRING)
        add_entry(call, place, list, false);
    else if (lua_istable(call->lua, -1))
        read_entry_table(call, place, list);
    else
        policy_lua_complain_type(call, place, "write the entry as text: \"name:port\"");
}

/* Keys of `allow` and `block` that are no list of theirs. */
static void check_sections(struct policy_lua_call *call, uint32_t place)
{
    struct words words = {.count = 0};
    lua_State *lua = call->lua;

    for (size_t i = 0; i < SECTION_COUNT; i++)
        words_add(&words, span_of_text(sections[i].key));
    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        struct span key = policy_lua_string(lua, -2);
        struct text mark = call->path;
        if (key.data == NULL) {
            policy_lua_complain(call, place,
                                "entries stand in a list: { domains = { ... }, ips = { ... }, "
                                "networks = { ... } }");
        } else if (!words_has(&words, key)) {
            policy_lua_path_key(call, key);
            policy_lua_complain_key(call, lua_lines_key(call->lines, place, key), key, &words);
        }
        policy_lua_path_cut(call, mark);
        lua_pop(lua, 1);
    }
}

static void read_lists(struct policy_lua_call *call, uint32_t place, struct rule_list *rules)
{
    lua_State *lua = call->lua;

    if (!lua_istable(lua, -1)) {
        policy_lua_complain_type(call, place, "write a table: { domains = { ... } }");
        return;
    }
    check_sections(call, place);
    for (size_t i = 0; i < SECTION_COUNT; i++) {
        struct span key = span_of_text(sections[i].key);
        struct text mark = call->path;
        struct entry_list list = {rules, sections[i].kind, rules == &call->reader->policy->allow};
        push_field(lua, sections[i].key);
        policy_lua_path_key(call, key);
        if (!lua_isnil(lua, -1))
            policy_lua_list(call, lua_lines_key(call->lines, place, key), read_entry, &list);
        policy_lua_path_cut(call, mark);
        lua_pop(lua, 1);
    }
}

static void read_mode(struct policy_lua_call *call, uint32_t place)
{
    static const char choices[] = "write \"disabled\", \"allowlist\" or \"blocklist\"";

    if (lua_type(call->lua, -1) != LUA_TSTRING)
        policy_lua_complain_type(call, place, choices);
    else if (!network_mode_parse(policy_lua_string(call->lua, -1), &call->reader->policy->mode))
        policy_lua_complain(call, place, choices);
}

/*
 * Keys that are not ours belong to the launcher, of which more may come. One that reads like ours
 * would be a rule that its writer believes in and that is not there.
 */
static void check_foreign_key(struct policy_lua_call *call, uint32_t place, struct span key)
{
    struct words ours = words_of(own_keys, sizeof(own_keys) / sizeof(own_keys[0]));
    struct words theirs = words_of(launcher_keys, sizeof(launcher_keys) / sizeof(launcher_keys[0]));

    if (words_has(&theirs, key))
        return;
    for (size_t i = 0; i < SECTION_COUNT; i++) {
        if (span_equal_nocase(key, span_of_text(sections[i].key))) {
            policy_lua_complain_type(call, place, "this belongs inside allow or block");
            return;
        }
    }
    bool is_list = key.len > 5 && (span_equal_nocase(span_first(key, 5), SPAN_LITERAL("allow")) ||
                                   span_equal_nocase(span_first(key, 5), SPAN_LITERAL("block")));
    if (is_list || words_nearest(&ours, key).len > 0)
        policy_lua_complain_key(call, place, key, &ours);
}

static void read_key(struct policy_lua_call *call, uint32_t place, struct span key)
{
    struct policy *policy = call->reader->policy;

    if (span_equal(key, SPAN_LITERAL("networkMode")))
        read_mode(call, place);
    else if (span_equal(key, SPAN_LITERAL("allow")))
        read_lists(call, place, &policy->allow);
    else if (span_equal(key, SPAN_LITERAL("block")))
        read_lists(call, place, &policy->block);
    else if (span_equal(key, SPAN_LITERAL("user")))
        policy_lua_option(call, place);
    else if (span_equal(key, SPAN_LITERAL("proxy")))
        policy_lua_proxy(call, place);
    else
        check_foreign_key(call, place, key);
}

void policy_lua_table(struct policy_lua_call *call)
{
    lua_State *lua = call->lua;
    uint32_t place = lua_lines_call(call->lines, call->line);

    luaL_checkstack(lua, 24, "a configuration that nests too deep");
    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        struct span key = policy_lua_string(lua, -2);
        struct text mark = call->path;
        if (key.data == NULL) {
            policy_lua_complain(call, place,
                                "claude_cage takes keys with values, as networkMode = "
                                "\"allowlist\"");
        } else {
            policy_lua_path_key(call, key);
            read_key(call, lua_lines_key(call->lines, place, key), key);
        }
        policy_lua_path_cut(call, mark);
        lua_pop(lua, 1);
    }
}
