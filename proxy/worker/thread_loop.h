/*
 * How the control thread drives the worker's threads: orders over one pipe per thread, answers
 * over one pipe for all. Both carry whole structs of this process, which a pipe keeps whole.
 */
#ifndef PROXY_WORKER_THREAD_LOOP_H
#define PROXY_WORKER_THREAD_LOOP_H

#include <stdatomic.h>

#include "proxy/worker/thread.h"
#include "proxy/worker/worker_policy.h"

/* What all threads share with the control thread. */
struct worker_link {
    int reply_fd; /* writing end, blocking */
    atomic_uint_least64_t counters[COUNTER_COUNT];
    atomic_uint_least64_t next_id;
};

enum order_kind { ORDER_SWITCH, ORDER_PING, ORDER_STOP };

struct thread_order {
    enum order_kind kind;
    uint32_t number;              /* PING */
    struct worker_policy *policy; /* SWITCH: with a reference that the thread takes over */
};

enum reply_kind {
    REPLY_SWITCHED, /* number: connections closed; error: the thread could not start */
    REPLY_PONG,     /* number: the ping's */
    REPLY_STOPPED,
    REPLY_COMPILED, /* not from a thread but from a compilation: policy or fault */
};

struct thread_reply {
    enum reply_kind kind;
    uint32_t number;
    int error;                    /* negative errno */
    struct worker_policy *policy; /* the receiver's */
    char *fault;                  /* from malloc, the receiver's */
};

/* Gets a thread ready to run; 0 or a negative errno, it then owns nothing. Takes no descriptor. */
int thread_init(struct worker_thread *thread, struct worker_link *link, int order_fd, int log_fd);
void thread_fini(struct worker_thread *thread);

/* Runs the loop until ORDER_STOP; the body of a pthread. */
void *thread_run(void *thread);

/* Writes a whole struct to a pipe of this process. */
void thread_send(int fd, const void *bytes, size_t len);

#endif
