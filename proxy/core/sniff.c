#include "proxy/core/sniff.h"

/* RFC 9110 5.6.2. */
static bool is_token_byte(uint8_t c)
{
    return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || ascii_is_digit(c) ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* What lenient servers take for white space within a request line (RFC 9112 3). */
static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

static bool contains(struct span line, struct span mark)
{
    for (size_t i = 0; i + mark.len <= line.len; i++) {
        if (span_equal_nocase(span_first(span_from(line, i), mark.len), mark))
            return true;
    }
    return false;
}

/*
 * What is behind a request line's method looks like a target, or there is a version. Without a
 * version it is HTTP/0.9, which has no fields, but Node reads them all the same; with a version of
 * another protocol (RTSP, ICE) it also reads HTTP.
 */
static bool is_request(struct span method, struct span rest)
{
    static const struct span version = {(const uint8_t *)"http/", 5};
    static const struct span scheme = {(const uint8_t *)"://", 3};
    static const struct span connect = {(const uint8_t *)"connect", 7};

    if (contains(rest, version) || contains(rest, scheme))
        return true;
    while (rest.len > 0 && is_blank(rest.data[0]))
        rest = span_from(rest, 1);
    return rest.len > 0 &&
           (rest.data[0] == '/' || rest.data[0] == '*' || span_equal_nocase(method, connect));
}

/* Line ends, blanks and control bytes in front of a request, which lenient servers skip. */
static struct span skip_blanks(struct span bytes)
{
    size_t i = 0;

    while (i < bytes.len && bytes.data[i] != 0 && bytes.data[i] <= ' ')
        i++;
    return span_from(bytes, i);
}

/* A token, a blank, and in the same line what makes it a request that some server may read. */
static enum sniff_protocol guess_text(struct span bytes, bool is_end)
{
    size_t token_len = 0;

    bytes = skip_blanks(bytes);
    while (token_len < bytes.len && is_token_byte(bytes.data[token_len]))
        token_len++;
    bool is_undecided = !is_end && token_len == bytes.len;
    if (is_undecided)
        return SNIFF_NEED_MORE;
    if (token_len == 0 || token_len == bytes.len)
        return SNIFF_OTHER;
    uint8_t next = bytes.data[token_len];
    if (next == '\n' || !is_blank(next))
        return SNIFF_OTHER;
    /* No server goes on behind a NUL, and many a binary protocol sends no line end. */
    size_t line_len = span_find(span_first(bytes, span_find(bytes, '\n')), 0);
    struct span line = span_first(bytes, line_len);
    if (is_request(span_first(line, token_len), span_from(line, token_len)))
        return SNIFF_HTTP;
    return line_len == bytes.len && !is_end ? SNIFF_NEED_MORE : SNIFF_OTHER;
}

/* READ_OK: `bytes` begin with `mark`; READ_MORE: they are a beginning of it. */
static enum read_status begins_with(struct span bytes, struct span mark)
{
    size_t len = bytes.len < mark.len ? bytes.len : mark.len;

    if (!span_equal(span_first(bytes, len), span_first(mark, len)))
        return READ_BAD;
    return len == mark.len ? READ_OK : READ_MORE;
}

/*
 * SOCKS 5: version, number of methods (RFC 1928 3). SOCKS 4: version, CONNECT or BIND. The PROXY
 * protocol: its line or its binary signature.
 */
static enum read_status is_tunnel(struct span bytes)
{
    static const struct span marks[] = {
        {(const uint8_t *)"PROXY ", 6},
        {(const uint8_t *)"\r\n\r\n\0\r\nQUIT\n", 12},
        {(const uint8_t *)"\x04\x01", 2},
        {(const uint8_t *)"\x04\x02", 2},
    };
    enum read_status best = READ_BAD;

    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        enum read_status status = begins_with(bytes, marks[i]);
        if (status == READ_OK)
            return READ_OK;
        if (status == READ_MORE)
            best = READ_MORE;
    }
    if (bytes.data[0] == 0x05)
        return bytes.len >= 2 ? READ_OK : READ_MORE;
    return best;
}

enum sniff_protocol sniff_guess(struct span bytes, bool is_end)
{
    if (bytes.len == 0)
        return is_end ? SNIFF_OTHER : SNIFF_NEED_MORE;
    switch (tls_hello_guess(bytes)) {
    case TLS_HELLO_GUESS_YES:
        return SNIFF_TLS;
    case TLS_HELLO_GUESS_MORE:
        return is_end ? SNIFF_OTHER : SNIFF_NEED_MORE;
    case TLS_HELLO_GUESS_NO:
        break;
    }
    enum read_status tunnel = is_tunnel(bytes);
    if (tunnel == READ_OK)
        return SNIFF_TUNNEL;
    enum read_status preface = http_head_is_h2_preface(bytes);
    if (preface == READ_OK)
        return SNIFF_H2C;
    if (!is_end && (tunnel == READ_MORE || preface == READ_MORE))
        return SNIFF_NEED_MORE;
    return guess_text(bytes, is_end);
}

static void read_hello(struct span bytes, bool is_end, struct tls_hello_scratch *scratch,
                       struct tls_hello *hello, struct sniff *out)
{
    switch (tls_hello_read(bytes, scratch, hello, &out->reason)) {
    case TLS_HELLO_OK:
        out->hello = hello;
        out->has_name = hello->has_name;
        if (hello->has_name)
            out->name = hello->name;
        out->used = hello->stream_len;
        return;
    case TLS_HELLO_MORE:
        if (is_end)
            out->reason = REASON_BAD_HELLO;
        else
            out->protocol = SNIFF_NEED_MORE;
        return;
    case TLS_HELLO_BAD:
        return;
    }
    out->reason = REASON_INTERNAL_ERROR;
}

static void take_host(const struct http_host *host, struct sniff *out)
{
    out->has_name = host->kind == HTTP_HOST_NAME;
    if (out->has_name)
        out->name = host->name;
    out->has_address = host->kind == HTTP_HOST_ADDRESS;
    if (out->has_address)
        out->address = host->addr;
    out->has_port = host->has_port;
    out->port = host->has_port ? host->port : 0;
}

static void read_head(struct span bytes, bool is_end, struct sniff *out)
{
    struct http_head head;

    switch (http_head_read(bytes, SNIFF_HEAD_BYTES_MAX, &head, &out->reason)) {
    case READ_OK:
        take_host(&head.host, out);
        out->is_connect = head.is_connect;
        out->used = head.head_len;
        if (head.upgrade_is_h2c)
            out->reason = REASON_H2C_REFUSED;
        return;
    case READ_MORE:
        if (is_end)
            out->reason = REASON_BAD_REQUEST;
        else
            out->protocol = SNIFF_NEED_MORE;
        return;
    case READ_BAD:
        return;
    }
    out->reason = REASON_INTERNAL_ERROR;
}

void sniff_read(struct span bytes, bool is_end, struct tls_hello_scratch *scratch,
                struct tls_hello *hello, struct sniff *out)
{
    memset(out, 0, sizeof(*out));
    out->protocol = sniff_guess(bytes, is_end);
    out->reason = REASON_ALLOWED;
    switch (out->protocol) {
    case SNIFF_TLS:
        read_hello(bytes, is_end, scratch, hello, out);
        return;
    case SNIFF_HTTP:
        read_head(bytes, is_end, out);
        return;
    case SNIFF_H2C:
        out->reason = REASON_H2C_REFUSED;
        return;
    case SNIFF_TUNNEL:
        out->reason = REASON_CONNECT_REFUSED;
        return;
    case SNIFF_NEED_MORE:
    case SNIFF_OTHER:
        return;
    }
}

const char *sniff_protocol_text(const struct sniff *sniff)
{
    switch (sniff->protocol) {
    case SNIFF_NEED_MORE:
        return "need-more";
    case SNIFF_TLS:
        return "tls";
    case SNIFF_HTTP:
        return sniff->is_connect ? "connect" : "http";
    case SNIFF_H2C:
        return "h2c";
    case SNIFF_TUNNEL:
    case SNIFF_OTHER:
        return "other";
    }
    return "other";
}
