#include "proxy/core/http_head.h"

#include "proxy/core/http_fields.h"
#include "proxy/core/http_text.h"

enum { PORT_HTTP = 80, PORT_HTTPS = 443 };

static bool take_prefix_nocase(struct span *s, struct span prefix)
{
    if (s->len < prefix.len || !span_equal_nocase(span_first(*s, prefix.len), prefix))
        return false;
    *s = span_from(*s, prefix.len);
    return true;
}

/* `method` is `known`; false when a server that folds case would say so and this reader not. */
static bool read_method(struct span method, struct span known, bool *is_known)
{
    *is_known = span_equal(method, known);
    return *is_known || !span_equal_nocase(method, known);
}

static bool is_target_text(struct span target)
{
    for (size_t i = 0; i < target.len; i++) {
        if (target.data[i] <= ' ' || target.data[i] >= 0x7f || target.data[i] == '#')
            return false;
    }
    return target.len > 0;
}

/* The authority of "http://authority/path?query". */
static bool read_absolute(struct span target, struct http_head *head, uint16_t *port_default,
                          enum reason *reason)
{
    size_t end = 0;

    if (take_prefix_nocase(&target, SPAN_LITERAL("http://")))
        *port_default = PORT_HTTP;
    else if (take_prefix_nocase(&target, SPAN_LITERAL("https://")))
        *port_default = PORT_HTTPS;
    else
        return false;
    while (end < target.len && target.data[end] != '/' && target.data[end] != '?')
        end++;
    head->target = HTTP_TARGET_ABSOLUTE;
    return http_host_parse(span_first(target, end), &head->host, reason);
}

/* `port_default` is the port that a Host without one means beside this target. */
static bool read_target(struct span target, struct http_head *head, uint16_t *port_default,
                        enum reason *reason)
{
    *port_default = PORT_HTTP;
    if (!is_target_text(target))
        return false;
    if (head->is_connect) {
        head->target = HTTP_TARGET_AUTHORITY;
        if (!http_host_parse(target, &head->host, reason))
            return false;
        *port_default = head->host.port;
        *reason = REASON_BAD_REQUEST;
        return head->host.has_port;
    }
    if (target.data[0] == '/') {
        head->target = HTTP_TARGET_ORIGIN;
        return true;
    }
    if (span_equal(target, SPAN_LITERAL("*"))) {
        head->target = HTTP_TARGET_ASTERISK;
        return span_equal(head->method, SPAN_LITERAL("OPTIONS"));
    }
    return read_absolute(target, head, port_default, reason);
}

static bool read_version(struct span version, struct http_head *head)
{
    if (span_equal(version, SPAN_LITERAL("HTTP/1.1")))
        head->minor = 1;
    else if (span_equal(version, SPAN_LITERAL("HTTP/1.0")))
        head->minor = 0;
    else
        return false;
    return true;
}

static bool read_request_line(struct span line, struct http_head *head, uint16_t *port_default,
                              enum reason *reason)
{
    size_t method_len = span_find(line, ' ');

    *reason = REASON_BAD_REQUEST;
    head->method = span_first(line, method_len);
    if (method_len == line.len || !http_is_token(head->method))
        return false;
    if (!read_method(head->method, SPAN_LITERAL("HEAD"), &head->is_head) ||
        !read_method(head->method, SPAN_LITERAL("CONNECT"), &head->is_connect))
        return false;

    struct span rest = span_from(line, method_len + 1);
    size_t target_len = span_find(rest, ' ');

    if (target_len == rest.len || !read_version(span_from(rest, target_len + 1), head))
        return false;
    return read_target(span_first(rest, target_len), head, port_default, reason);
}

/* The target's host stands in *head already, if it named one. */
static bool judge_host(const struct http_fields *fields, uint16_t port_default,
                       struct http_head *head, enum reason *reason)
{
    struct http_host host;

    *reason = REASON_BAD_REQUEST;
    if (!fields->has_host)
        return head->minor == 0;
    if (!http_host_parse(fields->host, &host, reason))
        return false;
    *reason = REASON_BAD_REQUEST;
    if (head->host.kind == HTTP_HOST_NONE)
        head->host = host;
    return http_host_equal(&head->host, &host, port_default);
}

static bool judge_body(const struct http_fields *fields, struct http_head *head)
{
    if (fields->is_chunked) {
        head->body = HTTP_BODY_CHUNKED;
        if (head->minor == 0)
            return false;
    } else if (fields->length > 0) {
        head->body = HTTP_BODY_LENGTH;
        head->body_len = fields->length;
    }
    return !head->is_connect || head->body == HTTP_BODY_NONE;
}

static enum read_status read_head(struct span bytes, struct http_head *head, enum reason *reason)
{
    struct span rest = bytes;
    struct span line;
    struct http_fields fields;
    uint16_t port_default;

    *reason = REASON_BAD_REQUEST;
    enum read_status status = http_line_next(&rest, &line);
    if (status != READ_OK)
        return status;
    if (!read_request_line(line, head, &port_default, reason))
        return READ_BAD;
    status = http_fields_read(&rest, &fields, reason);
    if (status != READ_OK)
        return status;
    if (!judge_host(&fields, port_default, head, reason) || !judge_body(&fields, head))
        return READ_BAD;

    head->wants_upgrade = head->minor == 1 && fields.has_upgrade && fields.connection_upgrade;
    head->upgrade_is_h2c = fields.upgrade_is_h2c;
    head->accepts_json = fields.accepts_json;
    head->expects_continue = fields.expects_continue;
    head->keeps_alive =
        !fields.connection_close && (head->minor == 1 || fields.connection_keep_alive);
    head->head_len = bytes.len - rest.len;
    return READ_OK;
}

enum read_status http_head_read(struct span bytes, size_t bytes_max, struct http_head *out,
                                enum reason *reason)
{
    struct http_head head = {0};
    enum reason why;
    bool is_full = bytes.len >= bytes_max;
    enum read_status status =
        read_head(is_full ? span_first(bytes, bytes_max) : bytes, &head, &why);

    if (status == READ_MORE && is_full) {
        status = READ_BAD;
        why = REASON_TOO_LARGE;
    }
    if (status == READ_OK)
        *out = head;
    if (status == READ_BAD)
        *reason = why;
    return status;
}

enum read_status http_head_is_h2_preface(struct span bytes)
{
    struct span preface = SPAN_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    size_t len = bytes.len < preface.len ? bytes.len : preface.len;

    if (!span_equal(span_first(bytes, len), span_first(preface, len)))
        return READ_BAD;
    return len == preface.len ? READ_OK : READ_MORE;
}
