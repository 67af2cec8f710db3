#include "proxy/cli/options.h"

#include <stdio.h>
#include <string.h>

#include "config/words.h"

enum { HELP_COLUMN = 24 };

struct options options_start(const struct cli_command *command, int argc, char **argv)
{
    return (struct options){command, argc, argv, 1, false};
}

void options_complain(const struct cli_command *command, const char *what, const char *subject)
{
    fprintf(stderr, "cage-proxy %s: %s%s%s; see cage-proxy %s --help\n", command->name, what,
            subject[0] == '\0' ? "" : " ", subject, command->name);
}

static void print_option(const struct cli_option *option)
{
    char left[80];
    int len = snprintf(left, sizeof(left), "  %c%c%s--%s%s%s", option->letter == '\0' ? ' ' : '-',
                       option->letter == '\0' ? ' ' : option->letter,
                       option->letter == '\0' ? "  " : ", ", option->name,
                       option->argument == NULL ? "" : " ",
                       option->argument == NULL ? "" : option->argument);

    if (len > HELP_COLUMN)
        printf("%s\n%*s  %s\n", left, HELP_COLUMN, "", option->doc);
    else
        printf("%-*s  %s\n", HELP_COLUMN, left, option->doc);
}

static void print_help(const struct cli_command *command)
{
    static const struct cli_option help = {"help", '\0', NULL, "print this"};

    printf("usage: cage-proxy %s %s\n%s\n\n", command->name, command->synopsis, command->doc);
    for (size_t i = 0; i < command->option_count; i++)
        print_option(&command->options[i]);
    print_option(&help);
}

static int complain_unknown(const struct cli_command *command, const char *argument,
                            struct span name)
{
    struct words words = {.count = 0};
    char bytes[200];
    struct text text = TEXT_OF(bytes);

    for (size_t i = 0; i < command->option_count; i++)
        words_add(&words, span_of_text(command->options[i].name));
    words_add(&words, SPAN_LITERAL("help"));
    struct span nearest = words_nearest(&words, name);

    text_put_escaped(&text, span_of_text(argument), 60);
    if (nearest.len > 0 && name.len > 1) {
        text_put(&text, "; did you mean --");
        text_put_span(&text, nearest);
        text_put_char(&text, '?');
    }
    options_complain(command, "unknown option", bytes);
    return OPTIONS_WRONG;
}

/* The value of an option: what is attached to it, else the next argument. */
static int take_value(struct options *options, int index, const char *attached, const char **value)
{
    const struct cli_option *option = &options->command->options[index];

    if (option->argument == NULL) {
        if (attached == NULL)
            return index;
        options_complain(options->command, "no value belongs to", option->name);
        return OPTIONS_WRONG;
    }
    if (attached == NULL && options->at < options->argc)
        attached = options->argv[options->at++];
    if (attached == NULL) {
        options_complain(options->command, "a value is missing behind", option->name);
        return OPTIONS_WRONG;
    }
    *value = attached;
    return index;
}

static int next_long(struct options *options, const char *argument, const char **value)
{
    const struct cli_command *command = options->command;
    struct span name = span_of_text(argument + 2);
    size_t equals = span_find(name, '=');
    const char *attached = equals < name.len ? argument + 2 + equals + 1 : NULL;

    name = span_first(name, equals);
    if (span_equal(name, SPAN_LITERAL("help")) && attached == NULL) {
        print_help(command);
        return OPTIONS_HELP;
    }
    for (size_t i = 0; i < command->option_count; i++) {
        if (span_equal(name, span_of_text(command->options[i].name)))
            return take_value(options, (int)i, attached, value);
    }
    return complain_unknown(command, argument, name);
}

static int next_short(struct options *options, const char *argument, const char **value)
{
    const struct cli_command *command = options->command;
    const char *attached = argument[2] == '\0' ? NULL : argument + 2;

    for (size_t i = 0; i < command->option_count; i++) {
        if (command->options[i].letter == argument[1])
            return take_value(options, (int)i, attached, value);
    }
    return complain_unknown(command, argument, span_of(argument + 1, 1));
}

int options_next(struct options *options, const char **value)
{
    if (options->at >= options->argc)
        return OPTIONS_END;
    const char *argument = options->argv[options->at];
    bool is_option = !options->is_past_end && argument[0] == '-' && argument[1] != '\0';

    if (is_option && strcmp(argument, "--") == 0) {
        options->is_past_end = true;
        options->at++;
        return options->command->stops_at_operand ? OPTIONS_END : options_next(options, value);
    }
    if (!is_option && options->command->stops_at_operand)
        return OPTIONS_END;
    options->at++;
    if (!is_option) {
        *value = argument;
        return OPTIONS_OPERAND;
    }
    return argument[1] == '-' ? next_long(options, argument, value)
                              : next_short(options, argument, value);
}

bool options_add_file(struct options_files *files, const struct cli_command *command,
                      const char *name)
{
    if (files->count == OPTIONS_FILES_MAX) {
        options_complain(command, "too many configurations: 64 are the limit", "");
        return false;
    }
    files->files[files->count++] = name;
    return true;
}
