/*
 * The commands: argv[0] is the command's name, the result is the program's exit status.
 */
#ifndef PROXY_CLI_COMMANDS_H
#define PROXY_CLI_COMMANDS_H

int cmd_check(int argc, char **argv);

#endif
