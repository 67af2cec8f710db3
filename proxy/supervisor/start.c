#include "proxy/supervisor/layers.h"
#include "proxy/supervisor/state.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

enum { WORKERS_DEFAULT_MAX = 4 };

static enum supervisor_exit complain(struct supervisor *s, enum supervisor_exit status,
                                     const char *message)
{
    s->has_failed = true;
    fprintf(stderr, "cage-proxy %s: %s\n", s->spec->command, message);
    return status;
}

/* One thread a core that this process may use. */
static uint32_t count_workers(uint32_t wanted)
{
    cpu_set_t cores;
    int count = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;

    if (wanted != 0)
        return wanted < MESSAGE_THREADS_MAX ? wanted : MESSAGE_THREADS_MAX;
    return count < WORKERS_DEFAULT_MAX ? (uint32_t)count : WORKERS_DEFAULT_MAX;
}

static bool take_lock(struct lock *lock, uid_t uid, const char *whose, struct text *fault)
{
    int status = lock_take(lock, uid);

    if (status == 0)
        return true;
    if (status == -EWOULDBLOCK) {
        text_put(fault, "a cage of ");
        text_put(fault, whose);
        text_put(fault, " is already running here: end it first");
        return false;
    }
    text_put(fault, LOCK_DIRECTORY " cannot be used: ");
    text_put(fault, status == -EACCES ? "it must be root's own directory" : strerror(-status));
    return false;
}

/* Everything that the machine must give, but for the kernel rules. */
static bool take_machine(struct supervisor *s, struct policy *policy, struct text *fault)
{
    struct policy_settings *settings = &policy->settings;
    int status;

    if (!machine_find_user(settings->proxy_user, &s->proxy_user, fault))
        return false;
    /* A worker is refused a group of root's; the account may have none of its own. */
    if (s->proxy_user.gid == 0)
        s->proxy_user.gid = (gid_t)s->proxy_user.uid;
    if (!take_lock(&s->cage_lock, policy->cage_uid, "this user", fault) ||
        !take_lock(&s->proxy_lock, policy->proxy_uid, "this proxy user", fault))
        return false;
    status = log_sink_open(&s->sink, settings);
    if (status < 0) {
        text_put(fault, settings->log_file);
        text_put(fault, ": ");
        text_put(fault, strerror(-status));
        return false;
    }
    if (listeners_open(&s->listeners, policy->proxy_uid, settings->tcp_port, settings->dns_port,
                       fault) < 0)
        return false;
    settings->tcp_port = s->listeners.tcp_port;
    settings->dns_port = s->listeners.dns_port;
    settings->workers = count_workers(settings->workers);
    child_init(&s->child, settings->workers);
    return true;
}

/* Rules first, then the sockets that are older than they are: no moment is open to both. */
static bool install(struct supervisor *s, struct text *fault)
{
    const struct policy *policy = &s->current->policy;

    s->had_rules = layers_are_there(policy);
    if (!layers_install(policy, &s->is_installed, fault))
        return false;
    s->is_installed = true;
    return layers_end_sockets(policy, fault);
}

enum supervisor_exit supervisor_start(struct supervisor *s)
{
    char complaint[FAULT_MAX];
    struct text fault = TEXT_OF(complaint);
    struct policy policy;

    if (geteuid() != 0)
        return complain(s, SUPERVISOR_UNABLE, "this needs root: run it with sudo");
    if (!s->spec->load(s->spec->arg, &policy, &fault)) {
        s->has_failed = true;
        return SUPERVISOR_FAULTY;
    }
    if (policy.mode == MODE_DISABLED) {
        policy_fini(&policy);
        s->why = "disabled";
        fprintf(stderr, "cage-proxy %s: networkMode is disabled: there is nothing to enforce\n",
                s->spec->command);
        return SUPERVISOR_DONE;
    }
    if (!machine_complete(&policy, &fault) || !take_machine(s, &policy, &fault) ||
        !(s->current = plan_new(&policy, ++s->generation, &fault))) {
        policy_fini(&policy);
        return complain(s, SUPERVISOR_UNABLE, complaint);
    }
    if (!install(s, &fault))
        return complain(s, SUPERVISOR_UNABLE, complaint);
    supervisor_start_worker(s);
    return s->has_failed ? SUPERVISOR_UNABLE : SUPERVISOR_DONE;
}
