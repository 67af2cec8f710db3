/*
 * The end of a body in the chunked coding (RFC 9112 7.1), found without touching the bytes.
 *
 * A line of framing moves as a whole and only when it is good; chunk data moves as it comes.
 */
#ifndef PROXY_CORE_HTTP_CHUNKED_H
#define PROXY_CORE_HTTP_CHUNKED_H

#include "config/reason.h"
#include "config/span.h"
#include "proxy/core/reader.h"

enum {
    HTTP_CHUNK_LINE_MAX = 256,    /* a chunk's size and extensions, without CRLF */
    HTTP_TRAILER_LINE_MAX = 1024, /* a trailer field, without CRLF */
    HTTP_TRAILERS_MAX = 8192,     /* the trailer section */
    HTTP_CHUNK_FRAMING_MAX = 65536,
};

enum http_chunked_state {
    HTTP_CHUNKED_SIZE,     /* a line with a size comes next */
    HTTP_CHUNKED_DATA,     /* `left` bytes of data */
    HTTP_CHUNKED_DATA_END, /* the CRLF behind the data */
    HTTP_CHUNKED_TRAILER,  /* a trailer line or the empty line */
    HTTP_CHUNKED_DONE,     /* the next byte is no part of the body */
};

struct http_chunked {
    enum http_chunked_state state;
    uint64_t left;
    uint64_t data_bytes;
    uint64_t framing_bytes;
    size_t trailer_bytes;
};

static inline struct http_chunked http_chunked_init(void)
{
    return (struct http_chunked){.state = HTTP_CHUNKED_SIZE};
}

/*
 * How much of `bytes`, which begin where the last call's *len ended, is body. READ_OK: the next
 * *len (at least one) bytes are; when the state is now HTTP_CHUNKED_DONE the body ends with them.
 * READ_MORE: the caller comes back with the same bytes and more. READ_BAD is final; *reason is
 *
 * REASON_BAD_REQUEST  a size that is not 1 to 16 hexadecimal digits below 2^63; an extension that
 *                     is not ";token" or ";token=token"; no CRLF behind the data; a line with a
 *                     bare CR or LF or a control byte; a malformed trailer, or one that is Host,
 *                     Content-Length or Transfer-Encoding;
 * REASON_TOO_LARGE    a line or the trailers above their limit; more than HTTP_CHUNK_FRAMING_MAX
 *                     bytes of framing that are over eight times the data, which only extensions
 *                     and leading zeros reach.
 *
 * Not to be called in HTTP_CHUNKED_DONE.
 */
enum read_status http_chunked_read(struct http_chunked *c, struct span bytes, size_t *len,
                                   enum reason *reason);

#endif
