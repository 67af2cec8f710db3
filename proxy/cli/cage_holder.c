/*
 * Pid 1 of the cage and the command's birth; cage.h has the theory.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/cli/cage_parts.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* include/uapi/linux/keyctl.h */
enum { KEYRING_JOIN_SESSION = 1 };

struct holder {
    const struct cage_plan *plan;
    int children; /* signalfd of SIGCHLD */
    pid_t command;
};

static bool is_front_gone(const struct cage_plan *plan)
{
    struct pollfd front = {.fd = plan->front_pidfd, .events = POLLIN};

    return poll(&front, 1, 0) != 0;
}

static int holder_prepare(struct holder *h, char message[CAGE_MESSAGE_MAX])
{
    sigset_t all;

    /* The front may have died before the call: the signal would then never come. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || is_front_gone(h->plan))
        return cage_fail(message, ECHILD, "holder: the front is gone");
    prctl(PR_SET_NAME, "cage-holder", 0, 0, 0);
    sigfillset(&all);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setsid() < 0 ||
        sigprocmask(SIG_SETMASK, &all, NULL) != 0)
        return cage_fail(message, errno, "holder: %s", strerror(errno));
    sigemptyset(&all);
    sigaddset(&all, SIGCHLD);
    signal(SIGCHLD, SIG_DFL);
    h->children = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (h->children < 0)
        return cage_fail(message, errno, "holder: %s", strerror(errno));
    return cage_mounts_make(h->plan->spec, message);
}

static void holder_report_failure(int control, int err, int status, const char *text)
{
    struct cage_packet packet = {.kind = CAGE_PACKET_FAILED, .err = -err, .status = status};

    snprintf(packet.text, sizeof(packet.text), "%s", text);
    cage_packet_send(control, &packet);
}

static void holder_probe(const struct holder *h, const struct cage_packet *asked)
{
    struct cage_packet answer = {.kind = CAGE_PACKET_RESULT, .index = asked->index};
    pid_t pid = fork();

    if (pid > 0)
        return;
    if (pid < 0) {
        snprintf(answer.result.detail, sizeof(answer.result.detail), "fork: %s", strerror(errno));
        cage_packet_send(h->plan->control, &answer);
        return;
    }
    if (cage_drop(h->plan->spec->account, answer.text) == 0)
        cage_probe_run(&asked->probe, &answer.result);
    else
        snprintf(answer.result.detail, sizeof(answer.result.detail), "%.*s",
                 (int)sizeof(answer.result.detail) - 1, answer.text);
    cage_packet_send(h->plan->control, &answer);
    _exit(0);
}

/* Nothing of ours may share the uid with the command: pid 1's kill(-1) reaches all but itself. */
static void holder_empty(void)
{
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
}

static int command_stdio(const struct cage_terminal *terminal, char message[CAGE_MESSAGE_MAX])
{
    if (setsid() < 0)
        return cage_fail(message, errno, "session: %s", strerror(errno));
    for (int fd = 0; fd <= 2; fd++)
        if (terminal->is_replaced[fd] && dup2(terminal->slave, fd) != fd)
            return cage_fail(message, errno, "terminal: %s", strerror(errno));
    if (terminal->slave >= 0 && ioctl(terminal->slave, TIOCSCTTY, 0) != 0)
        return cage_fail(message, errno, "controlling terminal: %s", strerror(errno));
    return 0;
}

static int command_limits(char message[CAGE_MESSAGE_MAX])
{
    static const int ours[] = {SIGPIPE, SIGTTIN, SIGTTOU, SIGTSTP, SIGCHLD};
    /* 1, not 0: a core_pattern pipe runs as the host's root and is skipped for this value only. */
    struct rlimit core = {1, 1};

    if (setrlimit(RLIMIT_CORE, &core) != 0)
        return cage_fail(message, errno, "core limit: %s", strerror(errno));
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        signal(ours[i], SIG_DFL);
    /*
     * The caller's session keyring would be readable by whoever holds it. A container's filter that
     * forbids the call forbids the keyring's reading as well.
     */
    if (syscall(SYS_keyctl, KEYRING_JOIN_SESSION, NULL, 0, 0, 0) < 0 && errno != ENOSYS &&
        errno != EPERM)
        return cage_fail(message, errno, "session keyring: %s", strerror(errno));
    return 0;
}

/*
 * A directory of root's PATH that the cage's user may not search makes execvp() say "permission
 * denied" of every command that is nowhere.
 */
static bool is_on_path(const char *command)
{
    const char *path = getenv("PATH");
    char candidate[CAGE_PATH_MAX];

    if (path == NULL || strchr(command, '/') != NULL)
        return true;
    while (*path != '\0') {
        size_t len = strcspn(path, ":");
        snprintf(candidate, sizeof(candidate), "%.*s/%s", (int)len, path, command);
        if (access(candidate, F_OK) == 0)
            return true;
        path += len + (path[len] == ':');
    }
    return false;
}

/* By its path: the inherited directory is one of the caller's mount namespace. */
static int command_chdir(const struct cage_plan *plan, char message[CAGE_MESSAGE_MAX])
{
    if (plan->cwd[0] == '/' && chdir(plan->cwd) == 0)
        return 0;
    if (chdir(plan->spec->account->home) == 0 || chdir("/") == 0)
        return 0;
    return cage_fail(message, errno, "directory /: %s", strerror(errno));
}

static int command_execute(const struct cage_plan *plan, int *status,
                           char message[CAGE_MESSAGE_MAX])
{
    char *const *argv = plan->spec->argv;
    char **env = cage_env_make(plan->spec->envp, plan->spec->account);

    if (env == NULL)
        return cage_fail(message, ENOMEM, "environment: out of memory");
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        return cage_fail(message, errno, "descriptors: %s: close_range(2) needs Linux 5.11",
                         strerror(errno));
    if (sigprocmask(SIG_SETMASK, &plan->mask, NULL) != 0)
        return cage_fail(message, errno, "signal mask: %s", strerror(errno));
    /* execvp searches the PATH of environ. */
    environ = env;
    execvp(argv[0], argv);
    int err = errno;
    if (err == EACCES && !is_on_path(argv[0]))
        err = ENOENT;
    *status = err == ENOENT ? CAGE_EXIT_NOT_FOUND : CAGE_EXIT_NOT_EXECUTABLE;
    return cage_fail(message, err, "%s: %s", argv[0], strerror(err));
}

/* In the command's own process; `status_fd` closes by itself when the command is executed. */
static _Noreturn void command_run(const struct cage_plan *plan, int status_fd)
{
    struct cage_packet packet;
    char message[CAGE_MESSAGE_MAX] = "";
    int status = CAGE_EXIT_NOT_MADE;

    /* Until the holder has nothing left that the command could want. */
    int err = cage_packet_receive(status_fd, &packet);
    if (err == 0)
        err = command_stdio(plan->terminal, message);
    if (err == 0)
        err = command_limits(message);
    if (err == 0)
        err = cage_drop(plan->spec->account, message);
    if (err == 0)
        err = command_chdir(plan, message);
    if (err == 0)
        err = command_execute(plan, &status, message);
    holder_report_failure(status_fd, err, status, message);
    _exit(status);
}

/* Root without a privilege, without a network, without the caller's files. */
static int holder_renounce(const struct holder *h, char message[CAGE_MESSAGE_MAX])
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || dup2(null, 0) != 0 || dup2(null, 1) != 1 || dup2(null, 2) != 2)
        return cage_fail(message, errno, "/dev/null: %s", strerror(errno));
    close(null);
    close(h->plan->front_pidfd);
    if (unshare(CLONE_NEWNET) != 0)
        return cage_fail(message, errno, "holder's network: %s", strerror(errno));
    return cage_drop_holder(message);
}

static int holder_go(struct holder *h, struct cage_packet *failure)
{
    struct cage_packet go = {.kind = CAGE_PACKET_GO};
    int pair[2];
    int err;

    holder_empty();
    failure->status = CAGE_EXIT_NOT_MADE;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return cage_fail(failure->text, errno, "command: %s", strerror(errno));
    h->command = fork();
    if (h->command == 0) {
        close(pair[0]);
        command_run(h->plan, pair[1]);
    }
    err = h->command > 0 ? 0 : cage_fail(failure->text, errno, "fork: %s", strerror(errno));
    close(pair[1]);
    if (err == 0)
        err = holder_renounce(h, failure->text);
    if (err == 0)
        err = cage_packet_send(pair[0], &go);
    /* The end of the stream is the execution; anything said before it is a failure. */
    if (err == 0 && cage_packet_receive(pair[0], failure) == 0)
        err = -failure->err;
    close(pair[0]);
    return err;
}

static _Noreturn void holder_finish(const struct holder *h, int wait_status)
{
    struct cage_packet packet = {.kind = CAGE_PACKET_ENDED};

    packet.status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
                                           : CAGE_EXIT_SIGNAL + WTERMSIG(wait_status);
    cage_packet_send(h->plan->control, &packet);
    _exit(0);
}

static void holder_reap(const struct holder *h)
{
    struct signalfd_siginfo info;
    int wait_status;
    pid_t pid;

    while (read(h->children, &info, sizeof(info)) == (ssize_t)sizeof(info))
        ;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
        if (pid == h->command)
            holder_finish(h, wait_status);
}

static void holder_obey(struct holder *h, const struct cage_packet *packet)
{
    struct cage_packet reply = {.kind = CAGE_PACKET_STARTED};

    switch (packet->kind) {
    case CAGE_PACKET_PROBE:
        if (h->command == 0)
            holder_probe(h, packet);
        return;
    case CAGE_PACKET_GO:
        if (h->command != 0)
            break;
        reply.err = -holder_go(h, &reply);
        if (reply.err != 0) {
            holder_report_failure(h->plan->control, -reply.err, reply.status, reply.text);
            _exit(CAGE_EXIT_NOT_MADE);
        }
        cage_packet_send(h->plan->control, &reply);
        return;
    case CAGE_PACKET_SIGNAL:
        if (h->command > 0)
            kill(packet->is_group ? -h->command : h->command, packet->signal);
        return;
    case CAGE_PACKET_READY:
    case CAGE_PACKET_FAILED:
    case CAGE_PACKET_RESULT:
    case CAGE_PACKET_STARTED:
    case CAGE_PACKET_ENDED:
        break;
    }
    _exit(CAGE_EXIT_NOT_MADE);
}

_Noreturn void cage_holder_run(const struct cage_plan *plan)
{
    struct holder h = {.plan = plan, .children = -1};
    struct cage_packet packet = {.kind = CAGE_PACKET_READY};
    int err = holder_prepare(&h, packet.text);

    if (err != 0) {
        holder_report_failure(plan->control, err, CAGE_EXIT_NOT_MADE, packet.text);
        _exit(CAGE_EXIT_NOT_MADE);
    }
    cage_packet_send(plan->control, &packet);
    for (;;) {
        struct pollfd fds[] = {
            {.fd = plan->control, .events = POLLIN},
            {.fd = h.children, .events = POLLIN},
        };
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            _exit(CAGE_EXIT_NOT_MADE);
        if (fds[1].revents != 0)
            holder_reap(&h);
        if (fds[0].revents == 0)
            continue;
        if (cage_packet_receive(plan->control, &packet) != 0)
            _exit(CAGE_EXIT_NOT_MADE);
        holder_obey(&h, &packet);
    }
}
