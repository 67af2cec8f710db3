#include "config/policy_option.h"

#include <assert.h>

#define AT(field) offsetof(struct policy_settings, field)

static const char *const ech_choices[] = {"outer", "deny", NULL};
static const char *const address_choices[] = {"default", "real", "synthetic", NULL};
static const char *const format_choices[] = {"auto", "json", "text", NULL};

#define NUMBER(path, field, min, max, initial, doc)                                                \
    {                                                                                              \
        path, OPTION_NUMBER, AT(field), min, max, initial, NULL, NULL, doc                         \
    }
#define BOOL(path, field, initial, doc)                                                            \
    {                                                                                              \
        path, OPTION_BOOL, AT(field), 0, 1, (initial), NULL, NULL, doc                             \
    }
#define CHOICE(path, field, choices, doc)                                                          \
    {                                                                                              \
        path, OPTION_CHOICE, AT(field), 0, sizeof(choices) / sizeof((choices)[0]) - 2, 0, NULL,    \
            choices, doc                                                                           \
    }
#define TEXT(path, field, initial, doc)                                                            \
    {                                                                                              \
        path, OPTION_TEXT, AT(field), 0, sizeof(((struct policy_settings *)0)->field), 0, initial, \
            NULL, doc                                                                              \
    }

static const struct option_def option_list[] = {
    TEXT("user", user, "claude-cage", "the cage user: an account name or a uid"),
    TEXT("proxy.user", proxy_user, "cage-proxy", "the proxy's own account, or a uid"),
    BOOL("proxy.base.metadata", base_metadata, true, "refuse cloud metadata addresses"),
    BOOL("proxy.base.private", base_private, true, "refuse private ranges"),
    CHOICE("proxy.ech", ech, ech_choices,
           "Encrypted ClientHello: judge the outer name, or deny every hello that carries it"),
    BOOL("proxy.audit", audit, false, "let through what domain rules deny, and log it"),
    NUMBER("proxy.ports.tcp", tcp_port, 0, 65535, 0,
           "the proxy's port; 0: the first free one from 15080 upward"),
    NUMBER("proxy.ports.dns", dns_port, 0, 65535, 0,
           "the DNS front's port; 0: the first free one from 15053 upward"),
    CHOICE("proxy.dns.addresses", dns_addresses, address_choices,
           "addresses in DNS answers: default is real in a user cage"),
    NUMBER("proxy.dns.cache", dns_cache, 0, 1000000, 10000, "DNS answers kept"),
    NUMBER("proxy.dns.label_max", dns_label_max, 1, 63, 63, "longest label of a name, in bytes"),
    NUMBER("proxy.dns.new_names_per_minute", dns_new_names_per_minute, 1, 1000000, 600,
           "names asked for the first time in a minute"),
    NUMBER("proxy.limits.connections", limit_connections, 1, 1000000, 4096,
           "connections of the cage at once"),
    NUMBER("proxy.limits.sniff_ms", limit_sniff_ms, 10, 600000, 3000,
           "how long a client may be silent before its connection counts as nameless"),
    NUMBER("proxy.limits.sniff_bytes", limit_sniff_bytes, 512, 1048576, 65536,
           "most bytes of a first message"),
    NUMBER("proxy.limits.idle_s", limit_idle_s, 1, 604800, 3600,
           "a connection that moves no byte for so long is closed"),
    NUMBER("proxy.limits.dial_ms", limit_dial_ms, 100, 600000, 15000,
           "how long all attempts to connect to a destination may take together"),
    NUMBER("proxy.limits.header_bytes", limit_header_bytes, 512, 1048576, 65536,
           "largest HTTP request head"),
    NUMBER("proxy.limits.new_per_second", limit_new_per_second, 1, 10000, 1000,
           "new flows a second, bounded in the kernel"),
    NUMBER("proxy.workers", workers, 0, 64, 0, "threads; 0: one a core, at most four"),
    TEXT("proxy.upstream", upstream, "", "URL of an HTTP proxy that all traffic leaves through"),
    TEXT("proxy.log.file", log_file, "", "the log's file; empty: standard output"),
    CHOICE("proxy.log.format", log_format, format_choices,
           "json, text, or json unless the log goes to a terminal"),
};

enum { OPTION_COUNT = sizeof(option_list) / sizeof(option_list[0]) };

const struct option_def *policy_options(size_t *count)
{
    *count = OPTION_COUNT;
    return option_list;
}

const struct option_def *policy_option_find(struct span path)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (span_equal(path, span_of_text(option_list[i].path)))
            return &option_list[i];
    }
    return NULL;
}

static uint32_t *number_at(struct policy_settings *settings, const struct option_def *option)
{
    return (uint32_t *)(void *)((char *)settings + option->offset);
}

static bool *bool_at(struct policy_settings *settings, const struct option_def *option)
{
    return (bool *)(void *)((char *)settings + option->offset);
}

static char *text_at(struct policy_settings *settings, const struct option_def *option)
{
    return (char *)settings + option->offset;
}

bool policy_option_set_number(struct policy_settings *settings, const struct option_def *option,
                              uint64_t value, struct text *fault)
{
    assert(option->kind == OPTION_NUMBER);
    if (value < option->min || value > option->max) {
        text_put_number(fault, value);
        text_put(fault, " is not within ");
        text_put_number(fault, option->min);
        text_put(fault, " to ");
        text_put_number(fault, option->max);
        return false;
    }
    *number_at(settings, option) = (uint32_t)value;
    return true;
}

bool policy_option_set_bool(struct policy_settings *settings, const struct option_def *option,
                            bool value, struct text *fault)
{
    (void)fault;
    assert(option->kind == OPTION_BOOL);
    *bool_at(settings, option) = value;
    return true;
}

static bool set_choice(struct policy_settings *settings, const struct option_def *option,
                       struct span value, struct text *fault)
{
    for (uint32_t i = 0; option->choices[i] != NULL; i++) {
        if (span_equal(value, span_of_text(option->choices[i]))) {
            *number_at(settings, option) = i;
            return true;
        }
    }
    text_put_char(fault, '"');
    text_put_escaped(fault, value, 40);
    text_put(fault, "\" is not one of");
    for (uint32_t i = 0; option->choices[i] != NULL; i++) {
        text_put(fault, i > 0 ? ", \"" : " \"");
        text_put(fault, option->choices[i]);
        text_put_char(fault, '"');
    }
    return false;
}

bool policy_option_set_text(struct policy_settings *settings, const struct option_def *option,
                            struct span value, struct text *fault)
{
    if (option->kind == OPTION_CHOICE)
        return set_choice(settings, option, value, fault);
    assert(option->kind == OPTION_TEXT);
    if (value.len >= option->max) {
        text_put(fault, "the text is longer than ");
        text_put_number(fault, option->max - 1);
        text_put(fault, " bytes");
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < 0x20 || value.data[i] >= 0x7f) {
            text_put(fault, "only printable ASCII may stand here");
            return false;
        }
    }
    char *at = text_at(settings, option);
    if (value.len > 0)
        memcpy(at, value.data, value.len);
    memset(at + value.len, 0, option->max - value.len);
    return true;
}

void policy_option_print(const struct policy_settings *settings, const struct option_def *option,
                         struct text *out)
{
    const char *at = (const char *)settings + option->offset;
    uint32_t number;

    switch (option->kind) {
    case OPTION_NUMBER:
        memcpy(&number, at, sizeof(number));
        text_put_number(out, number);
        return;
    case OPTION_CHOICE:
        memcpy(&number, at, sizeof(number));
        assert(number <= option->max);
        text_put(out, option->choices[number]);
        return;
    case OPTION_BOOL:
        text_put(out, *(const bool *)at ? "true" : "false");
        return;
    case OPTION_TEXT:
        text_put(out, at);
        return;
    }
}

bool policy_option_read(struct policy_settings *settings, const struct option_def *option,
                        struct span text, struct text *fault)
{
    uint64_t value;

    switch (option->kind) {
    case OPTION_NUMBER:
        if (!span_parse_number(text, 0, UINT64_MAX, &value)) {
            text_put(fault, "not a number");
            return false;
        }
        return policy_option_set_number(settings, option, value, fault);
    case OPTION_BOOL:
        if (!span_equal(text, SPAN_LITERAL("true")) && !span_equal(text, SPAN_LITERAL("false"))) {
            text_put(fault, "neither true nor false");
            return false;
        }
        return policy_option_set_bool(settings, option, text.data[0] == 't', fault);
    case OPTION_CHOICE:
    case OPTION_TEXT:
        return policy_option_set_text(settings, option, text, fault);
    }
    return false;
}

void policy_settings_init(struct policy_settings *settings)
{
    memset(settings, 0, sizeof(*settings));
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_def *option = &option_list[i];
        switch (option->kind) {
        case OPTION_NUMBER:
        case OPTION_CHOICE:
            *number_at(settings, option) = option->initial;
            break;
        case OPTION_BOOL:
            *bool_at(settings, option) = option->initial != 0;
            break;
        case OPTION_TEXT:
            memcpy(text_at(settings, option), option->initial_text,
                   strlen(option->initial_text) + 1);
            break;
        }
    }
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;

    return least < c ? least : c;
}

unsigned edit_distance(struct span a, struct span b, unsigned max)
{
    enum { WORD_MAX = 48 };
    unsigned row[WORD_MAX + 1];

    if (a.len > WORD_MAX || b.len > WORD_MAX)
        return max + 1;
    for (unsigned j = 0; j <= b.len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned above = row[j];
            unsigned change = ascii_lower(a.data[i - 1]) == ascii_lower(b.data[j - 1]) ? 0 : 1;
            row[j] = min3(row[j - 1] + 1, above + 1, diagonal + change);
            diagonal = above;
        }
    }
    return row[b.len];
}
