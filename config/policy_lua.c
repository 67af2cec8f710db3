/*
 * Theory of operation.
 *
 * A configuration is a program, and whoever wrote it may be careless or worse. It gets a virtual
 * machine with nothing in it to reach out by: no library but five functions, no metatable on any
 * value (strings included, so that no pattern can run for ever inside one instruction), no way to
 * make one, no way to load code, and text chunks only, since Lua does not verify bytecode. Three
 * counters bound it: memory in use, memory ever asked for (a loop that joins long strings), and
 * instructions.
 *
 * Everything that can raise a Lua error runs below one protected call, run_file(). The C frames
 * that an error jumps over own nothing.
 */
#include "config/policy_lua.h"

#include <assert.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>

#include "config/account.h"
#include "config/policy_lua_table.h"
#include "config/policy_option.h"

#define CHUNK_NAME "cage"

enum {
    MEMORY_MAX = 128 << 20,
    INSTRUCTIONS_MAX = 50000000,
    INSTRUCTIONS_STEP = 1000,
};
static const uint64_t volume_max = (uint64_t)1 << 30;

struct machine {
    struct policy_lua *reader;
    struct lua_lines *lines;
    struct span text;
    uint32_t file;
    size_t memory;
    uint64_t volume;
    uint64_t instructions;
    uint32_t stop_line; /* where a limit ended it, 0: none did */
};

static void *allocate(void *context, void *block, size_t old_size, size_t new_size)
{
    struct machine *machine = context;
    /* Without a block the old size is a kind of object. */
    size_t held = block == NULL ? 0 : old_size;

    if (new_size == 0) {
        free(block);
        machine->memory -= held;
        return NULL;
    }
    if (new_size > held) {
        size_t more = new_size - held;
        if (more > MEMORY_MAX - machine->memory || new_size > volume_max - machine->volume)
            return NULL;
        machine->volume += new_size;
    }
    void *moved = realloc(block, new_size);
    if (moved != NULL)
        machine->memory = machine->memory - held + new_size;
    return moved;
}

static struct machine *machine_of(lua_State *lua)
{
    return *(struct machine **)lua_getextraspace(lua);
}

static void count_instructions(lua_State *lua, lua_Debug *at)
{
    struct machine *machine = machine_of(lua);

    machine->instructions += INSTRUCTIONS_STEP;
    if (machine->instructions < INSTRUCTIONS_MAX)
        return;
    lua_getinfo(lua, "l", at);
    machine->stop_line = at->currentline > 0 ? (uint32_t)at->currentline : 0;
    lua_pushliteral(lua, "the file runs for too long: it must end within 50,000,000 instructions");
    lua_error(lua);
}

static uint32_t caller_line(lua_State *lua)
{
    lua_Debug at;

    if (lua_getstack(lua, 1, &at) == 0 || lua_getinfo(lua, "l", &at) == 0 || at.currentline < 0)
        return 0;
    return (uint32_t)at.currentline;
}

/* claude_cage { ... } */
static int claude_cage(lua_State *lua)
{
    struct machine *machine = machine_of(lua);
    struct policy_lua_call call = {
        .reader = machine->reader,
        .lua = lua,
        .lines = machine->lines,
        .file = machine->file,
        .line = caller_line(lua),
    };

    call.path = TEXT_OF(call.path_data);
    if (machine->reader->call_count == POLICY_LUA_CALLS_MAX) {
        machine->stop_line = call.line;
        lua_pushliteral(lua, "claude_cage is called too often: 1,000 calls are the limit");
        return lua_error(lua);
    }
    machine->reader->call_count++;
    int given = lua_gettop(lua);
    lua_settop(lua, 1);
    if (given != 1 || !lua_istable(lua, 1)) {
        policy_lua_complain(&call, 0, "claude_cage takes one table: claude_cage { ... }");
        return 0;
    }
    policy_lua_table(&call);
    return 0;
}

/* As Lua's own, but a table or function is only named: no address, no __tostring. */
static int to_text(lua_State *lua)
{
    luaL_checkany(lua, 1);
    switch (lua_type(lua, 1)) {
    case LUA_TSTRING:
        lua_settop(lua, 1);
        break;
    case LUA_TNUMBER:
        lua_settop(lua, 1);
        lua_tolstring(lua, 1, NULL);
        break;
    case LUA_TBOOLEAN:
        lua_pushstring(lua, lua_toboolean(lua, 1) ? "true" : "false");
        break;
    default:
        lua_pushstring(lua, luaL_typename(lua, 1));
        break;
    }
    return 1;
}

/* A table of globals that holds only what a configuration may call. */
static void set_globals(lua_State *lua)
{
    static const char *const kept[] = {"pairs", "ipairs", "type", "tonumber"};

    lua_pushcfunction(lua, luaopen_base);
    lua_call(lua, 0, 1);
    lua_createtable(lua, 0, 6);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        lua_getfield(lua, -2, kept[i]);
        lua_setfield(lua, -2, kept[i]);
    }
    lua_pushcfunction(lua, to_text);
    lua_setfield(lua, -2, "tostring");
    lua_pushcfunction(lua, claude_cage);
    lua_setfield(lua, -2, "claude_cage");
    lua_rawseti(lua, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_settop(lua, 0);
}

static int run_file(lua_State *lua)
{
    struct machine *machine = machine_of(lua);

    set_globals(lua);
    if (luaL_loadbufferx(lua, (const char *)machine->text.data, machine->text.len, "=" CHUNK_NAME,
                         "t") != LUA_OK)
        return lua_error(lua);
    lua_sethook(lua, count_instructions, LUA_MASKCOUNT, INSTRUCTIONS_STEP);
    lua_call(lua, 0, 0);
    return 0;
}

/* Takes "cage:LINE: " off a message of Lua's and returns the line, 0 without one. */
static uint32_t take_line(struct span *message)
{
    static const char prefix[] = CHUNK_NAME ":";
    const size_t prefix_len = sizeof(prefix) - 1;
    uint64_t line;

    if (message->len < prefix_len || memcmp(message->data, prefix, prefix_len) != 0)
        return 0;
    struct span rest = span_from(*message, prefix_len);
    size_t colon = span_find(rest, ':');
    if (!span_parse_number(span_first(rest, colon), 1, UINT32_MAX, &line) || rest.len < colon + 2)
        return 0;
    *message = span_from(rest, colon + 2);
    return (uint32_t)line;
}

static void add_error(struct machine *machine, lua_State *lua, const char *name, int status)
{
    struct span message = SPAN_LITERAL("the file failed without a message");
    uint32_t line = machine->stop_line;

    if (status == LUA_ERRMEM) {
        message = SPAN_LITERAL("the file takes too much memory");
    } else if (lua_type(lua, -1) == LUA_TSTRING) {
        size_t len;
        const char *bytes = lua_tolstring(lua, -1, &len);
        message = span_of(bytes, len);
        if (line == 0)
            line = take_line(&message);
    }
    faults_add(machine->reader->faults, name, line, message);
}

/*
 * What Lua's own loader of files skips: a byte order mark, and a first line that starts with '#',
 * whose line break stays so that lines keep their numbers.
 */
static struct span skip_prelude(struct span text)
{
    if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        text = span_from(text, 3);
    if (text.len > 0 && text.data[0] == '#')
        text = span_from(text, span_find(text, '\n'));
    return text;
}

void policy_lua_init(struct policy_lua *reader, struct policy *policy, struct faults *faults)
{
    memset(reader, 0, sizeof(*reader));
    reader->policy = policy;
    reader->faults = faults;
}

void policy_lua_read(struct policy_lua *reader, const char *name, struct span text)
{
    struct machine machine = {.reader = reader, .text = skip_prelude(text)};
    lua_State *lua = NULL;
    size_t first_fault = reader->faults->count;

    machine.lines = lua_lines_scan(machine.text);
    if (machine.lines != NULL && policy_add_file(reader->policy, name, &machine.file))
        lua = lua_newstate(allocate, &machine);
    if (lua == NULL) {
        faults_add(reader->faults, name, 0, SPAN_LITERAL("no memory to read the file"));
    } else {
        *(struct machine **)lua_getextraspace(lua) = &machine;
        lua_pushcfunction(lua, run_file);
        int status = lua_pcall(lua, 0, 0, 0);
        if (status != LUA_OK)
            add_error(&machine, lua, name, status);
        lua_close(lua);
    }
    lua_lines_free(machine.lines);
    faults_sort(reader->faults, first_fault);
}

static const struct option_def *option_of(const char *path, size_t *index)
{
    size_t count;
    const struct option_def *options = policy_options(&count);
    const struct option_def *option = policy_option_find(span_of_text(path));

    assert(option != NULL && count <= POLICY_LUA_OPTIONS_MAX);
    *index = (size_t)(option - options);
    return option;
}

static void complain_at(struct policy_lua *reader, struct rule_source source, const char *path,
                        const char *value, const char *complaint)
{
    char message[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(message);
    const char *file = source.line == 0 ? NULL : reader->policy->files[source.file];

    text_put(&text, path);
    text_put(&text, " \"");
    text_put_escaped(&text, span_of_text(value), 80);
    text_put(&text, "\": ");
    text_put(&text, complaint);
    faults_add(reader->faults, file, source.line, text_span(&text));
}

/* A fault of a setting, with its value and where it was written. */
static void complain_option(struct policy_lua *reader, const char *path, const char *complaint)
{
    char value[POLICY_PATH_MAX];
    struct text text = TEXT_OF(value);
    size_t index;
    const struct option_def *option = option_of(path, &index);

    policy_option_print(&reader->policy->settings, option, &text);
    complain_at(reader, reader->option_source[index], path, value, complaint);
}

static void check_users(struct policy_lua *reader)
{
    const struct policy_settings *s = &reader->policy->settings;
    char bytes[200];
    struct text fault = TEXT_OF(bytes);

    if (!account_check(span_of_text(s->user), &fault))
        complain_option(reader, "user", bytes);
    fault = TEXT_OF(bytes);
    if (!account_check(span_of_text(s->proxy_user), &fault))
        complain_option(reader, "proxy.user", bytes);
    if (strcmp(s->user, s->proxy_user) == 0)
        complain_option(reader, "proxy.user",
                        "the proxy needs an account of its own, not the cage's");
}

static void check_ports(struct policy_lua *reader)
{
    const struct policy_settings *s = &reader->policy->settings;

    if ((s->tcp_port == 0) != (s->dns_port == 0))
        complain_option(reader, s->tcp_port == 0 ? "proxy.ports.dns" : "proxy.ports.tcp",
                        "set both of proxy.ports.tcp and proxy.ports.dns, or neither");
    else if (s->tcp_port != 0 && s->tcp_port == s->dns_port)
        complain_option(reader, "proxy.ports.dns",
                        "proxy.ports.tcp and proxy.ports.dns must differ");
}

/* What is understood but not carried out would be a promise that is not kept. */
static void check_support(struct policy_lua *reader)
{
    const struct policy *policy = reader->policy;

    if (policy->settings.upstream[0] != '\0')
        complain_option(reader, "proxy.upstream",
                        "this version cannot leave through another proxy");
    if (policy->settings.dns_addresses == DNS_ADDRESSES_SYNTHETIC)
        complain_option(reader, "proxy.dns.addresses",
                        "this version gives out real addresses only; write \"real\"");
    for (size_t i = 0; i < policy->server_count; i++) {
        char value[HOSTNAME_LEN_MAX + 80];
        struct text text = TEXT_OF(value);
        if (!policy->servers[i].is_tls)
            continue;
        dns_server_print(&policy->servers[i], &text);
        complain_at(reader, reader->servers_source, "proxy.dns.servers", value,
                    "this version cannot ask over TLS; name a plain resolver");
    }
}

void policy_lua_finish(struct policy_lua *reader)
{
    check_users(reader);
    check_ports(reader);
    check_support(reader);
}
