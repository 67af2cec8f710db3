#include "proxy/channel/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Aligned room for the control message of the most descriptors that travel at once. */
union control {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(CHANNEL_DESCRIPTORS_MAX * sizeof(int))];
};

int channel_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    return 0;
}

int channel_send(int fd, const struct message *message, const int *descriptors)
{
    uint8_t bytes[MESSAGE_LEN_MAX];
    size_t len = message_encode(message, bytes);
    size_t count = message_descriptors(message);
    union control control = {0};
    struct iovec iov = {bytes, len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (len == 0)
        return -EINVAL;
    if (count > 0) {
        struct cmsghdr *rights;
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), descriptors, count * sizeof(int));
    }
    do
        sent = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* Copies the descriptors of all control messages; returns how many there are. */
static size_t take_descriptors(struct msghdr *header, int out[CHANNEL_DESCRIPTORS_MAX])
{
    size_t count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        size_t len;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        len = c->cmsg_len - CMSG_LEN(0);
        memcpy(out + count, CMSG_DATA(c), len);
        count += len / sizeof(int);
    }
    return count;
}

int channel_receive(int fd, struct message *out, int descriptors[CHANNEL_DESCRIPTORS_MAX])
{
    uint8_t bytes[MESSAGE_LEN_MAX];
    union control control;
    struct iovec iov = {bytes, sizeof(bytes)};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    size_t count;
    ssize_t len;

    do
        len = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    /* The control room bounds the number: the kernel cuts (MSG_CTRUNC) and closes what is above. */
    count = take_descriptors(&header, descriptors);
    if (len == 0 && count == 0)
        return -EPIPE;
    if (!(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
        message_parse(span_of(bytes, (size_t)len), out) && message_descriptors(out) == count)
        return 0;
    for (size_t i = 0; i < count; i++)
        close(descriptors[i]);
    return -EBADMSG;
}

int channel_receive_plain(int fd, struct message *out)
{
    int descriptors[CHANNEL_DESCRIPTORS_MAX];
    uint8_t byte;
    struct iovec iov = {&byte, sizeof(byte)};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t len;

    /* Without room for a control message the kernel tells that there is one, and keeps it. */
    do
        len = recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT);
    while (len < 0 && errno == EINTR);
    if (len >= 0 && (header.msg_flags & MSG_CTRUNC))
        return -EBADMSG;
    return channel_receive(fd, out, descriptors);
}

void channel_close(int fd)
{
    int hold[2];
    char byte;

    if (pipe2(hold, O_CLOEXEC) < 0) {
        close(fd);
        return;
    }
    /* The last to let go is a process that exits: the kernel lingers for no such process. */
    pid_t pid = fork();
    if (pid == 0) {
        close(hold[1]);
        while (read(hold[0], &byte, 1) < 0 && errno == EINTR)
            ;
        _exit(0);
    }
    close(fd);
    close(hold[0]);
    close(hold[1]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
