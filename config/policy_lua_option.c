/* `proxy = { ... }`: the settings, as the table of policy_option says. */
#include <assert.h>

#include "config/policy_lua_table.h"
#include "config/policy_option.h"

#define SERVERS_PATH "proxy.dns.servers"

static void complain_number(struct policy_lua_call *call, uint32_t place,
                            const struct option_def *option)
{
    char wanted[100];
    struct text text = TEXT_OF(wanted);

    text_put(&text, "write a whole number from ");
    text_put_number(&text, option->min);
    text_put(&text, " to ");
    text_put_number(&text, option->max);
    if (lua_type(call->lua, -1) == LUA_TNUMBER)
        policy_lua_complain(call, place, wanted);
    else
        policy_lua_complain_type(call, place, wanted);
}

static void complain_text(struct policy_lua_call *call, uint32_t place,
                          const struct option_def *option)
{
    char wanted[100];
    struct text text = TEXT_OF(wanted);

    if (option->kind == OPTION_TEXT && lua_isinteger(call->lua, -1) &&
        lua_tointeger(call->lua, -1) >= 0) {
        text_put(&text, "write it as text: \"");
        text_put_number(&text, (uint64_t)lua_tointeger(call->lua, -1));
        text_put_char(&text, '"');
    } else {
        text_put(&text, "write a text in quotes");
    }
    policy_lua_complain_type(call, place, wanted);
}

/* False after a fault. */
static bool set_option(struct policy_lua_call *call, uint32_t place,
                       const struct option_def *option)
{
    struct policy_settings *settings = &call->reader->policy->settings;
    lua_State *lua = call->lua;
    char complaint[300];
    struct text fault = TEXT_OF(complaint);
    bool is_set = false;

    switch (option->kind) {
    case OPTION_NUMBER: {
        int is_whole = 0;
        lua_Integer value =
            lua_type(lua, -1) == LUA_TNUMBER ? lua_tointegerx(lua, -1, &is_whole) : 0;
        if (!is_whole || value < 0) {
            complain_number(call, place, option);
            return false;
        }
        is_set = policy_option_set_number(settings, option, (uint64_t)value, &fault);
        break;
    }
    case OPTION_BOOL:
        if (!lua_isboolean(lua, -1)) {
            policy_lua_complain_type(call, place, "write true or false");
            return false;
        }
        is_set = policy_option_set_bool(settings, option, lua_toboolean(lua, -1) != 0, &fault);
        break;
    case OPTION_CHOICE:
    case OPTION_TEXT:
        if (lua_type(lua, -1) != LUA_TSTRING) {
            complain_text(call, place, option);
            return false;
        }
        is_set = policy_option_set_text(settings, option, policy_lua_string(lua, -1), &fault);
        break;
    }
    if (!is_set)
        policy_lua_complain(call, place, complaint);
    return is_set;
}

static struct rule_source source_of(const struct policy_lua_call *call, uint32_t place)
{
    return (struct rule_source){call->file, lua_lines_at(call->lines, place, call->line)};
}

void policy_lua_option(struct policy_lua_call *call, uint32_t place)
{
    size_t count;
    const struct option_def *options = policy_options(&count);
    const struct option_def *option = policy_option_find(text_span(&call->path));

    assert(option != NULL && count <= POLICY_LUA_OPTIONS_MAX);
    if (set_option(call, place, option))
        call->reader->option_source[option - options] = source_of(call, place);
}

static void read_server(struct policy_lua_call *call, uint32_t place, void *context)
{
    struct policy *policy = call->reader->policy;
    struct dns_server server;
    char complaint[300];
    struct text fault = TEXT_OF(complaint);

    (void)context;
    if (lua_type(call->lua, -1) != LUA_TSTRING)
        policy_lua_complain_type(call, place, "write the resolver's address in quotes");
    else if (!dns_server_parse(policy_lua_string(call->lua, -1), &server, &fault))
        policy_lua_complain(call, place, complaint);
    else if (!policy_add_server(policy, &server))
        policy_lua_complain(call, place, "too many resolvers: 8 are the limit");
}

/* A setting like the others: the later list replaces the earlier one. */
static void read_servers(struct policy_lua_call *call, uint32_t place)
{
    call->reader->policy->server_count = 0;
    call->reader->servers_source = source_of(call, place);
    policy_lua_list(call, place, read_server, NULL);
}

/* The keys that may stand in the table whose path is in hand. */
static void collect_keys(struct span path, struct words *words)
{
    size_t count;
    const struct option_def *options = policy_options(&count);

    for (size_t i = 0; i < count; i++) {
        struct span option = span_of_text(options[i].path);
        if (option.len <= path.len || option.data[path.len] != '.' ||
            !span_equal(span_first(option, path.len), path))
            continue;
        struct span key = span_from(option, path.len + 1);
        words_add(words, span_first(key, span_find(key, '.')));
    }
    if (span_equal(path, SPAN_LITERAL("proxy.dns")))
        words_add(words, SPAN_LITERAL("servers"));
}

static void read_group(struct policy_lua_call *call, uint32_t place, unsigned depth);

/* The value of `key`, one of the keys of this table, is on top. */
static void read_field(struct policy_lua_call *call, uint32_t place, unsigned depth)
{
    struct span path = text_span(&call->path);

    if (span_equal(path, SPAN_LITERAL(SERVERS_PATH)))
        read_servers(call, place);
    else if (policy_option_find(path) != NULL)
        policy_lua_option(call, place);
    else
        read_group(call, place, depth + 1);
}

/* Settings nest as deep as their paths have dots, never deeper. */
static void read_group(struct policy_lua_call *call, uint32_t place, unsigned depth)
{
    lua_State *lua = call->lua;
    struct words words = {.count = 0};

    collect_keys(text_span(&call->path), &words);
    assert(words.count > 0 && depth < 4);
    if (!lua_istable(lua, -1)) {
        policy_lua_complain_type(call, place, "write a table: { key = value }");
        return;
    }
    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        struct span key = policy_lua_string(lua, -2);
        uint32_t below = key.data == NULL ? 0 : lua_lines_key(call->lines, place, key);
        struct text mark = call->path;
        if (key.data == NULL) {
            policy_lua_complain(call, place, "settings have names; write { key = value }");
        } else {
            policy_lua_path_key(call, key);
            if (words_has(&words, key))
                read_field(call, below, depth);
            else
                policy_lua_complain_key(call, below, key, &words);
        }
        policy_lua_path_cut(call, mark);
        lua_pop(lua, 1);
    }
}

void policy_lua_proxy(struct policy_lua_call *call, uint32_t place)
{
    read_group(call, place, 1);
}
