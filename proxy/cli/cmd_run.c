#include <stdlib.h>
#include <unistd.h>

#include "config/load.h"
#include "proxy/cli/commands.h"
#include "proxy/cli/options.h"
#include "proxy/cli/report.h"
#include "proxy/supervisor/supervisor.h"

enum { OPTION_FILE };

static const struct cli_option run_options[] = {
    [OPTION_FILE] = CLI_OPTION_CONFIG,
};

static const struct cli_command run_command = {
    .name = "run",
    .synopsis = "[-c FILE]...",
    .doc = "Enforces a configuration for its user, in the foreground. SIGHUP reads it again; "
           "SIGTERM and SIGINT end it.",
    .options = run_options,
    .option_count = sizeof(run_options) / sizeof(run_options[0]),
};

/* All faults to standard error; the first one, and how many more there are, for the log. */
static bool load(void *arg, struct policy *out, struct text *fault)
{
    char buffer[FAULT_MESSAGE_MAX + POLICY_PATH_MAX + 16];
    struct text line = TEXT_OF(buffer);
    struct faults *faults = malloc(sizeof(*faults));
    bool is_loaded;

    if (!faults) {
        fputs("cage-proxy run: not enough memory\n", stderr);
        text_put(fault, "not enough memory");
        return false;
    }
    faults_init(faults);
    is_loaded = load_run(arg, out, faults);
    if (!is_loaded) {
        report_faults(stderr, "", faults);
        if (faults->count > 0)
            fault_print(&faults->list[0], &line);
        text_put_span(fault, text_span(&line));
        if (faults->count + faults->dropped > 1) {
            text_put(fault, " (and ");
            text_put_number(fault, faults->count + faults->dropped - 1);
            text_put(fault, " more)");
        }
    }
    faults_fini(faults);
    free(faults);
    return is_loaded;
}

int cmd_run(int argc, char **argv)
{
    struct options options = options_start(&run_command, argc, argv);
    struct options_files files = {.count = 0};
    const char *value;

    for (;;) {
        switch (options_next(&options, &value)) {
        case OPTION_FILE:
            if (!options_add_file(&files, &run_command, value))
                return EXIT_WRONG_USE;
            break;
        case OPTIONS_OPERAND:
            options_complain(&run_command, "files are named with -c:", value);
            return EXIT_WRONG_USE;
        case OPTIONS_END: {
            struct load_request request = {files.files, files.count, NULL};
            const struct supervisor_spec spec = {.command = "run",
                                                 .version = CAGE_VERSION,
                                                 .load = load,
                                                 .arg = &request,
                                                 .log_fd = STDOUT_FILENO,
                                                 .front_fd = -1,
                                                 .cage_pidfd = -1};
            return (int)supervisor_run(&spec);
        }
        case OPTIONS_HELP:
            return 0;
        default:
            return EXIT_WRONG_USE;
        }
    }
}
