/*
 * The place in which exec's command runs: namespaces of its own, a terminal of its own, one user,
 * no privilege, and only the ways out that the kernel layers judge.
 *
 * Theory of operation
 *
 *   front (the caller, root)        holder (pid 1 inside, root)      command (the cage's user)
 *   cage_start  ---- clone ------>  mounts, /proc; waits
 *   cage_probe  ---- control ---->  one child a probe, as the cage's user; all of them gone
 *   cage_go     ---- control ---->  fork, gives up its privileges -> drops everything, execve
 *   cage_wait   <--- control -----  reaps; reports the command's end and ends itself
 *
 * The holder is pid 1 of a new PID namespace, so its end is the end of everything inside, whatever
 * the session, parent or process group: the kernel kills and reaps all of it before the holder can
 * be waited for. The holder ends when the command ends, when the front goes (parent death signal,
 * with a check that the front was still there when it was set) and when its control socket closes.
 * It never runs as the cage's user, which could otherwise trace or kill it, and from the moment
 * that the command starts it holds CAP_KILL, an empty network namespace and nothing else.
 *
 * The kernel layers are installed by somebody else between cage_start and cage_probe; nothing runs
 * as the cage's user before cage_probe, and nothing of the command before cage_go. Rules go last:
 * cage_wait and cage_kill return only when the namespace is empty, and a process that outlives the
 * front watches cage_pidfd for the same fact.
 *
 * Inside: mount, PID and IPC namespaces; the network namespace is the caller's. /run is an empty
 * directory of our own with the few entries that commands need (cage_mounts.c), so a resolver, bus
 * or container socket that appears later is out of reach as well. Abstract sockets and signals to
 * the outside are refused with Landlock where the kernel has ABI 6 (best effort: older kernels
 * leave abstract sockets to their owners' own checks). The seccomp filter is in cage_filter.c. User
 * namespaces stay possible: agents bring sandboxes of their own, and mounts of a parent namespace
 * stay locked in them.
 *
 * Standard descriptors that are terminals become one pseudo-terminal inside; others are passed as
 * they are. A keyboard is relayed when standard input is a terminal and the front is in its
 * foreground. The command is a session of its own either way, so /dev/tty is never the caller's.
 *
 * The front must be single-threaded, and the thread that called cage_start must live as long as the
 * cage (the death signal is the thread's). Every descriptor here is close-on-exec; a process forked
 * after cage_start must close or exec.
 *
 * Calls return 0 or a negative errno, and then cage->message holds one line: what and where, then
 * what to do.
 */
#ifndef PROXY_CLI_CAGE_H
#define PROXY_CLI_CAGE_H

#include <signal.h>
#include <sys/types.h>

#include "config/hostname.h"
#include "config/netaddr.h"
#include "proxy/cli/cage_account.h"
#include "proxy/cli/cage_terminal.h"

enum {
    CAGE_MESSAGE_MAX = 512,
    CAGE_PROBE_MAX = 16,
    /* Exit statuses of our own, as env(1) has them. */
    CAGE_EXIT_NOT_MADE = 125,
    CAGE_EXIT_NOT_EXECUTABLE = 126,
    CAGE_EXIT_NOT_FOUND = 127,
    CAGE_EXIT_SIGNAL = 128,
};

/* All borrowed until cage_fini. */
struct cage_spec {
    const struct cage_account *account;
    char *const *argv;         /* NULL-terminated, at least the command */
    char *const *envp;         /* what the environment is made from (cage_env.c) */
    const char *const *hidden; /* more paths to hide; those that do not exist are no error */
    size_t hidden_count;
};

struct cage {
    pid_t pid; /* the holder's, outside; 0 when there is none */
    int pidfd;
    int control;
    int signals;
    int exit_status; /* what the program should end with: the command's own, or ours */
    sigset_t mask_before;
    struct cage_terminal terminal;
    char message[CAGE_MESSAGE_MAX];
};

/* A proof that the cage holds, done inside it as the cage's user under the command's own limits. */
enum cage_probe_kind {
    CAGE_PROBE_TCP,  /* connect to address:port must be refused */
    CAGE_PROBE_HTTP, /* "GET / Host: NAME" to address:port must get our 403 (X-Cage-Reason) */
    CAGE_PROBE_DNS,  /* an A question for NAME to address:port (UDP) must get NXDOMAIN or REFUSED */
};

struct cage_probe {
    enum cage_probe_kind kind;
    struct netaddr address;
    uint16_t port;
    struct hostname name; /* HTTP and DNS */
};

/* CAGE_PROBE_NO_ANSWER is zero: a result that nobody set is a failure. */
enum cage_probe_verdict {
    CAGE_PROBE_NO_ANSWER = 0, /* nothing in time, or an answer that proves nothing: a failure */
    CAGE_PROBE_REFUSED,       /* as expected */
    CAGE_PROBE_GOT_THROUGH,   /* it was answered or connected: a failure */
    CAGE_PROBE_NO_ROUTE,      /* the machine has no way there: nothing leaves, nothing is proven */
};

enum { CAGE_PROBE_DETAIL_MAX = 160, CAGE_PROBE_DEADLINE_MS = 2000 };

struct cage_probe_result {
    enum cage_probe_verdict verdict;
    char detail[CAGE_PROBE_DETAIL_MAX]; /* one line, printable ASCII */
};

/* A descriptor to watch while the command runs; what is called when it is readable or closed. */
struct cage_watch {
    int fd;
    /* 0: go on; negative: kill the cage, and cage_wait returns this. */
    int (*on_ready)(void *arg);
    void *arg;
};

/*
 * Makes the namespaces and the terminal and starts the holder; blocks the signals that cage_wait
 * forwards. Standard descriptors that are closed become /dev/null (a program must see to that
 * before it opens anything else, or its own files become the command's); sockets other than UNIX
 * ones and directories are refused. On failure nothing is left (cage_fini is allowed, and
 * needless), and exit_status is CAGE_EXIT_NOT_MADE.
 */
int cage_start(const struct cage_spec *spec, struct cage *cage);

/*
 * Runs `count` (at most CAGE_PROBE_MAX) probes at once, each within CAGE_PROBE_DEADLINE_MS. Returns
 * 0 when every one of them was carried out, whatever came of it: `results` say so.
 */
int cage_probe(struct cage *cage, const struct cage_probe *probes, size_t count,
               struct cage_probe_result *results);

/* The command is executed. On failure exit_status is 125, 126 or 127 as it applies. */
int cage_go(struct cage *cage);

/*
 * Relays terminal and signals until the command has ended and nothing is left inside; `watch` may
 * be NULL. Returns 0 with exit_status set, or the negative value of watch->on_ready after
 * everything inside was killed. The caller's terminal is as it was before.
 */
int cage_wait(struct cage *cage, const struct cage_watch *watch);

/* Kills everything inside and returns when it is gone; nothing when it is gone already. */
void cage_kill(struct cage *cage);

/*
 * cage_kill, restores terminal and signal mask, closes all. A signal that came after the command's
 * end is delivered here: whatever must still be done belongs before it.
 */
void cage_fini(struct cage *cage);

/* Readable when nothing is left inside, also after the front's death; borrowed, -1 when none. */
int cage_pidfd(const struct cage *cage);

/* The word for a verdict, for messages; static storage. */
const char *cage_probe_verdict_text(enum cage_probe_verdict verdict);

#endif
