#include "proxy/worker/dialer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/worker/origdst.h"

enum { STAGGER_MS = 250 };

struct attempt {
    struct dialer *dialer;
    struct event *event; /* NULL: not under way */
    int fd;
    bool is_retried;
};

struct dialer {
    struct worker_thread *thread;
    struct event *stagger;
    struct event *deadline;
    dialer_done *done;
    void *arg;
    uint16_t port;
    size_t count;
    size_t started;   /* candidates that were tried */
    size_t under_way; /* attempts without an outcome */
    enum reason last; /* why the latest attempt failed */
    struct netaddr candidates[DIALER_CANDIDATES_MAX];
    struct attempt attempts[DIALER_CANDIDATES_MAX];
};

static void end_attempt(struct attempt *attempt)
{
    if (attempt->event != NULL)
        event_free(attempt->event);
    attempt->event = NULL;
    if (attempt->fd >= 0)
        close(attempt->fd);
    attempt->fd = -1;
}

void dialer_cancel(struct dialer *dialer)
{
    if (dialer == NULL)
        return;
    for (size_t i = 0; i < dialer->count; i++)
        end_attempt(&dialer->attempts[i]);
    if (dialer->stagger != NULL)
        event_free(dialer->stagger);
    if (dialer->deadline != NULL)
        event_free(dialer->deadline);
    free(dialer);
}

static void finish(struct dialer *dialer, enum reason reason, int fd, size_t index)
{
    dialer_done *done = dialer->done;
    void *arg = dialer->arg;

    dialer_cancel(dialer);
    done(arg, reason, fd, index);
}

static enum reason reason_of(int error)
{
    return error == ETIMEDOUT ? REASON_UPSTREAM_TIMEOUT : REASON_UPSTREAM_REFUSED;
}

static void on_attempt(evutil_socket_t fd, short what, void *arg);

/* 0 when it is under way, else a negative errno. */
static int begin_attempt(struct attempt *attempt, const struct netaddr *address)
{
    struct dialer *dialer = attempt->dialer;
    struct sockaddr_storage to;
    socklen_t to_len = netaddr_to_sockaddr(address, dialer->port, &to);
    int one = 1;

    attempt->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (attempt->fd < 0)
        return -errno;
    setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(attempt->fd, (const struct sockaddr *)&to, to_len) != 0 && errno != EINPROGRESS) {
        int error = errno;
        end_attempt(attempt);
        return -error;
    }
    attempt->event = event_new(dialer->thread->base, attempt->fd, EV_WRITE, on_attempt, attempt);
    if (attempt->event == NULL || event_add(attempt->event, NULL) != 0) {
        end_attempt(attempt);
        return -ENOMEM;
    }
    return 0;
}

/*
 * A refusal may come from this machine: the source port that the kernel chose can belong to a
 * connection that the cage left behind in conntrack. Another port tells.
 */
static int try_attempt(struct attempt *attempt, const struct netaddr *address)
{
    int error = begin_attempt(attempt, address);

    if (error == -ECONNREFUSED && !attempt->is_retried) {
        attempt->is_retried = true;
        error = begin_attempt(attempt, address);
    }
    return error;
}

static void arm_stagger(struct dialer *dialer, uint32_t ms)
{
    struct timeval wait = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

    event_add(dialer->stagger, &wait);
}

/* After a start or an outcome: the next candidate's turn, or the end. True when it is over. */
static bool go_on(struct dialer *dialer, bool is_failure)
{
    if (dialer->started < dialer->count) {
        arm_stagger(dialer, is_failure ? 0 : STAGGER_MS);
        return false;
    }
    if (dialer->under_way > 0)
        return false;
    finish(dialer, dialer->last, -1, 0);
    return true;
}

static void on_stagger(evutil_socket_t fd, short what, void *arg)
{
    struct dialer *dialer = arg;

    (void)fd;
    (void)what;
    if (dialer->started == dialer->count) {
        go_on(dialer, true);
        return;
    }
    size_t index = dialer->started++;
    int error = try_attempt(&dialer->attempts[index], &dialer->candidates[index]);
    if (error == 0)
        dialer->under_way++;
    else
        dialer->last = reason_of(-error);
    go_on(dialer, error != 0);
}

static void on_attempt(evutil_socket_t fd, short what, void *arg)
{
    struct attempt *attempt = arg;
    struct dialer *dialer = attempt->dialer;
    size_t index = (size_t)(attempt - dialer->attempts);
    int error = 0;
    socklen_t len = sizeof(error);

    (void)what;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error == 0) {
        attempt->fd = -1;
        finish(dialer, REASON_ALLOWED, fd, index);
        return;
    }
    end_attempt(attempt);
    if (error == ECONNREFUSED && !attempt->is_retried) {
        attempt->is_retried = true;
        if (begin_attempt(attempt, &dialer->candidates[index]) == 0)
            return;
    }
    dialer->under_way--;
    dialer->last = reason_of(error);
    go_on(dialer, true);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    finish(arg, REASON_UPSTREAM_TIMEOUT, -1, 0);
}

struct dialer *dialer_start(struct worker_thread *thread, const struct netaddr *candidates,
                            size_t count, uint16_t port, uint32_t within_ms, dialer_done *done,
                            void *arg)
{
    struct dialer *dialer = calloc(1, sizeof(*dialer));
    struct timeval within = {within_ms / 1000, (suseconds_t)(within_ms % 1000) * 1000};

    if (dialer == NULL)
        return NULL;
    dialer->thread = thread;
    dialer->done = done;
    dialer->arg = arg;
    dialer->port = port;
    dialer->last = REASON_UPSTREAM_REFUSED;
    dialer->count = count < DIALER_CANDIDATES_MAX ? count : DIALER_CANDIDATES_MAX;
    for (size_t i = 0; i < dialer->count; i++) {
        dialer->candidates[i] = candidates[i];
        dialer->attempts[i] = (struct attempt){dialer, NULL, -1, false};
    }
    dialer->stagger = event_new(thread->base, -1, EV_TIMEOUT, on_stagger, dialer);
    dialer->deadline = event_new(thread->base, -1, EV_TIMEOUT, on_deadline, dialer);
    if (dialer->stagger == NULL || dialer->deadline == NULL ||
        event_add(dialer->deadline, &within) != 0) {
        dialer_cancel(dialer);
        return NULL;
    }
    arm_stagger(dialer, 0);
    return dialer;
}
