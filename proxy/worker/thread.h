/*
 * One thread of the worker: an event loop and everything that a connection, the DNS front or a
 * resolver on it needs.
 *
 * Theory of operation. A thread owns its loop, its resolver, its connections and its end of a log
 * pipe; other threads touch none of it. Shared are only the sockets to accept from (non-blocking:
 * who is too late gets EAGAIN), the names table (locks of its own), the counters (atomic) and the
 * policy in force (immutable, counted). The control thread speaks to a thread by orders that the
 * loop runs between two other callbacks, so within one callback the policy never changes.
 *
 * Modules that run on a thread offer these, each in its header; all are called on the thread:
 *   names.h      struct names *names_new(NAMES_PAIRS_MAX); names_free()  once, before the threads
 *   resolver.h   struct resolver *resolver_new(thread)              after the first policy
 *                int resolver_reconfigure(resolver, policy), resolver_free()
 *   listener.h   int listener_start(thread), listener_stop(thread)  accepts and hands to conn
 *   dns_front.h  int dns_front_start(thread), dns_front_stop(thread)
 *   conn.h       uint32_t conn_rejudge_all(thread), conn_close_all(thread)
 * They return 0 or a negative errno. Order of start: resolver, dns_front, listener; of stop: the
 * reverse, with conn_close_all() after listener_stop(). While the supervisor has shut a listening
 * socket down it is readable and accept() says EINVAL; that is no reason to give up on it.
 */
#ifndef PROXY_WORKER_THREAD_H
#define PROXY_WORKER_THREAD_H

#include <event2/event.h>

#include "config/matcher.h"
#include "proxy/core/log_line.h"
#include "proxy/core/message.h"

struct conn;
struct dns_front;
struct listener;
struct names;
struct resolver;
struct worker_link;
struct worker_policy;

/* Descriptors by enum message_socket; -1 where the machine has no such family. */
struct worker_sockets {
    int fd[SOCKET_COUNT];
};

struct worker_thread {
    unsigned index; /* 0.. */
    struct event_base *base;
    const struct worker_sockets *sockets;
    struct names *names; /* shared by all threads */

    /* Each belongs to its module, which alone looks inside. */
    struct resolver *resolver;
    struct listener *listener;
    struct dns_front *dns_front;
    struct conn *conns; /* head of conn.c's list */
    size_t conn_count;

    /* thread.c's: use the functions below. */
    struct worker_policy *current;
    struct worker_link *link;
    struct event *orders;
    int order_fd;
    int log_fd;
    uint64_t lines_lost;
};

/*
 * The policy in force. The pointers are valid until the callback returns; who keeps a matcher
 * takes matcher_ref().
 */
struct matcher *thread_matcher(const struct worker_thread *thread);
const struct policy_settings *thread_settings(const struct worker_thread *thread);
const struct policy *thread_policy(const struct worker_thread *thread);
uint32_t thread_generation(const struct worker_thread *thread);

/*
 * Sends a line without its line feed. Never waits: a line that the pipe cannot take is dropped and
 * counted, and the count is logged when there is room again.
 */
void thread_log(struct worker_thread *thread, const struct text *line);

/* Stamps the time, logs, and counts the decision. */
void thread_log_decision(struct worker_thread *thread, struct log_decision *decision);
void thread_log_close(struct worker_thread *thread, struct log_close *close);

void thread_count(struct worker_thread *thread, enum message_counter counter, int64_t delta);
uint64_t thread_counter(const struct worker_thread *thread, enum message_counter counter);

/* An id for a decision and its close: unique for the supervisor's life, exact in a double. */
uint64_t thread_next_id(struct worker_thread *thread);

/* Milliseconds of a clock that only moves forward. */
uint64_t thread_now_ms(void);

/* Milliseconds since 1970, for the log only. */
uint64_t thread_wall_ms(void);

/* Unpredictable bytes (getrandom); ends the worker when there are none. */
void thread_random(void *out, size_t len);

#endif
