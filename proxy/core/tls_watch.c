#include "proxy/core/tls_watch.h"

#include <assert.h>

enum {
    RECORD_HEADER_LEN = 5,
    RECORD_HANDSHAKE = 22,
    SERVER_HELLO = 2,
    MESSAGE_HEADER_LEN = 4,
    RANDOM_AT = MESSAGE_HEADER_LEN + 2,
    RANDOM_LEN = 32,
};

/* What the random of a ServerHello is when it asks for another hello (RFC 8446 4.1.3). */
static const uint8_t retry_random[RANDOM_LEN] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

void tls_watch_init(struct tls_watch *w, size_t hello_len)
{
    *w = (struct tls_watch){.client_left = hello_len};
}

void tls_watch_end(struct tls_watch *w)
{
    w->state = TLS_WATCH_OVER;
}

/* Of the record at the front: its length with the header, once that is there. */
static size_t record_len(struct span bytes)
{
    return RECORD_HEADER_LEN + ((size_t)bytes.data[3] << 8 | bytes.data[4]);
}

enum tls_watch_event tls_watch_client(const struct tls_watch *w, struct span bytes, size_t *len)
{
    size_t may_move = w->client_left;

    assert(bytes.len > 0);
    if (w->state == TLS_WATCH_OVER)
        may_move = bytes.len;
    if (may_move == 0) {
        if (bytes.data[0] == RECORD_HANDSHAKE)
            return w->state == TLS_WATCH_RETRY ? TLS_WATCH_HELLO : TLS_WATCH_MORE;
        if (bytes.len < RECORD_HEADER_LEN)
            return TLS_WATCH_MORE;
        may_move = record_len(bytes);
    }
    *len = may_move < bytes.len ? may_move : bytes.len;
    return TLS_WATCH_MOVE;
}

void tls_watch_moved(struct tls_watch *w, struct span bytes, size_t len)
{
    if (w->state == TLS_WATCH_OVER)
        return;
    if (w->client_left == 0)
        w->client_left = record_len(bytes);
    w->client_left -= len;
}

/* The next byte of the server's first message; false when it cannot be a HelloRetryRequest. */
static bool take_message_byte(struct tls_watch *w, uint8_t byte)
{
    size_t at = w->server_seen++;

    if (at == 0)
        return byte == SERVER_HELLO;
    if (at < RANDOM_AT)
        return true;
    if (byte != retry_random[at - RANDOM_AT])
        return false;
    if (w->server_seen == RANDOM_AT + RANDOM_LEN)
        w->state = TLS_WATCH_RETRY;
    return true;
}

/* The next byte of the server's stream: of a record header, or of what is in the record. */
static bool take_byte(struct tls_watch *w, uint8_t byte)
{
    if (w->header_seen == RECORD_HEADER_LEN) {
        w->record_left--;
        if (w->record_left == 0)
            w->header_seen = 0;
        return take_message_byte(w, byte);
    }
    switch (w->header_seen++) {
    case 0:
        return byte == RECORD_HANDSHAKE;
    case 3:
        w->record_left = (size_t)byte << 8;
        return true;
    case 4:
        w->record_left |= byte;
        return w->record_left > 0;
    }
    return true;
}

void tls_watch_server(struct tls_watch *w, struct span bytes)
{
    for (size_t i = 0; i < bytes.len && w->state == TLS_WATCH_UNANSWERED; i++) {
        if (!take_byte(w, bytes.data[i]))
            w->state = TLS_WATCH_OVER;
    }
}
