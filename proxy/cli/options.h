/*
 * Command lines: one table of options a command, read strictly.
 *
 * Long options are spelt in full (--name VALUE, --name=VALUE), short ones as -c VALUE or -cVALUE;
 * "--" ends them. --help is part of every command.
 */
#ifndef PROXY_CLI_OPTIONS_H
#define PROXY_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct cli_option {
    const char *name;
    char letter;          /* '\0': none */
    const char *argument; /* how help calls it, "FILE"; NULL: takes none */
    const char *doc;      /* one line */
};

struct cli_command {
    const char *name;
    const char *synopsis; /* "[-c FILE]... DEST" */
    const char *doc;      /* one sentence */
    const struct cli_option *options;
    size_t option_count;
    bool stops_at_operand; /* what follows the first operand is another command's line */
};

/* A walk over a command line; argv[0] is the command. */
struct options {
    const struct cli_command *command;
    int argc;
    char **argv;
    int at;           /* the next argument */
    bool is_past_end; /* "--" was seen */
};

enum {
    OPTIONS_END = -1,     /* argv[at] and what follows is left over, with stops_at_operand */
    OPTIONS_OPERAND = -2, /* *value is one */
    OPTIONS_HELP = -3,    /* help was printed: exit with 0 */
    OPTIONS_WRONG = -4,   /* a complaint was printed: exit with 2 */
};

struct options options_start(const struct cli_command *command, int argc, char **argv);

/* The index of the next option in the command's table, or one of the above. */
int options_next(struct options *options, const char **value);

/* Says on standard error what is wrong with the command line and where help is. */
void options_complain(const struct cli_command *command, const char *what, const char *subject);

/* The option that most commands share: -c FILE, again for each tier. */
#define CLI_OPTION_CONFIG                                                                          \
    {                                                                                              \
        "config", 'c', "FILE", "read this configuration; given again, the later file wins"         \
    }

enum { OPTIONS_FILES_MAX = 64 };

struct options_files {
    const char *files[OPTIONS_FILES_MAX];
    size_t count;
};

/* False after a complaint when there are too many. */
bool options_add_file(struct options_files *files, const struct cli_command *command,
                      const char *name);

#endif
