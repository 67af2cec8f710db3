#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "proxy/cli/cage_parts.h"

enum { POLL_CONTROL, POLL_SIGNALS, POLL_WATCH, POLL_TERMINAL, POLL_COUNT = POLL_TERMINAL + 3 };

static void signal_pass(struct cage *cage, int signal, bool is_group)
{
    struct cage_packet packet = {
        .kind = CAGE_PACKET_SIGNAL, .signal = signal, .is_group = is_group};

    cage_packet_send(cage->control, &packet);
}

/* A shell stops the front: the command stops with it, and the terminal is the shell's meanwhile. */
static void front_stop(struct cage *cage)
{
    signal_pass(cage, SIGSTOP, true);
    cage_terminal_give(&cage->terminal);
    kill(getpid(), SIGSTOP);
}

static void signal_handle(struct cage *cage, const struct signalfd_siginfo *info)
{
    int signal = (int)info->ssi_signo;

    switch (signal) {
    case SIGWINCH:
        cage_terminal_resize(&cage->terminal);
        return;
    case SIGTSTP:
        front_stop(cage);
        return;
    case SIGCONT:
        cage_terminal_take(&cage->terminal);
        signal_pass(cage, SIGCONT, true);
        return;
    default:
        /* A terminal signals its whole foreground group, which the command's children are not in.
         */
        signal_pass(cage, signal, info->ssi_code == SI_KERNEL);
        return;
    }
}

static void signals_handle(struct cage *cage)
{
    struct signalfd_siginfo info;

    while (read(cage->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        signal_handle(cage, &info);
}

/* True when the command has ended; a holder that is gone without a word was killed. */
static bool has_ended(struct cage *cage)
{
    struct cage_packet packet;

    if (cage_packet_receive(cage->control, &packet) != 0) {
        cage->exit_status = CAGE_EXIT_SIGNAL + SIGKILL;
        return true;
    }
    if (packet.kind != CAGE_PACKET_ENDED)
        return false;
    cage->exit_status = packet.status;
    return true;
}

int cage_wait(struct cage *cage, const struct cage_watch *watch)
{
    int err = 0;

    cage_terminal_take(&cage->terminal);
    for (bool is_running = cage->pid != 0; is_running;) {
        struct pollfd fds[POLL_COUNT] = {
            [POLL_CONTROL] = {cage->control, POLLIN, 0},
            [POLL_SIGNALS] = {cage->signals, POLLIN, 0},
            [POLL_WATCH] = {watch == NULL ? -1 : watch->fd, POLLIN, 0},
        };
        cage_terminal_want(&cage->terminal, fds + POLL_TERMINAL);
        if (poll(fds, POLL_COUNT, -1) < 0)
            continue;
        cage_terminal_move(&cage->terminal, fds + POLL_TERMINAL);
        if (fds[POLL_SIGNALS].revents != 0)
            signals_handle(cage);
        if (fds[POLL_CONTROL].revents != 0)
            is_running = !has_ended(cage);
        if (is_running && watch != NULL && fds[POLL_WATCH].revents != 0) {
            err = watch->on_ready(watch->arg);
            is_running = err == 0;
        }
    }
    /* What is still inside goes now; only then is the terminal's other end closed for sure. */
    cage_kill(cage);
    cage_terminal_drain(&cage->terminal);
    cage_terminal_give(&cage->terminal);
    return err;
}
