#include "proxy/core/http_chunked.h"

#include <assert.h>

#include "proxy/core/http_fields.h"
#include "proxy/core/http_text.h"

enum { SIZE_DIGITS_MAX = 16 };

/* -1 for a byte that is no hexadecimal digit. */
static int hex_value(uint8_t c)
{
    uint8_t lower = ascii_lower(c);

    if (ascii_is_digit(c))
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Moves *line behind the digits. */
static bool read_size(struct span *line, uint64_t *size)
{
    uint64_t value = 0;
    size_t digits = 0;

    while (digits < line->len && hex_value(line->data[digits]) >= 0) {
        if (digits == SIZE_DIGITS_MAX)
            return false;
        value = value << 4 | (uint64_t)hex_value(line->data[digits++]);
    }
    if (digits == 0 || value > INT64_MAX)
        return false;
    *size = value;
    *line = span_from(*line, digits);
    return true;
}

/* Nothing, or any number of ";token" and ";token=token". */
static bool is_extensions(struct span rest)
{
    while (rest.len > 0) {
        if (rest.data[0] != ';')
            return false;
        rest = span_from(rest, 1);
        size_t end = span_find(rest, ';');
        struct span extension = span_first(rest, end);
        size_t name_len = span_find(extension, '=');
        if (!http_is_token(span_first(extension, name_len)))
            return false;
        if (name_len < end && !http_is_token(span_from(extension, name_len + 1)))
            return false;
        rest = span_from(rest, end);
    }
    return true;
}

static enum read_status bounded_line(struct span bytes, size_t line_max, struct span *line,
                                     enum reason *reason)
{
    size_t window_max = line_max + strlen("\r\n");
    bool is_full = bytes.len >= window_max;
    struct span window = is_full ? span_first(bytes, window_max) : bytes;
    enum read_status status = http_line_next(&window, line);

    if (status == READ_MORE && is_full) {
        *reason = REASON_TOO_LARGE;
        return READ_BAD;
    }
    if (status == READ_BAD)
        *reason = REASON_BAD_REQUEST;
    return status;
}

static enum read_status size_step(struct http_chunked *c, struct span bytes, size_t *len,
                                  enum reason *reason)
{
    struct span line;
    uint64_t size;
    enum read_status status = bounded_line(bytes, HTTP_CHUNK_LINE_MAX, &line, reason);

    if (status != READ_OK)
        return status;
    *len = line.len + strlen("\r\n");
    *reason = REASON_BAD_REQUEST;
    if (!read_size(&line, &size) || !is_extensions(line))
        return READ_BAD;
    c->framing_bytes += *len;
    *reason = REASON_TOO_LARGE;
    if (c->framing_bytes > HTTP_CHUNK_FRAMING_MAX && c->framing_bytes / 8 > c->data_bytes)
        return READ_BAD;
    c->left = size;
    c->data_bytes += size;
    c->state = size == 0 ? HTTP_CHUNKED_TRAILER : HTTP_CHUNKED_DATA;
    return READ_OK;
}

static enum read_status data_step(struct http_chunked *c, struct span bytes, size_t *len)
{
    if (bytes.len == 0)
        return READ_MORE;
    *len = bytes.len < c->left ? bytes.len : (size_t)c->left;
    c->left -= *len;
    if (c->left == 0)
        c->state = HTTP_CHUNKED_DATA_END;
    return READ_OK;
}

static enum read_status data_end_step(struct http_chunked *c, struct span bytes, size_t *len,
                                      enum reason *reason)
{
    struct span end = SPAN_LITERAL("\r\n");
    size_t have = bytes.len < end.len ? bytes.len : end.len;

    *reason = REASON_BAD_REQUEST;
    if (!span_equal(span_first(bytes, have), span_first(end, have)))
        return READ_BAD;
    if (have < end.len)
        return READ_MORE;
    *len = end.len;
    c->framing_bytes += end.len;
    c->state = HTTP_CHUNKED_SIZE;
    return READ_OK;
}

static enum read_status trailer_step(struct http_chunked *c, struct span bytes, size_t *len,
                                     enum reason *reason)
{
    struct span line;
    struct span name;
    struct span value;
    enum read_status status = bounded_line(bytes, HTTP_TRAILER_LINE_MAX, &line, reason);

    if (status != READ_OK)
        return status;
    *len = line.len + strlen("\r\n");
    if (line.len == 0) {
        c->state = HTTP_CHUNKED_DONE;
        return READ_OK;
    }
    *reason = REASON_BAD_REQUEST;
    if (!http_field_split(line, &name, &value) || http_field_is_framing(name))
        return READ_BAD;
    c->trailer_bytes += *len;
    *reason = REASON_TOO_LARGE;
    return c->trailer_bytes > HTTP_TRAILERS_MAX ? READ_BAD : READ_OK;
}

static enum read_status step(struct http_chunked *c, struct span bytes, size_t *len,
                             enum reason *reason)
{
    switch (c->state) {
    case HTTP_CHUNKED_SIZE:
        return size_step(c, bytes, len, reason);
    case HTTP_CHUNKED_DATA:
        return data_step(c, bytes, len);
    case HTTP_CHUNKED_DATA_END:
        return data_end_step(c, bytes, len, reason);
    case HTTP_CHUNKED_TRAILER:
        return trailer_step(c, bytes, len, reason);
    case HTTP_CHUNKED_DONE:
        break;
    }
    *reason = REASON_INTERNAL_ERROR;
    return READ_BAD;
}

enum read_status http_chunked_read(struct http_chunked *c, struct span bytes, size_t *len,
                                   enum reason *reason)
{
    size_t total = 0;
    enum reason why = REASON_INTERNAL_ERROR;
    enum read_status status = READ_OK;

    assert(c->state != HTTP_CHUNKED_DONE);
    while (status == READ_OK && c->state != HTTP_CHUNKED_DONE) {
        struct http_chunked next = *c;
        size_t step_len = 0;
        status = step(&next, span_from(bytes, total), &step_len, &why);
        if (status != READ_OK)
            break;
        *c = next;
        total += step_len;
    }
    /* What is good in front of a fault moves first; the fault is found again by the next call. */
    if (total > 0) {
        *len = total;
        return READ_OK;
    }
    if (status == READ_BAD)
        *reason = why;
    return status;
}
