#include "proxy/supervisor/layers.h"
#include "proxy/supervisor/state.h"

#include <errno.h>

/* Reads and completes a policy; false with a complaint, *out then owns nothing. */
bool supervisor_load(struct supervisor *s, struct policy *out, struct text *fault)
{
    if (!s->spec->load(s->spec->arg, out, fault))
        return false;
    if (out->mode == MODE_DISABLED || machine_complete(out, fault))
        return true;
    policy_fini(out);
    return false;
}

/* What a running cage cannot change: it is made of these. */
static const char *what_differs(const struct policy *now, struct policy *next)
{
    struct policy_settings *settings = &next->settings;

    if (next->mode == MODE_DISABLED)
        return "networkMode is disabled: end the cage instead";
    if (next->cage_uid != now->cage_uid)
        return "user cannot change in a running cage: start it again";
    if (next->proxy_uid != now->proxy_uid)
        return "proxy.user cannot change in a running cage: start it again";
    if (settings->tcp_port == 0)
        settings->tcp_port = now->settings.tcp_port;
    if (settings->dns_port == 0)
        settings->dns_port = now->settings.dns_port;
    if (settings->tcp_port != now->settings.tcp_port ||
        settings->dns_port != now->settings.dns_port)
        return "proxy.ports cannot change in a running cage: start it again";
    if (settings->workers == 0)
        settings->workers = now->settings.workers;
    if (settings->workers != now->settings.workers)
        return "proxy.workers cannot change in a running cage: start it again";
    return NULL;
}

void supervisor_drop_next(struct supervisor *s)
{
    plan_free(s->next);
    s->next = NULL;
}

static bool can_log(const struct policy *policy, struct text *fault)
{
    int status = log_sink_try(&policy->settings);

    if (status == 0)
        return true;
    text_put(fault, "the log cannot be opened: ");
    text_put(fault, policy->settings.log_file);
    text_put(fault, ": ");
    text_put(fault, strerror(-status));
    return false;
}

static bool try_next(struct supervisor *s, struct text *fault)
{
    struct policy policy;
    const char *difference;
    int status;

    if (!supervisor_load(s, &policy, fault))
        return false;
    difference = what_differs(&s->current->policy, &policy);
    if (difference)
        text_put(fault, difference);
    if (difference || !can_log(&policy, fault) ||
        !(s->next = plan_new(&policy, s->generation + 1, fault))) {
        policy_fini(&policy);
        return false;
    }
    s->generation++;
    status = child_offer(&s->child, s->next, supervisor_now_ms());
    if (status == 0)
        return true;
    text_put(fault, "the worker takes no policy: ");
    text_put(fault, strerror(-status));
    supervisor_drop_next(s);
    return false;
}

/* Called when nothing else is under way. */
void supervisor_reload(struct supervisor *s)
{
    char complaint[FAULT_MAX];
    struct text fault = TEXT_OF(complaint);

    s->is_reload_wanted = false;
    if (!try_next(s, &fault))
        supervisor_fault(s, "reload", complaint);
}

/* The worker holds the policy aside: from the commit on it is in force. */
static void commit_next(struct supervisor *s)
{
    char complaint[FAULT_MAX];
    struct text fault = TEXT_OF(complaint);
    bool is_touched;
    int status;

    if (!layers_install(&s->next->policy, &is_touched, &fault)) {
        supervisor_fault(s, "reload", complaint);
        supervisor_drop_next(s);
        return;
    }
    plan_free(s->current);
    s->current = s->next;
    s->next = NULL;
    s->is_reload_open = true;
    /* The log may have moved: to another file, or away by rotation. */
    status = log_sink_open(&s->sink, &s->current->policy.settings);
    if (status < 0)
        supervisor_fault(s, "log", strerror(-status));
    /* A failure here is the worker's end, which child_step() will report. */
    child_switch(&s->child, s->current->generation, supervisor_now_ms());
}

void supervisor_on_ready(struct supervisor *s, uint32_t generation)
{
    if (s->next && generation == s->next->generation)
        commit_next(s);
    else if (generation == s->current->generation)
        child_switch(&s->child, generation, supervisor_now_ms());
}

static void log_ready(struct supervisor *s)
{
    const struct policy *policy = &s->current->policy;
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    struct log_ready ready = {.ts_ms = log_sink_wall_ms(),
                              .version = s->spec->version,
                              .user = span_of_text(policy->settings.user),
                              .uid = policy->cage_uid,
                              .proxy_uid = policy->proxy_uid,
                              .mode = network_mode_text(policy->mode),
                              .rules = plan_rules(s->current),
                              .generation = s->current->generation,
                              .tcp_port = s->listeners.tcp_port,
                              .dns_port = s->listeners.dns_port};

    log_line_ready(&line, &ready);
    log_sink_line(&s->sink, &line);
}

static void log_reload(struct supervisor *s, uint32_t closed)
{
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    struct log_reload reload = {.ts_ms = log_sink_wall_ms(),
                                .generation = s->current->generation,
                                .mode = network_mode_text(s->current->policy.mode),
                                .rules = plan_rules(s->current),
                                .closed = closed};

    log_line_reload(&line, &reload);
    log_sink_line(&s->sink, &line);
}

int supervisor_on_active(struct supervisor *s, uint32_t closed)
{
    if (!s->is_listening) {
        int status = listeners_listen(&s->listeners);
        if (status < 0)
            return status;
        s->is_listening = true;
    }
    if (!s->is_ready)
        log_ready(s);
    else if (s->is_reload_open)
        log_reload(s, closed);
    s->is_ready = true;
    s->is_reload_open = false;
    return 0;
}
