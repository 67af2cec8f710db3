#include <stdio.h>

#include "config/idna.h"
#include "proxy/cli/commands.h"
#include "proxy/cli/explanation.h"
#include "proxy/cli/options.h"
#include "proxy/cli/policy_file.h"
#include "proxy/core/log_line.h"
#include "proxy/core/refusal.h"

enum { OPTION_FILE, OPTION_UDP, OPTION_NAME, OPTION_JSON };

static const struct cli_option explain_options[] = {
    [OPTION_FILE] = CLI_OPTION_CONFIG,
    [OPTION_UDP] = {"udp", '\0', NULL, "ask about UDP instead of TCP"},
    [OPTION_NAME] = {"name", '\0', "NAME", "the name that is proven on the wire to an address"},
    [OPTION_JSON] = {"json", '\0', NULL, "print one JSON object"},
};

static const struct cli_command explain_command = {
    .name = "explain",
    .synopsis = "[-c FILE]... [--udp] [--name NAME] [--json] DEST",
    .doc = "Says what the policy makes of a destination (host[:port], address[:port], [v6]:port "
           "or a URL), without touching the network.",
    .options = explain_options,
    .option_count = sizeof(explain_options) / sizeof(explain_options[0]),
};

struct explain_arguments {
    struct options_files files;
    const char *destination;
    const char *name;
    bool is_udp;
    bool is_json;
};

static void print_json(const struct explanation *e)
{
    char data[LOG_LINE_MAX];
    struct text rule = TEXT_OF(data);

    log_line_rule(&rule, e->verdict.rule);
    printf("{\"verdict\":\"%s\",\"reason\":\"%s\",\"rule\":%s,\"layer\":\"%s\"}\n",
           e->verdict.kind == VERDICT_ALLOW ? "allow" : "deny", reason_token(e->verdict.reason),
           data, explain_layer_text(e->layer));
}

static void print_entry(const struct explain_question *q, const struct explanation *e,
                        enum network_mode mode)
{
    char data[RULE_TEXT_MAX];
    struct text entry = TEXT_OF(data);
    struct refusal refusal = {
        .reason = e->verdict.reason,
        .name = q->has_name ? &q->name : NULL,
        .address = q->has_address ? &q->address : NULL,
        .port = q->port,
        .mode = mode,
    };

    refusal_entry(&refusal, &entry);
    if (e->verdict.kind == VERDICT_DENY && entry.len > 0)
        printf("to allow: %s\n", data);
}

static void print_text(const struct explain_question *q, const struct explanation *e,
                       enum network_mode mode)
{
    const struct matcher_rule *rule = e->verdict.rule;

    printf("verdict:  %s\n", e->verdict.kind == VERDICT_ALLOW ? "allow" : "deny");
    if (!e->verdict.is_enforced)
        printf("note:     audit mode: this denial is logged and not enforced\n");
    printf("reason:   %s (%s)\n", reason_token(e->verdict.reason),
           reason_sentence(e->verdict.reason));
    printf("decided:  %s\n", e->step);
    if (rule != NULL)
        printf("rule:     %s at %s:%u\n", rule->text, rule->file, rule->line);
    else
        printf("rule:     none\n");
    printf("layer:    %s\n", explain_layer_text(e->layer));
    if (!q->has_port)
        printf("note:     no port was given; this is about port %u\n", q->port);
    print_entry(q, e, mode);
}

static int explain(const struct explain_arguments *args, const struct explain_question *q)
{
    struct load_request request = {args->files.files, args->files.count, NULL};
    struct policy policy;

    if (!policy_file_load(&request, &policy))
        return EXIT_NO;
    /* The ports of a cage that runs alone, which nothing opens. */
    if (policy.settings.tcp_port == 0 && policy.settings.dns_port == 0) {
        policy.settings.tcp_port = POLICY_TCP_PORT_FIRST;
        policy.settings.dns_port = POLICY_DNS_PORT_FIRST;
    }
    struct matcher *matcher = matcher_compile(&policy);
    policy_fini(&policy);
    if (matcher == NULL) {
        fputs("cage-proxy explain: out of memory\n", stderr);
        return EXIT_UNABLE;
    }
    struct explanation e = explain_judge(matcher, q);
    if (args->is_json)
        print_json(&e);
    else
        print_text(q, &e, matcher_mode(matcher));
    int status = e.verdict.kind == VERDICT_ALLOW ? EXIT_DONE : EXIT_NO;
    matcher_unref(matcher);
    return status;
}

/* The question of a complete command line; false after a complaint. */
static bool read_question(const struct explain_arguments *args, struct explain_question *q)
{
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    const char *why = "";

    if (args->destination == NULL) {
        options_complain(&explain_command, "what to explain is missing:", "DEST");
        return false;
    }
    if (!explain_parse(span_of_text(args->destination), q, &fault)) {
        options_complain(&explain_command, data, args->destination);
        return false;
    }
    q->protocol = args->is_udp ? PROTOCOL_UDP : PROTOCOL_TCP;
    if (args->name == NULL)
        return true;
    if (!q->has_address) {
        options_complain(&explain_command, "--name goes with an address, not with",
                         args->destination);
        return false;
    }
    q->has_name = idna_parse(span_of_text(args->name), &q->name, &why);
    if (!q->has_name)
        options_complain(&explain_command, why, args->name);
    return q->has_name;
}

int cmd_explain(int argc, char **argv)
{
    struct options options = options_start(&explain_command, argc, argv);
    struct explain_arguments args = {0};
    struct explain_question question;
    const char *value;

    for (;;) {
        switch (options_next(&options, &value)) {
        case OPTION_FILE:
            if (!options_add_file(&args.files, &explain_command, value))
                return EXIT_WRONG_USE;
            break;
        case OPTION_UDP:
            args.is_udp = true;
            break;
        case OPTION_NAME:
            args.name = value;
            break;
        case OPTION_JSON:
            args.is_json = true;
            break;
        case OPTIONS_OPERAND:
            if (args.destination != NULL) {
                options_complain(&explain_command, "one destination at a time:", value);
                return EXIT_WRONG_USE;
            }
            args.destination = value;
            break;
        case OPTIONS_END:
            return read_question(&args, &question) ? explain(&args, &question) : EXIT_WRONG_USE;
        case OPTIONS_HELP:
            return EXIT_DONE;
        default:
            return EXIT_WRONG_USE;
        }
    }
}
