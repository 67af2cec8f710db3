#include "proxy/worker/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "proxy/worker/thread_loop.h"

struct matcher *thread_matcher(const struct worker_thread *thread)
{
    return worker_policy_matcher(thread->current);
}

const struct policy *thread_policy(const struct worker_thread *thread)
{
    return worker_policy_facts(thread->current);
}

const struct policy_settings *thread_settings(const struct worker_thread *thread)
{
    return &thread_policy(thread)->settings;
}

uint32_t thread_generation(const struct worker_thread *thread)
{
    return worker_policy_generation(thread->current);
}

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t thread_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

uint64_t thread_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

void thread_random(void *out, size_t len)
{
    uint8_t *at = out;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}

void thread_count(struct worker_thread *thread, enum message_counter counter, int64_t delta)
{
    atomic_fetch_add_explicit(&thread->link->counters[counter], (uint64_t)delta,
                              memory_order_relaxed);
}

uint64_t thread_counter(const struct worker_thread *thread, enum message_counter counter)
{
    return atomic_load_explicit(&thread->link->counters[counter], memory_order_relaxed);
}

uint64_t thread_next_id(struct worker_thread *thread)
{
    return atomic_fetch_add_explicit(&thread->link->next_id, 1, memory_order_relaxed);
}

/* A write to a pipe of at most PIPE_BUF bytes is whole or does not happen. */
static bool write_line(int fd, const struct text *line)
{
    char feed = '\n';
    struct iovec parts[2] = {{line->data, line->len}, {&feed, 1}};
    ssize_t written;

    do
        written = writev(fd, parts, 2);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

static void report_lost_lines(struct worker_thread *thread)
{
    char line[LOG_LINE_MAX];
    char message[64];
    struct text line_text = TEXT_OF(line);
    struct text message_text = TEXT_OF(message);
    struct log_fault fault = {.ts_ms = thread_wall_ms(), .what = "log"};

    if (thread->lines_lost == 0)
        return;
    text_put_number(&message_text, thread->lines_lost);
    text_put(&message_text, " lines lost: the log was not read fast enough");
    fault.message = text_span(&message_text);
    fault.generation = thread_generation(thread);
    log_line_fault(&line_text, &fault);
    if (write_line(thread->log_fd, &line_text))
        thread->lines_lost = 0;
}

void thread_log(struct worker_thread *thread, const struct text *line)
{
    report_lost_lines(thread);
    if (thread->lines_lost == 0 && write_line(thread->log_fd, line))
        return;
    thread->lines_lost++;
    thread_count(thread, COUNTER_LINES_LOST, 1);
}

void thread_log_decision(struct worker_thread *thread, struct log_decision *decision)
{
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);
    bool is_allowed = decision->verdict.kind == VERDICT_ALLOW;

    decision->ts_ms = thread_wall_ms();
    log_line_decision(&line, decision);
    thread_log(thread, &line);
    thread_count(thread, is_allowed ? COUNTER_ALLOWED : COUNTER_DENIED, 1);
}

void thread_log_close(struct worker_thread *thread, struct log_close *close_event)
{
    char buffer[LOG_LINE_MAX];
    struct text line = TEXT_OF(buffer);

    close_event->ts_ms = thread_wall_ms();
    log_line_close(&line, close_event);
    thread_log(thread, &line);
}
