/*
 * The commands: argv[0] is the command's name, the result is the program's exit status.
 */
#ifndef PROXY_CLI_COMMANDS_H
#define PROXY_CLI_COMMANDS_H

enum exit_status {
    EXIT_DONE = 0,
    EXIT_NO = 1,        /* a fault, a denial, a probe that failed */
    EXIT_WRONG_USE = 2, /* the command line */
    EXIT_UNABLE = 3,    /* the machine cannot do it */
};

int cmd_check(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_rules(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_sniff(int argc, char **argv);

#endif
