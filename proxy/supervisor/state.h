/*
 * What the files of the supervisor share; nobody else includes it.
 */
#ifndef PROXY_SUPERVISOR_STATE_H
#define PROXY_SUPERVISOR_STATE_H

#include "proxy/supervisor/child.h"
#include "proxy/supervisor/lock.h"
#include "proxy/supervisor/log_sink.h"
#include "proxy/supervisor/supervisor.h"

enum { FAULT_MAX = 1500, STOP_MS = 3000, NAMESPACE_MS = 5000, FLUSH_MS = 1000 };

struct supervisor {
    const struct supervisor_spec *spec;
    struct lock cage_lock;
    struct lock proxy_lock;
    struct listeners listeners;
    struct child child;
    struct machine_user proxy_user;
    struct plan *current;   /* its rules are in the kernel; NULL: none yet */
    struct plan *next;      /* being tried */
    uint32_t generation;    /* the latest that was used */
    uint64_t restart_at_ms; /* when there is no worker */
    int signals;
    bool had_rules;    /* of a supervisor that was killed */
    bool is_installed; /* rules of ours are in the kernel */
    bool is_ready;     /* the first worker was active */
    bool is_listening;
    bool is_reload_wanted;
    bool is_reload_open; /* committed, and not yet logged */
    const char *why;     /* it ends; NULL: it goes on */
    bool has_failed;     /* it ends because it could not start */
    struct log_sink sink;
};

uint64_t supervisor_now_ms(void);

/* Logs that something failed; before the first `ready` it is the start that has failed. */
void supervisor_fault(struct supervisor *s, const char *what, const char *message);

/* Everything up to a running worker, whose answers come later. Not DONE: has_failed is set. */
enum supervisor_exit supervisor_start(struct supervisor *s);

/* Workers. */
void supervisor_start_worker(struct supervisor *s);
void supervisor_step_worker(struct supervisor *s);

/* Policies. */
void supervisor_reload(struct supervisor *s);
bool supervisor_load(struct supervisor *s, struct policy *out, struct text *fault);
void supervisor_drop_next(struct supervisor *s);
void supervisor_on_ready(struct supervisor *s, uint32_t generation);
/* A negative errno when no connection can be accepted: that worker is then of no use. */
int supervisor_on_active(struct supervisor *s, uint32_t closed);

/* Takes everything down that there is, whatever was reached. */
void supervisor_end(struct supervisor *s);

#endif
