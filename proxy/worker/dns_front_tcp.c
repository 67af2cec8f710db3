/*
 * DNS over TCP (RFC 7766): messages behind lengths of 16 bits, several at once, answered in
 * whatever order they are done.
 *
 * Memory is bounded by reading no further while the answers to what was read might not fit. A
 * connection ends when its client does nothing for a while that brings it on: a whole question, or
 * taking some of an answer. Callbacks only fill the buffers; dns_client_settle() is the one place
 * that writes, reads on, closes, and says what is waited for.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/worker/dns_front_parts.h"
#include "proxy/worker/origdst.h"

enum {
    LENGTH_LEN = 2,
    QUESTION_MAX = 4096, /* far above any question, padding (RFC 8467) included */
    FRAME_MAX = LENGTH_LEN + DNS_FRONT_ANSWER_MAX,
    FRAMES_MAX = 16,
    IDLE_S = 10, /* RFC 7766 6.2.3: "on the order of a few seconds" */
    ACCEPTS_AT_ONCE = 16,
};

struct dns_client {
    LIST_ENTRY(dns_client) in_front;
    struct dns_front *front;
    int fd;
    struct event *readable;
    struct event *writable;
    struct event *idle;
    struct dns_ask_list waiting;
    size_t in_len;
    size_t out_len;
    bool is_ended;  /* the client sends no more, and still reads */
    bool is_broken; /* to be closed */
    uint8_t in[LENGTH_LEN + QUESTION_MAX];
    uint8_t out[FRAME_MAX * FRAMES_MAX];
};

void dns_client_close(struct dns_client *client)
{
    while (!LIST_EMPTY(&client->waiting))
        dns_ask_cancel(LIST_FIRST(&client->waiting));
    if (client->readable)
        event_free(client->readable);
    if (client->writable)
        event_free(client->writable);
    if (client->idle)
        event_free(client->idle);
    close(client->fd);
    LIST_REMOVE(client, in_front);
    client->front->client_count--;
    free(client);
}

static void has_moved_on(struct dns_client *client)
{
    static const struct timeval idle = {.tv_sec = IDLE_S};

    event_add(client->idle, &idle);
}

static size_t waiting_count(const struct dns_client *client)
{
    const struct dns_ask *ask;
    size_t count = 0;

    LIST_FOREACH(ask, &client->waiting, in_client)
    count++;
    return count;
}

/* The answers to all that was asked fit, and one more. */
static bool has_room(const struct dns_client *client)
{
    return client->out_len + (waiting_count(client) + 1) * FRAME_MAX <= sizeof(client->out);
}

void dns_client_answer(struct dns_client *client, struct span message)
{
    uint8_t *out = client->out + client->out_len;

    out[0] = (uint8_t)(message.len >> 8);
    out[1] = (uint8_t)message.len;
    memcpy(out + LENGTH_LEN, message.data, message.len);
    client->out_len += LENGTH_LEN + message.len;
}

/* The length of the message in front, with its own; 0: not whole yet. */
static size_t whole_frame(struct dns_client *client)
{
    size_t len = LENGTH_LEN + ((size_t)client->in[0] << 8 | client->in[1]);

    if (client->in_len < LENGTH_LEN)
        return 0;
    if (len > sizeof(client->in))
        client->is_broken = true;
    return len <= client->in_len && !client->is_broken ? len : 0;
}

/* Asks what is whole and has room; false when that was nothing. */
static bool ask_next(struct dns_client *client)
{
    const struct dns_asker asker = {.transport = DNS_TCP, .client = client};
    size_t len = has_room(client) ? whole_frame(client) : 0;

    if (len == 0)
        return false;
    has_moved_on(client);
    size_t out_len = client->out_len;
    size_t waiting = waiting_count(client);
    dns_ask_start(client->front, &asker, span_of(client->in + LENGTH_LEN, len - LENGTH_LEN),
                  &client->waiting);
    /* What is no DNS at all is not answered, and what follows it is no better. */
    if (client->out_len == out_len && waiting_count(client) == waiting)
        client->is_broken = true;
    client->in_len -= len;
    memmove(client->in, client->in + len, client->in_len);
    return true;
}

static void flush(struct dns_client *client)
{
    while (client->out_len > 0 && !client->is_broken) {
        ssize_t sent = send(client->fd, client->out, client->out_len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0) {
            client->is_broken = true;
            return;
        }
        has_moved_on(client);
        client->out_len -= (size_t)sent;
        memmove(client->out, client->out + sent, client->out_len);
    }
}

static void want(struct event *event, bool is_wanted)
{
    if (is_wanted)
        event_add(event, NULL);
    else
        event_del(event);
}

void dns_client_settle(struct dns_client *client)
{
    do
        flush(client);
    while (!client->is_broken && ask_next(client));
    if (client->is_broken ||
        (client->is_ended && client->out_len == 0 && LIST_EMPTY(&client->waiting))) {
        dns_client_close(client);
        return;
    }
    want(client->readable, !client->is_ended && has_room(client));
    want(client->writable, client->out_len > 0);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct dns_client *client = arg;
    ssize_t len = recv(fd, client->in + client->in_len, sizeof(client->in) - client->in_len, 0);

    (void)what;
    if (len > 0)
        client->in_len += (size_t)len;
    else if (len == 0)
        client->is_ended = true;
    else if (errno != EAGAIN && errno != EINTR)
        client->is_broken = true;
    dns_client_settle(client);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    dns_client_settle(arg);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    dns_client_close(arg);
}

static void client_new(struct dns_front *front, int fd)
{
    struct event_base *base = front->thread->base;
    struct dns_client *client = calloc(1, sizeof(*client));

    if (!client) {
        close(fd);
        return;
    }
    client->front = front;
    client->fd = fd;
    LIST_INSERT_HEAD(&front->clients, client, in_front);
    front->client_count++;
    client->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, client);
    client->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, client);
    client->idle = evtimer_new(base, on_idle, client);
    if (!client->readable || !client->writable || !client->idle) {
        dns_client_close(client);
        return;
    }
    has_moved_on(client);
    dns_client_settle(client);
}

/* A reset, so that the client sees at once that nobody will answer. */
static void turn_away(struct dns_front *front, int fd, enum reason reason)
{
    const struct linger reset = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    dns_front_log_denial(front, reason);
}

static void take_in(struct dns_front *front, int fd)
{
    struct netaddr address;
    uint16_t port;

    if (origdst_get(fd, &address, &port) < 0)
        turn_away(front, fd, REASON_NOT_REDIRECTED);
    else if (front->client_count >= DNS_FRONT_CLIENTS_MAX)
        turn_away(front, fd, REASON_LIMIT_REACHED);
    else
        client_new(front, fd);
}

void dns_client_accept(evutil_socket_t fd, short what, void *arg)
{
    struct dns_front *front = arg;

    (void)what;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int client_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client_fd >= 0) {
            take_in(front, client_fd);
        } else if (errno != ECONNABORTED && errno != EINTR) {
            /* Out of descriptors, or shut down by the supervisor while a worker is replaced. */
            if (errno != EAGAIN)
                dns_front_pause(front);
            return;
        }
    }
}
