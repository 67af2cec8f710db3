/*
 * The worker as the supervisor sees it: a process, a control socket, and what it owes an answer.
 *
 * Whatever it says out of turn, and an answer that does not come in time, is its end; the caller
 * hears CHILD_EVENT_GONE once and calls child_kill().
 */
#ifndef PROXY_SUPERVISOR_CHILD_H
#define PROXY_SUPERVISOR_CHILD_H

#include <sys/types.h>

#include "config/text.h"
#include "proxy/supervisor/listeners.h"
#include "proxy/supervisor/log_sink.h"
#include "proxy/supervisor/machine.h"
#include "proxy/supervisor/plan.h"

enum {
    CHILD_HELLO_MS = 10000,
    CHILD_READY_MS = 120000, /* compiles up to MESSAGE_POLICY_MAX bytes beside its traffic */
    CHILD_ACTIVE_MS = 5000,
    CHILD_PING_EVERY_MS = 1000,
    CHILD_PONG_MS = 3000,
    CHILD_BACKOFF_MIN_MS = 100,
    CHILD_BACKOFF_MAX_MS = 5000,
    CHILD_STEADY_MS = 10000, /* after so long the next failure is a first one again */
    CHILD_WHY_MAX = MESSAGE_FAULT_MAX + 100,
};

struct child {
    pid_t pid; /* 0: there is none */
    int pidfd;
    int control;
    int log_fds[MESSAGE_THREADS_MAX]; /* until they are handed over */
    unsigned threads;
    uint32_t epoch; /* workers so far */
    bool is_greeted;
    uint32_t offered;      /* generations: POLICY sent, no answer yet; 0: none */
    uint32_t ready;        /* held aside */
    uint32_t switching;    /* SWITCH sent, no answer yet */
    uint32_t active;       /* in force */
    uint64_t answer_by_ms; /* for HELLO, READY or ACTIVE; 0: nothing is owed */
    uint32_t ping;
    bool is_pinged;
    uint64_t ping_at_ms; /* when the next one is due, or by when the pong is */
    uint64_t active_since_ms;
    unsigned failures; /* in a row */
};

enum child_event_kind {
    CHILD_EVENT_NONE,
    CHILD_EVENT_HELLO,
    CHILD_EVENT_READY,
    CHILD_EVENT_FAULT,  /* text: why the policy is refused */
    CHILD_EVENT_ACTIVE, /* closed */
    CHILD_EVENT_GONE,   /* text: why it must be replaced */
};

struct child_event {
    enum child_event_kind kind;
    uint32_t generation;
    uint32_t closed;
    bool is_clean; /* GONE: it ended by itself, with status 0 */
    char text[CHILD_WHY_MAX];
};

void child_init(struct child *child, unsigned threads);

/* Forks and executes a worker; its HELLO comes as an event. 0 or a negative errno. */
int child_start(struct child *child, const struct machine_user *user, struct log_sink *sink,
                uint64_t now_ms);

/* After HELLO: hands the sockets over. 0 or a negative errno; so the next two. */
int child_hand_over(struct child *child, const struct listeners *listeners);

/* Gives it a policy to compile. Only when none is offered or being switched to. */
int child_offer(struct child *child, const struct plan *plan, uint64_t now_ms);

/* Makes the policy that is ready current. */
int child_switch(struct child *child, uint32_t generation, uint64_t now_ms);

/* What it said, exited with, or failed to say; one event a call. */
void child_step(struct child *child, uint64_t now_ms, struct child_event *out);

/* When child_step() must be called even if nothing happens; UINT64_MAX: never. */
uint64_t child_wake_ms(const struct child *child);

/* Tells it to end. */
void child_stop(struct child *child);

/* Ends it for good and forgets it; nothing when there is none. */
void child_kill(struct child *child, uint64_t now_ms);

/* How long to wait after so many failures in a row, from 1. */
static inline uint64_t child_backoff_ms(unsigned failures)
{
    uint64_t wait = CHILD_BACKOFF_MIN_MS;

    while (failures > 1 && wait < CHILD_BACKOFF_MAX_MS) {
        wait *= 2;
        failures--;
    }
    return wait < CHILD_BACKOFF_MAX_MS ? wait : CHILD_BACKOFF_MAX_MS;
}

#endif
