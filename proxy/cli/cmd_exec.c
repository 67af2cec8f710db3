#include "proxy/cli/commands.h"
#include "proxy/cli/exec.h"
#include "proxy/cli/options.h"

enum { OPTION_FILE, OPTION_USER, OPTION_QUIET };

static const struct cli_option exec_options[] = {
    [OPTION_FILE] = CLI_OPTION_CONFIG,
    [OPTION_USER] = {"user", 'u', "USER", "the cage user: an account or a uid"},
    [OPTION_QUIET] = {"quiet", 'q', NULL, "no summary of refusals at the end"},
};

static const struct cli_command exec_command = {
    .name = "exec",
    .synopsis = "[-c FILE]... [--user USER] [--quiet] -- COMMAND [ARGUMENT]...",
    .doc = "Runs one command in a cage of its own and passes its exit status on.",
    .options = exec_options,
    .option_count = sizeof(exec_options) / sizeof(exec_options[0]),
    .stops_at_operand = true,
};

int cmd_exec(int argc, char **argv)
{
    struct options options = options_start(&exec_command, argc, argv);
    struct options_files files = {.count = 0};
    struct exec_spec spec = {0};
    const char *value;

    for (;;) {
        switch (options_next(&options, &value)) {
        case OPTION_FILE:
            if (!options_add_file(&files, &exec_command, value))
                return EXIT_WRONG_USE;
            break;
        case OPTION_USER:
            spec.request.user = value;
            break;
        case OPTION_QUIET:
            spec.is_quiet = true;
            break;
        case OPTIONS_END:
            if (options.at >= argc) {
                options_complain(&exec_command, "what to run is missing:", "COMMAND");
                return EXIT_WRONG_USE;
            }
            spec.request.files = files.files;
            spec.request.file_count = files.count;
            spec.argv = argv + options.at;
            return exec_run(&spec);
        case OPTIONS_HELP:
            return EXIT_DONE;
        default:
            return EXIT_WRONG_USE;
        }
    }
}
