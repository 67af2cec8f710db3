/*
 * TLS records taken apart and put together differently (RFC 8446 5.1).
 */
#ifndef TESTS_LIB_TLS_RECORDS_H
#define TESTS_LIB_TLS_RECORDS_H

#include "proxy/core/tls_hello.h"

enum { TLS_RECORD_HEADER_LEN = 5, TLS_FRAMED_LEN_MAX = TLS_HELLO_LEN_MAX * 6 };

/* The content of the complete records of `stream`, one behind the other, and its length; `out` has
 * room for stream.len bytes. */
size_t tls_unframe(struct span stream, uint8_t *out);

/*
 * `message` as handshake records of version 3.1: one of `first` bytes, then some of at most `rest`
 * bytes. The length; `out` has room for TLS_FRAMED_LEN_MAX bytes.
 */
size_t tls_frame(struct span message, size_t first, size_t rest, uint8_t *out);

/* The same answer, but for where the hello ends and which memory the spans borrow from. */
bool tls_hello_equal(const struct tls_hello *a, const struct tls_hello *b);

#endif
