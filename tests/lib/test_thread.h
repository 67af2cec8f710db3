/*
 * A worker's thread that a test drives: with a policy, a loop and a log, and without services.
 */
#ifndef TESTS_LIB_TEST_THREAD_H
#define TESTS_LIB_TEST_THREAD_H

#include "config/policy.h"
#include "proxy/worker/thread_loop.h"

struct test_thread {
    struct worker_thread thread;
    struct worker_link link;
    struct worker_sockets sockets; /* all -1 at first */
    int orders[2];
    int log[2];
};

/* A failure fails the test. Policies stay the caller's. */
void test_thread_init(struct test_thread *t, const struct policy *policy);
void test_thread_fini(struct test_thread *t);

/* What SWITCH does, but for telling the services. */
void test_thread_switch(struct test_thread *t, const struct policy *policy);

/* Runs the loop until *flag is set; false when that takes longer than `limit_ms`. */
bool test_thread_run(struct test_thread *t, const bool *flag, unsigned limit_ms);

/* The next log line without its feed into `line`; false when there is none. */
bool test_thread_log_line(struct test_thread *t, char *line, size_t cap);

#endif
