/*
 * The second ClientHello of a TLS 1.3 connection.
 *
 * A server that likes no key share of the first hello asks for another one (HelloRetryRequest,
 * RFC 8446 4.1.4), and many servers then choose their site by the name in the second. It comes in
 * the clear, so it is read: where the server asked for it, it has to be a hello for the same name.
 * Until the server has answered the first one, no handshake record of the client moves, so that a
 * second hello cannot be sent before it is asked for.
 */
#ifndef PROXY_CORE_TLS_WATCH_H
#define PROXY_CORE_TLS_WATCH_H

#include "config/span.h"

enum tls_watch_state {
    TLS_WATCH_UNANSWERED, /* the server has not said which of the two it is */
    TLS_WATCH_RETRY,      /* it asked for another hello */
    TLS_WATCH_OVER,       /* it did not, or it came: everything may move */
};

/* A value without pointers; only the functions below write it. */
struct tls_watch {
    enum tls_watch_state state;
    size_t client_left; /* of the client's current record, what may move */
    size_t server_seen; /* bytes of the answer's first message that were compared */
    size_t header_seen; /* of the server's current record header */
    size_t record_left; /* of the server's current record */
};

/* `hello_len`: how many bytes of the client's stream the first hello takes, which may move. */
void tls_watch_init(struct tls_watch *w, size_t hello_len);

enum tls_watch_event {
    TLS_WATCH_MORE,  /* none of these bytes may move yet */
    TLS_WATCH_MOVE,  /* the next *len bytes may move; read on behind them */
    TLS_WATCH_HELLO, /* a second hello begins here, to be read whole and then let through */
};

/* The client's bytes that have not moved, at least one. *len is written only with MOVE. */
enum tls_watch_event tls_watch_client(const struct tls_watch *w, struct span bytes, size_t *len);

/* So many of them moved; after HELLO all of that hello, and the watch is over. */
void tls_watch_moved(struct tls_watch *w, struct span bytes, size_t len);
void tls_watch_end(struct tls_watch *w);

/* The server's bytes, each once and in order; they may move in any case. */
void tls_watch_server(struct tls_watch *w, struct span bytes);

#endif
