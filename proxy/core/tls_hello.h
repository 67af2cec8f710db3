/*
 * The ClientHello that opens a TLS connection: which server name it asks for (RFC 8446 4.1.2
 * and 5.1, RFC 5246 7.4.1.2, RFC 6066 3).
 *
 * Stricter than any server on purpose: the name that is judged here must be the name that the
 * server at the far end reads, so whatever two readers could take differently is refused.
 */
#ifndef PROXY_CORE_TLS_HELLO_H
#define PROXY_CORE_TLS_HELLO_H

#include "config/hostname.h"
#include "config/reason.h"
#include "config/span.h"

enum {
    TLS_HELLO_LEN_MAX = 16 * 1024 + 4, /* handshake header included, record headers not */
    TLS_HELLO_ALPN_MAX = 16,
};

enum tls_hello_status { TLS_HELLO_OK, TLS_HELLO_MORE, TLS_HELLO_BAD };

/*
 * Working memory of tls_hello_read(): what a hello in several records is joined in, and the set of
 * extension types seen. Nothing is kept from call to call; one per thread is enough.
 */
struct tls_hello_scratch {
    uint8_t message[TLS_HELLO_LEN_MAX];
    uint8_t types_seen[(UINT16_MAX + 1) / 8];
};

struct tls_hello {
    bool has_name;
    struct hostname name; /* when has_name */
    /* encrypted_client_hello (RFC 9849) is there; real and GREASE look the same. */
    bool has_ech;
    /* What the client calls its version, 0x0301..0x0304; TLS 1.3 clients say 0x0303. */
    uint16_t legacy_version;
    /* The first protocols offered (RFC 7301 3.1): any bytes, 1..255 of them each. */
    struct span alpn[TLS_HELLO_ALPN_MAX];
    size_t alpn_count;
    /* Bytes of the stream up to the end of the hello, which is the end of a record. */
    size_t stream_len;
};

/*
 * Reads the hello at the start of a TCP stream. `stream` is everything received so far, from the
 * stream's first byte; on TLS_HELLO_MORE the caller comes back with the same bytes and more. The
 * hello may be spread over records in any way, its four-byte header too. Bytes behind the record in
 * which it ends are not looked at.
 *
 * *out is written only on TLS_HELLO_OK and *reason only on TLS_HELLO_BAD. What is BAD stays BAD
 * whatever follows. ALPN spans borrow from `stream` or `scratch`.
 *
 * REASON_BAD_NAME: the server_name extension comes twice, or is anything but one list of one
 * non-empty host_name that hostname_parse() takes (so no address, no NUL).
 * REASON_TOO_LARGE: the hello announces more than TLS_HELLO_LEN_MAX.
 * REASON_BAD_HELLO: everything else, as
 * - a record that is no handshake, is empty, over 2^14 bytes, of a version other than 3.0 to 3.4 or
 *   of another version than the first; record bytes behind the hello;
 * - a client version other than 3.1 to 3.4: an SSL 3.0 server skips the extensions;
 * - a session id over 32 bytes, no or half a cipher suite, compression methods without null;
 * - an extension type that comes twice; an ALPN list that is empty or holds an empty protocol;
 * - lengths that do not add up to exactly the hello.
 */
enum tls_hello_status tls_hello_read(struct span stream, struct tls_hello_scratch *scratch,
                                     struct tls_hello *out, enum reason *reason);

enum tls_hello_guess { TLS_HELLO_GUESS_NO, TLS_HELLO_GUESS_YES, TLS_HELLO_GUESS_MORE };

/*
 * Is this stream to be read as TLS? Two bytes decide, and after YES the stream is a hello or
 * refused, never another protocol. YES is wider than what tls_hello_read() takes, by what some
 * server takes: handshake (22) and alert (21) records of a version below 16.0, since Go's
 * crypto/tls asks no more of the first record and skips warning alerts in front of a hello; and the
 * other record types (20 to 24) of a version 3.x. An empty stream or a lone record type is MORE.
 */
enum tls_hello_guess tls_hello_guess(struct span stream);

#endif
