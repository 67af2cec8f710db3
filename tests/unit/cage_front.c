#include "tests/unit/cage_front.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/cage_inside.h"

struct outcome *outcome;
char front_self[64];
char front_output[FRONT_OUTPUT_MAX];

static struct cage_account account;

static void front_stdio(const struct front *front, int out)
{
    int null = open("/dev/null", O_RDWR);

    if (front->terminal > 0) {
        setsid();
        close(front->keyboard);
        if (!front->is_foreign)
            ioctl(front->terminal, TIOCSCTTY, 0);
        for (int fd = 0; fd <= 2; fd++)
            dup2(front->terminal, fd);
        return;
    }
    dup2(front->input > 0 ? front->input : null, 0);
    if (front->input < 0)
        close(0);
    dup2(out, 1);
    if (isatty(2))
        dup2(null, 2);
}

static void front_serve(const struct front *front, struct cage *cage, int out)
{
    struct pollfd said = {.fd = out, .events = POLLIN};

    outcome->probe = front->probe_count == 0
                         ? 0
                         : cage_probe(cage, front->probes, front->probe_count, outcome->results);
    outcome->go = cage_go(cage);
    if (outcome->go != 0)
        return;
    if (front->kills) {
        poll(&said, 1, 5000);
        cage_kill(cage);
        return;
    }
    outcome->wait = cage_wait(cage, front->watch);
}

static _Noreturn void front_run(const struct front *front, int out[2])
{
    static const char *const env[] = {"ASAN_OPTIONS=detect_leaks=0", "PATH=/usr/bin:/bin", NULL};
    struct cage_spec spec = {
        .account = &account,
        .argv = (char *const *)(uintptr_t)front->argv,
        .envp = (char *const *)(uintptr_t)(front->envp != NULL ? front->envp : env),
        .hidden = front->hidden,
        .hidden_count = front->hidden_count,
    };
    struct cage cage;

    /* A test that is killed leaves nothing. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (front->setup != NULL)
        front->setup();
    front_stdio(front, out[1]);
    close(out[1]);
    if (!front->kills)
        close(out[0]);
    outcome->start = cage_start(&spec, &cage);
    if (outcome->start == 0)
        front_serve(front, &cage, out[0]);
    outcome->exit_status = cage.exit_status;
    memcpy(outcome->message, cage.message, sizeof(outcome->message));
    cage_fini(&cage);
    _exit(0);
}

/* Starts a front; `out` is what its command writes to. */
pid_t front_start(const struct front *front, int *out)
{
    int pair[2];

    memset(outcome, 0, sizeof(*outcome));
    outcome->exit_status = -1;
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        front_run(front, pair);
    assert_true(pid > 0);
    close(pair[1]);
    *out = pair[0];
    return pid;
}

/* Reads until `until` is seen (NULL: until the end); false after `seconds`. */
bool front_read(int fd, const char *until, int seconds)
{
    size_t used = strlen(front_output);
    time_t end = time(NULL) + seconds;

    while (until == NULL || strstr(front_output, until) == NULL) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (time(NULL) > end)
            return false;
        if (poll(&readable, 1, 200) <= 0)
            continue;
        ssize_t got = read(fd, front_output + used, sizeof(front_output) - 1 - used);
        if (got <= 0)
            return until == NULL;
        used += (size_t)got;
        front_output[used] = '\0';
    }
    return true;
}

/* Runs a front to its end; a command's process that is left would keep the pipe open. */
void front_finish(pid_t pid, int out)
{
    if (!front_read(out, NULL, 20)) {
        kill(pid, SIGKILL);
        fail_msg("something inside is still alive; output: %s", front_output);
    }
    close(out);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

void front_do(const struct front *front)
{
    int out;
    pid_t pid;

    front_output[0] = '\0';
    pid = front_start(front, &out);
    front_finish(pid, out);
}

void assert_made(void)
{
    if (outcome->start != 0 || outcome->go != 0 || outcome->wait != 0)
        fail_msg("start %d, go %d, wait %d: %s", outcome->start, outcome->go, outcome->wait,
                 outcome->message);
}

void assert_line(const char *line)
{
    char wanted[256];

    snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    if (strncmp(front_output, wanted + 1, strlen(wanted) - 1) != 0 &&
        strstr(front_output, wanted) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, front_output);
}

static void self_copy(void)
{
    char bytes[65536];
    ssize_t got;
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    snprintf(front_self, sizeof(front_self), "/tmp/test-cage-%d", (int)getpid());
    int to = open(front_self, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    while ((got = read(from, bytes, sizeof(bytes))) > 0)
        if (write(to, bytes, (size_t)got) != got)
            abort();
    fchmod(to, 0755);
    close(from);
    close(to);
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    request.ifr_flags = IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        perror("loopback");
    close(fd);
}

void front_init(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "inside") == 0)
        exit(cage_inside(argv + 2));
    if (unshare(CLONE_NEWNET) != 0 || cage_account_find("64001", &account) != 0) {
        perror("this test needs root");
        exit(1);
    }
    loopback_up();
    self_copy();
    signal(SIGPIPE, SIG_IGN);
    outcome =
        mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcome == MAP_FAILED)
        abort();
}

void front_fini(void)
{
    unlink(front_self);
}
