#include "proxy/core/http_reply.h"

#include <assert.h>

#include "proxy/core/http_fields.h"
#include "proxy/core/http_text.h"

enum { STATUS_SWITCHING = 101, STATUS_NO_CONTENT = 204, STATUS_NOT_MODIFIED = 304 };

/* What of a response's head bears on where it ends. */
struct reply_head {
    uint8_t minor;
    uint16_t status;
    struct http_fields fields;
    size_t head_len;
};

void http_reply_init(struct http_reply *r, size_t head_bytes_max)
{
    *r = (struct http_reply){.state = HTTP_REPLY_AT_HEAD, .head_bytes_max = head_bytes_max};
}

void http_reply_push(struct http_reply *r, const struct http_head *head)
{
    assert(!http_reply_is_full(r));
    r->queue[(r->queue_first + r->queue_len++) % HTTP_REPLY_QUEUE_MAX] =
        (struct http_reply_request){.is_head = head->is_head,
                                    .is_connect = head->is_connect,
                                    .wants_upgrade = head->wants_upgrade,
                                    .keeps_alive = head->keeps_alive};
}

/* "HTTP/1.1 200 reason" (RFC 9112 4); the reason may be empty, the space before it not missing. */
static bool read_status_line(struct span line, struct reply_head *head)
{
    struct span version = SPAN_LITERAL("HTTP/1.");
    uint64_t status;

    if (line.len < strlen("HTTP/1.1 200 ") || !span_equal(span_first(line, version.len), version))
        return false;
    const uint8_t *rest = line.data + version.len;
    if ((rest[0] != '0' && rest[0] != '1') || rest[1] != ' ' || rest[5] != ' ')
        return false;
    if (!span_parse_number(span_of(rest + 2, 3), 100, 599, &status))
        return false;
    head->minor = rest[0] == '1' ? 1 : 0;
    head->status = (uint16_t)status;
    return true;
}

static enum read_status read_head(struct span bytes, struct reply_head *head)
{
    struct span rest = bytes;
    struct span line;
    enum reason reason;
    enum read_status status = http_line_next(&rest, &line);

    if (status != READ_OK)
        return status;
    if (!read_status_line(line, head))
        return READ_BAD;
    status = http_fields_read(&rest, &head->fields, &reason);
    if (status == READ_OK)
        head->head_len = bytes.len - rest.len;
    return status;
}

static enum http_reply_event lose_track(struct http_reply *r)
{
    r->state = HTTP_REPLY_IS_UNTRACKED;
    return HTTP_REPLY_UNTRACKED;
}

/* Behind the final head of a response that ends by its framing. */
static void enter_body(struct http_reply *r, const struct reply_head *head)
{
    const struct http_fields *fields = &head->fields;
    bool has_none = r->queue[r->queue_first].is_head || head->status == STATUS_NO_CONTENT ||
                    head->status == STATUS_NOT_MODIFIED;

    if (has_none || (fields->has_length && fields->length == 0)) {
        r->state = HTTP_REPLY_AT_END;
    } else if (fields->has_length) {
        r->state = HTTP_REPLY_IN_LENGTH;
        r->left = fields->length;
    } else if (fields->is_chunked) {
        r->state = HTTP_REPLY_IN_CHUNKED;
        r->chunked = http_chunked_init();
    } else {
        r->state = HTTP_REPLY_IN_REST;
    }
}

/* False when it cannot be told what follows the head. */
static bool enter_response(struct http_reply *r, const struct reply_head *head)
{
    const struct http_reply_request *request = &r->queue[r->queue_first];
    const struct http_fields *fields = &head->fields;
    bool is_interim = head->status < 200;

    if (fields->is_chunked && head->minor == 0)
        return false;
    if ((is_interim || head->status == STATUS_NO_CONTENT) &&
        (fields->is_chunked || fields->length > 0))
        return false;
    if (head->status == STATUS_SWITCHING && !request->wants_upgrade)
        return false;

    r->status = head->status;
    if (head->status == STATUS_SWITCHING || (request->is_connect && head->status / 100 == 2)) {
        r->state = HTTP_REPLY_AT_SWITCH;
    } else if (!is_interim) {
        r->keeps_alive = request->keeps_alive && !fields->connection_close &&
                         (head->minor == 1 || fields->connection_keep_alive);
        enter_body(r, head);
    }
    return true;
}

static enum http_reply_event head_step(struct http_reply *r, struct span bytes,
                                       struct http_reply_item *out)
{
    struct reply_head head;
    bool is_full = bytes.len >= r->head_bytes_max;

    if (bytes.len == 0)
        return HTTP_REPLY_MORE;
    if (r->queue_len == 0)
        return lose_track(r);
    if (!http_head_is_decided(bytes, &r->scanned) && !is_full)
        return HTTP_REPLY_MORE;
    switch (read_head(is_full ? span_first(bytes, r->head_bytes_max) : bytes, &head)) {
    case READ_OK:
        if (!enter_response(r, &head))
            return lose_track(r);
        r->scanned = 0;
        out->len = head.head_len;
        return HTTP_REPLY_MOVE;
    case READ_MORE:
        return is_full ? lose_track(r) : HTTP_REPLY_MORE;
    case READ_BAD:
        break;
    }
    return lose_track(r);
}

static enum http_reply_event move_all(struct span bytes, struct http_reply_item *out)
{
    if (bytes.len == 0)
        return HTTP_REPLY_MORE;
    out->len = bytes.len;
    return HTTP_REPLY_MOVE;
}

static enum http_reply_event length_step(struct http_reply *r, struct span bytes,
                                         struct http_reply_item *out)
{
    struct span body = bytes.len < r->left ? bytes : span_first(bytes, (size_t)r->left);

    r->left -= body.len;
    if (r->left == 0)
        r->state = HTTP_REPLY_AT_END;
    return move_all(body, out);
}

static enum http_reply_event chunked_step(struct http_reply *r, struct span bytes,
                                          struct http_reply_item *out)
{
    enum reason reason;

    switch (http_chunked_read(&r->chunked, bytes, &out->len, &reason)) {
    case READ_OK:
        if (r->chunked.state == HTTP_CHUNKED_DONE)
            r->state = HTTP_REPLY_AT_END;
        return HTTP_REPLY_MOVE;
    case READ_MORE:
        return HTTP_REPLY_MORE;
    case READ_BAD:
        break;
    }
    return lose_track(r);
}

static enum http_reply_event end_step(struct http_reply *r, struct http_reply_item *out)
{
    const struct http_reply_request *request = &r->queue[r->queue_first];

    out->status = r->status;
    out->declines = request->is_connect || request->wants_upgrade;
    r->queue_first = (r->queue_first + 1) % HTTP_REPLY_QUEUE_MAX;
    r->queue_len--;
    r->state = r->keeps_alive ? HTTP_REPLY_AT_HEAD : HTTP_REPLY_IS_LAST;
    return HTTP_REPLY_DONE;
}

enum http_reply_event http_reply_read(struct http_reply *r, struct span bytes,
                                      struct http_reply_item *out)
{
    switch (r->state) {
    case HTTP_REPLY_AT_HEAD:
        return head_step(r, bytes, out);
    case HTTP_REPLY_IN_LENGTH:
        return length_step(r, bytes, out);
    case HTTP_REPLY_IN_CHUNKED:
        return chunked_step(r, bytes, out);
    case HTTP_REPLY_AT_END:
        return end_step(r, out);
    case HTTP_REPLY_AT_SWITCH:
        out->status = r->status;
        r->state = HTTP_REPLY_IS_OPAQUE;
        return HTTP_REPLY_SWITCHED;
    case HTTP_REPLY_IS_LAST:
        return bytes.len == 0 ? HTTP_REPLY_MORE : lose_track(r);
    case HTTP_REPLY_IN_REST:
    case HTTP_REPLY_IS_OPAQUE:
    case HTTP_REPLY_IS_UNTRACKED:
        return move_all(bytes, out);
    }
    return lose_track(r);
}
