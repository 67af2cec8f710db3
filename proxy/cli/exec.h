/*
 * One command in a cage of its own, from the first namespace to the last rule.
 */
#ifndef PROXY_CLI_EXEC_H
#define PROXY_CLI_EXEC_H

#include "config/load.h"

struct exec_spec {
    struct load_request request; /* the files, and --user */
    char *const *argv;           /* the command, NULL-terminated */
    bool is_quiet;               /* no summary of refusals at the end */
};

/* The program's exit status: the command's own, or 125..127 and 128+N as env(1) has them. */
int exec_run(const struct exec_spec *spec);

#endif
