#include "proxy/worker/dns_front.h"

#include <errno.h>
#include <stdlib.h>

#include "proxy/worker/dns_front_parts.h"

enum { DATAGRAMS_AT_ONCE = 32 };

/* 0, or what recvfrom() failed with. */
static int answer_datagram(struct dns_front *front, int fd)
{
    struct dns_asker asker = {.transport = DNS_UDP, .fd = fd, .peer_len = sizeof(asker.peer)};
    ssize_t len = recvfrom(fd, front->datagram, sizeof(front->datagram), 0,
                           (struct sockaddr *)&asker.peer, &asker.peer_len);

    if (len < 0)
        return errno;
    dns_ask_start(front, &asker, span_of(front->datagram, (size_t)len), NULL);
    return 0;
}

/* The socket is every thread's: who is too late gets EAGAIN. */
static void on_datagrams(evutil_socket_t fd, short what, void *arg)
{
    struct dns_front *front = arg;

    (void)what;
    for (int i = 0; i < DATAGRAMS_AT_ONCE; i++) {
        int error = answer_datagram(front, fd);
        if (error == 0 || error == EINTR)
            continue;
        if (error != EAGAIN)
            dns_front_pause(front);
        return;
    }
}

static void for_each_socket(struct dns_front *front, void (*apply)(struct event *event))
{
    for (int i = 0; i < DNS_FRONT_FAMILIES; i++) {
        if (front->udp[i])
            apply(front->udp[i]);
        if (front->tcp[i])
            apply(front->tcp[i]);
    }
}

static void listen_again(struct event *event)
{
    event_add(event, NULL);
}

static void listen_not(struct event *event)
{
    event_del(event);
}

void dns_front_pause(struct dns_front *front)
{
    static const struct timeval pause = {.tv_usec = DNS_FRONT_PAUSE_MS * 1000L};

    for_each_socket(front, listen_not);
    event_add(front->resume, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    for_each_socket(arg, listen_again);
}

/* True also where the machine has no such socket. */
static bool listen_on(struct dns_front *front, enum message_socket which,
                      event_callback_fn on_readable, struct event **event)
{
    int fd = front->thread->sockets->fd[which];

    if (fd < 0)
        return true;
    *event = event_new(front->thread->base, fd, EV_READ | EV_PERSIST, on_readable, front);
    return *event && event_add(*event, NULL) == 0;
}

int dns_front_start(struct worker_thread *thread)
{
    static const enum message_socket udp[] = {SOCKET_DNS_UDP_V4, SOCKET_DNS_UDP_V6};
    static const enum message_socket tcp[] = {SOCKET_DNS_TCP_V4, SOCKET_DNS_TCP_V6};
    struct dns_front *front = calloc(1, sizeof(*front));

    if (!front)
        return -ENOMEM;
    front->thread = thread;
    thread->dns_front = front;
    front->resume = evtimer_new(thread->base, on_resume, front);
    bool is_ready = front->resume != NULL;
    for (int i = 0; i < DNS_FRONT_FAMILIES && is_ready; i++)
        is_ready = listen_on(front, udp[i], on_datagrams, &front->udp[i]) &&
                   listen_on(front, tcp[i], dns_client_accept, &front->tcp[i]);
    if (!is_ready) {
        dns_front_stop(thread);
        return -ENOMEM;
    }
    return 0;
}

void dns_front_stop(struct worker_thread *thread)
{
    struct dns_front *front = thread->dns_front;

    if (!front)
        return;
    for_each_socket(front, event_free);
    if (front->resume)
        event_free(front->resume);
    while (!LIST_EMPTY(&front->clients))
        dns_client_close(LIST_FIRST(&front->clients));
    while (!LIST_EMPTY(&front->asks))
        dns_ask_cancel(LIST_FIRST(&front->asks));
    free(front);
    thread->dns_front = NULL;
}
