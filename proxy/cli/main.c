#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/cli/commands.h"
#include "proxy/worker/worker.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"check", cmd_check, "all that is wrong with a configuration, else the policy in force"},
    {"exec", cmd_exec, "one command inside a cage"},
    {"explain", cmd_explain, "the verdict on one destination, and why"},
    {"rules", cmd_rules, "the kernel rules of a configuration, as text"},
    {"run", cmd_run, "enforce a configuration, in the foreground"},
    {"sniff", cmd_sniff, "what the proxy reads in the first bytes of a connection"},
};

static void print_help(FILE *out)
{
    fputs("usage: cage-proxy COMMAND [ARGUMENT]...\n", out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("'cage-proxy COMMAND --help' says more.\n", out);
}

/* A standard descriptor that is closed would be given to the next file that is opened here. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            abort();
    }
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    if (argc < 2) {
        print_help(stderr);
        return EXIT_WRONG_USE;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(argv[1], WORKER_ARGUMENT) == 0)
        return worker_main(argc - 2, argv + 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("cage-proxy %s\n", CAGE_VERSION);
        return EXIT_DONE;
    }
    fprintf(stderr, "cage-proxy: unknown command '%s'; 'cage-proxy --help' lists them\n", argv[1]);
    return EXIT_WRONG_USE;
}
