/*
 * The command's pseudo-terminal and its relay to the caller's.
 *
 * The caller's terminal is in raw mode only between _take and _give, and only while this process
 * is in its foreground; every special character then reaches the inner terminal, which turns it
 * into a signal for the command's own foreground group. Nothing here blocks: the caller's terminal
 * is opened anew so that non-blocking mode is not set for the shell's descriptors as well.
 */
#ifndef PROXY_CLI_CAGE_TERMINAL_H
#define PROXY_CLI_CAGE_TERMINAL_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

enum { CAGE_TERMINAL_BUFFER = 4096, CAGE_TERMINAL_POLL = 3 };

struct cage_terminal_flow {
    uint8_t bytes[CAGE_TERMINAL_BUFFER];
    size_t from;
    size_t len;
};

/* master is -1 where no standard descriptor is a terminal. */
struct cage_terminal {
    int master;
    int slave;
    int keyboard; /* -1: standard input is no terminal, or it has ended */
    int screen;
    bool is_replaced[3];
    bool is_raw;
    bool has_before;
    bool is_over;          /* the inner side is closed and read to its end */
    struct termios before; /* the keyboard's modes before the first _take */
    struct cage_terminal_flow in;
    struct cage_terminal_flow out;
};

/* A terminal that is none: what _fini may be called on. */
void cage_terminal_init(struct cage_terminal *terminal);

/*
 * A pseudo-terminal owned by `uid`, of the caller's size and modes, when one of 0..2 is a terminal.
 * 0 or a negative errno; nothing is left then.
 */
int cage_terminal_open(struct cage_terminal *terminal, uid_t uid, gid_t gid);

/*
 * Raw mode of the caller's terminal, where there is a keyboard and we are in the foreground; again
 * after every stop. When that terminal hangs up, the inner one does.
 */
void cage_terminal_take(struct cage_terminal *terminal);
void cage_terminal_give(struct cage_terminal *terminal);

/* The inner size follows the outer. */
void cage_terminal_resize(const struct cage_terminal *terminal);

/* Fills CAGE_TERMINAL_POLL entries (unused ones have fd -1); then moves what they announce. */
void cage_terminal_want(const struct cage_terminal *terminal,
                        struct pollfd fds[CAGE_TERMINAL_POLL]);
void cage_terminal_move(struct cage_terminal *terminal,
                        const struct pollfd fds[CAGE_TERMINAL_POLL]);

/* Shows what the ended command left, as long as the screen takes some of it every second. */
void cage_terminal_drain(struct cage_terminal *terminal);

void cage_terminal_fini(struct cage_terminal *terminal);

#endif
