/*
 * The proof before the command, against small servers on the namespace's loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/cage_front.h"

enum { PORT_CLOSED = 1, PORT_REFUSING = 8403, PORT_ORIGIN = 8200, PORT_SILENT = 8001 };
enum { PORT_FORGING = 8404, PORT_HANGING_UP = 8002, PORT_DNS = 53, PORT_DNS_SILENT = 5353 };

struct answer {
    uint16_t port;
    const char *text; /* NULL: say nothing and keep the connection */
};

static const struct answer answers[] = {
    {PORT_REFUSING, "HTTP/1.1 403 Forbidden\r\nServer: x\r\nx-cage-reason: not-allowed\r\n\r\nno"},
    {PORT_ORIGIN, "HTTP/1.1 200 OK\r\nX-Cage-Reason: not-allowed\r\n\r\n"},
    {PORT_FORGING, "HTTP/1.1 403 Forbidden\r\nServer: x\r\n\r\nbody\r\nX-Cage-Reason: x\r\n\r\n"},
    {PORT_HANGING_UP, ""},
    {PORT_SILENT, NULL},
};

enum { ANSWERS = sizeof(answers) / sizeof(answers[0]), SOCKETS = 2 * (ANSWERS + 2) };

static pid_t server;

static int socket_bound(int family, int type, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr *at = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    int one = 1;
    int fd = socket(family, type | SOCK_CLOEXEC, 0);

    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v6.sin6_addr.s6_addr[15] = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, at, family == AF_INET ? sizeof(v4) : sizeof(v6)) != 0 ||
        (type == SOCK_STREAM && listen(fd, 16) != 0)) {
        perror("server");
        exit(1);
    }
    return fd;
}

static void serve_tcp(int fd, const struct answer *answer)
{
    char request[1024];
    int client = accept(fd, NULL, NULL);

    if (answer->text == NULL)
        return;
    if (recv(client, request, sizeof(request), 0) >= 0)
        send(client, answer->text, strlen(answer->text), MSG_NOSIGNAL);
    close(client);
}

/* The rcode is the first label's last digit; 9 is an answer to another question. */
static void serve_dns(int fd)
{
    uint8_t message[512];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    ssize_t len = recvfrom(fd, message, sizeof(message), 0, (struct sockaddr *)&from, &from_len);

    if (len < 17)
        return;
    uint8_t rcode = (uint8_t)(message[12 + message[12]] - '0');
    message[2] |= 0x80;
    if (rcode == 9)
        message[0] ^= 1;
    message[3] = (uint8_t)(0x80 | (rcode == 9 ? 0 : rcode));
    sendto(fd, message, (size_t)len, 0, (struct sockaddr *)&from, from_len);
}

static _Noreturn void server_run(const int *fds)
{
    struct pollfd polled[SOCKETS];

    for (size_t i = 0; i < SOCKETS; i++)
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    for (;;) {
        if (poll(polled, SOCKETS, -1) < 0)
            _exit(1);
        for (size_t i = 0; i < SOCKETS; i++) {
            if (polled[i].revents == 0)
                continue;
            if (i / 2 < ANSWERS)
                serve_tcp(polled[i].fd, &answers[i / 2]);
            else if (i / 2 == ANSWERS)
                serve_dns(polled[i].fd);
            else
                polled[i].fd = -1;
        }
    }
}

static void server_start(void)
{
    static const int families[2] = {AF_INET, AF_INET6};
    int fds[SOCKETS];

    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < ANSWERS; i++)
            fds[2 * i + side] = socket_bound(families[side], SOCK_STREAM, answers[i].port);
        fds[2 * ANSWERS + side] = socket_bound(families[side], SOCK_DGRAM, PORT_DNS);
        fds[2 * ANSWERS + 2 + side] = socket_bound(families[side], SOCK_DGRAM, PORT_DNS_SILENT);
    }
    fflush(stdout);
    server = fork();
    if (server == 0)
        server_run(fds);
    for (size_t i = 0; i < SOCKETS; i++)
        close(fds[i]);
}

static struct cage_probe probe_of(enum cage_probe_kind kind, const char *address, uint16_t port,
                                  const char *name)
{
    struct cage_probe probe = {.kind = kind, .port = port};

    assert_true(netaddr_parse(span_of_text(address), &probe.address));
    if (name != NULL)
        assert_int_equal(hostname_parse(span_of_text(name), &probe.name), HOSTNAME_OK);
    return probe;
}

/* Runs the probes, then `true`; the command is not held back by what they say: the caller decides.
 */
static void probes_do(const struct cage_probe *probes, size_t count)
{
    front_do(&(struct front){
        .argv = (const char *const[]){"true", NULL}, .probes = probes, .probe_count = count});
    assert_int_equal(outcome->probe, 0);
    assert_made();
}

static void every_answer(void **state)
{
    static const struct {
        enum cage_probe_kind kind;
        uint16_t port;
        const char *name;
        enum cage_probe_verdict verdict;
        const char *detail;
    } rows[] = {
        {CAGE_PROBE_TCP, PORT_CLOSED, NULL, CAGE_PROBE_REFUSED, "Connection refused"},
        {CAGE_PROBE_TCP, PORT_ORIGIN, NULL, CAGE_PROBE_GOT_THROUGH, "connected"},
        {CAGE_PROBE_HTTP, PORT_REFUSING, "denied.example", CAGE_PROBE_REFUSED,
         "x-cage-reason: not-allowed"},
        {CAGE_PROBE_HTTP, PORT_ORIGIN, "denied.example", CAGE_PROBE_GOT_THROUGH,
         "answered: HTTP/1.1 200 OK"},
        {CAGE_PROBE_HTTP, PORT_FORGING, "denied.example", CAGE_PROBE_GOT_THROUGH,
         "answered: HTTP/1.1 403 Forbidden"},
        {CAGE_PROBE_HTTP, PORT_HANGING_UP, "denied.example", CAGE_PROBE_NO_ANSWER,
         "closed without an answer"},
        {CAGE_PROBE_HTTP, PORT_SILENT, "denied.example", CAGE_PROBE_NO_ANSWER,
         "Connection timed out"},
        {CAGE_PROBE_HTTP, PORT_CLOSED, "denied.example", CAGE_PROBE_NO_ANSWER,
         "Connection refused"},
        {CAGE_PROBE_DNS, PORT_DNS, "rcode3.denied.example", CAGE_PROBE_REFUSED, "rcode 3"},
        {CAGE_PROBE_DNS, PORT_DNS, "rcode5.x", CAGE_PROBE_REFUSED, "rcode 5"},
        {CAGE_PROBE_DNS, PORT_DNS, "rcode0.denied.example", CAGE_PROBE_GOT_THROUGH, "rcode 0"},
        {CAGE_PROBE_DNS, PORT_DNS, "rcode2.denied.example", CAGE_PROBE_NO_ANSWER, "rcode 2"},
        {CAGE_PROBE_DNS, PORT_DNS, "rcode9.denied.example", CAGE_PROBE_NO_ANSWER,
         "Connection timed out"},
        {CAGE_PROBE_DNS, PORT_DNS_SILENT, "denied.example", CAGE_PROBE_NO_ANSWER,
         "Connection timed out"},
        {CAGE_PROBE_DNS, PORT_CLOSED, "denied.example", CAGE_PROBE_NO_ANSWER, "Connection refused"},
    };
    enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
    static const char *const addresses[] = {"127.0.0.1", "::1"};

    (void)state;
    for (size_t side = 0; side < 2; side++) {
        struct cage_probe probes[ROWS];
        time_t start = time(NULL);
        for (size_t i = 0; i < ROWS; i++)
            probes[i] = probe_of(rows[i].kind, addresses[side], rows[i].port, rows[i].name);
        probes_do(probes, ROWS);
        assert_true(time(NULL) - start <= 5);
        for (size_t i = 0; i < ROWS; i++) {
            if (outcome->results[i].verdict != rows[i].verdict)
                fail_msg("row %zu: %s (%s)", i,
                         cage_probe_verdict_text(outcome->results[i].verdict),
                         outcome->results[i].detail);
            assert_string_equal(outcome->results[i].detail, rows[i].detail);
        }
    }
}

static void no_route(void **state)
{
    struct cage_probe probes[] = {
        probe_of(CAGE_PROBE_TCP, "169.254.169.254", 80, NULL),
        probe_of(CAGE_PROBE_TCP, "fd00:ec2::254", 80, NULL),
        probe_of(CAGE_PROBE_DNS, "203.0.113.53", 53, "denied.example"),
    };

    (void)state;
    probes_do(probes, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(outcome->results[i].verdict, CAGE_PROBE_NO_ROUTE);
}

static void too_many(void **state)
{
    struct cage_probe probes[CAGE_PROBE_MAX + 1];

    (void)state;
    for (size_t i = 0; i <= CAGE_PROBE_MAX; i++)
        probes[i] = probe_of(CAGE_PROBE_TCP, "127.0.0.1", PORT_CLOSED, NULL);
    front_do(&(struct front){.argv = (const char *const[]){"true", NULL},
                             .probes = probes,
                             .probe_count = CAGE_PROBE_MAX + 1});
    assert_int_equal(outcome->probe, -EINVAL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer),
        cmocka_unit_test(no_route),
        cmocka_unit_test(too_many),
    };

    front_init(argc, argv);
    server_start();
    int failed = cmocka_run_group_tests_name("cage_probe", tests, NULL, NULL);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    front_fini();
    return failed;
}
