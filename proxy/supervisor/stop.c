#include "proxy/supervisor/layers.h"
#include "proxy/supervisor/residents.h"
#include "proxy/supervisor/state.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>

/* The worker gets the time to end by itself; its last lines are read meanwhile. */
static void stop_worker(struct supervisor *s)
{
    uint64_t end_ms = supervisor_now_ms() + STOP_MS;
    struct child_event event = {.kind = CHILD_EVENT_NONE};

    child_stop(&s->child);
    while (s->child.pid != 0 && event.kind != CHILD_EVENT_GONE && supervisor_now_ms() < end_ms) {
        struct pollfd fds[LOG_SINK_POLL + 1];
        log_sink_want(&s->sink, fds);
        fds[LOG_SINK_POLL] = (struct pollfd){.fd = s->child.pidfd, .events = POLLIN};
        if (poll(fds, LOG_SINK_POLL + 1, 100) > 0)
            log_sink_ready(&s->sink, fds);
        child_step(&s->child, supervisor_now_ms(), &event);
    }
    if (event.kind == CHILD_EVENT_GONE && !event.is_clean)
        supervisor_fault(s, "worker", event.text);
    child_kill(&s->child, supervisor_now_ms());
    log_sink_detach(&s->sink);
}

/* A tied cage's command and all that it started: gone before the rules are. */
static void empty_namespace(const struct supervisor *s)
{
    struct pollfd gone = {.fd = s->spec->cage_pidfd, .events = POLLIN};

    if (gone.fd < 0)
        return;
    pidfd_send_signal(gone.fd, SIGKILL, NULL, 0);
    poll(&gone, 1, NAMESPACE_MS);
}

/* Rules go last. True when nothing of the cage is left that they would have to hold. */
static bool open_kernel(struct supervisor *s)
{
    const struct policy *policy = &s->current->policy;
    char complaint[FAULT_MAX];
    struct text fault = TEXT_OF(complaint);
    bool is_over;

    /* Closed first: what is destroyed here must not come back through a rule that still lets out.
     */
    if (!layers_close(policy, &fault) || !layers_end_sockets(policy, &fault)) {
        supervisor_fault(s, "rules", complaint);
        return false;
    }
    is_over = residents_count(policy->cage_uid) == 0;
    /* A start that failed leaves the machine as it was. */
    if (s->has_failed && !s->had_rules)
        is_over = true;
    if (!is_over)
        return false;
    if (!layers_remove(policy, &fault)) {
        supervisor_fault(s, "rules", complaint);
        return false;
    }
    return true;
}

static void log_stop(struct supervisor *s, bool is_open)
{
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    struct log_stop stop = {.ts_ms = log_sink_wall_ms(),
                            .why = s->why ? s->why : "failed start",
                            .left = is_open ? "nothing" : "deny-all"};

    log_line_stop(&line, &stop);
    log_sink_line(&s->sink, &line);
    if (!is_open)
        fprintf(stderr,
                "cage-proxy %s: processes of user %s are still there: everything that they send is "
                "refused. When they are gone, start and end this cage once more to remove that\n",
                s->spec->command, s->current->policy.settings.user);
}

void supervisor_end(struct supervisor *s)
{
    stop_worker(s);
    empty_namespace(s);
    if (s->is_installed)
        log_stop(s, open_kernel(s));
    listeners_close(&s->listeners);
    log_sink_flush(&s->sink, FLUSH_MS);
    log_sink_fini(&s->sink);
    supervisor_drop_next(s);
    plan_free(s->current);
    s->current = NULL;
    lock_release(&s->proxy_lock);
    lock_release(&s->cage_lock);
}
