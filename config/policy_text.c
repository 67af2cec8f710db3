#include "config/policy_text.h"

#include <stdlib.h>

#include "config/policy_option.h"

/* The longest statement: a file's path with every byte written %XX, or a setting's path. */
enum { LINE_MAX = 3 * POLICY_PATH_MAX + 64 };

/* A text that grows: whole lines are built in `line` and appended. */
struct output {
    char *data;
    size_t len;
    size_t cap;
    bool is_failed;
    struct text line;
    char line_data[LINE_MAX];
};

static void end_line(struct output *out)
{
    text_put_char(&out->line, '\n');
    size_t need = out->len + out->line.len + 1;

    if (out->line.is_cut)
        out->is_failed = true;
    if (need > out->cap && !out->is_failed) {
        size_t cap = need * 2;
        char *data = realloc(out->data, cap);
        if (data == NULL) {
            out->is_failed = true;
        } else {
            out->data = data;
            out->cap = cap;
        }
    }
    if (!out->is_failed) {
        memcpy(out->data + out->len, out->line.data, out->line.len + 1);
        out->len += out->line.len;
    }
    out->line = TEXT_OF(out->line_data);
}

static void put_address(struct text *line, const struct netaddr *address)
{
    char text[NETADDR_TEXT_MAX];

    netaddr_print(address, text);
    text_put(line, text);
}

static void put_path(struct text *line, const char *path)
{
    for (; *path != '\0'; path++) {
        uint8_t c = (uint8_t)*path;
        if (c > 0x20 && c < 0x7f && c != '%') {
            text_put_char(line, (char)c);
            continue;
        }
        text_put_char(line, '%');
        text_put_char(line, "0123456789ABCDEF"[c >> 4]);
        text_put_char(line, "0123456789ABCDEF"[c & 15]);
    }
}

static void print_settings(const struct policy *policy, struct output *out)
{
    size_t count;
    const struct option_def *options = policy_options(&count);

    for (size_t i = 0; i < count; i++) {
        text_put(&out->line, "set ");
        text_put(&out->line, options[i].path);
        text_put_char(&out->line, ' ');
        policy_option_print(&policy->settings, &options[i], &out->line);
        end_line(out);
    }
}

static void print_uid(const char *whose, uint32_t uid, struct output *out)
{
    if (uid == POLICY_UID_NONE)
        return;
    text_put(&out->line, "uid ");
    text_put(&out->line, whose);
    text_put_char(&out->line, ' ');
    text_put_number(&out->line, uid);
    end_line(out);
}

static void print_machine(const struct policy *policy, struct output *out)
{
    for (size_t i = 0; i < policy->server_count; i++) {
        text_put(&out->line, "server ");
        dns_server_print(&policy->servers[i], &out->line);
        end_line(out);
    }
    for (size_t i = 0; i < policy->local_count; i++) {
        text_put(&out->line, "local ");
        put_address(&out->line, &policy->locals[i]);
        end_line(out);
    }
    for (size_t i = 0; i < policy->host_count; i++) {
        text_put(&out->line, "host ");
        text_put_span(&out->line, hostname_span(&policy->hosts[i].name));
        text_put_char(&out->line, ' ');
        put_address(&out->line, &policy->hosts[i].address);
        end_line(out);
    }
}

static void print_rules(const char *list, const struct rule_list *rules, struct output *out)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rules[i];
        text_put(&out->line, list);
        text_put(&out->line, !rule_is_name(rule) ? " address "
                             : rule->is_private  ? " private "
                                                 : " name ");
        rule_print(rule, &out->line);
        text_put(&out->line, " @");
        text_put_number(&out->line, rule->source.file);
        text_put_char(&out->line, ':');
        text_put_number(&out->line, rule->source.line);
        end_line(out);
    }
}

char *policy_text_print(const struct policy *policy, size_t *len)
{
    struct output *out = calloc(1, sizeof(*out));
    char *data = NULL;

    if (out == NULL)
        return NULL;
    out->line = TEXT_OF(out->line_data);
    text_put(&out->line, "policy 1");
    end_line(out);
    text_put(&out->line, "mode ");
    text_put(&out->line, network_mode_text(policy->mode));
    end_line(out);
    print_settings(policy, out);
    print_uid("cage", policy->cage_uid, out);
    print_uid("proxy", policy->proxy_uid, out);
    for (size_t i = 0; i < policy->file_count; i++) {
        text_put(&out->line, "file ");
        text_put_number(&out->line, i);
        text_put_char(&out->line, ' ');
        put_path(&out->line, policy->files[i]);
        end_line(out);
    }
    print_machine(policy, out);
    print_rules("allow", &policy->allow, out);
    print_rules("block", &policy->block, out);
    text_put(&out->line, "end");
    end_line(out);
    if (out->is_failed) {
        free(out->data);
    } else {
        data = out->data;
        *len = out->len;
    }
    free(out);
    return data;
}

struct input {
    struct policy *policy;
    struct text *fault;
    char path[POLICY_PATH_MAX];
};

/* Takes the word up to the next space off the front of *rest. */
static struct span take_word(struct span *rest)
{
    size_t end = span_find(*rest, ' ');
    struct span word = span_first(*rest, end);

    *rest = span_from(*rest, end < rest->len ? end + 1 : end);
    return word;
}

static bool complain(struct input *in, const char *what)
{
    text_put(in->fault, what);
    return false;
}

static bool no_memory(struct input *in)
{
    return complain(in, "out of memory");
}

static bool read_mode(struct input *in, struct span rest)
{
    return network_mode_parse(rest, &in->policy->mode) || complain(in, "no such mode");
}

static bool read_set(struct input *in, struct span rest)
{
    const struct option_def *option = policy_option_find(take_word(&rest));

    if (option == NULL)
        return complain(in, "no such setting");
    return policy_option_read(&in->policy->settings, option, rest, in->fault);
}

static bool read_uid(struct input *in, struct span rest)
{
    struct span whose = take_word(&rest);
    bool is_cage = span_equal(whose, SPAN_LITERAL("cage"));
    uint64_t uid;

    if (!is_cage && !span_equal(whose, SPAN_LITERAL("proxy")))
        return complain(in, "neither uid cage nor uid proxy");
    if (!span_parse_number(rest, 1, POLICY_UID_NONE - 1, &uid))
        return complain(in, "not a uid");
    *(is_cage ? &in->policy->cage_uid : &in->policy->proxy_uid) = (uint32_t)uid;
    return true;
}

static int hex_digit(uint8_t c)
{
    if (ascii_is_digit(c))
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes put_path(); what it would not have written is refused. */
static bool read_path(struct span bytes, char out[POLICY_PATH_MAX])
{
    size_t len = 0;

    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        if (c <= 0x20 || c >= 0x7f)
            return false;
        if (c == '%') {
            int high = i + 2 < bytes.len ? hex_digit(bytes.data[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(bytes.data[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            if (c == 0 || (c > 0x20 && c < 0x7f && c != '%'))
                return false;
            i += 2;
        }
        if (len + 1 >= POLICY_PATH_MAX)
            return false;
        out[len++] = (char)c;
    }
    out[len] = '\0';
    return len > 0;
}

static bool read_file(struct input *in, struct span rest)
{
    uint32_t index;
    uint64_t written;

    if (!span_parse_number(take_word(&rest), 0, UINT32_MAX, &written) ||
        written != in->policy->file_count)
        return complain(in, "files are numbered from 0");
    if (!read_path(rest, in->path))
        return complain(in, "not a path");
    return policy_add_file(in->policy, in->path, &index) || no_memory(in);
}

static bool read_server(struct input *in, struct span rest)
{
    struct dns_server server;

    if (!dns_server_parse(rest, &server, in->fault))
        return false;
    return policy_add_server(in->policy, &server) || complain(in, "too many servers");
}

static bool read_local(struct input *in, struct span rest)
{
    struct netaddr address;

    if (!netaddr_parse(rest, &address))
        return complain(in, "not an address");
    return policy_add_local(in->policy, &address) || no_memory(in);
}

static bool read_host(struct input *in, struct span rest)
{
    struct host_line line;

    if (hostname_parse(take_word(&rest), &line.name) != HOSTNAME_OK)
        return complain(in, "not a name");
    if (!netaddr_parse(rest, &line.address))
        return complain(in, "not an address");
    return policy_add_host(in->policy, &line) || no_memory(in);
}

static bool read_source(struct input *in, struct span text, struct rule_source *out)
{
    size_t colon = span_find(text, ':');
    uint64_t file;
    uint64_t line;

    if (text.len < 4 || text.data[0] != '@' || colon == text.len)
        return false;
    if (!span_parse_number(span_from(span_first(text, colon), 1), 0, UINT32_MAX, &file) ||
        !span_parse_number(span_from(text, colon + 1), 0, UINT32_MAX, &line) ||
        file >= in->policy->file_count)
        return false;
    *out = (struct rule_source){(uint32_t)file, (uint32_t)line};
    return true;
}

static bool read_rule(struct input *in, struct span rest, struct rule_list *list)
{
    struct span kind = take_word(&rest);
    struct span entry = take_word(&rest);
    bool is_address = span_equal(kind, SPAN_LITERAL("address"));
    bool is_private = span_equal(kind, SPAN_LITERAL("private"));
    struct rule rule;

    if (!is_address && !is_private && !span_equal(kind, SPAN_LITERAL("name")))
        return complain(in, "no such kind of entry");
    if (!rule_parse(entry, is_address ? RULE_IN_ADDRESSES : RULE_IN_DOMAINS, &rule, in->fault))
        return false;
    if (is_private && rule.kind != RULE_NAME)
        return complain(in, "only a plain name may be private");
    rule.is_private = is_private;
    if (!read_source(in, rest, &rule.source))
        return complain(in, "no such source");
    return policy_add_rule(list, &rule) || no_memory(in);
}

static bool read_allow(struct input *in, struct span rest)
{
    return read_rule(in, rest, &in->policy->allow);
}

static bool read_block(struct input *in, struct span rest)
{
    return read_rule(in, rest, &in->policy->block);
}

static const struct statement {
    const char *word;
    bool (*read)(struct input *in, struct span rest);
} statements[] = {
    {"mode", read_mode}, {"set", read_set},       {"uid", read_uid},
    {"file", read_file}, {"server", read_server}, {"local", read_local},
    {"host", read_host}, {"allow", read_allow},   {"block", read_block},
};

static bool read_statement(struct input *in, struct span line)
{
    struct span word = take_word(&line);

    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        if (span_equal(word, span_of_text(statements[i].word)))
            return statements[i].read(in, line);
    }
    return complain(in, "no such statement");
}

static bool read_lines(struct input *in, struct span text, uint64_t *line_number)
{
    for (*line_number = 1;; ++*line_number) {
        size_t end = span_find(text, '\n');
        struct span line = span_first(text, end);
        if (end == text.len)
            return complain(in, "the text is cut off");
        text = span_from(text, end + 1);
        if (*line_number == 1) {
            if (!span_equal(line, SPAN_LITERAL("policy 1")))
                return complain(in, "not a policy of version 1");
        } else if (span_equal(line, SPAN_LITERAL("end"))) {
            return text.len == 0 || complain(in, "something stands behind the end");
        } else if (!read_statement(in, line)) {
            return false;
        }
    }
}

bool policy_text_parse(struct span text, struct policy *out, struct text *fault)
{
    char what_data[RULE_TEXT_MAX];
    struct text what = TEXT_OF(what_data);
    struct input *in = calloc(1, sizeof(*in));
    uint64_t line_number = 0;
    bool is_read = false;

    policy_init(out);
    if (in != NULL) {
        in->policy = out;
        in->fault = &what;
        is_read = read_lines(in, text, &line_number);
    } else {
        text_put(&what, "out of memory");
    }
    free(in);
    if (is_read)
        return true;
    policy_fini(out);
    text_put(fault, "line ");
    text_put_number(fault, line_number);
    text_put(fault, ": ");
    text_put_span(fault, text_span(&what));
    return false;
}
