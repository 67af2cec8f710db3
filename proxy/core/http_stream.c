#include "proxy/core/http_stream.h"

#include <assert.h>

#include "proxy/core/http_text.h"

void http_stream_init(struct http_stream *s, size_t head_bytes_max)
{
    *s = (struct http_stream){.state = HTTP_STREAM_AT_HEAD, .head_bytes_max = head_bytes_max};
}

static void end_request(struct http_stream *s)
{
    s->state = s->awaits_answer ? HTTP_STREAM_AT_ANSWER : HTTP_STREAM_AT_HEAD;
}

static enum http_stream_event turn_bad(struct http_stream *s, enum reason reason, bool is_in_body,
                                       struct http_stream_item *out)
{
    s->state = HTTP_STREAM_IS_BAD;
    s->reason = reason;
    s->is_in_body = is_in_body;
    out->reason = reason;
    out->is_in_body = is_in_body;
    return HTTP_STREAM_BAD;
}

static enum http_stream_event read_head(struct http_stream *s, struct span bytes,
                                        struct http_stream_item *out)
{
    enum reason reason = REASON_INTERNAL_ERROR;

    if (!http_head_is_decided(bytes, &s->scanned) && bytes.len < s->head_bytes_max)
        return HTTP_STREAM_MORE;
    switch (http_head_read(bytes, s->head_bytes_max, &out->head, &reason)) {
    case READ_OK:
        s->state = HTTP_STREAM_AT_VERDICT;
        s->body = out->head.body;
        s->left = out->head.body_len;
        s->wants_answer = out->head.is_connect || out->head.wants_upgrade;
        return HTTP_STREAM_HEAD;
    case READ_MORE:
        return HTTP_STREAM_MORE;
    case READ_BAD:
        break;
    }
    return turn_bad(s, reason, false, out);
}

static enum http_stream_event read_length(struct http_stream *s, struct span bytes,
                                          struct http_stream_item *out)
{
    if (bytes.len == 0)
        return HTTP_STREAM_MORE;
    out->len = bytes.len < s->left ? bytes.len : (size_t)s->left;
    s->left -= out->len;
    if (s->left == 0)
        end_request(s);
    return HTTP_STREAM_BODY;
}

static enum http_stream_event read_chunked(struct http_stream *s, struct span bytes,
                                           struct http_stream_item *out)
{
    enum reason reason = REASON_INTERNAL_ERROR;

    switch (http_chunked_read(&s->chunked, bytes, &out->len, &reason)) {
    case READ_OK:
        if (s->chunked.state == HTTP_CHUNKED_DONE)
            end_request(s);
        return HTTP_STREAM_BODY;
    case READ_MORE:
        return HTTP_STREAM_MORE;
    case READ_BAD:
        break;
    }
    return turn_bad(s, reason, true, out);
}

static enum http_stream_event read_opaque(struct span bytes, struct http_stream_item *out)
{
    if (bytes.len == 0)
        return HTTP_STREAM_MORE;
    out->len = bytes.len;
    return HTTP_STREAM_BODY;
}

enum http_stream_event http_stream_read(struct http_stream *s, struct span bytes,
                                        struct http_stream_item *out)
{
    switch (s->state) {
    case HTTP_STREAM_AT_HEAD:
    case HTTP_STREAM_AT_VERDICT:
        return read_head(s, bytes, out);
    case HTTP_STREAM_IN_LENGTH:
        return read_length(s, bytes, out);
    case HTTP_STREAM_IN_CHUNKED:
        return read_chunked(s, bytes, out);
    case HTTP_STREAM_AT_ANSWER:
        return HTTP_STREAM_WAIT;
    case HTTP_STREAM_IS_OPAQUE:
        return read_opaque(bytes, out);
    case HTTP_STREAM_IS_BAD:
        break;
    }
    return turn_bad(s, s->reason, s->is_in_body, out);
}

void http_stream_accept_head(struct http_stream *s)
{
    assert(s->state == HTTP_STREAM_AT_VERDICT);
    s->scanned = 0;
    s->awaits_answer = s->wants_answer;
    switch (s->body) {
    case HTTP_BODY_NONE:
        end_request(s);
        return;
    case HTTP_BODY_LENGTH:
        s->state = HTTP_STREAM_IN_LENGTH;
        return;
    case HTTP_BODY_CHUNKED:
        s->chunked = http_chunked_init();
        s->state = HTTP_STREAM_IN_CHUNKED;
        return;
    }
    s->state = HTTP_STREAM_IS_BAD;
}

void http_stream_resume(struct http_stream *s)
{
    s->awaits_answer = false;
    if (s->state == HTTP_STREAM_AT_ANSWER)
        s->state = HTTP_STREAM_AT_HEAD;
}

void http_stream_set_opaque(struct http_stream *s)
{
    if (s->state == HTTP_STREAM_IS_BAD)
        return;
    s->state = s->awaits_answer ? HTTP_STREAM_IS_OPAQUE : HTTP_STREAM_IS_BAD;
    s->awaits_answer = false;
}
