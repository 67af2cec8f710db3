/*
 * The root process of a cage: it holds the kernel layers and the listening sockets, keeps a worker
 * running, and writes the log. It reads no byte that the cage sent and no Lua.
 *
 * Theory of operation. One thread, one poll loop; every step answers at once, but for reading the
 * configuration, which a bounded child does. There is always at most one policy in force
 * (`current`: its rules are in the kernel) and one that is being tried (`next`: the worker compiles
 * it). A reload is: load, complete with machine facts, offer to the worker, READY, commit to the
 * kernel, SWITCH, ACTIVE. Until the commit every failure leaves all as it was.
 *
 *   start   locks, sockets (nobody accepted), rules, sockets older than the rules destroyed,
 *           worker with the policy, listen, "ready"
 *   gone    sockets shut (refused at once, the ports stay ours), worker killed, a pause that
 *           doubles, DNS questions of the meantime dropped, worker with the policy, listen
 *   end     worker ended, sockets of the cage's user destroyed, and the rules go last: only when no
 *           process of that user is left; else everything is refused and stays so
 *
 * Killed, it takes the worker along (its death signal) and leaves the rules, so that everything is
 * refused; the next start replaces them.
 */
#ifndef PROXY_SUPERVISOR_SUPERVISOR_H
#define PROXY_SUPERVISOR_SUPERVISOR_H

#include "config/policy.h"

enum supervisor_exit {
    SUPERVISOR_DONE = 0,
    SUPERVISOR_FAULTY = 1, /* the configuration */
    SUPERVISOR_UNABLE = 3, /* the machine */
};

struct supervisor_spec {
    const char *command; /* "run": what messages begin with */
    const char *version;

    /*
     * Reads the configuration into *out, which is not initialised, at start and at every reload.
     * False with a complaint in `fault`, which may be cut short, after printing all of them.
     */
    bool (*load)(void *arg, struct policy *out, struct text *fault);
    void *arg;

    int log_fd; /* where the log goes unless the configuration names a file */

    /*
     * A cage that is tied to one command: the other end of this SEQPACKET socket gets, as JSON
     * lines, `ready`, every denial, every fault and `stop`; when it closes, the cage ends. -1:
     * none.
     */
    int front_fd;

    /* Readable when the command's namespace is empty; killed and waited for at the end. -1: none.
     */
    int cage_pidfd;
};

/* Runs until SIGTERM, SIGINT or the front's end. Complains on standard error. */
enum supervisor_exit supervisor_run(const struct supervisor_spec *spec);

#endif
