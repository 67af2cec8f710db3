/*
 * One request head of HTTP/1 (RFC 9112 3 and 6), read for a proxy that relays it as it came.
 *
 * The origin reads the same bytes with a parser of its own. Whatever two parsers could understand
 * in two ways is refused: the host that was judged must be the host that is served, and the next
 * request must begin where this reader says.
 */
#ifndef PROXY_CORE_HTTP_HEAD_H
#define PROXY_CORE_HTTP_HEAD_H

#include "config/reason.h"
#include "config/span.h"
#include "proxy/core/http_host.h"
#include "proxy/core/reader.h"

/* RFC 9112 3.2. */
enum http_target {
    HTTP_TARGET_ORIGIN,    /* "/path?query" */
    HTTP_TARGET_ABSOLUTE,  /* "http://host/path", "https://..." */
    HTTP_TARGET_AUTHORITY, /* "host:port" of a CONNECT */
    HTTP_TARGET_ASTERISK,  /* "*" of an OPTIONS */
};

/* What follows the head (RFC 9112 6). */
enum http_body {
    HTTP_BODY_NONE,    /* nothing; also a Content-Length of 0 */
    HTTP_BODY_LENGTH,  /* so many bytes, at least one */
    HTTP_BODY_CHUNKED, /* the chunked coding */
};

struct http_head {
    struct span method; /* borrowed from the head's bytes */
    bool is_head;
    bool is_connect;
    uint8_t minor; /* of HTTP/1: 0 or 1 */
    enum http_target target;
    struct http_host host; /* CONNECT and absolute-form: the target's, which Host must repeat */
    enum http_body body;
    uint64_t body_len;     /* HTTP_BODY_LENGTH: 1 .. 2^63 - 1 */
    bool wants_upgrade;    /* 1.1, an Upgrade field and "Connection: upgrade" */
    bool upgrade_is_h2c;   /* Upgrade names HTTP/2, or there is an HTTP2-Settings field */
    bool accepts_json;     /* Accept lists application/json */
    bool expects_continue; /* Expect: 100-continue */
    bool keeps_alive;      /* the client means to send further requests */
    size_t head_len;       /* bytes up to and with the empty line */
};

/*
 * Reads the head at the front of `bytes`, which may go on behind it. `bytes_max` is the longest
 * head that is read. READ_OK only when the empty line is there. A READ_BAD is final: it stays, with
 * the same reason, whatever bytes follow. *out is written only on READ_OK, *reason on READ_BAD:
 *
 * REASON_BAD_REQUEST  ambiguous or malformed, see http_fields.h and http_host.h; also a line end
 *                     that is no CRLF, an empty line in front, a version other than HTTP/1.0 and
 *                     HTTP/1.1, more than single spaces in the request line, '#' or a byte outside
 *                     ASCII in the target, a scheme other than http and https, a 1.1 request
 *                     without Host, a Host that is not the target's host and port, a coding in 1.0,
 *                     a CONNECT without port or with a body, HEAD and CONNECT in another case;
 * REASON_BAD_NAME     the host is neither a name nor an address;
 * REASON_TOO_LARGE    more than `bytes_max` bytes or HTTP_FIELDS_MAX field lines.
 *
 * The Host of a CONNECT may leave the port out: widespread clients do.
 */
enum read_status http_head_read(struct span bytes, size_t bytes_max, struct http_head *out,
                                enum reason *reason);

/*
 * The client preface of HTTP/2 with prior knowledge (RFC 9113 3.4): READ_OK yes, READ_BAD no,
 * READ_MORE as long as the bytes are a beginning of it.
 */
enum read_status http_head_is_h2_preface(struct span bytes);

#endif
