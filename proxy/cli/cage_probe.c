#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy/cli/cage_parts.h"

enum { HTTP_HEAD_MAX = 8192, DNS_MESSAGE_MAX = 1232, DNS_HEADER_LEN = 12 };

/* RFC 1035 4.1.1 */
enum { DNS_RCODE_NXDOMAIN = 3, DNS_RCODE_REFUSED = 5 };

const char *cage_probe_verdict_text(enum cage_probe_verdict verdict)
{
    switch (verdict) {
    case CAGE_PROBE_NO_ANSWER:
        return "no answer";
    case CAGE_PROBE_REFUSED:
        return "refused";
    case CAGE_PROBE_GOT_THROUGH:
        return "got through";
    case CAGE_PROBE_NO_ROUTE:
        return "no route";
    }
    return "no answer";
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void result_set(struct cage_probe_result *result, enum cage_probe_verdict verdict,
                       const char *detail)
{
    size_t used = 0;

    result->verdict = verdict;
    for (; *detail != '\0' && used + 1 < sizeof(result->detail); detail++)
        result->detail[used++] = (char)(*detail >= ' ' && *detail <= '~' ? *detail : '?');
    result->detail[used] = '\0';
}

static socklen_t address_fill(const struct cage_probe *probe, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

    memset(out, 0, sizeof(*out));
    if (netaddr_is_v4(&probe->address)) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(probe->port);
        memcpy(&v4->sin_addr, netaddr_v4_bytes(&probe->address), 4);
        return sizeof(*v4);
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(probe->port);
    memcpy(&v6->sin6_addr, probe->address.bytes, 16);
    return sizeof(*v6);
}

/* False when the deadline came first. */
static bool wait_for(int fd, short events, long deadline_ms)
{
    struct pollfd waited = {.fd = fd, .events = events};
    int ready;

    do {
        long left_ms = deadline_ms - now_ms();
        ready = left_ms <= 0 ? 0 : poll(&waited, 1, (int)left_ms);
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

/* A connected socket, or the negative errno of the attempt. */
static int probe_connect(const struct cage_probe *probe, int type, long deadline_ms)
{
    struct sockaddr_storage to;
    socklen_t to_len = address_fill(probe, &to);
    int err = 0;
    socklen_t err_len = sizeof(err);
    int fd = socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&to, to_len) != 0) {
        err = errno;
        if (err == EINPROGRESS && !wait_for(fd, POLLOUT, deadline_ms))
            err = ETIMEDOUT;
        else if (err == EINPROGRESS && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len) != 0)
            err = errno;
    }
    if (err == 0)
        return fd;
    close(fd);
    return -err;
}

/* What a failed connection or transfer means where an answer was expected. */
static void result_error(struct cage_probe_result *result, int err)
{
    bool has_no_route = err == ENETUNREACH || err == EADDRNOTAVAIL || err == EAFNOSUPPORT;

    result_set(result, has_no_route ? CAGE_PROBE_NO_ROUTE : CAGE_PROBE_NO_ANSWER, strerror(err));
}

static void probe_tcp(const struct cage_probe *probe, long deadline_ms,
                      struct cage_probe_result *result)
{
    int fd = probe_connect(probe, SOCK_STREAM, deadline_ms);

    if (fd >= 0) {
        result_set(result, CAGE_PROBE_GOT_THROUGH, "connected");
        close(fd);
    } else if (fd == -ECONNREFUSED || fd == -EPERM || fd == -EACCES) {
        result_set(result, CAGE_PROBE_REFUSED, strerror(-fd));
    } else {
        result_error(result, -fd);
    }
}

/* The first line and the header are all that matters; both are ours to know. */
static void http_judge(const char *head, struct cage_probe_result *result)
{
    bool is_403 = strncmp(head, "HTTP/1.1 403", 12) == 0 || strncmp(head, "HTTP/1.0 403", 12) == 0;
    const char *line = head;

    while (is_403 && (line = strstr(line, "\r\n")) != NULL) {
        line += 2;
        if (strncasecmp(line, "X-Cage-Reason:", 14) == 0) {
            char detail[CAGE_PROBE_DETAIL_MAX];
            snprintf(detail, sizeof(detail), "%.*s", (int)strcspn(line, "\r"), line);
            result_set(result, CAGE_PROBE_REFUSED, detail);
            return;
        }
    }
    char detail[CAGE_PROBE_DETAIL_MAX];
    snprintf(detail, sizeof(detail), "answered: %.*s", (int)strcspn(head, "\r\n"), head);
    result_set(result, CAGE_PROBE_GOT_THROUGH, detail);
}

static void http_read(int fd, long deadline_ms, struct cage_probe_result *result)
{
    char head[HTTP_HEAD_MAX + 1];
    size_t len = 0;

    while (len < HTTP_HEAD_MAX) {
        if (!wait_for(fd, POLLIN, deadline_ms)) {
            result_error(result, ETIMEDOUT);
            return;
        }
        ssize_t got = recv(fd, head + len, HTTP_HEAD_MAX - len, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got < 0) {
            result_error(result, errno);
            return;
        }
        if (got == 0)
            break;
        len += (size_t)got;
        head[len] = '\0';
        /* A body could name the header as well. */
        char *end = strstr(head, "\r\n\r\n");
        if (end != NULL) {
            len = (size_t)(end - head) + 2;
            break;
        }
    }
    head[len] = '\0';
    if (len == 0)
        result_set(result, CAGE_PROBE_NO_ANSWER, "closed without an answer");
    else
        http_judge(head, result);
}

static void probe_http(const struct cage_probe *probe, long deadline_ms,
                       struct cage_probe_result *result)
{
    char request[HOSTNAME_LEN_MAX + 64];
    int len = snprintf(request, sizeof(request),
                       "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", probe->name.text);
    int fd = probe_connect(probe, SOCK_STREAM, deadline_ms);

    if (fd < 0) {
        result_error(result, -fd);
        return;
    }
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        result_error(result, errno);
    else
        http_read(fd, deadline_ms, result);
    close(fd);
}

/* One question of type A, class IN, recursion desired (RFC 1035 4.1); the length. */
static size_t dns_question(const struct hostname *name, uint8_t out[DNS_MESSAGE_MAX])
{
    static const uint8_t tail[] = {0, 0, 1, 0, 1};
    size_t used = DNS_HEADER_LEN;

    memset(out, 0, DNS_HEADER_LEN);
    if (getrandom(out, 2, 0) != 2)
        return 0;
    out[2] = 1;
    out[5] = 1;
    for (size_t from = 0; from < name->len;) {
        size_t next = hostname_next_label(name, from);
        size_t label_len = next - from - (next < name->len ? 1 : 0);
        out[used++] = (uint8_t)label_len;
        memcpy(out + used, name->text + from, label_len);
        used += label_len;
        from = next;
    }
    memcpy(out + used, tail, sizeof(tail));
    return used + sizeof(tail);
}

static void dns_judge(unsigned rcode, struct cage_probe_result *result)
{
    char detail[CAGE_PROBE_DETAIL_MAX];

    snprintf(detail, sizeof(detail), "rcode %u", rcode);
    if (rcode == DNS_RCODE_NXDOMAIN || rcode == DNS_RCODE_REFUSED)
        result_set(result, CAGE_PROBE_REFUSED, detail);
    else if (rcode == 0)
        result_set(result, CAGE_PROBE_GOT_THROUGH, detail);
    else
        result_set(result, CAGE_PROBE_NO_ANSWER, detail);
}

static void probe_dns(const struct cage_probe *probe, long deadline_ms,
                      struct cage_probe_result *result)
{
    uint8_t question[DNS_MESSAGE_MAX];
    uint8_t answer[DNS_MESSAGE_MAX];
    size_t len = dns_question(&probe->name, question);
    int fd = probe_connect(probe, SOCK_DGRAM, deadline_ms);

    if (fd < 0) {
        result_error(result, -fd);
        return;
    }
    if (len == 0 || send(fd, question, len, MSG_NOSIGNAL) != (ssize_t)len) {
        result_error(result, errno);
        close(fd);
        return;
    }
    for (;;) {
        if (!wait_for(fd, POLLIN, deadline_ms)) {
            result_error(result, ETIMEDOUT);
            break;
        }
        ssize_t got = recv(fd, answer, sizeof(answer), 0);
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            result_error(result, errno);
            break;
        }
        /* Anything that is no response to this very question is noise. */
        if (got >= (ssize_t)len && memcmp(answer, question, 2) == 0 && (answer[2] & 0x80) != 0 &&
            memcmp(answer + DNS_HEADER_LEN, question + DNS_HEADER_LEN, len - DNS_HEADER_LEN) == 0) {
            dns_judge(answer[3] & 0x0fU, result);
            break;
        }
    }
    close(fd);
}

void cage_probe_run(const struct cage_probe *probe, struct cage_probe_result *result)
{
    long deadline_ms = now_ms() + CAGE_PROBE_DEADLINE_MS;

    result_set(result, CAGE_PROBE_NO_ANSWER, "unknown probe");
    switch (probe->kind) {
    case CAGE_PROBE_TCP:
        probe_tcp(probe, deadline_ms, result);
        return;
    case CAGE_PROBE_HTTP:
        probe_http(probe, deadline_ms, result);
        return;
    case CAGE_PROBE_DNS:
        probe_dns(probe, deadline_ms, result);
        return;
    }
}
