/*
 * Two sockets and the bytes between them: reading, writing, back-pressure and half-close.
 *
 * The relay moves what its owner marked movable and knows nothing of why. A side whose buffer is
 * full is not read, so the sender is slowed by TCP; the end of one direction is passed on when its
 * last byte is through; a broken connection is never passed on as an orderly end.
 */
#ifndef PROXY_WORKER_RELAY_H
#define PROXY_WORKER_RELAY_H

#include <event2/event.h>

#include "proxy/worker/buffer.h"

enum side_index { CLIENT, UPSTREAM, SIDES };

struct side {
    int fd; /* -1: not connected */
    struct event *read;
    struct event *write;
    struct buffer in;   /* read here, to be written to the other side */
    bool is_ended;      /* this end sends no more */
    bool is_broken;     /* ... because the connection broke */
    bool is_write_shut; /* we told this end that no more comes */
};

struct relay {
    struct side side[SIDES];
    uint64_t bytes[SIDES]; /* that left each side for the other */
    bool is_discarding;    /* the client's bytes are read to be thrown away */
    size_t discarded;
};

enum relay_status {
    RELAY_OK,
    RELAY_CLIENT_BROKEN,
    RELAY_UPSTREAM_BROKEN,
    RELAY_DONE, /* both directions are over */
};

void relay_init(struct relay *relay, size_t buffer_cap);

/* Takes over a connected socket; `on_ready` is called for reading and writing. */
bool relay_open(struct relay *relay, enum side_index index, int fd, struct event_base *base,
                event_callback_fn on_ready, void *arg);

/* Frees everything of a side but the flags; with is_reset the peer sees a broken connection. */
void relay_close(struct relay *relay, enum side_index index, bool is_reset);

/* Reads what there is; true when bytes or the end came. */
bool relay_read(struct relay *relay, enum side_index index);

/* Writes what may move towards a side; *moved adds up how many bytes went. */
enum relay_status relay_flush(struct relay *relay, enum side_index to, size_t *moved);

/* Passes ends of stream on where all bytes before them are through. */
enum relay_status relay_pass_ends(struct relay *relay);

/* Tells a side that no more comes, once. */
void relay_shut(struct relay *relay, enum side_index index);

struct relay_wants {
    bool read[SIDES];
    bool write[SIDES];
};

/* Which events the state calls for; relay_arm() applies it and is false when that failed. */
struct relay_wants relay_wants(const struct relay *relay);
bool relay_arm(struct relay *relay);

#endif
