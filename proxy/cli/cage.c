#include "proxy/cli/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proxy/cli/cage_parts.h"

/* Beyond the probes' own deadline: the time that a process takes to be made and to end. */
enum { PROBE_SLACK_MS = 3000 };

int cage_fail(char message[CAGE_MESSAGE_MAX], int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, CAGE_MESSAGE_MAX, format, args);
    va_end(args);
    for (char *c = message; *c != '\0'; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    return err > 0 ? -err : -EIO;
}

int cage_packet_send(int fd, const struct cage_packet *packet)
{
    ssize_t put;

    do
        put = send(fd, packet, sizeof(*packet), MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put == (ssize_t)sizeof(*packet) ? 0 : -EPIPE;
}

int cage_packet_receive(int fd, struct cage_packet *packet)
{
    ssize_t got;

    do
        got = recv(fd, packet, sizeof(*packet), 0);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof(*packet) ? 0 : -EPIPE;
}

/* Standard descriptors: there, and nothing that leads around the cage. */
static int stdio_check(char message[CAGE_MESSAGE_MAX])
{
    static const char *const names[] = {"input", "output", "error"};

    for (int fd = 0; fd <= 2; fd++) {
        struct stat st;
        int family;
        socklen_t family_len = sizeof(family);

        if (fstat(fd, &st) != 0 && (errno != EBADF || open("/dev/null", O_RDWR) != fd))
            return cage_fail(message, errno, "standard %s: %s", names[fd], strerror(errno));
        if (fstat(fd, &st) != 0)
            return cage_fail(message, errno, "standard %s: %s", names[fd], strerror(errno));
        if (S_ISDIR(st.st_mode))
            return cage_fail(message, ENOTSUP,
                             "standard %s is a directory, which leads out of the cage: redirect it",
                             names[fd]);
        if (S_ISSOCK(st.st_mode) &&
            (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &family_len) != 0 || family != AF_UNIX))
            return cage_fail(message, ENOTSUP,
                             "standard %s is a network socket, which no rule would judge: redirect "
                             "it through a pipe",
                             names[fd]);
    }
    return 0;
}

static int signals_block(struct cage *cage)
{
    static const int watched[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                                  SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH};
    sigset_t set;
    sigset_t blocked;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
        sigaddset(&set, watched[i]);
    cage->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (cage->signals < 0)
        return cage_fail(cage->message, errno, "signals: %s", strerror(errno));
    /* Blocked, these make the terminal's calls fail instead of stopping the front. */
    blocked = set;
    sigaddset(&blocked, SIGTTIN);
    sigaddset(&blocked, SIGTTOU);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    return 0;
}

/* clone3(2) with a process in new namespaces; in the child it does not return. */
static int holder_clone(struct cage *cage, struct cage_plan *plan, int pair[2])
{
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&cage->pidfd,
        .exit_signal = SIGCHLD,
    };
    long pid = syscall(SYS_clone3, &args, sizeof(args));

    if (pid < 0)
        return cage_fail(cage->message, errno,
                         "namespaces: %s: run as root, outside of containers that forbid them",
                         strerror(errno));
    if (pid == 0) {
        close(pair[0]);
        if (cage->terminal.master >= 0)
            close(cage->terminal.master);
        close(cage->signals);
        plan->control = pair[1];
        cage_holder_run(plan);
    }
    cage->pid = (pid_t)pid;
    return 0;
}

/* The holder's next word; its own failure is the call's. */
static int packet_expect(struct cage *cage, enum cage_packet_kind kind, struct cage_packet *packet)
{
    if (cage_packet_receive(cage->control, packet) != 0)
        return cage_fail(cage->message, EPIPE, "cage: its first process is gone: run again");
    if (packet->kind == kind)
        return 0;
    if (packet->kind != CAGE_PACKET_FAILED)
        return cage_fail(cage->message, EPROTO, "cage: an unexpected word from inside");
    cage->exit_status = packet->status;
    packet->text[sizeof(packet->text) - 1] = '\0';
    return cage_fail(cage->message, packet->err, "%s", packet->text);
}

static int cage_start_holder(const struct cage_spec *spec, struct cage *cage)
{
    struct cage_plan plan = {.spec = spec, .terminal = &cage->terminal, .control = -1};
    struct cage_packet packet;
    int pair[2] = {-1, -1};
    int err;

    plan.mask = cage->mask_before;
    if (getcwd(plan.cwd, sizeof(plan.cwd)) == NULL)
        plan.cwd[0] = '\0';
    plan.front_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (plan.front_pidfd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        err = cage_fail(cage->message, errno, "cage: %s", strerror(errno));
    else
        err = holder_clone(cage, &plan, pair);
    cage->control = pair[0];
    if (pair[1] >= 0)
        close(pair[1]);
    if (plan.front_pidfd >= 0)
        close(plan.front_pidfd);
    return err != 0 ? err : packet_expect(cage, CAGE_PACKET_READY, &packet);
}

int cage_start(const struct cage_spec *spec, struct cage *cage)
{
    int err;

    memset(cage, 0, sizeof(*cage));
    cage->pidfd = cage->control = cage->signals = -1;
    cage->exit_status = CAGE_EXIT_NOT_MADE;
    cage_terminal_init(&cage->terminal);
    sigprocmask(SIG_BLOCK, NULL, &cage->mask_before);

    err = stdio_check(cage->message);
    if (err == 0 && (spec->account->uid == 0 || spec->argv[0] == NULL))
        err = cage_fail(cage->message, EINVAL, "cage: uid 0 or no command");
    if (err == 0)
        err = signals_block(cage);
    if (err == 0) {
        err = cage_terminal_open(&cage->terminal, spec->account->uid, spec->account->gid);
        if (err != 0)
            cage_fail(cage->message, -err, "pseudo-terminal: %s: is /dev/pts mounted?",
                      strerror(-err));
    }
    if (err == 0)
        err = cage_start_holder(spec, cage);
    if (err != 0)
        cage_fini(cage);
    else if (cage->terminal.slave >= 0) {
        close(cage->terminal.slave);
        cage->terminal.slave = -1;
    }
    return err;
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int cage_probe(struct cage *cage, const struct cage_probe *probes, size_t count,
               struct cage_probe_result *results)
{
    struct cage_packet packet = {.kind = CAGE_PACKET_PROBE};
    long deadline_ms = now_ms() + CAGE_PROBE_DEADLINE_MS + PROBE_SLACK_MS;
    bool is_answered[CAGE_PROBE_MAX] = {false};
    size_t left = count;

    if (count > CAGE_PROBE_MAX || cage->pid == 0)
        return cage_fail(cage->message, EINVAL, "probes: too many, or no cage");
    for (size_t i = 0; i < count; i++) {
        results[i] = (struct cage_probe_result){.detail = "the probe did not end"};
        packet.index = i;
        packet.probe = probes[i];
        if (cage_packet_send(cage->control, &packet) != 0)
            return cage_fail(cage->message, EPIPE, "cage: its first process is gone: run again");
    }
    while (left > 0) {
        struct pollfd fd = {.fd = cage->control, .events = POLLIN};
        long left_ms = deadline_ms - now_ms();

        if (left_ms <= 0)
            return 0;
        if (poll(&fd, 1, (int)left_ms) <= 0)
            continue;
        int err = packet_expect(cage, CAGE_PACKET_RESULT, &packet);
        if (err != 0)
            return err;
        if (packet.index >= count || is_answered[packet.index])
            return cage_fail(cage->message, EPROTO, "cage: an unexpected word from inside");
        is_answered[packet.index] = true;
        results[packet.index] = packet.result;
        results[packet.index].detail[CAGE_PROBE_DETAIL_MAX - 1] = '\0';
        left--;
    }
    return 0;
}

int cage_go(struct cage *cage)
{
    struct cage_packet packet = {.kind = CAGE_PACKET_GO};
    int err = 0;

    if (cage->pid == 0 || cage_packet_send(cage->control, &packet) != 0)
        err = cage_fail(cage->message, EPIPE, "cage: its first process is gone: run again");
    /* A probe that was given up may still have sent its result. */
    while (err == 0) {
        err = packet_expect(cage, CAGE_PACKET_STARTED, &packet);
        if (err != -EPROTO || packet.kind != CAGE_PACKET_RESULT)
            break;
        err = 0;
    }
    if (err != 0)
        cage_kill(cage);
    return err;
}

void cage_kill(struct cage *cage)
{
    siginfo_t info;

    if (cage->pid == 0)
        return;
    syscall(SYS_pidfd_send_signal, cage->pidfd, SIGKILL, NULL, 0);
    /* The holder becomes waitable when the kernel has emptied its namespace. */
    while (waitid(P_PIDFD, (id_t)cage->pidfd, &info, WEXITED) != 0 && errno == EINTR)
        ;
    struct pollfd gone = {.fd = cage->pidfd, .events = POLLIN};
    while (poll(&gone, 1, -1) < 0 && errno == EINTR)
        ;
    cage->pid = 0;
}

void cage_fini(struct cage *cage)
{
    int *const fds[] = {&cage->control, &cage->pidfd, &cage->signals};

    cage_kill(cage);
    cage_terminal_fini(&cage->terminal);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
    sigprocmask(SIG_SETMASK, &cage->mask_before, NULL);
}

int cage_pidfd(const struct cage *cage)
{
    return cage->pidfd;
}
