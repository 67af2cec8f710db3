/*
 * The bytes of one direction: read from one side, not yet written to the other.
 *
 * In front lie the bytes that may move (`movable`), behind them those that wait for a verdict. The
 * memory exists only while there are bytes, so that an idle connection holds none.
 */
#ifndef PROXY_WORKER_BUFFER_H
#define PROXY_WORKER_BUFFER_H

#include "config/span.h"

struct buffer {
    uint8_t *data;
    size_t cap;     /* of `data`, when it is there */
    size_t start;   /* the first byte */
    size_t len;     /* bytes from `start` */
    size_t movable; /* of them may be written */
};

enum buffer_io {
    BUFFER_SOME,  /* bytes moved */
    BUFFER_AGAIN, /* the socket has nothing, or takes nothing, for now */
    BUFFER_END,   /* read: the other end sends no more */
    BUFFER_ERROR, /* the connection is broken */
};

void buffer_init(struct buffer *b, size_t cap);
void buffer_fini(struct buffer *b);

static inline size_t buffer_room(const struct buffer *b)
{
    return b->cap - b->len;
}

/* What waits for a verdict. */
static inline struct span buffer_waiting(const struct buffer *b)
{
    return b->len == b->movable ? SPAN_NONE
                                : span_of(b->data + b->start + b->movable, b->len - b->movable);
}

/* One read from the socket; there must be room. */
enum buffer_io buffer_read(struct buffer *b, int fd);

/* One write of movable bytes, of which there must be some; *moved says how many went. */
enum buffer_io buffer_write(struct buffer *b, int fd, size_t *moved);

/* Forgets everything, then holds these bytes, all movable; false when memory ran out. */
bool buffer_replace(struct buffer *b, struct span bytes);

/* Adds bytes behind all others, movable with them; false when there is no room or no memory. */
bool buffer_append(struct buffer *b, struct span bytes);

void buffer_discard(struct buffer *b);

#endif
