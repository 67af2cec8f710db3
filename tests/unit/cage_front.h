/*
 * A front that runs one command in a cage, in a process of its own, for the tests of cage. Needs
 * root. The command is mostly the test program itself (cage_inside.c), copied to where the cage's
 * user may read it.
 */
#ifndef TESTS_UNIT_CAGE_FRONT_H
#define TESTS_UNIT_CAGE_FRONT_H

#include "proxy/cli/cage.h"
#include "tests/lib/unit.h"

enum { FRONT_UID = 64001, FRONT_OUTPUT_MAX = 65536 };

/* What the front process of a case leaves in shared memory. */
struct outcome {
    int start;
    int probe;
    int go;
    int wait;
    int exit_status;
    char message[CAGE_MESSAGE_MAX];
    struct cage_probe_result results[CAGE_PROBE_MAX];
};

/* How a front is to be run; zero is: /dev/null, a pipe, the test's standard error. */
struct front {
    const char *const *argv;
    const char *const *envp;
    const char *const *hidden;
    size_t hidden_count;
    const struct cage_probe *probes;
    size_t probe_count;
    const struct cage_watch *watch;
    void (*setup)(void); /* in the front, before anything else */
    int input;           /* -1: closed */
    int terminal;        /* the slave side of the outer terminal: 0-2 */
    int keyboard;        /* its other side, which the front must not hold */
    bool is_foreign;     /* it is not the front's controlling terminal */
    bool kills;          /* cage_kill instead of cage_wait, once the command said something */
};

extern struct outcome *outcome;
extern char front_self[64];                 /* the command: this program's copy */
extern char front_output[FRONT_OUTPUT_MAX]; /* what the last command wrote */

/* Starts a front; `out` is what its command writes to. */
pid_t front_start(const struct front *front, int *out);

/* Reads until `until` is seen (NULL: until the end); false after `seconds`. */
bool front_read(int fd, const char *until, int seconds);

/* Runs a front to its end; a command's process that is left would keep the pipe open. */
void front_finish(pid_t pid, int out);
void front_do(const struct front *front);

#define RUN(...) front_do(&(struct front){.argv = (const char *const[]){__VA_ARGS__, NULL}})

void assert_made(void);
void assert_line(const char *line);

/*
 * What main does first: as the command, it carries out its part and ends; as the test, it moves to
 * a network namespace with a loopback and makes the copy. front_fini removes that again.
 */
void front_init(int argc, char **argv);
void front_fini(void);

#endif
