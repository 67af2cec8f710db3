#include "config/lua_lines.h"
#include "tests/lib/unit.h"

/* Follows "allow.domains[2]" from a call; 0 when there is no such place. */
static uint32_t line_of(const struct lua_lines *lines, uint32_t call_line, const char *path)
{
    uint32_t place = lua_lines_call(lines, call_line);

    while (*path != '\0') {
        if (*path == '[') {
            place = lua_lines_item(lines, place, strtoull(path + 1, NULL, 10));
            path = strchr(path, ']') + 1;
        } else {
            path += *path == '.';
            size_t len = strcspn(path, ".[");
            place = lua_lines_key(lines, place, span_of(path, len));
            path += len;
        }
    }
    return lua_lines_at(lines, place, 0);
}

struct row {
    const char *text;
    uint32_t call_line;
    const char *path;
    uint32_t line;
};

static const struct row rows[] = {
    {"claude_cage {}", 1, "", 1},
    {"\n\nclaude_cage {\n}\n", 3, "", 3},
    {"\n\nclaude_cage {\n}\n", 2, "", 0},
    {"claude_cage {\n a = 1,\n b = 2\n}", 1, "b", 3},
    {"claude_cage {\n a = 1;\n b = 2;\n}", 1, "b", 3},
    {"claude_cage {\n a = 1,\n b = 2\n}", 1, "c", 0},
    {"claude_cage({\n a = 1,\n b = 2\n})", 1, "b", 3},
    {"claude_cage\n(\n{\n a = 1 })", 1, "a", 4},
    {"claude_cage\n(\n{\n a = 1 })", 2, "a", 4},
    {"claude_cage {\n [\"a\"] = 1,\n ['b'] =\n 2, [ [[c]] ]\n=3}", 1, "b", 3},
    {"claude_cage {\n [\"a\"] = 1,\n ['b'] =\n 2, [ [[c]] ]\n=3}", 1, "c", 4},
    {"claude_cage {\n allow = {\n domains = {\n 'a',\n 'b' } } }", 1, "allow.domains[2]", 5},
    {"claude_cage {\n allow = {\n domains = {\n 'a',\n 'b' } } }", 1, "allow.domains", 3},
    {"claude_cage {\n allow = {\n domains = {\n 'a',\n 'b' } } }", 1, "allow.domains[3]", 0},
    {"claude_cage { x = {\n 'a', {\n'b', private = true }, \n'c' } }", 1, "x[2]", 2},
    {"claude_cage { x = {\n 'a', {\n'b', private = true }, \n'c' } }", 1, "x[2].private", 3},
    {"claude_cage { x = {\n 'a', {\n'b', private = true }, \n'c' } }", 1, "x[3]", 4},
    {"claude_cage { x = { [3] = 'c',\n [1] = 'a' } }", 1, "x[1]", 2},
    {"claude_cage { x = list,\n y = 2 }", 1, "x", 1},
    {"claude_cage { x = list,\n y = 2 }", 1, "x[1]", 0},
    {"claude_cage { x = f(1, 2, {\n3, 4}),\n y = 2 }", 1, "y", 3},
    {"claude_cage { x = { f(1, 2),\n 'b' } }", 1, "x[2]", 2},
    {"claude_cage { x = function() return 1,\n 2 end,\n y = 2 }", 1, "y", 3},
    {"claude_cage { x = function() for i = 1, 2 do if a then b() end end end,\n y = 2 }", 1, "y",
     2},
    {"claude_cage { x = function() repeat a, b = 1, 2 until c end,\n y = 2 }", 1, "y", 2},
    {"claude_cage { [f(1, 2)] = 1,\n y = 2 }", 1, "y", 2},
    {"claude_cage { ['a' .. 'b'] = 1,\n y = 2 }", 1, "y", 2},
    {"claude_cage { ['\\97'] = 1,\n y = 2 }", 1, "y", 2},
    {"claude_cage { a == b,\n y = 2 }", 1, "y", 2},
    {"claude_cage { a == b,\n y = 2 }", 1, "[1]", 1},
    {"claude_cage { { 1 }, { 2 }\n, 3 }", 1, "[3]", 2},
    {"claude_cage { a = 1, a =\n 1,\n a = 3 }", 1, "a", 3},
    {"-- claude_cage {\nclaude_cage { a = 1 }", 2, "a", 2},
    {"--[[ claude_cage {\n\n]] claude_cage { a = 1 }", 3, "a", 3},
    {"--[==[ ]] claude_cage {\n\n]==] claude_cage { a = 1 }", 3, "a", 3},
    {"local s = 'claude_cage {'\nclaude_cage { a = 1 }", 2, "a", 2},
    {"local s = [[\nclaude_cage { b = 1 }\n]]\nclaude_cage { a = 1 }", 4, "a", 4},
    {"local s = [[\nclaude_cage { b = 1 }\n]]\nclaude_cage { a = 1 }", 2, "b", 0},
    {"claude_cage { a = '\\\n', b = 1 }", 1, "b", 2},
    {"claude_cage { a = '\\z  \n\n  x', b = 1 }", 1, "b", 3},
    {"claude_cage { a = '\\'', b =\n1, c = 1 }", 1, "c", 2},
    {"claude_cage { a = \"}\", -- }\n c = 1 }", 1, "c", 2},
    {"claude_cage {\r\n a = 1,\r\n b = 2 }", 1, "b", 3},
    {"claude_cage {\r a = 1,\r b = 2 }", 1, "b", 3},
    {"claude_cage {\n\r a = 1,\n\r b = 2 }", 1, "b", 3},
    {"claude_cage { a = 1e-3, b = 0x1p+2, c = 3 .. 4,\n d = 1 }", 1, "d", 2},
    {"claude_cage { a = 1 }\nclaude_cage { b = 1 }", 1, "b", 0},
    {"claude_cage { a = 1 }\nclaude_cage { b = 1 }", 2, "b", 2},
    {"claude_cage { a = 1 } claude_cage { b = 1 }", 1, "b", 0},
    {"claude_cage(t)\nclaude_cage { b = 1 }", 2, "b", 2},
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int side = 0; side < 2; side++) {
            struct guarded g = guarded_copy(span_of_text(rows[i].text), (enum guarded_side)side);
            struct lua_lines *lines = lua_lines_scan(g.bytes);
            assert_non_null(lines);
            uint32_t line = line_of(lines, rows[i].call_line, rows[i].path);
            if (line != rows[i].line)
                fail_msg("row %zu \"%s\": %s on line %u", i, rows[i].text, rows[i].path, line);
            lua_lines_free(lines);
            guarded_free(&g);
        }
    }
}

static void otherwise(void **state)
{
    struct lua_lines *lines = lua_lines_scan(SPAN_LITERAL("claude_cage { a = 1 }"));

    (void)state;
    assert_int_equal(lua_lines_at(lines, 0, 77), 77);
    assert_int_equal(lua_lines_key(lines, 0, SPAN_LITERAL("a")), 0);
    assert_int_equal(lua_lines_item(lines, lua_lines_call(lines, 1), 0), 0);
    lua_lines_free(lines);
    lua_lines_free(NULL);
}

/* Any bytes: no read outside, no line beyond the last, an end in linear time. */
static void any_bytes(void **state)
{
    static const char *const parts[] = {
        "claude_cage", "{", "}",     "(",  ")",   "[",  "]",  "[[",   "]]",  "[=[", "=",
        ",",           ";", "'",     "\"", "\\",  "\n", "--", "--[[", "end", "do",  "function",
        "x",           "1", "until", ".",  "\\z", "==", "\r", "\0",   " ",
    };
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 5000; round++) {
        char bytes[400];
        size_t len = 0;
        uint32_t newlines = 0;
        while (len < 300 && test_random(&random) % 64 != 0) {
            const char *part = parts[test_random(&random) % (sizeof(parts) / sizeof(parts[0]))];
            size_t part_len = *part == '\0' ? 1 : strlen(part);
            memcpy(bytes + len, part, part_len);
            len += part_len;
        }
        for (size_t i = 0; i < len; i++)
            newlines += bytes[i] == '\n' || bytes[i] == '\r';
        struct guarded g = guarded_copy(span_of(bytes, len), GUARDED_END);
        struct lua_lines *lines = lua_lines_scan(g.bytes);
        for (uint32_t line = 1; line <= newlines + 1; line++) {
            assert_true(line_of(lines, line, "x") <= newlines + 1);
            assert_true(line_of(lines, line, "[1]") <= newlines + 1);
        }
        lua_lines_free(lines);
        guarded_free(&g);
    }
}

/* Two hundred thousand items, and nesting that a recursive reader would die of. */
static void large(void **state)
{
    enum { ITEMS = 200000, DEPTH = 1000000 };
    static const char head[] = "claude_cage { x = {\n";
    char *bytes = malloc(sizeof(head) + DEPTH + 4 * ITEMS);
    char *at = stpcpy(bytes, head);

    (void)state;
    for (int i = 0; i < ITEMS; i++)
        at = stpcpy(at, "'',\n");
    struct lua_lines *lines = lua_lines_scan(span_of(bytes, (size_t)(at - bytes)));
    assert_int_equal(line_of(lines, 1, "x[200000]"), ITEMS + 1);
    assert_int_equal(line_of(lines, 1, "x[200001]"), 0);
    lua_lines_free(lines);

    memset(bytes + strlen(head), '{', DEPTH);
    lines = lua_lines_scan(span_of(bytes, strlen(head) + DEPTH));
    assert_int_equal(line_of(lines, 1, "x"), 1);
    lua_lines_free(lines);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(otherwise),
        cmocka_unit_test(any_bytes),
        cmocka_unit_test(large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
