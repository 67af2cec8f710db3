/*
 * The client's direction of a plain HTTP/1 connection: where each request begins and ends.
 *
 * Every request yields its head before a byte of it moves, so that each can be judged, and no byte
 * behind an accepted request moves before it is known to belong to one. The bytes themselves are
 * never changed.
 */
#ifndef PROXY_CORE_HTTP_STREAM_H
#define PROXY_CORE_HTTP_STREAM_H

#include "proxy/core/http_chunked.h"
#include "proxy/core/http_head.h"

enum http_stream_state {
    HTTP_STREAM_AT_HEAD,    /* between requests, or within a head */
    HTTP_STREAM_AT_VERDICT, /* a whole head lies at the front and waits for accept_head */
    HTTP_STREAM_IN_LENGTH,  /* `left` bytes of body */
    HTTP_STREAM_IN_CHUNKED,
    HTTP_STREAM_AT_ANSWER, /* behind a CONNECT or an upgrade: what follows depends on the answer */
    HTTP_STREAM_IS_OPAQUE, /* no HTTP any more */
    HTTP_STREAM_IS_BAD,
};

/* A value without pointers; only the functions below write it. */
struct http_stream {
    enum http_stream_state state;
    size_t head_bytes_max;
    size_t scanned; /* see http_head_is_decided() */
    enum http_body body;
    bool wants_answer;  /* the head at the front is a CONNECT or wants an upgrade */
    bool awaits_answer; /* the last accepted one was, and its answer is not known yet */
    uint64_t left;
    struct http_chunked chunked;
    enum reason reason;
    bool is_in_body;
};

enum http_stream_event {
    HTTP_STREAM_MORE, /* needs more bytes than these; none may move */
    HTTP_STREAM_HEAD, /* a whole head is at the front; none may move before accept_head */
    HTTP_STREAM_BODY, /* the next `len` bytes may move; read on behind them */
    HTTP_STREAM_WAIT, /* none may move, and more do not help: resume or set_opaque comes first */
    HTTP_STREAM_BAD,  /* none may move, ever */
};

struct http_stream_item {
    struct http_head head; /* HEAD; head.method borrows from `bytes` */
    size_t len;            /* BODY: at least one */
    enum reason reason;    /* BAD */
    bool is_in_body; /* BAD: in a body, where no answer of ours can be told from the origin's */
};

/* `head_bytes_max` is the longest head that is read. */
void http_stream_init(struct http_stream *s, size_t head_bytes_max);

/*
 * Says what comes next in `bytes`, which begin behind everything that was let through so far (an
 * accepted head, the `len` of each BODY) and are all that was received since. They come again, with
 * more behind them, after MORE. The caller has to be able to hold head_bytes_max bytes, and
 * HTTP_TRAILER_LINE_MAX + 2. Reasons: see http_head.h and http_chunked.h. Only the members that the
 * event names are written.
 *
 * The sequence of events does not depend on how the stream was cut into calls, but that a BODY may
 * come in pieces and that MORE stands in between.
 */
enum http_stream_event http_stream_read(struct http_stream *s, struct span bytes,
                                        struct http_stream_item *out);

/* After HEAD: its head_len bytes may move, and the next read begins behind them. */
void http_stream_accept_head(struct http_stream *s);

/* The last accepted head was a CONNECT or wanted an upgrade, and its answer is not known yet. */
static inline bool http_stream_awaits_answer(const struct http_stream *s)
{
    return s->awaits_answer;
}

/* The answer declined the CONNECT or the upgrade: HTTP goes on. */
void http_stream_resume(struct http_stream *s);

/*
 * The answer took the CONNECT or the upgrade: everything moves from here. When nothing awaits an
 * answer the stream turns bad (REASON_INTERNAL_ERROR) instead.
 */
void http_stream_set_opaque(struct http_stream *s);

#endif
