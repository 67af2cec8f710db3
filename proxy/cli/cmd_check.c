#include <pwd.h>
#include <stdlib.h>

#include "config/account.h"
#include "config/load.h"
#include "config/policy_option.h"
#include "proxy/cli/advice.h"
#include "proxy/cli/commands.h"
#include "proxy/cli/options.h"
#include "proxy/cli/report.h"

enum { OPTION_FILE, OPTION_JSON };

static const struct cli_option check_options[] = {
    [OPTION_FILE] = CLI_OPTION_CONFIG,
    [OPTION_JSON] = {"json", '\0', NULL, "print JSON, one object a line"},
};

static const struct cli_command check_command = {
    .name = "check",
    .synopsis = "[-c FILE]... [--json]",
    .doc = "Reads configurations, prints every fault and warning, then the policy in force.",
    .options = check_options,
    .option_count = sizeof(check_options) / sizeof(check_options[0]),
};

/* Where a rule stands: "file:line". */
static void print_source(const struct policy *policy, const struct rule *rule)
{
    printf("%s:%u", policy->files[rule->source.file], rule->source.line);
}

static void print_rules(const struct policy *policy, const char *list,
                        const struct rule_list *rules)
{
    char bytes[RULE_TEXT_MAX];

    for (size_t i = 0; i < rules->count; i++) {
        struct text text = TEXT_OF(bytes);
        rule_print(&rules->rules[i], &text);
        printf("%s %s%s  -- ", list, bytes, rules->rules[i].is_private ? ", private" : "");
        print_source(policy, &rules->rules[i]);
        putchar('\n');
    }
}

static void print_rules_json(const struct policy *policy, const char *list,
                             const struct rule_list *rules)
{
    char bytes[RULE_TEXT_MAX];

    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rules[i];
        struct text text = TEXT_OF(bytes);
        rule_print(rule, &text);
        printf("{\"kind\":\"entry\",\"list\":\"%s\",\"entry\":\"%s\",\"private\":%s,\"file\":",
               list, bytes, rule->is_private ? "true" : "false");
        report_json_text(stdout, span_of_text(policy->files[rule->source.file]));
        printf(",\"line\":%u}\n", rule->source.line);
    }
}

static bool is_quoted(const struct option_def *option)
{
    return option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE;
}

static void print_settings(const struct policy *policy, bool is_json)
{
    char bytes[POLICY_PATH_MAX];
    size_t count;
    const struct option_def *options = policy_options(&count);

    for (size_t i = 0; i < count; i++) {
        struct text text = TEXT_OF(bytes);
        const char *quote = is_quoted(&options[i]) ? "\"" : "";
        policy_option_print(&policy->settings, &options[i], &text);
        if (!is_json) {
            printf("%s = %s%s%s  -- %s\n", options[i].path, quote, bytes, quote, options[i].doc);
            continue;
        }
        printf("{\"kind\":\"setting\",\"path\":\"%s\",\"value\":", options[i].path);
        if (is_quoted(&options[i]))
            report_json_text(stdout, text_span(&text));
        else
            fputs(bytes, stdout);
        puts("}");
    }
}

static void print_servers(const struct policy *policy, bool is_json)
{
    char bytes[HOSTNAME_LEN_MAX + NETADDR_TEXT_MAX + 40];

    for (size_t i = 0; i < policy->server_count; i++) {
        struct text text = TEXT_OF(bytes);
        dns_server_print(&policy->servers[i], &text);
        printf(is_json ? "{\"kind\":\"server\",\"server\":\"%s\"}\n"
                       : "proxy.dns.servers: \"%s\"\n",
               bytes);
    }
    if (policy->server_count == 0 && !is_json)
        puts("proxy.dns.servers: those of /etc/resolv.conf");
}

static void print_policy(const struct policy *policy)
{
    printf("networkMode = \"%s\"\n", network_mode_text(policy->mode));
    print_settings(policy, false);
    print_servers(policy, false);
    print_rules(policy, "allow", &policy->allow);
    print_rules(policy, "block", &policy->block);
}

static void print_uid_json(const char *role, uint32_t uid)
{
    printf("{\"kind\":\"user\",\"role\":\"%s\",\"uid\":", role);
    if (uid == POLICY_UID_NONE)
        puts("null}");
    else
        printf("%u}\n", uid);
}

static void print_policy_json(const struct policy *policy)
{
    printf("{\"kind\":\"mode\",\"mode\":\"%s\"}\n", network_mode_text(policy->mode));
    print_uid_json("cage", policy->cage_uid);
    print_uid_json("proxy", policy->proxy_uid);
    print_settings(policy, true);
    print_servers(policy, true);
    print_rules_json(policy, "allow", &policy->allow);
    print_rules_json(policy, "block", &policy->block);
}

static void advise_user(const struct policy *policy, struct faults *warnings)
{
    struct account_ids ids;

    if (account_lookup(policy->settings.user, &ids) < 0)
        return;
    const struct passwd *entry = getpwuid(ids.uid);
    if (entry != NULL) {
        char *name = strdup(entry->pw_name);
        if (name != NULL)
            advice_account(name, &ids, "", warnings);
        free(name);
    }
    account_ids_fini(&ids);
}

static int check(const struct load_request *request, bool is_json)
{
    struct policy policy;
    struct faults faults;
    struct faults warnings;

    faults_init(&faults);
    if (!load_run(request, &policy, &faults)) {
        if (is_json)
            report_faults_json(stdout, "fault", &faults);
        else
            report_faults(stderr, "", &faults);
        faults_fini(&faults);
        return 1;
    }
    faults_init(&warnings);
    advice_policy(&policy, &warnings);
    advise_user(&policy, &warnings);
    if (is_json) {
        report_faults_json(stdout, "warning", &warnings);
        print_policy_json(&policy);
    } else {
        report_faults(stderr, "warning: ", &warnings);
        print_policy(&policy);
    }
    faults_fini(&warnings);
    policy_fini(&policy);
    return 0;
}

int cmd_check(int argc, char **argv)
{
    struct options options = options_start(&check_command, argc, argv);
    struct options_files files = {.count = 0};
    const char *value;
    bool is_json = false;

    for (;;) {
        switch (options_next(&options, &value)) {
        case OPTION_FILE:
            if (!options_add_file(&files, &check_command, value))
                return EXIT_WRONG_USE;
            break;
        case OPTION_JSON:
            is_json = true;
            break;
        case OPTIONS_OPERAND:
            options_complain(&check_command, "files are named with -c:", value);
            return EXIT_WRONG_USE;
        case OPTIONS_END: {
            struct load_request request = {files.files, files.count, NULL};
            return check(&request, is_json);
        }
        case OPTIONS_HELP:
            return 0;
        default:
            return EXIT_WRONG_USE;
        }
    }
}
