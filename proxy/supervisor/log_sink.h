/*
 * The one writer of the log: lines of the supervisor, of the worker's threads (a pipe each) and of
 * the worker's standard error, to a file or a descriptor.
 *
 * Theory of operation. Nothing here waits. What the output cannot take yet stands in a bounded
 * buffer; while that is full the pipes are not read, they fill, and the threads drop lines and say
 * how many. A line of a thread is written only when it is a line of ours (core/log_text); the
 * worker's standard error is passed to ours, escaped, since it is where a crash is explained.
 * Denials and the supervisor's own lines also go, as JSON, to the front of a tied cage.
 */
#ifndef PROXY_SUPERVISOR_LOG_SINK_H
#define PROXY_SUPERVISOR_LOG_SINK_H

#include <poll.h>

#include "config/policy.h"
#include "proxy/core/log_line.h"
#include "proxy/core/message.h"

enum {
    LOG_SINK_SOURCES = MESSAGE_THREADS_MAX + 1,
    LOG_SINK_POLL = LOG_SINK_SOURCES + 1, /* entries of struct pollfd */
    LOG_SINK_CHUNK = 16 << 10,
    LOG_SINK_ROOM = 256 << 10,
};

struct log_source {
    int fd; /* -1: none */
    bool is_errors;
    bool is_skipping; /* in a line that is too long */
    size_t len;
    char bytes[LOG_SINK_CHUNK];
};

struct log_sink {
    int fd;
    bool is_own; /* opened from a path */
    bool is_text;
    int front_fd; /* -1: none; borrowed */
    uint64_t lines_lost;
    uint64_t lines_bad;
    struct log_source sources[LOG_SINK_SOURCES];
    size_t len;
    char bytes[LOG_SINK_ROOM];
};

/* Writes to `fd` (borrowed) until log_sink_open(). */
void log_sink_init(struct log_sink *sink, int fd, int front_fd);
void log_sink_fini(struct log_sink *sink);

/*
 * Takes the settings' file (anew: it may have been rotated away) and format. 0 or a negative
 * errno; the old output then stays.
 */
int log_sink_open(struct log_sink *sink, const struct policy_settings *settings);

/* Whether that would succeed; 0 or a negative errno. */
int log_sink_try(const struct policy_settings *settings);

/* An event of the supervisor's own. */
void log_sink_line(struct log_sink *sink, const struct text *line);

/*
 * New pipes for a worker: `threads` writing ends for its threads, one for its standard error; all
 * the caller's. 0 or a negative errno with nothing open. There must be no sources.
 */
int log_sink_attach(struct log_sink *sink, unsigned threads, int *thread_fds, int *errors_fd);

/* Reads what a dead worker left, and closes its pipes. */
void log_sink_detach(struct log_sink *sink);

/* What to wait for, in LOG_SINK_POLL entries; and what to do with the result. */
void log_sink_want(const struct log_sink *sink, struct pollfd *fds);
void log_sink_ready(struct log_sink *sink, const struct pollfd *fds);

/* Milliseconds since 1970, for the lines. */
uint64_t log_sink_wall_ms(void);

/* Writes what is buffered, for at most so long. */
void log_sink_flush(struct log_sink *sink, int timeout_ms);

#endif
