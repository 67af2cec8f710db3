#include "proxy/worker/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/worker/conn.h"

enum { SOCKETS_MAX = 2, ACCEPTS_AT_ONCE = 32, PAUSE_MS = 100 };

struct listener {
    struct worker_thread *thread;
    struct event *events[SOCKETS_MAX];
    struct event *resume; /* after a pause for want of descriptors */
};

static void pause_accepting(struct listener *listener)
{
    struct timeval wait = {0, PAUSE_MS * 1000L};

    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (listener->events[i] != NULL)
            event_del(listener->events[i]);
    }
    event_add(listener->resume, &wait);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct listener *listener = arg;

    (void)fd;
    (void)what;
    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (listener->events[i] != NULL)
            event_add(listener->events[i], NULL);
    }
}

/*
 * Out of descriptors, or the supervisor has shut the socket down while this worker is being
 * replaced: the socket stays readable, so accepting pauses instead of spinning.
 */
static bool is_pause(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EINVAL;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *listener = arg;

    (void)what;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            conn_accept(listener->thread, client);
        } else if (errno == ECONNABORTED || errno == EINTR) {
            continue;
        } else {
            if (is_pause(errno))
                pause_accepting(listener);
            return;
        }
    }
}

int listener_start(struct worker_thread *thread)
{
    static const enum message_socket sockets[SOCKETS_MAX] = {SOCKET_TCP_V4, SOCKET_TCP_V6};
    struct listener *listener = calloc(1, sizeof(*listener));

    if (listener == NULL)
        return -ENOMEM;
    listener->thread = thread;
    thread->listener = listener;
    listener->resume = event_new(thread->base, -1, EV_TIMEOUT, on_resume, listener);
    bool is_ready = listener->resume != NULL;
    for (int i = 0; is_ready && i < SOCKETS_MAX; i++) {
        int fd = thread->sockets->fd[sockets[i]];
        if (fd < 0)
            continue;
        listener->events[i] =
            event_new(thread->base, fd, EV_READ | EV_PERSIST, on_readable, listener);
        is_ready = listener->events[i] != NULL && event_add(listener->events[i], NULL) == 0;
    }
    if (!is_ready) {
        listener_stop(thread);
        return -ENOMEM;
    }
    return 0;
}

void listener_stop(struct worker_thread *thread)
{
    struct listener *listener = thread->listener;

    if (listener == NULL)
        return;
    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (listener->events[i] != NULL)
            event_free(listener->events[i]);
    }
    if (listener->resume != NULL)
        event_free(listener->resume);
    free(listener);
    thread->listener = NULL;
}
