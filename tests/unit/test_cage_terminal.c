/*
 * The command's pseudo-terminal against a terminal of the test's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tests/unit/cage_front.h"

/* The caller's terminal; the test sits at the keyboard, which is the master. */
struct outer {
    int keyboard;
    int terminal;
    char name[64];
    struct termios before;
};

static void outer_open(struct outer *outer)
{
    struct winsize size = {.ws_row = 33, .ws_col = 77};

    outer->keyboard = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(outer->keyboard >= 0);
    unlockpt(outer->keyboard);
    assert_int_equal(ptsname_r(outer->keyboard, outer->name, sizeof(outer->name)), 0);
    outer->terminal = open(outer->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(outer->terminal >= 0);
    ioctl(outer->terminal, TIOCSWINSZ, &size);
    tcgetattr(outer->terminal, &outer->before);
}

static void outer_close(struct outer *outer)
{
    close(outer->keyboard);
    close(outer->terminal);
}

/* The screen's end of line is the terminal's business, not the test's. */
static void screen_tidy(void)
{
    char *to = front_output;

    for (const char *from = front_output; *from != '\0'; from++)
        if (*from != '\r')
            *to++ = *from;
    *to = '\0';
}

static pid_t outer_start(const struct outer *outer, const char *what)
{
    int out;
    pid_t pid;

    front_output[0] = '\0';
    pid =
        front_start(&(struct front){.argv = (const char *const[]){front_self, "inside", what, NULL},
                                    .terminal = outer->terminal,
                                    .keyboard = outer->keyboard},
                    &out);
    close(out);
    return pid;
}

/* What the front wrote until it ended; the terminal is then as it was. */
static void outer_finish(struct outer *outer, pid_t pid)
{
    struct termios after;
    int typed = -1;
    int status;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        struct pollfd shown = {.fd = outer->keyboard, .events = POLLIN};
        size_t used = strlen(front_output);
        if (poll(&shown, 1, 50) > 0) {
            ssize_t got =
                read(outer->keyboard, front_output + used, sizeof(front_output) - 1 - used);
            if (got > 0)
                front_output[used + (size_t)got] = '\0';
        }
    }
    front_read(outer->keyboard, "\n\n never", 0);
    screen_tidy();
    tcgetattr(outer->terminal, &after);
    assert_int_equal(after.c_lflag, outer->before.c_lflag);
    assert_int_equal(after.c_iflag, outer->before.c_iflag);
    assert_int_equal(after.c_oflag, outer->before.c_oflag);
    assert_int_equal(ioctl(outer->terminal, FIONREAD, &typed), 0);
    assert_int_equal(typed, 0);
}

static void terminal_of_its_own(void **state)
{
    struct outer outer;
    char line[128];

    (void)state;
    outer_open(&outer);
    outer_finish(&outer, outer_start(&outer, "terminal"));
    assert_made();
    assert_line("isatty 111");
    assert_line("size 33x77");
    assert_line("sti EPERM");
    assert_line("sti-high EPERM");
    assert_line("linux EPERM");
    assert_line("linux-high EPERM");
    assert_line("tty ok");
    assert_non_null(strstr(front_output, "name /dev/pts/"));
    snprintf(line, sizeof(line), "name %s\n", outer.name);
    assert_null(strstr(front_output, line));
    outer_close(&outer);
}

static void keyboard_interrupts(void **state)
{
    struct outer outer;
    pid_t pid;

    (void)state;
    outer_open(&outer);
    pid = outer_start(&outer, "wait");
    assert_true(front_read(outer.keyboard, "ready", 10));
    assert_int_equal(write(outer.keyboard, "\003", 1), 1);
    outer_finish(&outer, pid);
    assert_made();
    assert_int_equal(outcome->exit_status, 128 + SIGINT);
    outer_close(&outer);
}

static void type_line(bool is_foreign)
{
    struct outer outer;
    int out;
    pid_t pid;

    outer_open(&outer);
    front_output[0] = '\0';
    pid = front_start(
        &(struct front){
            .argv = (const char *const[]){"sh", "-c", "echo ready; read x; echo got:$x", NULL},
            .terminal = outer.terminal,
            .keyboard = outer.keyboard,
            .is_foreign = is_foreign},
        &out);
    close(out);
    assert_true(front_read(outer.keyboard, "ready", 10));
    assert_int_equal(write(outer.keyboard, "hello\r", 6), 6);
    outer_finish(&outer, pid);
    assert_made();
    assert_line("got:hello");
    outer_close(&outer);
}

static void typed_lines_arrive(void **state)
{
    (void)state;
    type_line(false);
    type_line(true);
}

static void window_follows(void **state)
{
    struct winsize size = {.ws_row = 40, .ws_col = 101};
    struct outer outer;
    pid_t pid;

    (void)state;
    outer_open(&outer);
    pid = outer_start(&outer, "resize");
    assert_true(front_read(outer.keyboard, "ready", 10));
    assert_int_equal(ioctl(outer.terminal, TIOCSWINSZ, &size), 0);
    outer_finish(&outer, pid);
    assert_made();
    assert_line("size 40x101");
    outer_close(&outer);
}

static void wait_raw(int terminal)
{
    struct termios now;

    for (int tries = 0; tries < 200; tries++) {
        tcgetattr(terminal, &now);
        if ((now.c_lflag & (tcflag_t)ICANON) == 0)
            return;
        usleep(20000);
    }
    fail_msg("the terminal is not raw");
}

/* The caller's terminal goes, and the command is told. */
static void hang_up_arrives(void **state)
{
    struct outer outer;
    pid_t pid;

    (void)state;
    for (int is_foreign = 0; is_foreign < 2; is_foreign++) {
        int out;
        outer_open(&outer);
        front_output[0] = '\0';
        pid = front_start(
            &(struct front){.argv = (const char *const[]){front_self, "inside", "wait", NULL},
                            .terminal = outer.terminal,
                            .keyboard = outer.keyboard,
                            .is_foreign = is_foreign == 1},
            &out);
        assert_true(front_read(outer.keyboard, "ready", 10));
        outer_close(&outer);
        front_finish(pid, out);
        assert_made();
        assert_int_equal(outcome->exit_status, 128 + SIGHUP);
    }
}

/* Stopped by its shell, the front gives the terminal back and takes it again when continued. */
static void stops_and_continues(void **state)
{
    struct termios meanwhile;
    struct outer outer;
    pid_t pid;
    int status;

    (void)state;
    outer_open(&outer);
    pid = outer_start(&outer, "wait");
    assert_true(front_read(outer.keyboard, "ready", 10));
    tcgetattr(outer.terminal, &meanwhile);
    assert_int_equal(meanwhile.c_lflag & (tcflag_t)ICANON, 0);
    kill(pid, SIGTSTP);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    tcgetattr(outer.terminal, &meanwhile);
    assert_int_equal(meanwhile.c_lflag, outer.before.c_lflag);
    kill(pid, SIGCONT);
    /* Without an announcement the terminal is as the shell made it, or still raw. */
    for (int round = 0; round < 2; round++) {
        wait_raw(outer.terminal);
        kill(pid, SIGSTOP);
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        assert_true(WIFSTOPPED(status));
        if (round == 0)
            tcsetattr(outer.terminal, TCSANOW, &outer.before);
        kill(pid, SIGCONT);
    }
    wait_raw(outer.terminal);
    kill(pid, SIGTERM);
    outer_finish(&outer, pid);
    assert_made();
    assert_int_equal(outcome->exit_status, 128 + SIGTERM);
    outer_close(&outer);
}

/* All of a large output is shown, and an orphan that holds the terminal does not delay the end. */
static void output_is_complete(void **state)
{
    struct outer outer;
    int out;
    pid_t pid;

    (void)state;
    outer_open(&outer);
    front_output[0] = '\0';
    pid = front_start(
        &(struct front){.argv = (const char *const[]){"sh", "-c", "sleep 100 & seq 9000", NULL},
                        .terminal = outer.terminal,
                        .keyboard = outer.keyboard},
        &out);
    close(out);
    outer_finish(&outer, pid);
    assert_made();
    assert_line("1");
    assert_line("4500");
    assert_line("9000");
    outer_close(&outer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terminal_of_its_own), cmocka_unit_test(keyboard_interrupts),
        cmocka_unit_test(typed_lines_arrive),  cmocka_unit_test(window_follows),
        cmocka_unit_test(stops_and_continues), cmocka_unit_test(output_is_complete),
        cmocka_unit_test(hang_up_arrives),
    };

    front_init(argc, argv);
    int failed = cmocka_run_group_tests_name("cage_terminal", tests, NULL, NULL);
    front_fini();
    return failed;
}
