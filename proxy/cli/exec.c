/*
 * Theory of operation. Three processes: this front, which owns the terminal and the command's
 * namespaces; the supervisor, its child, which owns rules, sockets and worker; and the command's
 * holder. A socket pair ties the first two: whoever is left when it closes kills the namespace,
 * waits until it is empty, and only then takes the rules away.
 *
 *   namespaces -> supervisor "ready" -> proof -> command -> namespace empty -> supervisor ends
 *
 * Nothing of the command runs before the proof: a name, addresses and metadata services that this
 * policy denies are tried as the cage's user, from where the command will stand.
 */
#include "proxy/cli/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/cli/cage.h"
#include "proxy/cli/denials.h"
#include "proxy/cli/policy_file.h"
#include "proxy/cli/proof.h"
#include "proxy/core/log_line.h"
#include "proxy/core/log_text.h"
#include "proxy/supervisor/lock.h"
#include "proxy/supervisor/supervisor.h"
#include "proxy/supervisor/takedown.h"

struct exec {
    const struct exec_spec *spec;
    struct policy policy;
    struct matcher *matcher;
    struct cage_account account;
    struct cage cage;
    bool has_cage;
    pid_t supervisor; /* 0: none */
    int front_fd;
    bool is_ready;   /* the supervisor said so */
    bool is_stopped; /* ... and has taken its rules away */
    bool is_parted;  /* its end of the socket is closed */
    struct denials denials;
    size_t probe_count; /* refused by the proxy or the DNS front, which log it */
    struct hostname probe_names[CAGE_PROBE_MAX];
};

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("cage-proxy exec: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return CAGE_EXIT_NOT_MADE;
}

/* The supervisor's side: it reads the configuration for itself. */
static bool load_for_supervisor(void *arg, struct policy *out, struct text *fault)
{
    const struct exec *e = arg;

    if (policy_file_load(&e->spec->request, out))
        return true;
    text_put(fault, "the configuration has faults");
    return false;
}

/* Before the cage: what can be refused without making anything. */
static int prepare(struct exec *e)
{
    if (geteuid() != 0)
        return complain("this needs root: run it with sudo");
    if (!policy_file_load(&e->spec->request, &e->policy))
        return CAGE_EXIT_NOT_MADE;
    const char *user = e->policy.settings.user;
    if (e->policy.mode == MODE_DISABLED) {
        return complain("networkMode is disabled, so nothing would be enforced: set it to "
                        "\"allowlist\" or \"blocklist\"");
    }
    int error = cage_account_find(user, &e->account);
    if (error == -ENOENT) {
        return complain("there is no user %s: create it (useradd --system --create-home %s), or "
                        "give a uid with --user",
                        user, user);
    }
    if (error != 0)
        return complain("user %s: %s", user, strerror(-error));
    e->matcher = matcher_compile(&e->policy);
    return e->matcher != NULL ? 0 : complain("out of memory");
}

/*
 * The child keeps standard error, its end of the socket and the namespace's pidfd. A session of its
 * own: what is typed at the terminal is for the command.
 */
static _Noreturn void run_supervisor(struct exec *e, int front_fd)
{
    enum { FRONT_FD = 3, NAMESPACE_FD = 4, SAFE_FD = 64 };
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int front = fcntl(front_fd, F_DUPFD_CLOEXEC, SAFE_FD);
    int pidfd = fcntl(cage_pidfd(&e->cage), F_DUPFD_CLOEXEC, SAFE_FD);

    if (null_fd < 0 || front < 0 || pidfd < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
        dup2(null_fd, STDOUT_FILENO) < 0 || dup3(front, FRONT_FD, O_CLOEXEC) < 0 ||
        dup3(pidfd, NAMESPACE_FD, O_CLOEXEC) < 0 || close_range(NAMESPACE_FD + 1, ~0U, 0) != 0)
        _exit(SUPERVISOR_UNABLE);
    setsid();
    sigprocmask(SIG_SETMASK, &e->cage.mask_before, NULL);
    struct supervisor_spec spec = {
        .command = "exec",
        .version = CAGE_VERSION,
        .load = load_for_supervisor,
        .arg = e,
        .log_fd = STDOUT_FILENO,
        .front_fd = FRONT_FD,
        .cage_pidfd = NAMESPACE_FD,
    };
    enum supervisor_exit status = supervisor_run(&spec);
    fflush(NULL);
    _exit((int)status);
}

static int start_supervisor(struct exec *e)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return complain("socketpair: %s", strerror(errno));
    fflush(NULL);
    e->supervisor = fork();
    if (e->supervisor == 0) {
        close(fds[0]);
        run_supervisor(e, fds[1]);
    }
    int error = errno;
    close(fds[1]);
    e->front_fd = fds[0];
    if (e->supervisor < 0) {
        e->supervisor = 0;
        return complain("fork: %s", strerror(error));
    }
    return 0;
}

static void take_line(struct exec *e, struct span line)
{
    struct span event;

    if (!log_text_field(line, "event", &event))
        return;
    if (span_equal(event, SPAN_LITERAL("ready")))
        e->is_ready = true;
    else if (span_equal(event, SPAN_LITERAL("stop")))
        e->is_stopped = true;
    else
        denials_take(&e->denials, line);
}

/* Takes what the supervisor has said; its silence is no error, its end is noted. */
static int on_supervisor(void *arg)
{
    struct exec *e = arg;
    char packet[LOG_LINE_MAX];

    for (;;) {
        ssize_t len = recv(e->front_fd, packet, sizeof(packet), MSG_DONTWAIT);
        if (len > 0) {
            size_t used = (size_t)len;
            if (packet[used - 1] == '\n')
                used--;
            take_line(e, span_of(packet, used));
        } else if (len < 0 && errno == EINTR) {
            continue;
        } else if (len < 0 && errno == EAGAIN) {
            return 0;
        } else {
            e->is_parted = true;
            return -EPIPE;
        }
    }
}

static void listen_to_supervisor(struct exec *e, int timeout_ms)
{
    struct pollfd fd = {.fd = e->front_fd, .events = POLLIN};

    if (poll(&fd, 1, timeout_ms) > 0)
        on_supervisor(e);
}

static int await_ready(struct exec *e)
{
    while (!e->is_ready && !e->is_parted)
        listen_to_supervisor(e, -1);
    /* What went wrong stands on standard error already. */
    return e->is_ready ? 0 : CAGE_EXIT_NOT_MADE;
}

/* The cage is proven before the command sees it. */
static int prove(struct exec *e)
{
    struct cage_probe probes[CAGE_PROBE_MAX];
    struct cage_probe_result results[CAGE_PROBE_MAX];
    size_t count = proof_choose(&e->policy, e->matcher, probes);
    size_t proven = 0;
    int status = 0;

    if (count == 0) {
        fputs("cage-proxy exec: this policy denies nothing that could be tried; the cage is not "
              "proven\n",
              stderr);
        return 0;
    }
    if (cage_probe(&e->cage, probes, count, results) != 0)
        return complain("%s", e->cage.message);
    for (size_t i = 0; i < count; i++) {
        char data[RULE_TEXT_MAX];
        struct text what = TEXT_OF(data);
        if (results[i].verdict == CAGE_PROBE_REFUSED)
            proven++;
        if (results[i].verdict == CAGE_PROBE_REFUSED && probes[i].kind != CAGE_PROBE_TCP)
            e->probe_names[e->probe_count++] = probes[i].name;
        if (results[i].verdict == CAGE_PROBE_REFUSED || results[i].verdict == CAGE_PROBE_NO_ROUTE)
            continue;
        proof_print(&probes[i], &what);
        status = complain("the cage does not hold, the command was not run: %s must be refused, "
                          "but: %s (%s)",
                          data, cage_probe_verdict_text(results[i].verdict), results[i].detail);
    }
    if (status == 0 && proven == 0)
        status = complain("the cage could not be proven, the command was not run: this machine "
                          "has no way to any address that was tried");
    return status;
}

static int run_command(struct exec *e)
{
    struct cage_watch watch = {e->front_fd, on_supervisor, e};
    int status = await_ready(e);

    if (status == 0)
        status = prove(e);
    if (status != 0)
        return status;
    if (cage_go(&e->cage) != 0) {
        complain("%s", e->cage.message);
        return e->cage.exit_status;
    }
    if (cage_wait(&e->cage, &watch) != 0)
        return complain("the proxy ended before the command, which was killed");
    return e->cage.exit_status;
}

static void take_rules_away(struct exec *e)
{
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    const char *advice = takedown_advice(takedown_rules(&e->policy, true, &fault));

    if (fault.len > 0)
        complain("%s", data);
    if (advice != NULL)
        complain("%s", advice);
}

/*
 * The supervisor died, so its rules are ours to take away; the namespace is empty by now. Its locks
 * died with it: rules of a cage that has begun since are not ours. Their files stayed.
 */
static void clean_up_for_supervisor(struct exec *e)
{
    struct lock cage_lock;
    struct lock proxy_lock;
    int error = lock_take(&cage_lock, e->policy.cage_uid);

    if (error != 0) {
        complain("the kernel rules are left as they are: %s",
                 error == -EWOULDBLOCK ? "another cage of this user has begun" : strerror(-error));
        return;
    }
    take_rules_away(e);
    if (lock_take(&proxy_lock, e->policy.proxy_uid) == 0)
        lock_release(&proxy_lock);
    lock_release(&cage_lock);
}

static void end_supervisor(struct exec *e)
{
    int wait_status = 0;

    if (e->supervisor == 0)
        return;
    shutdown(e->front_fd, SHUT_WR);
    while (!e->is_parted)
        listen_to_supervisor(e, -1);
    close(e->front_fd);
    while (waitpid(e->supervisor, &wait_status, 0) < 0 && errno == EINTR)
        ;
    /* One that ended by itself before it was ready has left nothing. */
    if (WIFSIGNALED(wait_status) || (e->is_ready && !e->is_stopped))
        clean_up_for_supervisor(e);
}

int exec_run(const struct exec_spec *spec)
{
    static struct exec e;
    int status;

    e = (struct exec){.spec = spec, .front_fd = -1};
    status = prepare(&e);
    if (status != 0)
        goto out;
    struct cage_spec cage = {.account = &e.account, .argv = spec->argv, .envp = environ};
    if (cage_start(&cage, &e.cage) != 0) {
        status = complain("%s", e.cage.message);
        goto out;
    }
    e.has_cage = true;
    status = start_supervisor(&e);
    if (status == 0)
        status = run_command(&e);
    cage_kill(&e.cage);
    end_supervisor(&e);
    for (size_t i = 0; i < e.probe_count; i++)
        denials_take_back(&e.denials, &e.probe_names[i]);
    if (!spec->is_quiet)
        denials_print(&e.denials, e.policy.mode, stderr);

out:
    matcher_unref(e.matcher);
    policy_fini(&e.policy);
    if (e.has_cage)
        cage_fini(&e.cage);
    return status;
}
