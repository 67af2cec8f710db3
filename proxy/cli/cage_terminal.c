#include "proxy/cli/cage_terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POLL_MASTER, POLL_KEYBOARD, POLL_SCREEN };
enum { DRAIN_STALL_MS = 1000 };

void cage_terminal_init(struct cage_terminal *terminal)
{
    memset(terminal, 0, sizeof(*terminal));
    terminal->master = terminal->slave = terminal->keyboard = terminal->screen = -1;
}

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void cage_terminal_fini(struct cage_terminal *terminal)
{
    cage_terminal_give(terminal);
    fd_close(&terminal->master);
    fd_close(&terminal->slave);
    fd_close(&terminal->keyboard);
    fd_close(&terminal->screen);
}

/*
 * The same terminal through a description of our own. A master cannot be opened again (that would
 * make another terminal), and some terminals have no path here: those are shared.
 */
static int terminal_reopen(int fd, int flags)
{
    char path[32];
    unsigned number;
    int again = -1;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (ioctl(fd, TIOCGPTN, &number) != 0)
        again = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return again >= 0 ? again : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static int pair_open(struct cage_terminal *terminal, uid_t uid, gid_t gid)
{
    terminal->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (terminal->master < 0 || unlockpt(terminal->master) != 0)
        return -errno;
    terminal->slave = ioctl(terminal->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal->slave < 0 || fchown(terminal->slave, uid, gid) != 0 ||
        fchmod(terminal->slave, 0600) != 0)
        return -errno;
    return 0;
}

int cage_terminal_open(struct cage_terminal *terminal, uid_t uid, gid_t gid)
{
    static const int screens[] = {1, 2, 0};
    struct termios inner = {0};
    int screen = -1;
    int err;

    cage_terminal_init(terminal);
    for (int fd = 0; fd <= 2; fd++)
        terminal->is_replaced[fd] = isatty(fd) == 1;
    for (size_t i = 0; i < 3 && screen < 0; i++)
        if (terminal->is_replaced[screens[i]])
            screen = screens[i];
    if (screen < 0)
        return 0;

    err = pair_open(terminal, uid, gid);
    if (err == 0) {
        terminal->screen = terminal_reopen(screen, O_WRONLY);
        if (terminal->is_replaced[0])
            terminal->keyboard = terminal_reopen(0, O_RDONLY);
        if (terminal->screen < 0 || (terminal->is_replaced[0] && terminal->keyboard < 0) ||
            tcgetattr(screen, &inner) != 0)
            err = -errno;
    }
    if (err == 0) {
        /* Without a keyboard the outer terminal stays cooked and does this itself. */
        if (!terminal->is_replaced[0])
            inner.c_oflag &= ~(tcflag_t)OPOST;
        if (tcsetattr(terminal->slave, TCSANOW, &inner) != 0)
            err = -errno;
    }
    if (err != 0)
        cage_terminal_fini(terminal);
    else
        cage_terminal_resize(terminal);
    return err;
}

void cage_terminal_resize(const struct cage_terminal *terminal)
{
    struct winsize size;

    if (terminal->master >= 0 && ioctl(terminal->screen, TIOCGWINSZ, &size) == 0)
        ioctl(terminal->master, TIOCSWINSZ, &size);
}

/* A terminal that is not our controlling one has no job control over us. */
static bool is_foreground(int fd)
{
    pid_t group = fd < 0 ? 0 : tcgetpgrp(fd);

    return group == getpgrp() || (group < 0 && errno == ENOTTY);
}

void cage_terminal_take(struct cage_terminal *terminal)
{
    struct termios raw;

    terminal->is_raw = false;
    if (!is_foreground(terminal->keyboard))
        return;
    /* Once: after a stop that nobody announced the terminal may still be as we made it. */
    if (!terminal->has_before)
        terminal->has_before = tcgetattr(terminal->keyboard, &terminal->before) == 0;
    raw = terminal->before;
    cfmakeraw(&raw);
    terminal->is_raw = terminal->has_before && tcsetattr(terminal->keyboard, TCSANOW, &raw) == 0;
    cage_terminal_resize(terminal);
}

/*
 * What is unread was meant for the command, or is a terminal's answer to what the command printed:
 * the shell must not read it. In the background the modes are somebody else's by now.
 */
void cage_terminal_give(struct cage_terminal *terminal)
{
    if (terminal->is_raw && is_foreground(terminal->keyboard)) {
        tcflush(terminal->keyboard, TCIFLUSH);
        tcsetattr(terminal->keyboard, TCSANOW, &terminal->before);
    }
    terminal->is_raw = false;
}

void cage_terminal_want(const struct cage_terminal *t, struct pollfd fds[CAGE_TERMINAL_POLL])
{
    bool is_open = t->master >= 0 && !t->is_over;
    short master = (short)((t->out.len == 0 ? POLLIN : 0) | (t->in.len > 0 ? POLLOUT : 0));

    /* An fd without a wish would still announce its hang-up, for ever. */
    fds[POLL_MASTER] = (struct pollfd){is_open && master != 0 ? t->master : -1, master, 0};
    fds[POLL_KEYBOARD] =
        (struct pollfd){is_open && t->is_raw && t->in.len == 0 ? t->keyboard : -1, POLLIN, 0};
    fds[POLL_SCREEN] = (struct pollfd){t->out.len > 0 ? t->screen : -1, POLLOUT, 0};
}

/* Reads into an empty buffer; false at the end. */
static bool flow_fill(struct cage_terminal_flow *flow, int fd)
{
    ssize_t got = read(fd, flow->bytes, sizeof(flow->bytes));

    if (got > 0) {
        flow->from = 0;
        flow->len = (size_t)got;
    }
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Writes what fits; what can no longer be written is dropped. */
static void flow_empty(struct cage_terminal_flow *flow, int fd)
{
    ssize_t put = write(fd, flow->bytes + flow->from, flow->len);

    if (put > 0) {
        flow->from += (size_t)put;
        flow->len -= (size_t)put;
    } else if (put < 0 && errno != EAGAIN && errno != EINTR) {
        flow->len = 0;
    }
}

void cage_terminal_move(struct cage_terminal *t, const struct pollfd fds[CAGE_TERMINAL_POLL])
{
    if (fds[POLL_SCREEN].revents != 0 && t->out.len > 0)
        flow_empty(&t->out, t->screen);
    if (fds[POLL_MASTER].revents != 0) {
        if (t->in.len > 0)
            flow_empty(&t->in, t->master);
        if (t->out.len == 0 && !flow_fill(&t->out, t->master))
            t->is_over = true;
    }
    if (fds[POLL_KEYBOARD].revents != 0 && t->in.len == 0 && !flow_fill(&t->in, t->keyboard)) {
        /* A raw terminal ends by hanging up only: so does the inner one. */
        t->is_raw = false;
        fd_close(&t->keyboard);
        fd_close(&t->master);
    }
}

void cage_terminal_drain(struct cage_terminal *terminal)
{
    struct pollfd fds[CAGE_TERMINAL_POLL];

    if (terminal->master < 0)
        return;
    terminal->in.len = 0;
    while (!terminal->is_over || terminal->out.len > 0) {
        cage_terminal_want(terminal, fds);
        fds[POLL_KEYBOARD].fd = -1;
        if (poll(fds, CAGE_TERMINAL_POLL, DRAIN_STALL_MS) <= 0)
            return;
        cage_terminal_move(terminal, fds);
    }
}
