#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/supervisor/log_sink.h"
#include "tests/lib/unit.h"

static struct log_sink sink;
static int out[2];
static int thread_fds[2];
static int errors_fd;
static char got[1 << 20];

#define DENY  "{\"event\":\"decision\",\"verdict\":\"deny\"}"
#define ALLOW "{\"event\":\"decision\",\"verdict\":\"allow\"}"

static int setup(void **state)
{
    (void)state;
    assert_int_equal(pipe2(out, O_NONBLOCK), 0);
    log_sink_init(&sink, out[1], -1);
    return log_sink_attach(&sink, 2, thread_fds, &errors_fd);
}

static int teardown(void **state)
{
    (void)state;
    log_sink_fini(&sink);
    close(out[0]);
    close(out[1]);
    close(errors_fd);
    close(thread_fds[0]);
    close(thread_fds[1]);
    return 0;
}

static void say(int thread, const char *text)
{
    assert_int_equal(write(thread_fds[thread], text, strlen(text)), strlen(text));
}

static void turn(void)
{
    struct pollfd fds[LOG_SINK_POLL];

    log_sink_want(&sink, fds);
    poll(fds, LOG_SINK_POLL, 0);
    log_sink_ready(&sink, fds);
}

/* What has been written so far, NUL-terminated. */
static const char *output(void)
{
    ssize_t len = read(out[0], got, sizeof(got) - 1);

    got[len > 0 ? len : 0] = '\0';
    return got;
}

static void lines_pass(void **state)
{
    (void)state;
    say(0, ALLOW "\n" DENY "\n");
    say(1, "{\"event\"");
    turn();
    assert_string_equal(output(), ALLOW "\n" DENY "\n");
    say(1, ":\"x\"}\n");
    turn();
    assert_string_equal(output(), "{\"event\":\"x\"}\n");
}

static void what_is_no_line_is_counted(void **state)
{
    (void)state;
    say(0, "plain\n{\"a\":\"\x1b[31m\"}\n" ALLOW "\n");
    turn();
    assert_non_null(strstr(
        output(), "2 lines of the worker were no log lines\",\"generation\":null}\n" ALLOW "\n"));
    assert_null(strchr(got, 0x1b));
}

static void an_endless_line_is_skipped(void **state)
{
    char chunk[4096];

    (void)state;
    memset(chunk, 'a', sizeof(chunk));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(write(thread_fds[0], chunk, sizeof(chunk)), sizeof(chunk));
        turn();
    }
    say(0, "\n" ALLOW "\n");
    turn();
    assert_non_null(strstr(output(), "1 lines of the worker"));
    assert_non_null(strstr(got, ALLOW));
    assert_null(strstr(got, "aaa"));
}

/* Crash reports are for a person; when standard error takes none they are lost. */
static void a_full_standard_error(void **state)
{
    static const char line[] = "a report\n";
    char chunk[4096] = {0};
    int full[2];
    int before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

    (void)state;
    assert_int_equal(pipe(full), 0);
    fcntl(full[1], F_SETFL, O_NONBLOCK);
    while (write(full[1], chunk, sizeof(chunk)) > 0)
        ;
    fcntl(full[1], F_SETFL, 0);
    dup2(full[1], STDERR_FILENO);
    assert_int_equal(write(errors_fd, line, strlen(line)), strlen(line));
    alarm(20);
    turn();
    alarm(0);
    dup2(before, STDERR_FILENO);
    close(before);
    close(full[0]);
    close(full[1]);
}

/* A log that nobody reads stops the reading, not the supervisor; what came since is not lost. */
static void a_slow_output(void **state)
{
    size_t said = 0;
    size_t seen = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        if (write(thread_fds[0], DENY "\n", strlen(DENY) + 1) < 0)
            break;
        said++;
        turn();
    }
    assert_in_range(said, 1000, 19999);
    for (int round = 0; round < 2000; round++) {
        const char *at = output();
        while ((at = strchr(at, '\n'))) {
            at++;
            seen++;
        }
        turn();
    }
    assert_int_equal(seen, said);
}

static void the_front_hears_denials(void **state)
{
    char packet[200];
    int front[2];
    ssize_t len;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, front), 0);
    sink.front_fd = front[0];
    say(0, ALLOW "\n" DENY "\n");
    turn();
    len = recv(front[1], packet, sizeof(packet), MSG_DONTWAIT);
    assert_int_equal(len, strlen(DENY));
    assert_memory_equal(packet, DENY, strlen(DENY));
    assert_int_equal(recv(front[1], packet, sizeof(packet), MSG_DONTWAIT), -1);
    close(front[0]);
    close(front[1]);
}

static void the_last_words_are_read(void **state)
{
    (void)state;
    say(0, ALLOW "\n");
    say(1, DENY "\n");
    log_sink_detach(&sink);
    log_sink_flush(&sink, 100);
    assert_string_equal(output(), ALLOW "\n" DENY "\n");
}

static void nobody_reads(void **state)
{
    struct policy_settings settings = {.log_format = LOG_FORMAT_JSON};

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(log_sink_open(&sink, &settings), 0);
    close(out[0]);
    out[0] = -1;
    say(0, ALLOW "\n");
    turn();
    assert_int_equal(sink.lines_lost, 1);
    assert_int_equal(sink.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_standard_error, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_line_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(an_endless_line_is_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_output, setup, teardown),
        cmocka_unit_test_setup_teardown(the_front_hears_denials, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_words_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_reads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
