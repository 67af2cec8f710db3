#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/channel/channel.h"
#include "tests/lib/unit.h"

static int ends[2];

static int setup(void **state)
{
    (void)state;
    return channel_pair(ends);
}

static int teardown(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static int open_count(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* The raw way in, for what channel_send() would not send. */
static void send_raw(const char *bytes, size_t len, int descriptor)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};

    if (descriptor >= 0) {
        struct cmsghdr *rights;
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof(control.bytes);
        rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &descriptor, sizeof(int));
    }
    assert_int_equal(sendmsg(ends[0], &header, 0), len);
}

static void messages_arrive_whole(void **state)
{
    struct message ping = {.type = MESSAGE_PING, .body.ping.number = 7};
    struct message stop = {.type = MESSAGE_STOP};
    struct message got;
    int fds[CHANNEL_DESCRIPTORS_MAX];

    (void)state;
    assert_int_equal(channel_receive(ends[1], &got, fds), -EAGAIN);
    assert_int_equal(channel_send(ends[0], &ping, NULL), 0);
    assert_int_equal(channel_send(ends[0], &stop, NULL), 0);
    assert_int_equal(channel_receive(ends[1], &got, fds), 0);
    assert_int_equal(got.type, MESSAGE_PING);
    assert_int_equal(got.body.ping.number, 7);
    assert_int_equal(channel_receive(ends[1], &got, fds), 0);
    assert_int_equal(got.type, MESSAGE_STOP);
    close(ends[0]);
    assert_int_equal(channel_receive(ends[1], &got, fds), -EPIPE);
    assert_int_equal(channel_send(ends[1], &stop, NULL), -EPIPE);
    ends[0] = -1;
}

static void descriptors_arrive(void **state)
{
    struct message start = {
        .type = MESSAGE_START,
        .body.start = {.sockets = (1 << SOCKET_COUNT) - 1, .threads = MESSAGE_THREADS_MAX}};
    struct message got;
    int out[CHANNEL_DESCRIPTORS_MAX];
    int fds[CHANNEL_DESCRIPTORS_MAX];
    int pipe_ends[2];
    char c;

    (void)state;
    assert_int_equal(pipe(pipe_ends), 0);
    for (size_t i = 0; i < CHANNEL_DESCRIPTORS_MAX; i++)
        out[i] = pipe_ends[1];
    assert_int_equal(channel_send(ends[0], &start, out), 0);
    assert_int_equal(channel_receive(ends[1], &got, fds), 0);
    assert_int_equal(message_descriptors(&got), CHANNEL_DESCRIPTORS_MAX);
    for (size_t i = 0; i < CHANNEL_DESCRIPTORS_MAX; i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        assert_int_equal(write(fds[i], "x", 1), 1);
        assert_int_equal(read(pipe_ends[0], &c, 1), 1);
        close(fds[i]);
    }
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void what_does_not_belong_is_refused(void **state)
{
    int before = open_count();
    char big[MESSAGE_LEN_MAX + 1] = {1, 6};
    struct message got;
    int fds[CHANNEL_DESCRIPTORS_MAX];

    (void)state;
    send_raw("\1\6\0\0\0\0\0\0", 8, ends[0]); /* STOP with a descriptor */
    assert_int_equal(channel_receive(ends[1], &got, fds), -EBADMSG);
    send_raw("\1\2\0\4\0\0\0\1\0\0\0\1", 12, -1); /* POLICY without one */
    assert_int_equal(channel_receive(ends[1], &got, fds), -EBADMSG);
    send_raw("\1\6\0\0\0\0\0", 7, -1); /* cut */
    assert_int_equal(channel_receive(ends[1], &got, fds), -EBADMSG);
    send_raw("", 0, ends[0]); /* nothing but a descriptor */
    assert_int_equal(channel_receive(ends[1], &got, fds), -EBADMSG);
    send_raw(big, sizeof(big), ends[0]);
    assert_int_equal(channel_receive(ends[1], &got, fds), -EBADMSG);
    assert_int_equal(open_count(), before);
    send_raw("\1\2\0\4\0\0\0\1\0\0\0\1", 12, ends[0]);
    assert_int_equal(channel_receive(ends[1], &got, fds), 0);
    close(fds[0]);
}

/* A connected socket with bytes that nobody takes, which lingers for a minute when it is closed. */
static int lingering_socket(int *peer)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 60};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    static char bytes[65536];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    *peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    return fd;
}

/* What the other end sends along makes nobody wait: not who refuses it, not who closes. */
static void nobody_lingers(void **state)
{
    struct message stop = {.type = MESSAGE_STOP};
    struct message got;
    int peer;
    int count = open_count();

    (void)state;
    int lingering = lingering_socket(&peer);
    alarm(20);
    assert_int_equal(channel_send(ends[0], &stop, NULL), 0);
    send_raw("junk", 4, lingering);
    close(lingering);
    assert_int_equal(channel_receive_plain(ends[1], &got), 0);
    assert_int_equal(got.type, MESSAGE_STOP);
    assert_int_equal(channel_receive_plain(ends[1], &got), -EBADMSG);
    assert_int_equal(channel_receive_plain(ends[1], &got), -EBADMSG);
    assert_int_equal(open_count(), count + 1);
    close(ends[0]);
    channel_close(ends[1]);
    close(peer);
    assert_int_equal(open_count(), count - 2);
    alarm(0);
    assert_int_equal(channel_pair(ends), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_lingers, setup, teardown),
        cmocka_unit_test_setup_teardown(messages_arrive_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(descriptors_arrive, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_belong_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
