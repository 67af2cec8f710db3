#include "proxy/core/log_line.h"

#include <assert.h>

/* Bytes of a field as they stand in the line; together with the fixed parts they fit a line. */
enum { NAME_MAX_OUT = 600, RULE_MAX_OUT = 760, FILE_MAX_OUT = 600, MESSAGE_MAX_OUT = 1600 };

static_assert(NAME_MAX_OUT + RULE_MAX_OUT + FILE_MAX_OUT + 600 < LOG_LINE_MAX, "a decision fits");
static_assert(MESSAGE_MAX_OUT + 400 < LOG_LINE_MAX, "a fault fits");

static void put_padded(struct text *out, uint64_t value, unsigned digits)
{
    uint64_t power = 1;

    for (unsigned i = 1; i < digits; i++)
        power *= 10;
    for (; power > 0; power /= 10)
        text_put_char(out, (char)('0' + value / power % 10));
}

struct date {
    uint64_t year;
    unsigned month;
    unsigned day;
};

/*
 * The civil date of a day since 1970-01-01. Counted in years that begin in March, so that the leap
 * day is the last one and months have lengths that a line of integers (153 days in five months)
 * gives.
 */
static struct date date_of(uint64_t days)
{
    uint64_t since_0 = days + 719468; /* 0000-03-01 */
    uint64_t era = since_0 / 146097;  /* 400 years */
    uint64_t day_of_era = since_0 % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153;
    struct date date;

    date.day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1);
    date.month = (unsigned)(month < 10 ? month + 3 : month - 9);
    date.year = era * 400 + year_of_era + (date.month <= 2 ? 1 : 0);
    return date;
}

/* RFC 3339, UTC, milliseconds; a time after the year 9999 is its last millisecond. */
static void put_time(struct text *out, uint64_t ts_ms)
{
    const uint64_t last_ms = 253402300799999;
    uint64_t ms = ts_ms < last_ms ? ts_ms : last_ms;
    struct date date = date_of(ms / 86400000);

    put_padded(out, date.year, 4);
    text_put_char(out, '-');
    put_padded(out, date.month, 2);
    text_put_char(out, '-');
    put_padded(out, date.day, 2);
    text_put_char(out, 'T');
    put_padded(out, ms / 3600000 % 24, 2);
    text_put_char(out, ':');
    put_padded(out, ms / 60000 % 60, 2);
    text_put_char(out, ':');
    put_padded(out, ms / 1000 % 60, 2);
    text_put_char(out, '.');
    put_padded(out, ms % 1000, 3);
    text_put_char(out, 'Z');
}

/* How a byte stands in a JSON string; returns the length. */
static size_t escape(uint8_t c, char out[6])
{
    static const char hex[] = "0123456789abcdef";

    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c >= 0x20 && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'u';
    out[2] = out[3] = '0';
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

/* What stands between the quotes: at most `max` bytes, the last three "..." when it was cut. */
static void put_escaped(struct text *out, struct span bytes, size_t max)
{
    char piece[6];
    size_t total = 0;
    size_t used = 0;

    for (size_t i = 0; i < bytes.len && total <= max; i++)
        total += escape(bytes.data[i], piece);
    for (size_t i = 0; i < bytes.len; i++) {
        size_t len = escape(bytes.data[i], piece);
        if (total > max && used + len > max - 3) {
            text_put(out, "...");
            return;
        }
        text_put_span(out, span_of(piece, len));
        used += len;
    }
}

void log_line_string(struct text *out, struct span bytes, size_t max)
{
    text_put_char(out, '"');
    put_escaped(out, bytes, max);
    text_put_char(out, '"');
}

static void put_key(struct text *out, const char *key)
{
    text_put(out, ",\"");
    text_put(out, key);
    text_put(out, "\":");
}

static void put_number(struct text *out, const char *key, uint64_t value)
{
    put_key(out, key);
    text_put_number(out, value);
}

static void put_number_or_null(struct text *out, const char *key, uint64_t value)
{
    put_key(out, key);
    if (value == 0)
        text_put(out, "null");
    else
        text_put_number(out, value);
}

/* A word of ours. */
static void put_word(struct text *out, const char *key, const char *word)
{
    put_key(out, key);
    log_line_string(out, span_of_text(word), NAME_MAX_OUT);
}

static void put_begin(struct text *out, uint64_t ts_ms, const char *event)
{
    text_put(out, "{\"v\":1,\"ts\":\"");
    put_time(out, ts_ms);
    text_put_char(out, '"');
    put_word(out, "event", event);
}

static void put_end(struct text *out)
{
    text_put_char(out, '}');
    assert(!out->is_cut);
}

const char *log_layer_text(enum log_layer layer)
{
    switch (layer) {
    case LOG_LAYER_PROXY:
        return "proxy";
    case LOG_LAYER_DNS:
        return "dns";
    case LOG_LAYER_KERNEL:
        return "kernel";
    }
    return "unknown";
}

const char *log_kind_text(enum log_kind kind)
{
    switch (kind) {
    case LOG_KIND_TLS:
        return "tls";
    case LOG_KIND_HTTP:
        return "http";
    case LOG_KIND_CONNECT:
        return "connect";
    case LOG_KIND_DNS:
        return "dns";
    case LOG_KIND_OTHER:
        return "other";
    case LOG_KIND_UDP:
        return "udp";
    }
    return "unknown";
}

void log_line_rule(struct text *out, const struct matcher_rule *rule)
{
    if (!rule) {
        text_put(out, "null");
        return;
    }
    text_put_char(out, '"');
    put_escaped(out, span_of_text(rule->text), RULE_MAX_OUT);
    text_put(out, " at ");
    put_escaped(out, span_of_text(rule->file), FILE_MAX_OUT);
    text_put_char(out, ':');
    text_put_number(out, rule->line);
    text_put_char(out, '"');
}

/* The type's mnemonic, or TYPE and its number (RFC 3597, 5). */
static void put_qtype(struct text *out, uint16_t qtype)
{
    static const struct {
        uint16_t type;
        const char *text;
    } types[] = {
        {1, "A"},      {2, "NS"},    {5, "CNAME"}, {6, "SOA"},  {12, "PTR"},
        {15, "MX"},    {16, "TXT"},  {28, "AAAA"}, {33, "SRV"}, {64, "SVCB"},
        {65, "HTTPS"}, {255, "ANY"}, {257, "CAA"},
    };
    char number[12];
    struct text text = TEXT_OF(number);

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].type == qtype)
            text_put(&text, types[i].text);
    if (text.len == 0) {
        text_put(&text, "TYPE");
        text_put_number(&text, qtype);
    }
    put_word(out, "qtype", number);
}

void log_line_decision(struct text *out, const struct log_decision *d)
{
    char address[NETADDR_TEXT_MAX];

    put_begin(out, d->ts_ms, "decision");
    put_number_or_null(out, "id", d->id);
    put_word(out, "layer", log_layer_text(d->layer));
    put_word(out, "kind", log_kind_text(d->kind));
    put_key(out, "name");
    if (span_is_empty(d->name))
        text_put(out, "null");
    else
        log_line_string(out, d->name, NAME_MAX_OUT);
    put_key(out, "address");
    if (!d->address)
        text_put(out, "null");
    else
        log_line_string(out, span_of(address, netaddr_print(d->address, address)), NAME_MAX_OUT);
    put_number_or_null(out, "port", d->port);
    if (d->kind == LOG_KIND_DNS)
        put_qtype(out, d->qtype);
    put_word(out, "verdict", d->verdict.kind == VERDICT_ALLOW ? "allow" : "deny");
    put_word(out, "reason", reason_token(d->verdict.reason));
    put_key(out, "rule");
    log_line_rule(out, d->verdict.rule);
    if (d->verdict.kind != VERDICT_ALLOW && !d->verdict.is_enforced)
        text_put(out, ",\"enforced\":false");
    put_end(out);
}

/* "1.2.3.4:443", "[2001:db8::1]:443" */
static void put_endpoint(struct text *out, const struct netaddr *address, uint16_t port)
{
    char host[NETADDR_TEXT_MAX];
    char buffer[NETADDR_TEXT_MAX + 10];
    struct text text = TEXT_OF(buffer);
    bool is_v4 = netaddr_is_v4(address);

    netaddr_print(address, host);
    text_put(&text, is_v4 ? "" : "[");
    text_put(&text, host);
    text_put(&text, is_v4 ? ":" : "]:");
    text_put_number(&text, port);
    log_line_string(out, text_span(&text), NAME_MAX_OUT);
}

void log_line_close(struct text *out, const struct log_close *c)
{
    put_begin(out, c->ts_ms, "close");
    put_number_or_null(out, "id", c->id);
    put_key(out, "upstream");
    if (c->upstream)
        put_endpoint(out, c->upstream, c->upstream_port);
    else
        text_put(out, "null");
    put_number(out, "bytes_up", c->bytes_up);
    put_number(out, "bytes_down", c->bytes_down);
    put_number(out, "requests", c->requests);
    put_number(out, "duration_ms", c->duration_ms);
    put_word(out, "why", c->why);
    put_end(out);
}

void log_line_ready(struct text *out, const struct log_ready *r)
{
    put_begin(out, r->ts_ms, "ready");
    put_word(out, "version", r->version);
    put_key(out, "user");
    log_line_string(out, r->user, NAME_MAX_OUT);
    put_number(out, "uid", r->uid);
    put_number(out, "proxy_uid", r->proxy_uid);
    put_word(out, "mode", r->mode);
    put_number(out, "rules", r->rules);
    put_number(out, "generation", r->generation);
    text_put(out, ",\"listen\":{\"tcp\":");
    text_put_number(out, r->tcp_port);
    put_number(out, "dns", r->dns_port);
    text_put_char(out, '}');
    put_end(out);
}

void log_line_reload(struct text *out, const struct log_reload *r)
{
    put_begin(out, r->ts_ms, "reload");
    put_number(out, "generation", r->generation);
    put_word(out, "mode", r->mode);
    put_number(out, "rules", r->rules);
    put_number(out, "closed", r->closed);
    put_end(out);
}

void log_line_fault(struct text *out, const struct log_fault *f)
{
    put_begin(out, f->ts_ms, "fault");
    put_word(out, "what", f->what);
    put_key(out, "message");
    log_line_string(out, f->message, MESSAGE_MAX_OUT);
    put_number_or_null(out, "generation", f->generation);
    put_end(out);
}

void log_line_stop(struct text *out, const struct log_stop *s)
{
    put_begin(out, s->ts_ms, "stop");
    put_word(out, "why", s->why);
    put_word(out, "left", s->left);
    put_end(out);
}
