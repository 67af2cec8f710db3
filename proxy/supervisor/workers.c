#include "proxy/supervisor/state.h"

#include <string.h>

/* A worker that cannot even be forked is one that failed. */
void supervisor_start_worker(struct supervisor *s)
{
    uint64_t now_ms = supervisor_now_ms();
    int status;

    listeners_drain(&s->listeners);
    status = child_start(&s->child, &s->proxy_user, &s->sink, now_ms);
    if (status == 0)
        return;
    log_sink_detach(&s->sink);
    s->restart_at_ms = now_ms + child_backoff_ms(s->child.failures);
    supervisor_fault(s, "worker", strerror(-status));
}

static void on_gone(struct supervisor *s, const char *why)
{
    uint64_t now_ms = supervisor_now_ms();
    bool had_next = s->next != NULL;

    listeners_shut(&s->listeners);
    s->is_listening = false;
    child_kill(&s->child, now_ms);
    log_sink_detach(&s->sink);
    s->restart_at_ms = now_ms + child_backoff_ms(s->child.failures);
    supervisor_drop_next(s);
    supervisor_fault(s, "worker", why);
    if (had_next)
        supervisor_fault(s, "reload", "the worker ended before it had the new policy");
}

static void on_hello(struct supervisor *s)
{
    int status = child_hand_over(&s->child, &s->listeners);

    if (status == 0)
        status = child_offer(&s->child, s->current, supervisor_now_ms());
    if (status < 0)
        on_gone(s, strerror(-status));
}

static void on_fault(struct supervisor *s, const struct child_event *event)
{
    if (s->next && event->generation == s->next->generation) {
        supervisor_fault(s, "reload", event->text);
        supervisor_drop_next(s);
        return;
    }
    on_gone(s, event->text);
}

static void on_active(struct supervisor *s, uint32_t closed)
{
    char complaint[FAULT_MAX];
    struct text why = TEXT_OF(complaint);
    int status = supervisor_on_active(s, closed);

    if (status == 0)
        return;
    text_put(&why, "no connection can be accepted: ");
    text_put(&why, strerror(-status));
    on_gone(s, complaint);
}

void supervisor_step_worker(struct supervisor *s)
{
    struct child_event event;

    do {
        child_step(&s->child, supervisor_now_ms(), &event);
        switch (event.kind) {
        case CHILD_EVENT_NONE:
            break;
        case CHILD_EVENT_HELLO:
            on_hello(s);
            break;
        case CHILD_EVENT_READY:
            supervisor_on_ready(s, event.generation);
            break;
        case CHILD_EVENT_FAULT:
            on_fault(s, &event);
            break;
        case CHILD_EVENT_ACTIVE:
            on_active(s, event.closed);
            break;
        case CHILD_EVENT_GONE:
            on_gone(s, event.text);
            break;
        }
    } while (event.kind != CHILD_EVENT_NONE);
}
