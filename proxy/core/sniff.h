/*
 * What protocol a connection speaks, from the client's first bytes.
 *
 * Wide on purpose where a name could hide: whatever a lenient origin might take for TLS or for an
 * HTTP request is read as that, and then refused when it is malformed. Only what no server reads as
 * either is "other", a connection without a name.
 */
#ifndef PROXY_CORE_SNIFF_H
#define PROXY_CORE_SNIFF_H

#include "config/reason.h"
#include "proxy/core/http_head.h"
#include "proxy/core/tls_hello.h"

enum sniff_protocol {
    SNIFF_NEED_MORE,
    SNIFF_TLS,
    SNIFF_HTTP,   /* a request of HTTP/1, CONNECT included */
    SNIFF_H2C,    /* HTTP/2 with prior knowledge */
    SNIFF_TUNNEL, /* SOCKS 4 and 5, the PROXY protocol: a destination inside the stream */
    SNIFF_OTHER,
};

/*
 * The protocol of a stream that begins with `bytes`, all that was received so far; `is_end` when
 * nothing follows them. The answer does not change when more bytes come, but for SNIFF_NEED_MORE.
 * An empty stream that ends is SNIFF_OTHER.
 */
enum sniff_protocol sniff_guess(struct span bytes, bool is_end);

enum { SNIFF_HEAD_BYTES_MAX = 65536 };

/* What the proxy would read from a connection's first bytes. */
struct sniff {
    enum sniff_protocol protocol;
    bool is_connect;
    bool has_name;
    struct hostname name;
    bool has_address; /* the Host is an address */
    struct netaddr address;
    bool has_port; /* the Host or the CONNECT target writes one */
    uint16_t port;
    const struct tls_hello *hello; /* SNIFF_TLS, whole and well-formed, else NULL */
    enum reason reason;            /* REASON_ALLOWED unless malformed or never relayed */
    size_t used;                   /* bytes up to the end of the hello or head; 0 without one */
};

/*
 * Reads as much as sniff_guess() and the readers behind it make of `bytes`. `hello` is where a
 * ClientHello goes; out->hello points to it.
 */
void sniff_read(struct span bytes, bool is_end, struct tls_hello_scratch *scratch,
                struct tls_hello *hello, struct sniff *out);

/* "tls", "http", "h2c", "connect", "other" or "need-more"; static storage. */
const char *sniff_protocol_text(const struct sniff *sniff);

#endif
