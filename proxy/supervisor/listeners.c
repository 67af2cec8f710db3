#include "proxy/supervisor/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy/supervisor/layers.h"

/* A supervisor that was just killed may hold its ports for a moment longer: hence the tries. */
enum { PAIRS_MAX = 100, BACKLOG = 4096, TRIES = 20, TRY_PAUSE_MS = 50, DRAIN_MAX = 100000 };

static const struct endpoint {
    int family;
    int type;
    bool is_dns;
} endpoints[SOCKET_COUNT] = {
    [SOCKET_TCP_V4] = {AF_INET, SOCK_STREAM, false},
    [SOCKET_TCP_V6] = {AF_INET6, SOCK_STREAM, false},
    [SOCKET_DNS_UDP_V4] = {AF_INET, SOCK_DGRAM, true},
    [SOCKET_DNS_UDP_V6] = {AF_INET6, SOCK_DGRAM, true},
    [SOCKET_DNS_TCP_V4] = {AF_INET, SOCK_STREAM, true},
    [SOCKET_DNS_TCP_V6] = {AF_INET6, SOCK_STREAM, true},
};

void listeners_init(struct listeners *listeners)
{
    for (size_t i = 0; i < SOCKET_COUNT; i++)
        listeners->fd[i] = -1;
    listeners->tcp_port = 0;
    listeners->dns_port = 0;
}

void listeners_close(struct listeners *listeners)
{
    for (size_t i = 0; i < SOCKET_COUNT; i++)
        if (listeners->fd[i] >= 0)
            close(listeners->fd[i]);
    listeners_init(listeners);
}

static int bind_loopback(int fd, int family, uint16_t port)
{
    const struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const int on = 1;

    if (family == AF_INET)
        return bind(fd, (const struct sockaddr *)&v4, sizeof(v4)) < 0 ? -errno : 0;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -errno;
    return bind(fd, (const struct sockaddr *)&v6, sizeof(v6)) < 0 ? -errno : 0;
}

/*
 * The kernel's owner match goes by who opened a socket, whoever holds it later: as root's, what a
 * worker sends from one would pass by every rule for the proxy's user.
 */
static int open_socket(const struct endpoint *endpoint, uid_t owner)
{
    int status = -EPERM;

    setfsuid(owner);
    /* It reports no failure: the second call tells what the first one did. */
    if ((uid_t)setfsuid(owner) == owner) {
        status = socket(endpoint->family, endpoint->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (status < 0)
            status = -errno;
    }
    setfsuid(geteuid());
    return status;
}

/* 0 with *out -1 when the machine has no such family. */
static int open_endpoint(const struct endpoint *endpoint, uid_t owner, uint16_t port, int *out)
{
    int fd = open_socket(endpoint, owner);
    int status = fd < 0 ? fd : bind_loopback(fd, endpoint->family, port);

    if (status == 0) {
        *out = fd;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    *out = -1;
    if (endpoint->family == AF_INET6 && (status == -EAFNOSUPPORT || status == -EADDRNOTAVAIL))
        return 0;
    return status;
}

/* *taken is the port that could not be bound. */
static int open_pair(struct listeners *listeners, uid_t owner, uint16_t tcp_port, uint16_t dns_port,
                     uint16_t *taken)
{
    for (size_t i = 0; i < SOCKET_COUNT; i++) {
        uint16_t port = endpoints[i].is_dns ? dns_port : tcp_port;
        int status = open_endpoint(&endpoints[i], owner, port, &listeners->fd[i]);
        if (status < 0) {
            *taken = port;
            listeners_close(listeners);
            return status;
        }
    }
    listeners->tcp_port = tcp_port;
    listeners->dns_port = dns_port;
    return 0;
}

static int open_written(struct listeners *listeners, uid_t owner, uint16_t tcp_port,
                        uint16_t dns_port, uint16_t *taken)
{
    const struct timespec pause = {0, TRY_PAUSE_MS * 1000000L};
    int status = open_pair(listeners, owner, tcp_port, dns_port, taken);

    for (int i = 0; i < TRIES && status == -EADDRINUSE; i++) {
        layers_free_port(*taken);
        nanosleep(&pause, NULL);
        status = open_pair(listeners, owner, tcp_port, dns_port, taken);
    }
    return status;
}

static int open_first_free(struct listeners *listeners, uid_t owner, uint32_t tcp_port,
                           uint32_t dns_port, uint16_t *taken)
{
    int status = -EADDRINUSE;

    for (uint32_t i = 0; i < PAIRS_MAX && status == -EADDRINUSE; i++) {
        uint32_t tcp = tcp_port != 0 ? tcp_port : POLICY_TCP_PORT_FIRST + i;
        uint32_t dns = dns_port != 0 ? dns_port : POLICY_DNS_PORT_FIRST + i;
        status = open_pair(listeners, owner, (uint16_t)tcp, (uint16_t)dns, taken);
    }
    return status;
}

int listeners_open(struct listeners *listeners, uid_t owner, uint32_t tcp_port, uint32_t dns_port,
                   struct text *fault)
{
    uint16_t taken = 0;
    int status;

    if (tcp_port != 0 && dns_port != 0)
        status = open_written(listeners, owner, (uint16_t)tcp_port, (uint16_t)dns_port, &taken);
    else
        status = open_first_free(listeners, owner, tcp_port, dns_port, &taken);
    if (status == 0)
        return 0;
    text_put(fault, "port ");
    text_put_number(fault, taken);
    text_put(fault, status == -EADDRINUSE ? " is taken: free it, or set proxy.ports"
                                          : " cannot be bound on 127.0.0.1 and ::1: ");
    if (status != -EADDRINUSE)
        text_put(fault, strerror(-status));
    return status;
}

uint8_t listeners_mask(const struct listeners *listeners)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < SOCKET_COUNT; i++)
        if (listeners->fd[i] >= 0)
            mask |= 1U << i;
    return (uint8_t)mask;
}

size_t listeners_descriptors(const struct listeners *listeners, int out[SOCKET_COUNT])
{
    size_t count = 0;

    for (size_t i = 0; i < SOCKET_COUNT; i++)
        if (listeners->fd[i] >= 0)
            out[count++] = listeners->fd[i];
    return count;
}

/*
 * A socket that was shut down has to be given its port anew, and connections that the last worker
 * left in the kernel (TIME_WAIT, orphans) are in the way of that.
 */
static int listen_anew(int fd, uint16_t port)
{
    const struct timespec pause = {0, TRY_PAUSE_MS * 1000000L};
    int status = listen(fd, BACKLOG) < 0 ? -errno : 0;

    for (int i = 0; i < TRIES && status == -EADDRINUSE; i++) {
        layers_free_port(port);
        nanosleep(&pause, NULL);
        status = listen(fd, BACKLOG) < 0 ? -errno : 0;
    }
    return status;
}

int listeners_listen(const struct listeners *listeners)
{
    int status = 0;

    for (size_t i = 0; i < SOCKET_COUNT && status == 0; i++) {
        uint16_t port = endpoints[i].is_dns ? listeners->dns_port : listeners->tcp_port;
        if (listeners->fd[i] >= 0 && endpoints[i].type == SOCK_STREAM)
            status = listen_anew(listeners->fd[i], port);
    }
    return status;
}

static bool is_listening(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value != 0;
}

/*
 * What does not listen is left alone: the kernel would mark the socket itself as shut, listen()
 * would not take that back, and every connection accepted later would be born without both ends.
 */
void listeners_shut(const struct listeners *listeners)
{
    for (size_t i = 0; i < SOCKET_COUNT; i++)
        if (listeners->fd[i] >= 0 && is_listening(listeners->fd[i]))
            shutdown(listeners->fd[i], SHUT_RDWR);
}

void listeners_drain(const struct listeners *listeners)
{
    char byte;

    for (size_t i = 0; i < SOCKET_COUNT; i++)
        for (int n = 0; n < DRAIN_MAX && endpoints[i].type == SOCK_DGRAM && listeners->fd[i] >= 0 &&
                        recv(listeners->fd[i], &byte, 1, MSG_DONTWAIT) >= 0;
             n++)
            ;
}
