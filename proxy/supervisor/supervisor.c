#include "proxy/supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy/supervisor/state.h"

enum poll_slot { SLOT_SIGNALS, SLOT_CONTROL, SLOT_PROCESS, SLOT_FRONT, SLOT_SINK };
enum { SLOTS = SLOT_SINK + LOG_SINK_POLL };

uint64_t supervisor_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void supervisor_fault(struct supervisor *s, const char *what, const char *message)
{
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    struct log_fault fault = {.ts_ms = log_sink_wall_ms(),
                              .what = what,
                              .message = span_of_text(message),
                              .generation = s->is_ready ? s->current->generation : 0};

    log_line_fault(&line, &fault);
    log_sink_line(&s->sink, &line);
    if (s->is_ready || s->has_failed)
        return;
    s->has_failed = true;
    fprintf(stderr, "cage-proxy %s: %s: %s\n", s->spec->command, what, message);
}

static void on_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
        /* Of the worker, whose state is looked at in any case. */
        if (info.ssi_signo == SIGCHLD)
            continue;
        if (info.ssi_signo == SIGHUP)
            s->is_reload_wanted = true;
        else if (!s->why)
            s->why = info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM";
    }
}

/* The front has nothing to say; it is there or it is gone. */
static void on_front(struct supervisor *s)
{
    char byte;
    ssize_t len = recv(s->spec->front_fd, &byte, sizeof(byte), MSG_DONTWAIT);

    if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR))
        s->why = s->why ? s->why : "front";
}

/* Milliseconds until something is due; -1 when nothing is. */
static int time_to_wait(const struct supervisor *s)
{
    uint64_t now_ms = supervisor_now_ms();
    uint64_t wake_ms = s->child.pid == 0 ? s->restart_at_ms : child_wake_ms(&s->child);

    if (wake_ms == UINT64_MAX)
        return -1;
    return wake_ms <= now_ms ? 0 : (int)(wake_ms - now_ms);
}

static void do_what_is_due(struct supervisor *s)
{
    bool is_idle;

    supervisor_step_worker(s);
    if (s->child.pid == 0 && !s->has_failed && supervisor_now_ms() >= s->restart_at_ms)
        supervisor_start_worker(s);
    is_idle = s->child.active != 0 && s->child.switching == 0 && !s->next && !s->is_reload_open;
    if (s->is_reload_wanted && is_idle)
        supervisor_reload(s);
}

static void loop(struct supervisor *s)
{
    while (!s->why && !s->has_failed) {
        struct pollfd fds[SLOTS];
        fds[SLOT_SIGNALS] = (struct pollfd){.fd = s->signals, .events = POLLIN};
        fds[SLOT_CONTROL] = (struct pollfd){.fd = s->child.control, .events = POLLIN};
        fds[SLOT_PROCESS] = (struct pollfd){.fd = s->child.pidfd, .events = POLLIN};
        fds[SLOT_FRONT] = (struct pollfd){.fd = s->spec->front_fd, .events = POLLIN};
        log_sink_want(&s->sink, fds + SLOT_SINK);
        if (poll(fds, SLOTS, time_to_wait(s)) < 0 && errno != EINTR) {
            s->why = "poll";
            break;
        }
        if (fds[SLOT_SIGNALS].revents)
            on_signals(s);
        if (fds[SLOT_FRONT].revents)
            on_front(s);
        log_sink_ready(&s->sink, fds + SLOT_SINK);
        if (!s->why)
            do_what_is_due(s);
    }
}

/*
 * From here on a signal is read, never delivered: nothing is left half done. The worker's end is
 * seen by its pidfd, SIGCHLD tells that it was stopped.
 */
static int open_signals(sigset_t *before)
{
    sigset_t ours;
    int fd;

    sigemptyset(&ours);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ours, before);
    signal(SIGPIPE, SIG_IGN);
    fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* 0 to 2 are never free for a descriptor of ours. */
static void fill_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

enum supervisor_exit supervisor_run(const struct supervisor_spec *spec)
{
    struct supervisor *s = calloc(1, sizeof(*s));
    enum supervisor_exit status = SUPERVISOR_UNABLE;
    sigset_t before;

    fill_standard_descriptors();
    if (!s) {
        fprintf(stderr, "cage-proxy %s: not enough memory\n", spec->command);
        return SUPERVISOR_UNABLE;
    }
    s->spec = spec;
    s->cage_lock.fd = s->proxy_lock.fd = -1;
    listeners_init(&s->listeners);
    child_init(&s->child, 0);
    log_sink_init(&s->sink, spec->log_fd, spec->front_fd);
    s->signals = open_signals(&before);
    if (s->signals < 0) {
        fprintf(stderr, "cage-proxy %s: signals: %s\n", spec->command, strerror(-s->signals));
    } else {
        status = supervisor_start(s);
        loop(s);
        supervisor_end(s);
        if (s->has_failed && status == SUPERVISOR_DONE)
            status = SUPERVISOR_UNABLE;
        close(s->signals);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    free(s);
    return status;
}
