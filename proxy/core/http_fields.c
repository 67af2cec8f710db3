#include "proxy/core/http_fields.h"

#include "proxy/core/http_text.h"

enum field_kind {
    FIELD_OTHER,
    FIELD_HOST,
    FIELD_LENGTH,
    FIELD_CODING,
    FIELD_CONNECTION,
    FIELD_UPGRADE,
    FIELD_HTTP2_SETTINGS,
    FIELD_ACCEPT,
    FIELD_EXPECT,
};

static const struct {
    const char *name;
    enum field_kind kind;
} known_fields[] = {
    {"host", FIELD_HOST},
    {"content-length", FIELD_LENGTH},
    {"transfer-encoding", FIELD_CODING},
    {"connection", FIELD_CONNECTION},
    {"upgrade", FIELD_UPGRADE},
    {"http2-settings", FIELD_HTTP2_SETTINGS},
    {"accept", FIELD_ACCEPT},
    {"expect", FIELD_EXPECT},
};

static bool is_same_folded(struct span name, const char *known)
{
    if (name.len != strlen(known))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i] == '_' ? '-' : ascii_lower(name.data[i]);
        if (c != (uint8_t)known[i])
            return false;
    }
    return true;
}

static enum field_kind kind_of(struct span name)
{
    for (size_t i = 0; i < sizeof(known_fields) / sizeof(known_fields[0]); i++) {
        if (is_same_folded(name, known_fields[i].name))
            return known_fields[i].kind;
    }
    return FIELD_OTHER;
}

bool http_field_is_framing(struct span name)
{
    enum field_kind kind = kind_of(name);

    return kind == FIELD_HOST || kind == FIELD_LENGTH || kind == FIELD_CODING;
}

static bool read_host(struct http_fields *f, struct span value)
{
    if (f->has_host)
        return false;
    f->has_host = true;
    f->host = value;
    return true;
}

static bool read_length(struct http_fields *f, struct span value)
{
    if (f->has_length || f->is_chunked)
        return false;
    f->has_length = true;
    /* Above 2^63 - 1 a peer that counts in signed numbers sees another length. */
    return span_parse_number(value, 0, INT64_MAX, &f->length);
}

static bool read_coding(struct http_fields *f, struct span value)
{
    if (f->has_length || f->is_chunked)
        return false;
    f->is_chunked = true;
    return span_equal_nocase(value, SPAN_LITERAL("chunked"));
}

static bool read_connection(struct http_fields *f, struct span value)
{
    struct span option;

    while (http_list_next(&value, &option)) {
        if (!http_is_token(option) || http_field_is_framing(option))
            return false;
        if (span_equal_nocase(option, SPAN_LITERAL("close")))
            f->connection_close = true;
        else if (span_equal_nocase(option, SPAN_LITERAL("keep-alive")))
            f->connection_keep_alive = true;
        else if (span_equal_nocase(option, SPAN_LITERAL("upgrade")))
            f->connection_upgrade = true;
    }
    return true;
}

static bool begins_with_nocase(struct span s, struct span prefix)
{
    return s.len >= prefix.len && span_equal_nocase(span_first(s, prefix.len), prefix);
}

/* protocol-name ["/" protocol-version] (RFC 9110 7.8). */
static bool read_upgrade(struct http_fields *f, struct span value)
{
    struct span protocol;

    f->has_upgrade = true;
    while (http_list_next(&value, &protocol)) {
        size_t slash = span_find(protocol, '/');
        if (!http_is_token(span_first(protocol, slash)))
            return false;
        if (slash < protocol.len && !http_is_token(span_from(protocol, slash + 1)))
            return false;
        /* "h2c", its drafts "h2c-14", and "HTTP/2.0". */
        if (begins_with_nocase(protocol, SPAN_LITERAL("h2")) ||
            begins_with_nocase(protocol, SPAN_LITERAL("HTTP/2")))
            f->upgrade_is_h2c = true;
    }
    return true;
}

static void read_accept(struct http_fields *f, struct span value)
{
    struct span range;

    while (http_list_next(&value, &range)) {
        struct span type = http_trim(span_first(range, span_find(range, ';')));
        if (span_equal_nocase(type, SPAN_LITERAL("application/json")))
            f->accepts_json = true;
    }
}

static bool read_field(struct http_fields *f, struct span name, struct span value)
{
    enum field_kind kind = kind_of(name);

    if (kind != FIELD_OTHER && span_find(name, '_') < name.len)
        return false;
    switch (kind) {
    case FIELD_OTHER:
        return true;
    case FIELD_HOST:
        return read_host(f, value);
    case FIELD_LENGTH:
        return read_length(f, value);
    case FIELD_CODING:
        return read_coding(f, value);
    case FIELD_CONNECTION:
        return read_connection(f, value);
    case FIELD_UPGRADE:
        return read_upgrade(f, value);
    case FIELD_HTTP2_SETTINGS:
        f->upgrade_is_h2c = true;
        return true;
    case FIELD_ACCEPT:
        read_accept(f, value);
        return true;
    case FIELD_EXPECT:
        f->expects_continue |= span_equal_nocase(value, SPAN_LITERAL("100-continue"));
        return true;
    }
    return false;
}

enum read_status http_fields_read(struct span *rest, struct http_fields *out, enum reason *reason)
{
    struct http_fields fields = {0};
    struct span at = *rest;

    for (unsigned count = 0;; count++) {
        struct span line;
        struct span name;
        struct span value;
        enum read_status status = http_line_next(&at, &line);
        if (status == READ_MORE)
            return READ_MORE;
        if (status == READ_OK && line.len == 0)
            break;
        if (status == READ_OK && count == HTTP_FIELDS_MAX) {
            *reason = REASON_TOO_LARGE;
            return READ_BAD;
        }
        if (status == READ_BAD || !http_field_split(line, &name, &value) ||
            !read_field(&fields, name, value)) {
            *reason = REASON_BAD_REQUEST;
            return READ_BAD;
        }
    }
    *out = fields;
    *rest = at;
    return READ_OK;
}
