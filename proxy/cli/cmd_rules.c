#include <stdio.h>
#include <stdlib.h>

#include "firewall/ruleset.h"
#include "firewall/ruleset_text.h"
#include "proxy/cli/commands.h"
#include "proxy/cli/options.h"
#include "proxy/cli/policy_file.h"
#include "proxy/supervisor/machine.h"

enum { OPTION_FILE, OPTION_USER };

static const struct cli_option rules_options[] = {
    [OPTION_FILE] = CLI_OPTION_CONFIG,
    [OPTION_USER] = {"user", 'u', "USER", "the cage user, instead of the configured one"},
};

static const struct cli_command rules_command = {
    .name = "rules",
    .synopsis = "[-c FILE]... [--user USER]",
    .doc = "Prints the kernel rules of a policy as iptables-restore text, IPv4 then IPv6, without "
           "touching the kernel.",
    .options = rules_options,
    .option_count = sizeof(rules_options) / sizeof(rules_options[0]),
};

static void put_line(void *context, struct span line)
{
    fwrite(line.data, 1, line.len, context);
}

static int print_ruleset(const struct policy *policy)
{
    struct ruleset_cage cage = ruleset_cage_of(policy);
    struct ruleset ruleset = {0};
    bool is_built = ruleset_build(policy, &cage, &ruleset);

    if (is_built) {
        ruleset.rules = calloc(ruleset.count, sizeof(*ruleset.rules));
        ruleset.cap = ruleset.rules != NULL ? ruleset.count : 0;
        is_built = ruleset.cap > 0 && ruleset_build(policy, &cage, &ruleset);
    }
    if (!is_built) {
        free(ruleset.rules);
        fputs("cage-proxy rules: this policy makes no cage\n", stderr);
        return EXIT_UNABLE;
    }
    puts("#### IPv4");
    ruleset_text(&ruleset, RULESET_V4, put_line, stdout);
    puts("#### IPv6");
    ruleset_text(&ruleset, RULESET_V6, put_line, stdout);
    free(ruleset.rules);
    return EXIT_DONE;
}

static int print_rules(const struct load_request *request)
{
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    struct policy policy;
    int status = EXIT_UNABLE;

    if (!policy_file_load(request, &policy))
        return EXIT_NO;
    if (policy.mode == MODE_DISABLED) {
        fputs("cage-proxy rules: networkMode is disabled: there is nothing to install\n", stderr);
        status = EXIT_DONE;
    } else if (!machine_complete(&policy, &fault)) {
        fprintf(stderr, "cage-proxy rules: %s\n", data);
    } else {
        status = print_ruleset(&policy);
    }
    policy_fini(&policy);
    return status;
}

int cmd_rules(int argc, char **argv)
{
    struct options options = options_start(&rules_command, argc, argv);
    struct options_files files = {.count = 0};
    struct load_request request = {0};
    const char *value;

    for (;;) {
        switch (options_next(&options, &value)) {
        case OPTION_FILE:
            if (!options_add_file(&files, &rules_command, value))
                return EXIT_WRONG_USE;
            break;
        case OPTION_USER:
            request.user = value;
            break;
        case OPTIONS_OPERAND:
            options_complain(&rules_command, "files are named with -c:", value);
            return EXIT_WRONG_USE;
        case OPTIONS_END:
            request.files = files.files;
            request.file_count = files.count;
            return print_rules(&request);
        case OPTIONS_HELP:
            return EXIT_DONE;
        default:
            return EXIT_WRONG_USE;
        }
    }
}
