/*
 * Lua in a process of its own.
 *
 * Theory of operation. The child drops what it has, reads the files that it inherited in memory
 * and writes frames to a pipe: the faults, where the users were written, the policy as canonical
 * text, and an end. The parent believes nothing of it but what it can check: a stream without an
 * end, an unknown frame, a text that does not parse, other files than those given, or a child that
 * takes too long is a fault. What the policy says is the file's business, and so the child's.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config/load.h"
#include "config/policy_text.h"

enum {
    NOBODY = 65534,
    CHILD_CPU_S = 10,
    CHILD_MEMORY = 1 << 30, /* beyond what the process has mapped when it starts */
    STREAM_MAX = 512 << 20,
    STREAM_START = 65536,
};

enum frame_kind {
    FRAME_FAULT = 1,
    FRAME_USER,       /* file and line of `user` */
    FRAME_PROXY_USER, /* file and line of `proxy.user` */
    FRAME_POLICY,
    FRAME_END, /* line: faults without words */
};

/* `len` bytes follow. */
struct frame {
    uint32_t kind;
    uint32_t file; /* index of a file, or UINT32_MAX */
    uint32_t line;
    uint32_t len;
};

static bool write_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t put = write(fd, at, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        at += put;
        len -= (size_t)put;
    }
    return true;
}

static bool write_frame(int fd, enum frame_kind kind, struct rule_source where, struct span bytes)
{
    struct frame frame = {(uint32_t)kind, where.file, where.line, (uint32_t)bytes.len};

    return write_all(fd, &frame, sizeof(frame)) && write_all(fd, bytes.data, bytes.len);
}

static uint32_t file_index(const struct load *load, const char *name)
{
    for (size_t i = 0; name != NULL && i < load->file_count; i++) {
        if (strcmp(load->files[i].name, name) == 0)
            return (uint32_t)i;
    }
    return UINT32_MAX;
}

static bool write_result(int fd, const struct load *load, const struct policy *policy,
                         const struct load_sources *sources, const struct faults *faults)
{
    size_t len = 0;
    bool is_written = true;

    for (size_t i = 0; is_written && i < faults->count; i++) {
        struct rule_source where = {file_index(load, faults->list[i].file), faults->list[i].line};
        is_written = write_frame(fd, FRAME_FAULT, where, span_of_text(faults->list[i].message));
    }
    if (is_written && !faults_any(faults)) {
        char *text = policy_text_print(policy, &len);
        is_written = text != NULL && write_frame(fd, FRAME_USER, sources->user, SPAN_NONE) &&
                     write_frame(fd, FRAME_PROXY_USER, sources->proxy_user, SPAN_NONE) &&
                     write_frame(fd, FRAME_POLICY, (struct rule_source){0}, span_of(text, len));
        free(text);
    }
    struct rule_source end = {0, (uint32_t)faults->dropped};
    return is_written && write_frame(fd, FRAME_END, end, SPAN_NONE);
}

/* Bytes of address space in use; sanitizers map terabytes, so a limit is set beyond it. */
static size_t mapped_bytes(void)
{
    char bytes[32] = "";
    uint64_t pages;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    ssize_t len = read(fd, bytes, sizeof(bytes));
    close(fd);
    struct span number = span_of(bytes, len < 0 ? 0 : (size_t)len);
    number = span_first(number, span_find(number, ' '));
    if (!span_parse_number(number, 0, SIZE_MAX >> 16, &pages))
        return 0;
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static bool limit(__rlimit_resource_t resource, size_t most)
{
    struct rlimit now;

    if (getrlimit(resource, &now) < 0)
        return false;
    if (now.rlim_max > most)
        now.rlim_max = most;
    now.rlim_cur = now.rlim_max;
    return setrlimit(resource, &now) == 0;
}

/* Leaves the child with memory, one pipe as descriptor 0, and nobody's rights. */
static bool drop_everything(int pipe_fd, pid_t parent)
{
    size_t mapped = mapped_bytes();

    if (dup2(pipe_fd, 0) < 0 || close_range(1, ~0U, 0) < 0)
        return false;
    if (!limit(RLIMIT_CPU, CHILD_CPU_S) || !limit(RLIMIT_AS, mapped + CHILD_MEMORY) ||
        !limit(RLIMIT_NOFILE, 0) || !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_CORE, 0))
        return false;
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                           setresuid(NOBODY, NOBODY, NOBODY) < 0 || !limit(RLIMIT_NPROC, 0)))
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return false;
    /* Last: a change of user clears the death signal. The parent may be gone by now. */
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

static _Noreturn void run_child(int pipe_fd, pid_t parent, const struct load *load)
{
    struct policy policy;
    struct faults faults;
    struct load_sources sources;

    if (!drop_everything(pipe_fd, parent))
        _exit(2);
    policy_init(&policy);
    faults_init(&faults);
    load_evaluate(load, &policy, &sources, &faults);
    _exit(write_result(0, load, &policy, &sources, &faults) ? 0 : 1);
}

/* What came through the pipe. */
struct stream {
    uint8_t *data;
    size_t len;
    size_t cap;
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool stream_room(struct stream *stream)
{
    size_t cap = stream->cap == 0 ? STREAM_START : stream->cap * 2;

    if (stream->len < stream->cap)
        return true;
    uint8_t *data = cap > STREAM_MAX ? NULL : realloc(stream->data, cap);
    if (data == NULL)
        return false;
    stream->data = data;
    stream->cap = cap;
    return true;
}

/* To the end of the pipe; a complaint when it does not come in time. */
static const char *read_stream(int fd, struct stream *stream)
{
    int64_t deadline = now_ms() + LOAD_DEADLINE_MS;

    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - now_ms();
        int status = left <= 0 ? 0 : poll(&ready, 1, (int)left);
        if (status == 0)
            return "the configuration takes too long to read: 10 seconds are the limit";
        if (status < 0 && errno == EINTR)
            continue;
        if (!stream_room(stream))
            return "the configuration says too much";
        ssize_t got = read(fd, stream->data + stream->len, stream->cap - stream->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return "the process that reads the configuration cannot be heard";
        if (got == 0)
            return NULL;
        stream->len += (size_t)got;
    }
}

static bool next_frame(struct span *rest, struct frame *frame, struct span *bytes)
{
    if (rest->len < sizeof(*frame))
        return false;
    memcpy(frame, rest->data, sizeof(*frame));
    *rest = span_from(*rest, sizeof(*frame));
    if (rest->len < frame->len)
        return false;
    *bytes = span_first(*rest, frame->len);
    *rest = span_from(*rest, frame->len);
    return true;
}

/* What the frames say; `text` is the policy, if there is one. False when they make no sense. */
static bool read_frames(struct span rest, const struct load *load, struct load_sources *sources,
                        struct span *text, struct faults *faults)
{
    struct frame frame;
    struct span bytes;

    while (next_frame(&rest, &frame, &bytes)) {
        struct rule_source where = {frame.file, frame.line};
        switch (frame.kind) {
        case FRAME_FAULT:
            faults_add(faults, frame.file < load->file_count ? load->files[frame.file].name : NULL,
                       frame.line, bytes);
            break;
        case FRAME_USER:
            sources->user = where;
            break;
        case FRAME_PROXY_USER:
            sources->proxy_user = where;
            break;
        case FRAME_POLICY:
            *text = bytes;
            break;
        case FRAME_END:
            faults->dropped += frame.line;
            return span_is_empty(rest);
        default:
            return false;
        }
    }
    return false;
}

static bool has_same_files(const struct policy *policy, const struct load *load)
{
    if (policy->file_count != load->file_count)
        return false;
    for (size_t i = 0; i < load->file_count; i++) {
        if (strcmp(policy->files[i], load->files[i].name) != 0)
            return false;
    }
    return true;
}

static void complain(struct faults *faults, const char *what)
{
    faults_add(faults, NULL, 0, span_of_text(what));
}

static bool read_answer(const struct stream *stream, const struct load *load, struct policy *policy,
                        struct load_sources *sources, struct faults *faults)
{
    size_t faults_before = faults->count + faults->dropped;
    struct span text = SPAN_NONE;
    char bytes[300];
    struct text fault = TEXT_OF(bytes);

    *sources = (struct load_sources){0};
    if (!read_frames(span_of(stream->data, stream->len), load, sources, &text, faults)) {
        complain(faults, "the process that reads the configuration ended before it was done");
        return false;
    }
    if (faults->count + faults->dropped > faults_before)
        return false;
    if (!policy_text_parse(text, policy, &fault)) {
        complain(faults, bytes);
        return false;
    }
    if (!has_same_files(policy, load)) {
        policy_fini(policy);
        complain(faults, "the process that reads the configuration read something else");
        return false;
    }
    return true;
}

bool load_evaluate_apart(const struct load *load, struct policy *policy,
                         struct load_sources *sources, struct faults *faults)
{
    struct stream stream = {0};
    int fds[2];
    bool is_read = false;
    pid_t parent = getpid();

    if (pipe2(fds, O_CLOEXEC) < 0) {
        complain(faults, "no pipe to read the configuration through");
        return false;
    }
    pid_t child = fork();
    if (child == 0)
        run_child(fds[1], parent, load);
    close(fds[1]);
    if (child < 0) {
        complain(faults, "no process to read the configuration in");
    } else {
        const char *why = read_stream(fds[0], &stream);
        kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
        if (why != NULL)
            complain(faults, why);
        else
            is_read = read_answer(&stream, load, policy, sources, faults);
    }
    close(fds[0]);
    free(stream.data);
    return is_read;
}
