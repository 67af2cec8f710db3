/*
 * The server's direction of a plain HTTP/1 connection: where each response begins and ends (RFC
 * 9112 6.3), so that an answer of ours can be put exactly behind the last whole one.
 *
 * The server is not judged: its bytes are relayed in any case. But where a response could end in
 * two places, tracking ends for good, and nothing of ours is ever put into that connection.
 */
#ifndef PROXY_CORE_HTTP_REPLY_H
#define PROXY_CORE_HTTP_REPLY_H

#include "proxy/core/http_chunked.h"
#include "proxy/core/http_head.h"

enum { HTTP_REPLY_QUEUE_MAX = 32 };

enum http_reply_state {
    HTTP_REPLY_AT_HEAD, /* between responses, or within a head */
    HTTP_REPLY_IN_LENGTH,
    HTTP_REPLY_IN_CHUNKED,
    HTTP_REPLY_IN_REST,   /* a body that the end of the connection ends */
    HTTP_REPLY_AT_END,    /* a response is complete, DONE is due */
    HTTP_REPLY_AT_SWITCH, /* SWITCHED is due */
    HTTP_REPLY_IS_OPAQUE, /* behind SWITCHED: no HTTP any more */
    HTTP_REPLY_IS_LAST,   /* behind a response that ends the connection */
    HTTP_REPLY_IS_UNTRACKED,
};

/* What of a request bears on its response. */
struct http_reply_request {
    bool is_head;
    bool is_connect;
    bool wants_upgrade;
    bool keeps_alive;
};

/* A value without pointers; only the functions below write it. */
struct http_reply {
    enum http_reply_state state;
    size_t head_bytes_max;
    size_t scanned; /* see http_head_is_decided() */
    uint64_t left;
    struct http_chunked chunked;
    uint16_t status;
    bool keeps_alive;
    struct http_reply_request queue[HTTP_REPLY_QUEUE_MAX]; /* a ring */
    size_t queue_first;
    size_t queue_len;
};

enum http_reply_event {
    HTTP_REPLY_MORE, /* needs more bytes than these; none move yet */
    HTTP_REPLY_MOVE, /* the next `len` bytes may move; read on behind them */
    HTTP_REPLY_DONE, /* the response to the oldest request is complete with what has moved */
    /*
     * Once: a CONNECT or an upgrade was taken with the head that has moved. From here every byte
     * moves, in both directions.
     */
    HTTP_REPLY_SWITCHED,
    HTTP_REPLY_UNTRACKED, /* once: from here every byte moves, and boundaries are not known */
};

struct http_reply_item {
    size_t len;      /* MOVE: at least one */
    uint16_t status; /* DONE, SWITCHED */
    bool declines;   /* DONE: the request was a CONNECT or wanted an upgrade */
};

/* `head_bytes_max` is the longest head that is read; a longer one is UNTRACKED. */
void http_reply_init(struct http_reply *r, size_t head_bytes_max);

/* So many requests wait for their responses that no more can be pushed. */
static inline bool http_reply_is_full(const struct http_reply *r)
{
    return r->queue_len == HTTP_REPLY_QUEUE_MAX;
}

/* A request whose head was accepted, before a byte of it moves. Not while the queue is full. */
void http_reply_push(struct http_reply *r, const struct http_head *head);

/*
 * Says what comes next in `bytes`, which begin behind everything that was moved so far and are all
 * that was received since. They come again, with more behind them, after MORE. The sequence of
 * events does not depend on how the stream was cut into calls, but that a MOVE may come in pieces
 * and that MORE stands in between. Only the members that the event names are written.
 *
 * UNTRACKED: a head or a chunked body that the readers of requests would refuse too (http_fields.h,
 * http_chunked.h); bytes that no request asked for, or behind a response that ends the connection;
 * an informational response or a 204 with a body; a coding in HTTP/1.0; a 101 for a request that
 * wanted no upgrade. An http_stream that waits for an answer then waits in vain: such a connection
 * has to be ended.
 */
enum http_reply_event http_reply_read(struct http_reply *r, struct span bytes,
                                      struct http_reply_item *out);

/*
 * All requests are answered by whole responses that have moved, and the client expects another one
 * on this connection: the only time when an answer of ours may be sent.
 */
static inline bool http_reply_can_inject(const struct http_reply *r)
{
    return r->state == HTTP_REPLY_AT_HEAD && r->queue_len == 0;
}

#endif
