#include "proxy/supervisor/layers.h"
#include "proxy/supervisor/residents.h"
#include "proxy/supervisor/state.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <time.h>

enum { RESIDENTS_TRIES = 25, RESIDENTS_PAUSE_MS = 20 };

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

enum left { LEFT_NOTHING, LEFT_CLOSED, LEFT_AS_IT_WAS };

/* Those of a command that was interrupted together with us may still be on their way out. */
static bool has_residents(const struct policy *policy)
{
    const struct timespec pause = {0, RESIDENTS_PAUSE_MS * 1000000L};

    for (int i = 0; residents_count(policy->cage_uid) > 0 || layers_hold_sockets(policy); i++) {
        if (i == RESIDENTS_TRIES)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

/*
 * Rules go last: they are removed when nothing of the cage is left that they have to hold. Closed
 * first: what is destroyed must not come back through a rule that still lets out. A start that
 * failed leaves the machine as it was before.
 */
static enum left take_rules_down(struct supervisor *s)
{
    const struct policy *policy = &s->current->policy;
    bool must_hold = !s->has_failed || s->had_rules;
    enum left left = LEFT_AS_IT_WAS;
    char complaint[FAULT_MAX];
    struct text fault = TEXT_OF(complaint);

    if (must_hold) {
        if (!layers_close(policy, &fault))
            goto out;
        left = LEFT_CLOSED;
        if (!layers_end_sockets(policy, &fault) || has_residents(policy))
            goto out;
    }
    if (layers_remove(policy, &fault))
        left = LEFT_NOTHING;

out:
    if (fault.len > 0)
        supervisor_fault(s, "rules", complaint);
    return left;
}

static void log_stop(struct supervisor *s, enum left left)
{
    static const char *const words[] = {
        [LEFT_NOTHING] = "nothing", [LEFT_CLOSED] = "deny-all", [LEFT_AS_IT_WAS] = "rules"};
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    struct log_stop stop = {
        .ts_ms = log_sink_wall_ms(), .why = s->why ? s->why : "failed start", .left = words[left]};

    log_line_stop(&line, &stop);
    log_sink_line(&s->sink, &line);
    if (left == LEFT_CLOSED)
        fprintf(stderr,
                "cage-proxy %s: processes of user %s are still there: everything that they send is "
                "refused from now on. When they are gone, start and end this cage once more to "
                "remove that\n",
                s->spec->command, s->current->policy.settings.user);
    if (left == LEFT_AS_IT_WAS)
        fprintf(stderr,
                "cage-proxy %s: the kernel rules of user %s are still there and refuse; the log "
                "says why\n",
                s->spec->command, s->current->policy.settings.user);
}

void supervisor_end(struct supervisor *s)
{
    stop_worker(s);
    empty_namespace(s);
    if (s->is_installed)
        log_stop(s, take_rules_down(s));
    listeners_close(&s->listeners);
    log_sink_flush(&s->sink, FLUSH_MS);
    log_sink_fini(&s->sink);
    supervisor_drop_next(s);
    plan_free(s->current);
    s->current = NULL;
    lock_release(&s->proxy_lock);
    lock_release(&s->cage_lock);
}
