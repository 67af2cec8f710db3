#include "proxy/worker/thread_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/worker/conn.h"
#include "proxy/worker/dns_front.h"
#include "proxy/worker/listener.h"
#include "proxy/worker/resolver.h"

void thread_send(int fd, const void *bytes, size_t len)
{
    ssize_t written;

    do
        written = write(fd, bytes, len);
    while (written < 0 && errno == EINTR);
    /* Whole or not at all (PIPE_BUF); not at all means that the process is beyond repair. */
    if (written != (ssize_t)len)
        abort();
}

/* The first policy is what makes accepting possible: nothing is ever judged without one. */
static int start_services(struct worker_thread *thread)
{
    int status;

    thread->resolver = resolver_new(thread);
    if (!thread->resolver)
        return -ENOMEM;
    status = dns_front_start(thread);
    return status < 0 ? status : listener_start(thread);
}

static void stop_services(struct worker_thread *thread)
{
    if (!thread->resolver)
        return;
    listener_stop(thread);
    conn_close_all(thread);
    dns_front_stop(thread);
    resolver_free(thread->resolver);
    thread->resolver = NULL;
}

static int apply_policy(struct worker_thread *thread, uint32_t *closed)
{
    int status = resolver_reconfigure(thread->resolver, thread_policy(thread));

    if (status == 0)
        *closed = conn_rejudge_all(thread);
    return status;
}

static void take_policy(struct worker_thread *thread, struct worker_policy *policy)
{
    struct thread_reply reply = {.kind = REPLY_SWITCHED};
    struct worker_policy *old = thread->current;

    thread->current = policy;
    reply.error = old ? apply_policy(thread, &reply.number) : start_services(thread);
    worker_policy_unref(old);
    thread_send(thread->link->reply_fd, &reply, sizeof(reply));
}

static void on_order(evutil_socket_t fd, short events, void *arg)
{
    struct worker_thread *thread = arg;
    struct thread_order order;
    struct thread_reply reply = {0};
    ssize_t len = read(fd, &order, sizeof(order));

    (void)events;
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len != sizeof(order))
        abort();
    switch (order.kind) {
    case ORDER_SWITCH:
        take_policy(thread, order.policy);
        return;
    case ORDER_PING:
        reply = (struct thread_reply){.kind = REPLY_PONG, .number = order.number};
        thread_send(thread->link->reply_fd, &reply, sizeof(reply));
        return;
    case ORDER_STOP:
        event_base_loopbreak(thread->base);
        return;
    }
    abort();
}

int thread_init(struct worker_thread *thread, struct worker_link *link, int order_fd, int log_fd)
{
    struct event_config *config = event_config_new();
    int status = -ENOMEM;

    thread->link = link;
    thread->order_fd = order_fd;
    thread->log_fd = log_fd;
    if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) < 0)
        goto out;
    thread->base = event_base_new_with_config(config);
    if (!thread->base)
        goto out;
    thread->orders = event_new(thread->base, order_fd, EV_READ | EV_PERSIST, on_order, thread);
    if (!thread->orders || event_add(thread->orders, NULL) < 0)
        goto out;
    status = 0;

out:
    if (config)
        event_config_free(config);
    if (status < 0)
        thread_fini(thread);
    return status;
}

void thread_fini(struct worker_thread *thread)
{
    if (thread->orders)
        event_free(thread->orders);
    if (thread->base)
        event_base_free(thread->base);
    worker_policy_unref(thread->current);
    thread->orders = NULL;
    thread->base = NULL;
    thread->current = NULL;
}

void *thread_run(void *arg)
{
    struct worker_thread *thread = arg;
    struct thread_reply reply = {.kind = REPLY_STOPPED};

    if (event_base_dispatch(thread->base) < 0)
        abort();
    stop_services(thread);
    thread_send(thread->link->reply_fd, &reply, sizeof(reply));
    return NULL;
}
