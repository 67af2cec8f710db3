#include "config/text.h"
#include "proxy/cli/options.h"
#include "tests/lib/unit.h"

enum { FILE_OPTION, JSON_OPTION, ARGS_MAX = 8 };

static const struct cli_option list[] = {
    [FILE_OPTION] = CLI_OPTION_CONFIG,
    [JSON_OPTION] = {"json", '\0', NULL, "print JSON"},
};
static const struct cli_command command = {"try", "[-c FILE] X", "Tries.", list, 2, false};
static const struct cli_command wrapper = {"wrap", "-- COMMAND", "Wraps.", list, 2, true};

struct row {
    const struct cli_command *command;
    const char *args[ARGS_MAX];
    const char *trace; /* c=VALUE j o=VALUE, then end, help, wrong or end@INDEX */
};

static const struct row rows[] = {
    {&command, {NULL}, "end@1"},
    {&command, {"-c", "a", "--config", "b", "--config=c", "-cd"}, "c=a c=b c=c c=d end@7"},
    {&command, {"x", "--json", "y"}, "o=x j o=y end@4"},
    {&command, {"--", "--json", "-c"}, "o=--json o=-c end@4"},
    {&command, {"-c", "--json"}, "c=--json end@3"},
    {&command, {"--config="}, "c= end@2"},
    {&command, {"-"}, "o=- end@2"},
    {&command, {""}, "o= end@2"},
    {&command, {"--json", "--help", "x"}, "j help"},
    {&command, {"--jso"}, "wrong"},
    {&command, {"--jsons"}, "wrong"},
    {&command, {"--json=yes"}, "wrong"},
    {&command, {"--config"}, "wrong"},
    {&command, {"-c"}, "wrong"},
    {&command, {"-x"}, "wrong"},
    {&command, {"-j"}, "wrong"},
    {&wrapper, {"--json", "--", "ls", "-c"}, "j end@3"},
    {&wrapper, {"-c", "a", "ls", "--json"}, "c=a end@3"},
    {&wrapper, {"--"}, "end@2"},
};

static void put_step(struct text *trace, const char *what, const char *value)
{
    text_put(trace, trace->len > 0 ? " " : "");
    text_put(trace, what);
    text_put(trace, value);
}

static void run(const struct row *row, struct text *trace)
{
    char name[] = "try";
    char *argv[ARGS_MAX + 1] = {name};
    int argc = 1;
    const char *value = NULL;
    int step = 0;

    for (; row->args[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)row->args[argc - 1];
    struct options options = options_start(row->command, argc, argv);
    while (step >= 0 || step == OPTIONS_OPERAND) {
        step = options_next(&options, &value);
        if (step == FILE_OPTION)
            put_step(trace, "c=", value);
        else if (step == JSON_OPTION)
            put_step(trace, "j", "");
        else if (step == OPTIONS_OPERAND)
            put_step(trace, "o=", value);
    }
    if (step == OPTIONS_END) {
        put_step(trace, "end@", "");
        text_put_number(trace, (uint64_t)options.at);
    } else {
        put_step(trace, step == OPTIONS_HELP ? "help" : "wrong", "");
    }
}

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char bytes[200];
        struct text trace = TEXT_OF(bytes);
        run(&rows[i], &trace);
        if (strcmp(bytes, rows[i].trace) != 0)
            fail_msg("row %zu: %s, not %s", i, bytes, rows[i].trace);
    }
}

static void files_are_bounded(void **state)
{
    struct options_files files = {.count = 0};

    (void)state;
    for (size_t i = 0; i < OPTIONS_FILES_MAX; i++)
        assert_true(options_add_file(&files, &command, "x"));
    assert_false(options_add_file(&files, &command, "x"));
    assert_int_equal(files.count, OPTIONS_FILES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(files_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
