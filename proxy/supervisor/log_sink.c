#include "proxy/supervisor/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy/core/log_text.h"

/* Room that reading one chunk may need; below it the pipes wait. */
enum { ROOM_TO_READ = 4 * LOG_SINK_CHUNK };

void log_sink_init(struct log_sink *sink, int fd, int front_fd)
{
    memset(sink, 0, sizeof(*sink));
    sink->fd = fd;
    sink->front_fd = front_fd;
    for (size_t i = 0; i < LOG_SINK_SOURCES; i++)
        sink->sources[i].fd = -1;
}

void log_sink_fini(struct log_sink *sink)
{
    log_sink_detach(sink);
    if (sink->is_own)
        close(sink->fd);
    sink->is_own = false;
    sink->fd = -1;
}

/* Not through a link, and never waiting for the reader of a FIFO. */
static int open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);

    return fd < 0 ? -errno : fd;
}

int log_sink_try(const struct policy_settings *settings)
{
    int fd = settings->log_file[0] != '\0' ? open_file(settings->log_file) : 0;

    if (fd > 0)
        close(fd);
    return fd < 0 ? fd : 0;
}

int log_sink_open(struct log_sink *sink, const struct policy_settings *settings)
{
    if (settings->log_file[0] != '\0') {
        int fd = open_file(settings->log_file);
        if (fd < 0)
            return fd;
        if (sink->is_own)
            close(sink->fd);
        sink->fd = fd;
        sink->is_own = true;
    }
    switch ((enum log_format)settings->log_format) {
    case LOG_FORMAT_AUTO:
        sink->is_text = isatty(sink->fd) == 1;
        break;
    case LOG_FORMAT_JSON:
        sink->is_text = false;
        break;
    case LOG_FORMAT_TEXT:
        sink->is_text = true;
        break;
    }
    return 0;
}

static size_t count_lines(const char *bytes, size_t len)
{
    size_t count = 0;

    for (size_t i = 0; i < len; i++)
        count += bytes[i] == '\n';
    return count;
}

/* Writes while the output takes it. Pipes and terminals take PIPE_BUF bytes when they say so. */
static void write_out(struct log_sink *sink)
{
    size_t done = 0;

    while (done < sink->len) {
        struct pollfd out = {.fd = sink->fd, .events = POLLOUT};
        size_t left = sink->len - done;
        ssize_t written;
        if (poll(&out, 1, 0) <= 0 || !(out.revents & (POLLOUT | POLLERR | POLLHUP)))
            break;
        written = write(sink->fd, sink->bytes + done, left < PIPE_BUF ? left : PIPE_BUF);
        if (written < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (written < 0) {
            /* Nobody reads it any more, or the disk is full: these lines are lost. */
            sink->lines_lost += count_lines(sink->bytes + done, left);
            done = sink->len;
            break;
        }
        done += (size_t)written;
    }
    if (done > 0)
        memmove(sink->bytes, sink->bytes + done, sink->len - done);
    sink->len -= done;
}

static bool buffer_line(struct log_sink *sink, struct span line)
{
    char printed[LOG_LINE_MAX];
    struct text text = TEXT_OF(printed);

    if (sink->is_text) {
        if (!log_text_print(line, &text))
            return false;
        line = text_span(&text);
    }
    if (line.len + 1 > sizeof(sink->bytes) - sink->len)
        return false;
    memcpy(sink->bytes + sink->len, line.data, line.len);
    sink->bytes[sink->len + line.len] = '\n';
    sink->len += line.len + 1;
    return true;
}

static void tell_front(const struct log_sink *sink, struct span line)
{
    if (sink->front_fd >= 0)
        send(sink->front_fd, line.data, line.len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

uint64_t log_sink_wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool buffer_count(struct log_sink *sink, uint64_t count, const char *what)
{
    char buffer[LOG_LINE_MAX];
    char complaint[100];
    struct text line = TEXT_OF(buffer);
    struct text message = TEXT_OF(complaint);
    struct log_fault fault = {.ts_ms = log_sink_wall_ms(), .what = "log"};

    text_put_number(&message, count);
    text_put(&message, what);
    fault.message = text_span(&message);
    log_line_fault(&line, &fault);
    return buffer_line(sink, text_span(&line));
}

static void report_counts(struct log_sink *sink)
{
    if (sink->lines_lost > 0 &&
        buffer_count(sink, sink->lines_lost, " lines lost: the log was not written fast enough"))
        sink->lines_lost = 0;
    if (sink->lines_bad > 0 &&
        buffer_count(sink, sink->lines_bad, " lines of the worker were no log lines"))
        sink->lines_bad = 0;
}

static void put_line(struct log_sink *sink, struct span line)
{
    if (sink->lines_lost == 0 && sink->lines_bad == 0 && buffer_line(sink, line))
        return;
    report_counts(sink);
    if (sink->lines_lost > 0 || !buffer_line(sink, line))
        sink->lines_lost++;
}

void log_sink_line(struct log_sink *sink, const struct text *line)
{
    tell_front(sink, text_span(line));
    put_line(sink, text_span(line));
    write_out(sink);
}

/* A crash report may hold what a client sent, and standard error may be a terminal that is held. */
static void pass_error(struct span line)
{
    char buffer[LOG_LINE_MAX];
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct text text = TEXT_OF(buffer);

    text_put(&text, "worker: ");
    text_put_escaped(&text, line, 800);
    text_put_char(&text, '\n');
    if (poll(&out, 1, 0) == 1 && write(STDERR_FILENO, text.data, text.len) < 0)
        return;
}

static void take_line(struct log_sink *sink, const struct log_source *source, struct span line)
{
    struct span verdict;

    if (source->is_errors) {
        pass_error(line);
        return;
    }
    if (line.len >= LOG_LINE_MAX || !log_text_is_line(line)) {
        sink->lines_bad++;
        return;
    }
    if (log_text_field(line, "verdict", &verdict) && span_equal(verdict, SPAN_LITERAL("deny")))
        tell_front(sink, line);
    put_line(sink, line);
}

/* Cuts whole lines off what was read; a line that fills the buffer is skipped to its end. */
static void take_lines(struct log_sink *sink, struct log_source *source)
{
    struct span rest = span_of(source->bytes, source->len);

    for (;;) {
        size_t end = span_find(rest, '\n');
        if (end == rest.len)
            break;
        if (!source->is_skipping)
            take_line(sink, source, span_first(rest, end));
        source->is_skipping = false;
        rest = span_from(rest, end + 1);
    }
    if (rest.len == sizeof(source->bytes)) {
        sink->lines_bad += !source->is_skipping;
        source->is_skipping = true;
        rest.len = 0;
    }
    if (rest.len > 0)
        memmove(source->bytes, rest.data, rest.len);
    source->len = rest.len;
}

static bool has_room(const struct log_sink *sink)
{
    return sizeof(sink->bytes) - sink->len >= ROOM_TO_READ;
}

/* False when there is nothing more to read now. */
static bool read_source(struct log_sink *sink, struct log_source *source)
{
    ssize_t len =
        read(source->fd, source->bytes + source->len, sizeof(source->bytes) - source->len);

    if (len > 0) {
        source->len += (size_t)len;
        take_lines(sink, source);
        return true;
    }
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    close(source->fd);
    source->fd = -1;
    return false;
}

static int open_source(struct log_sink *sink, size_t index, bool is_errors, int *write_end)
{
    struct log_source *source = &sink->sources[index];
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    source->fd = ends[0];
    source->is_errors = is_errors;
    source->is_skipping = false;
    source->len = 0;
    *write_end = ends[1];
    return 0;
}

int log_sink_attach(struct log_sink *sink, unsigned threads, int *thread_fds, int *errors_fd)
{
    int status = open_source(sink, 0, true, errors_fd);

    for (unsigned i = 0; i < threads && status == 0; i++) {
        status = open_source(sink, i + 1, false, &thread_fds[i]);
        if (status < 0)
            for (unsigned k = 0; k < i; k++)
                close(thread_fds[k]);
    }
    if (status < 0) {
        if (sink->sources[0].fd >= 0)
            close(*errors_fd);
        log_sink_detach(sink);
    }
    return status;
}

void log_sink_detach(struct log_sink *sink)
{
    for (size_t i = 0; i < LOG_SINK_SOURCES; i++) {
        struct log_source *source = &sink->sources[i];
        while (source->fd >= 0 && read_source(sink, source))
            write_out(sink);
        if (source->fd >= 0)
            close(source->fd);
        source->fd = -1;
    }
}

void log_sink_want(const struct log_sink *sink, struct pollfd *fds)
{
    bool is_reading = has_room(sink);

    for (size_t i = 0; i < LOG_SINK_SOURCES; i++)
        fds[i] = (struct pollfd){.fd = is_reading ? sink->sources[i].fd : -1, .events = POLLIN};
    fds[LOG_SINK_SOURCES] = (struct pollfd){.fd = sink->len > 0 ? sink->fd : -1, .events = POLLOUT};
}

void log_sink_ready(struct log_sink *sink, const struct pollfd *fds)
{
    for (size_t i = 0; i < LOG_SINK_SOURCES; i++)
        if (fds[i].fd >= 0 && fds[i].revents && fds[i].fd == sink->sources[i].fd && has_room(sink))
            read_source(sink, &sink->sources[i]);
    write_out(sink);
}

void log_sink_flush(struct log_sink *sink, int timeout_ms)
{
    uint64_t end = log_sink_wall_ms() + (uint64_t)timeout_ms;

    report_counts(sink);
    write_out(sink);
    while (sink->len > 0 && log_sink_wall_ms() < end) {
        struct pollfd out = {.fd = sink->fd, .events = POLLOUT};
        poll(&out, 1, 50);
        write_out(sink);
    }
}
