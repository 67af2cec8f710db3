#include "proxy/supervisor/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/channel/channel.h"

/* A process that ends closes its sockets a moment before it is seen to have ended. */
enum { EXIT_MS = 200 };

void child_init(struct child *child, unsigned threads)
{
    memset(child, 0, sizeof(*child));
    child->pidfd = -1;
    child->control = -1;
    child->threads = threads;
    for (size_t i = 0; i < MESSAGE_THREADS_MAX; i++)
        child->log_fds[i] = -1;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/*
 * Between fork and exec: nothing but system calls. The three standard descriptors and the control
 * socket are all that goes over; everything else is close-on-exec.
 */
_Noreturn static void become_worker(int control, int errors_fd, char *const *argv,
                                    char *const *envp)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;

    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* dup2 onto the same number would keep close-on-exec; none of these is below 3. */
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(errors_fd, 2) < 0)
        _exit(126);
    if (control == 3 ? fcntl(control, F_SETFD, 0) < 0 : dup2(control, 3) < 0)
        _exit(126);
    execve("/proc/self/exe", argv, envp);
    _exit(126);
}

/* Nothing of root's environment but what a sanitizer of a debug build is told. */
static void worker_environment(char *out[], size_t max)
{
    size_t count = 0;

    for (char **at = environ; *at && count + 1 < max; at++) {
        size_t name = strcspn(*at, "=");
        if (name > strlen("SAN_OPTIONS") &&
            memcmp(*at + name - strlen("SAN_OPTIONS"), "SAN_OPTIONS", strlen("SAN_OPTIONS")) == 0)
            out[count++] = *at;
    }
    out[count] = NULL;
}

static int spawn(struct child *child, const struct machine_user *user, int control, int errors_fd)
{
    char uid[16];
    char gid[16];
    char name[] = "cage-proxy";
    char role[] = "worker";
    char *const argv[] = {name, role, uid, gid, NULL};
    char *envp[8];
    pid_t pid;

    snprintf(uid, sizeof(uid), "%u", (unsigned)user->uid);
    snprintf(gid, sizeof(gid), "%u", (unsigned)user->gid);
    worker_environment(envp, sizeof(envp) / sizeof(envp[0]));
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        become_worker(control, errors_fd, argv, envp);
    child->pid = pid;
    child->pidfd = pidfd_open(pid, 0);
    return child->pidfd < 0 ? -errno : 0;
}

int child_start(struct child *child, const struct machine_user *user, struct log_sink *sink,
                uint64_t now_ms)
{
    int ends[2] = {-1, -1};
    int errors_fd = -1;
    int status = log_sink_attach(sink, child->threads, child->log_fds, &errors_fd);

    if (status < 0)
        return status;
    status = channel_pair(ends);
    if (status == 0)
        status = spawn(child, user, ends[1], errors_fd);
    close_fd(&ends[1]);
    close_fd(&errors_fd);
    child->control = ends[0];
    child->epoch++;
    child->is_greeted = false;
    child->offered = child->ready = child->switching = child->active = 0;
    child->answer_by_ms = now_ms + CHILD_HELLO_MS;
    child->is_pinged = false;
    if (status < 0)
        child_kill(child, now_ms);
    return status;
}

int child_hand_over(struct child *child, const struct listeners *listeners)
{
    struct message start = {.type = MESSAGE_START,
                            .body.start = {.sockets = listeners_mask(listeners),
                                           .threads = (uint8_t)child->threads,
                                           .epoch = child->epoch}};
    int descriptors[CHANNEL_DESCRIPTORS_MAX];
    size_t count = listeners_descriptors(listeners, descriptors);
    int status;

    for (unsigned i = 0; i < child->threads; i++)
        descriptors[count++] = child->log_fds[i];
    status = channel_send(child->control, &start, descriptors);
    for (unsigned i = 0; i < child->threads; i++)
        close_fd(&child->log_fds[i]);
    return status;
}

int child_offer(struct child *child, const struct plan *plan, uint64_t now_ms)
{
    struct message policy = {
        .type = MESSAGE_POLICY, .generation = plan->generation, .body.policy.len = plan->len};

    if (!child->is_greeted || child->offered != 0 || child->switching != 0)
        return -EBUSY;
    child->offered = plan->generation;
    child->answer_by_ms = now_ms + CHILD_READY_MS;
    return channel_send(child->control, &policy, &plan->memfd);
}

int child_switch(struct child *child, uint32_t generation, uint64_t now_ms)
{
    struct message message = {.type = MESSAGE_SWITCH, .generation = generation};

    if (child->ready != generation || child->switching != 0)
        return -EBUSY;
    child->ready = 0;
    child->switching = generation;
    child->answer_by_ms = now_ms + CHILD_ACTIVE_MS;
    return channel_send(child->control, &message, NULL);
}

static void gone(struct child_event *out, const char *why)
{
    struct text text = TEXT_OF(out->text);

    out->kind = CHILD_EVENT_GONE;
    text_put(&text, why);
}

/* The legal messages; false for all others. */
static bool take_message(struct child *child, const struct message *m, uint64_t now_ms,
                         struct child_event *out)
{
    out->generation = m->generation;
    switch (m->type) {
    case MESSAGE_HELLO:
        out->kind = CHILD_EVENT_HELLO;
        if (child->is_greeted)
            return false;
        child->is_greeted = true;
        child->answer_by_ms = 0;
        return true;
    case MESSAGE_READY:
        out->kind = CHILD_EVENT_READY;
        if (child->offered == 0 || m->generation != child->offered)
            return false;
        child->ready = child->offered;
        child->offered = 0;
        child->answer_by_ms = 0;
        return true;
    case MESSAGE_FAULT: {
        struct text text = TEXT_OF(out->text);
        out->kind = CHILD_EVENT_FAULT;
        if (child->offered == 0 || m->generation != child->offered)
            return false;
        text_put_span(&text, span_of(m->body.fault.text, m->body.fault.len));
        child->offered = 0;
        child->answer_by_ms = 0;
        return true;
    }
    case MESSAGE_ACTIVE:
        out->kind = CHILD_EVENT_ACTIVE;
        out->closed = m->body.active.closed;
        if (child->switching == 0 || m->generation != child->switching)
            return false;
        if (child->active == 0) {
            child->active_since_ms = now_ms;
            child->ping_at_ms = now_ms + CHILD_PING_EVERY_MS;
        }
        child->active = child->switching;
        child->switching = 0;
        child->answer_by_ms = 0;
        return true;
    case MESSAGE_PONG:
        if (!child->is_pinged || m->body.ping.number != child->ping)
            return false;
        child->is_pinged = false;
        child->ping_at_ms = now_ms + CHILD_PING_EVERY_MS;
        return true;
    case MESSAGE_START:
    case MESSAGE_POLICY:
    case MESSAGE_SWITCH:
    case MESSAGE_PING:
    case MESSAGE_ASK_STATS:
    case MESSAGE_STOP:
    case MESSAGE_STATS:
    case MESSAGE_TYPE_END:
        break;
    }
    return false;
}

static bool has_exited(const struct child *child, int timeout_ms)
{
    struct pollfd exited = {.fd = child->pidfd, .events = POLLIN};

    return poll(&exited, 1, timeout_ms) == 1;
}

/* A stopped worker takes connections into its backlog and answers none: it counts as gone at once.
 */
static bool is_stopped(const struct child *child)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)child->pid, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid != 0;
}

static void describe_exit(struct child *child, struct child_event *out)
{
    struct text text = TEXT_OF(out->text);
    int status = 0;

    out->kind = CHILD_EVENT_GONE;
    if (waitpid(child->pid, &status, 0) != child->pid)
        status = 0;
    child->pid = 0;
    out->is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    text_put(&text, WIFSIGNALED(status) ? "ended by signal " : "ended with status ");
    text_put_number(&text,
                    (uint64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
}

static void check_time(struct child *child, uint64_t now_ms, struct child_event *out)
{
    struct message ping = {.type = MESSAGE_PING};

    if (child->answer_by_ms != 0 && now_ms >= child->answer_by_ms) {
        gone(out, "gave no answer in time");
        return;
    }
    if (child->active == 0 || now_ms < child->ping_at_ms)
        return;
    if (child->is_pinged) {
        gone(out, "did not answer a ping within 3 s");
        return;
    }
    ping.body.ping.number = ++child->ping;
    child->is_pinged = true;
    child->ping_at_ms = now_ms + CHILD_PONG_MS;
    if (channel_send(child->control, &ping, NULL) < 0)
        gone(out, "takes no messages");
}

void child_step(struct child *child, uint64_t now_ms, struct child_event *out)
{
    struct message message;
    int status;

    *out = (struct child_event){.kind = CHILD_EVENT_NONE};
    if (child->pid == 0)
        return;
    /* Its answers count before the clock does: the supervisor itself may have been late. */
    do {
        status = channel_receive_plain(child->control, &message);
        if (status == -EAGAIN)
            break;
        if (status < 0 || !take_message(child, &message, now_ms, out)) {
            if (status == -EPIPE && has_exited(child, EXIT_MS))
                describe_exit(child, out);
            else
                gone(out, status == -EPIPE ? "closed its control socket" : "broke the protocol");
            return;
        }
    } while (out->kind == CHILD_EVENT_NONE);
    if (out->kind == CHILD_EVENT_NONE && has_exited(child, 0))
        describe_exit(child, out);
    if (out->kind == CHILD_EVENT_NONE && is_stopped(child))
        gone(out, "was stopped by a signal");
    if (out->kind == CHILD_EVENT_NONE)
        check_time(child, now_ms, out);
}

uint64_t child_wake_ms(const struct child *child)
{
    uint64_t wake = UINT64_MAX;

    if (child->pid == 0)
        return wake;
    if (child->answer_by_ms != 0)
        wake = child->answer_by_ms;
    if (child->active != 0 && child->ping_at_ms < wake)
        wake = child->ping_at_ms;
    return wake;
}

void child_stop(struct child *child)
{
    struct message stop = {.type = MESSAGE_STOP};

    if (child->control >= 0)
        channel_send(child->control, &stop, NULL);
}

void child_kill(struct child *child, uint64_t now_ms)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    child->pid = 0;
    close_fd(&child->pidfd);
    if (child->control >= 0)
        channel_close(child->control);
    child->control = -1;
    for (size_t i = 0; i < MESSAGE_THREADS_MAX; i++)
        close_fd(&child->log_fds[i]);
    if (child->active != 0 && now_ms - child->active_since_ms >= CHILD_STEADY_MS)
        child->failures = 0;
    child->failures++;
    child->active = 0;
    child->answer_by_ms = 0;
}
