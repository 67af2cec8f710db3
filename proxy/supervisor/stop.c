#include "proxy/supervisor/state.h"
#include "proxy/supervisor/takedown.h"

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

/* A start that failed leaves the machine as it was before. */
static enum takedown take_rules_down(struct supervisor *s)
{
    char complaint[FAULT_MAX];
    struct text fault = TEXT_OF(complaint);
    enum takedown left =
        takedown_rules(&s->current->policy, !s->has_failed || s->had_rules, &fault);

    if (fault.len > 0)
        supervisor_fault(s, "rules", complaint);
    return left;
}

static void log_stop(struct supervisor *s, enum takedown left)
{
    static const char *const words[] = {[TAKEDOWN_NOTHING] = "nothing",
                                        [TAKEDOWN_CLOSED] = "deny-all",
                                        [TAKEDOWN_AS_IT_WAS] = "rules"};
    const char *advice = takedown_advice(left);
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    struct log_stop stop = {
        .ts_ms = log_sink_wall_ms(), .why = s->why ? s->why : "failed start", .left = words[left]};

    log_line_stop(&line, &stop);
    log_sink_line(&s->sink, &line);
    if (advice)
        fprintf(stderr, "cage-proxy %s: %s\n", s->spec->command, advice);
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
