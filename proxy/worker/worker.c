#include "proxy/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/channel/channel.h"
#include "proxy/worker/isolate.h"
#include "proxy/worker/names.h"
#include "proxy/worker/thread_loop.h"

/* Two a connection and some for lookups: far above what limits.connections may be. */
enum { WORKER_FILES_MAX = 1 << 18 };

/* Pairs of name and address that live at once. */
enum { WORKER_NAMES_MAX = 1 << 16 };

struct worker {
    struct worker_link link;
    struct worker_sockets sockets;
    struct names *names;
    struct worker_thread threads[MESSAGE_THREADS_MAX];
    pthread_t ids[MESSAGE_THREADS_MAX];
    int order_fds[MESSAGE_THREADS_MAX]; /* writing ends */
    unsigned thread_count;              /* 0: not started */
    int replies_fd;

    uint32_t compiling;          /* the generation; 0: none */
    struct worker_policy *aside; /* compiled, not in force */
    uint32_t switching;          /* the generation; 0: none */
    uint32_t closed;
    unsigned switches_missing;
    uint32_t ping;
    unsigned pongs_missing;
    bool is_stopping;
};

struct compilation {
    int memfd;
    int reply_fd;
    uint32_t len;
    uint32_t generation;
};

static int say(const struct message *message)
{
    return channel_send(WORKER_CONTROL_FD, message, NULL);
}

static void *compile(void *arg)
{
    struct compilation *job = arg;
    struct thread_reply reply = {.kind = REPLY_COMPILED, .number = job->generation};
    char complaint[MESSAGE_FAULT_MAX];
    struct text fault = TEXT_OF(complaint);

    reply.policy = worker_policy_load(job->memfd, job->len, job->generation, &fault);
    if (!reply.policy) {
        reply.fault = strdup(complaint);
        if (!reply.fault)
            abort();
    }
    close(job->memfd);
    thread_send(job->reply_fd, &reply, sizeof(reply));
    free(job);
    return NULL;
}

static int start_compiling(struct worker *worker, const struct message *message, int memfd)
{
    struct compilation *job = malloc(sizeof(*job));
    pthread_t id;

    if (!job || worker->thread_count == 0 || worker->compiling != 0 || worker->switching != 0) {
        free(job);
        close(memfd);
        return -EPROTO;
    }
    *job = (struct compilation){.memfd = memfd,
                                .reply_fd = worker->link.reply_fd,
                                .len = message->body.policy.len,
                                .generation = message->generation};
    worker->compiling = message->generation;
    if (pthread_create(&id, NULL, compile, job) != 0) {
        free(job);
        close(memfd);
        return -EAGAIN;
    }
    return -pthread_detach(id);
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int start_thread(struct worker *worker, int log_fd)
{
    struct worker_thread *thread = &worker->threads[worker->thread_count];
    int orders[2];
    int status;

    if (pipe2(orders, O_CLOEXEC) < 0)
        return -errno;
    worker->order_fds[worker->thread_count] = orders[1];
    thread->index = worker->thread_count;
    thread->sockets = &worker->sockets;
    thread->names = worker->names;
    status = set_nonblocking(orders[0]);
    if (status == 0)
        status = set_nonblocking(log_fd);
    if (status == 0)
        status = thread_init(thread, &worker->link, orders[0], log_fd);
    if (status == 0)
        status = -pthread_create(&worker->ids[thread->index], NULL, thread_run, thread);
    if (status == 0)
        worker->thread_count++;
    return status;
}

/* A failure ends the process: what was taken so far needs no undoing. */
static int start(struct worker *worker, const struct message_start *wanted, const int *descriptors)
{
    size_t next = 0;
    int status = 0;

    if (worker->thread_count > 0)
        return -EPROTO;
    for (unsigned i = 0; i < SOCKET_COUNT; i++) {
        worker->sockets.fd[i] = wanted->sockets >> i & 1 ? descriptors[next++] : -1;
        if (worker->sockets.fd[i] >= 0 && status == 0)
            status = set_nonblocking(worker->sockets.fd[i]);
    }
    worker->names = names_new(WORKER_NAMES_MAX);
    if (!worker->names)
        return -ENOMEM;
    /* 2^32 connections a worker; 2^21 workers keep the id exact in a double. */
    atomic_store(&worker->link.next_id, ((uint64_t)wanted->epoch << 32) + 1);
    for (unsigned i = 0; i < wanted->threads && status == 0; i++)
        status = start_thread(worker, descriptors[next++]);
    return status;
}

static void order_all(struct worker *worker, const struct thread_order *order)
{
    for (unsigned i = 0; i < worker->thread_count; i++)
        thread_send(worker->order_fds[i], order, sizeof(*order));
}

static int start_switching(struct worker *worker, uint32_t generation)
{
    struct thread_order order = {.kind = ORDER_SWITCH, .policy = worker->aside};

    if (!worker->aside || worker_policy_generation(worker->aside) != generation ||
        worker->switching != 0)
        return -EPROTO;
    worker->switching = generation;
    worker->closed = 0;
    worker->switches_missing = worker->thread_count;
    for (unsigned i = 0; i < worker->thread_count; i++)
        worker_policy_ref(worker->aside);
    order_all(worker, &order);
    worker_policy_unref(worker->aside);
    worker->aside = NULL;
    return 0;
}

static int start_pinging(struct worker *worker, uint32_t number)
{
    struct thread_order order = {.kind = ORDER_PING, .number = number};

    if (worker->thread_count == 0 || worker->pongs_missing > 0)
        return -EPROTO;
    worker->ping = number;
    worker->pongs_missing = worker->thread_count;
    order_all(worker, &order);
    return 0;
}

static int tell_stats(const struct worker *worker)
{
    struct message message = {.type = MESSAGE_STATS};

    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        message.body.stats.counters[i] = atomic_load(&worker->link.counters[i]);
    return say(&message);
}

static int on_message(struct worker *worker)
{
    int descriptors[CHANNEL_DESCRIPTORS_MAX];
    struct message message;
    int status = channel_receive(WORKER_CONTROL_FD, &message, descriptors);

    if (status < 0)
        return status == -EAGAIN ? 0 : status;
    switch (message.type) {
    case MESSAGE_START:
        return start(worker, &message.body.start, descriptors);
    case MESSAGE_POLICY:
        return start_compiling(worker, &message, descriptors[0]);
    case MESSAGE_SWITCH:
        return start_switching(worker, message.generation);
    case MESSAGE_PING:
        return start_pinging(worker, message.body.ping.number);
    case MESSAGE_ASK_STATS:
        return tell_stats(worker);
    case MESSAGE_STOP:
        worker->is_stopping = true;
        return 0;
    case MESSAGE_HELLO:
    case MESSAGE_READY:
    case MESSAGE_FAULT:
    case MESSAGE_ACTIVE:
    case MESSAGE_PONG:
    case MESSAGE_STATS:
    case MESSAGE_TYPE_END:
        break;
    }
    return -EPROTO;
}

static int on_compiled(struct worker *worker, struct thread_reply *reply)
{
    struct message message = {.type = MESSAGE_READY, .generation = reply->number};

    worker->compiling = 0;
    if (!reply->policy) {
        message = message_fault_of(reply->number, span_of_text(reply->fault));
        free(reply->fault);
        return say(&message);
    }
    /* One that was compiled but never made current is superseded. */
    worker_policy_unref(worker->aside);
    worker->aside = reply->policy;
    return say(&message);
}

static int on_switched(struct worker *worker, const struct thread_reply *reply)
{
    struct message message = {.type = MESSAGE_ACTIVE, .generation = worker->switching};

    if (reply->error < 0)
        return reply->error;
    worker->closed += reply->number;
    if (--worker->switches_missing > 0)
        return 0;
    message.body.active.closed = worker->closed;
    worker->switching = 0;
    return say(&message);
}

static int on_pong(struct worker *worker, const struct thread_reply *reply)
{
    struct message message = {.type = MESSAGE_PONG, .body.ping.number = reply->number};

    return --worker->pongs_missing > 0 ? 0 : say(&message);
}

static int on_reply(struct worker *worker)
{
    struct thread_reply reply;
    ssize_t len = read(worker->replies_fd, &reply, sizeof(reply));

    if (len != sizeof(reply))
        return len < 0 && errno == EINTR ? 0 : -EIO;
    switch (reply.kind) {
    case REPLY_SWITCHED:
        return on_switched(worker, &reply);
    case REPLY_PONG:
        return on_pong(worker, &reply);
    case REPLY_COMPILED:
        return on_compiled(worker, &reply);
    case REPLY_STOPPED:
        break;
    }
    return -EPROTO;
}

/* Runs until STOP (0), the supervisor's end (-EPIPE) or something unexpected. */
static int control(struct worker *worker)
{
    struct message hello = {.type = MESSAGE_HELLO};
    struct pollfd ready[2] = {{.fd = WORKER_CONTROL_FD, .events = POLLIN},
                              {.fd = worker->replies_fd, .events = POLLIN}};
    int status = say(&hello);

    while (status == 0 && !worker->is_stopping) {
        if (poll(ready, 2, -1) < 0) {
            status = errno == EINTR ? 0 : -errno;
            continue;
        }
        if (ready[1].revents)
            status = on_reply(worker);
        if (status == 0 && ready[0].revents)
            status = on_message(worker);
    }
    return status;
}

/* What is being compiled is nobody's before its reply is read. */
static void await_compilation(struct worker *worker)
{
    struct thread_reply reply;

    while (worker->compiling != 0) {
        ssize_t len = read(worker->replies_fd, &reply, sizeof(reply));
        if (len < 0 && errno == EINTR)
            continue;
        if (len != sizeof(reply))
            return;
        if (reply.kind != REPLY_COMPILED)
            continue;
        worker_policy_unref(reply.policy);
        free(reply.fault);
        worker->compiling = 0;
    }
}

static void stop(struct worker *worker)
{
    struct thread_order order = {.kind = ORDER_STOP};

    await_compilation(worker);
    order_all(worker, &order);
    for (unsigned i = 0; i < worker->thread_count; i++) {
        pthread_join(worker->ids[i], NULL);
        thread_fini(&worker->threads[i]);
    }
    worker_policy_unref(worker->aside);
    names_free(worker->names);
}

/* A number that is the whole argument, from 1. */
static bool parse_id(const char *text, uint32_t *out)
{
    uint64_t value;

    if (!span_parse_number(span_of_text(text), 1, UINT32_MAX - 1, &value))
        return false;
    *out = (uint32_t)value;
    return true;
}

static int prepare(struct worker *worker)
{
    int replies[2];

    signal(SIGPIPE, SIG_IGN);
    if (pipe2(replies, O_CLOEXEC) < 0)
        return -errno;
    worker->replies_fd = replies[0];
    worker->link.reply_fd = replies[1];
    return 0;
}

int worker_main(int argc, char **argv)
{
    static struct worker worker;
    struct isolation isolation = {.keep_below = WORKER_CONTROL_FD + 1,
                                  .files_max = WORKER_FILES_MAX};
    const char *stage = "start";
    int status;

    if (argc != 2 || !parse_id(argv[0], &isolation.uid) || !parse_id(argv[1], &isolation.gid)) {
        fprintf(stderr, "cage-proxy worker: this command is the supervisor's own\n");
        return 2;
    }
    status = isolate(&isolation, &stage);
    if (status == 0) {
        stage = "control";
        status = prepare(&worker);
    }
    if (status == 0)
        status = control(&worker);
    if (status == 0)
        stop(&worker);
    if (status == 0 || status == -EPIPE)
        return 0;
    fprintf(stderr, "cage-proxy worker: %s: %s\n", stage, strerror(-status));
    return 1;
}
