#include "tests/lib/test_thread.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/policy_text.h"

static void need(bool holds, const char *what)
{
    if (holds)
        return;
    perror(what);
    abort();
}

static struct worker_policy *load(const struct policy *policy)
{
    static uint32_t generation;
    char complaint[400];
    struct text fault = TEXT_OF(complaint);
    size_t len;
    char *text = policy_text_print(policy, &len);
    int fd = memfd_create("policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    need(text && fd >= 0 && write(fd, text, len) == (ssize_t)len, "policy");
    need(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0,
         "seal");
    struct worker_policy *loaded = worker_policy_load(fd, (uint32_t)len, ++generation, &fault);
    need(loaded, complaint);
    free(text);
    close(fd);
    return loaded;
}

void test_thread_init(struct test_thread *t, const struct policy *policy)
{
    *t = (struct test_thread){.thread.sockets = &t->sockets};
    for (size_t i = 0; i < SOCKET_COUNT; i++)
        t->sockets.fd[i] = -1;
    need(pipe2(t->orders, O_CLOEXEC | O_NONBLOCK) == 0, "pipe");
    need(pipe2(t->log, O_CLOEXEC | O_NONBLOCK) == 0, "pipe");
    atomic_store(&t->link.next_id, 1);
    need(thread_init(&t->thread, &t->link, t->orders[0], t->log[1]) == 0, "thread_init");
    test_thread_switch(t, policy);
}

void test_thread_fini(struct test_thread *t)
{
    thread_fini(&t->thread);
    for (size_t i = 0; i < 2; i++) {
        close(t->orders[i]);
        close(t->log[i]);
    }
}

void test_thread_switch(struct test_thread *t, const struct policy *policy)
{
    struct worker_policy *old = t->thread.current;

    t->thread.current = load(policy);
    worker_policy_unref(old);
}

bool test_thread_run(struct test_thread *t, const bool *flag, unsigned limit_ms)
{
    uint64_t end_ms = thread_now_ms() + limit_ms;
    const struct timeval slice = {.tv_usec = 20000};

    while (!*flag && thread_now_ms() < end_ms) {
        event_base_loopexit(t->thread.base, &slice);
        event_base_loop(t->thread.base, EVLOOP_ONCE);
    }
    return *flag;
}

bool test_thread_log_line(struct test_thread *t, char *line, size_t cap)
{
    for (size_t len = 0; len < cap; len++) {
        if (read(t->log[0], line + len, 1) != 1)
            return false;
        if (line[len] == '\n') {
            line[len] = '\0';
            return true;
        }
    }
    return false;
}
