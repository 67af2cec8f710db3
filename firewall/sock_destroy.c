#include "firewall/sock_destroy.h"

#include <errno.h>
#include <string.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

enum { DESTROY_ROUNDS = 8, REPLY_MAX = 32768, TCP_TIME_WAIT_STATE = 6 };

struct kind {
    uint8_t family;
    uint8_t protocol;
};

static const struct kind kinds[] = {
    {AF_INET, IPPROTO_TCP},  {AF_INET6, IPPROTO_TCP},    {AF_INET, IPPROTO_UDP},
    {AF_INET6, IPPROTO_UDP}, {AF_INET, IPPROTO_UDPLITE}, {AF_INET6, IPPROTO_UDPLITE},
};

enum { KINDS_TCP = 2, KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* One walk over the sockets of a kind. */
struct walk {
    struct mnl_socket *destroyer; /* NULL: only count */
    struct kind kind;
    uint16_t port; /* 0: by uid; else what nobody holds on this local port */
    uint32_t uid;
    size_t found;
    size_t ended;
    int error; /* a negative errno of the last one that could not be ended */
};

static int netlink_open(struct mnl_socket **out)
{
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);

    if (nl == NULL)
        return -errno;
    if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
        int rc = -errno;
        mnl_socket_close(nl);
        return rc;
    }
    *out = nl;
    return 0;
}

static struct nlmsghdr *put_request(uint8_t *buffer, uint16_t type, uint16_t flags,
                                    const struct kind *kind, const struct inet_diag_sockid *id)
{
    struct nlmsghdr *head = mnl_nlmsg_put_header(buffer);
    struct inet_diag_req_v2 *request;

    head->nlmsg_type = type;
    head->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    head->nlmsg_seq = 1;
    request = mnl_nlmsg_put_extra_header(head, sizeof(*request));
    request->sdiag_family = kind->family;
    request->sdiag_protocol = kind->protocol;
    request->idiag_states = UINT32_MAX;
    if (id != NULL)
        request->id = *id;
    return head;
}

/* Ends one socket; gone meanwhile is as good. */
static int destroy_one(struct mnl_socket *nl, const struct kind *kind,
                       const struct inet_diag_sockid *id)
{
    uint8_t buffer[256];
    uint8_t reply[REPLY_MAX];
    struct nlmsghdr *head = put_request(buffer, SOCK_DESTROY, NLM_F_ACK, kind, id);

    if (mnl_socket_sendto(nl, head, head->nlmsg_len) < 0)
        return -errno;
    ssize_t len = mnl_socket_recvfrom(nl, reply, sizeof(reply));
    if (len < 0)
        return -errno;
    if (mnl_cb_run(reply, (size_t)len, 1, mnl_socket_get_portid(nl), NULL, NULL) >= 0 ||
        errno == ENOENT)
        return 0;
    return -errno;
}

static bool is_wanted(const struct walk *walk, const struct inet_diag_msg *socket)
{
    if (walk->port != 0)
        return ntohs(socket->id.idiag_sport) == walk->port && socket->idiag_inode == 0;
    return socket->idiag_uid == walk->uid && socket->idiag_state != TCP_TIME_WAIT_STATE;
}

static int see_socket(const struct nlmsghdr *head, void *context)
{
    struct walk *walk = context;
    const struct inet_diag_msg *found = mnl_nlmsg_get_payload(head);

    if (mnl_nlmsg_get_payload_len(head) < sizeof(*found) || !is_wanted(walk, found))
        return MNL_CB_OK;
    walk->found++;
    if (walk->destroyer == NULL)
        return MNL_CB_OK;
    int rc = destroy_one(walk->destroyer, &walk->kind, &found->id);
    if (rc < 0)
        walk->error = rc;
    else
        walk->ended++;
    return MNL_CB_OK;
}

/* All sockets of walk->kind. A kernel without the kind has none of it. */
static int walk_kind(struct walk *walk)
{
    uint8_t buffer[REPLY_MAX];
    struct mnl_socket *nl = NULL;
    int rc = netlink_open(&nl);

    if (rc < 0)
        return rc;
    struct nlmsghdr *head = put_request(buffer, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &walk->kind, NULL);
    unsigned port = mnl_socket_get_portid(nl);
    if (mnl_socket_sendto(nl, head, head->nlmsg_len) < 0)
        rc = -errno;
    for (bool is_going_on = rc == 0; is_going_on;) {
        ssize_t len = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));
        int status =
            len < 0 ? MNL_CB_ERROR : mnl_cb_run(buffer, (size_t)len, 1, port, see_socket, walk);
        if (status == MNL_CB_ERROR)
            rc = errno == ENOENT ? 0 : -errno;
        is_going_on = status > MNL_CB_STOP;
    }
    mnl_socket_close(nl);
    return rc;
}

static int walk_kinds(struct walk *walk, size_t count)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        walk->kind = kinds[i];
        rc = walk_kind(walk);
    }
    return rc;
}

int sock_destroy_uid(uint32_t uid, size_t *count)
{
    struct mnl_socket *destroyer = NULL;
    int rc = netlink_open(&destroyer);

    *count = 0;
    if (rc < 0)
        return rc;
    /*
     * A dump is no snapshot, and what was opened meanwhile is not in it: until none is found. UDP
     * once: a bound socket stays, only its peer is taken away, and it has nothing under way.
     */
    for (int round = 0; round < DESTROY_ROUNDS; round++) {
        struct walk walk = {.destroyer = destroyer, .uid = uid};
        rc = walk_kinds(&walk, round == 0 ? KINDS : KINDS_TCP);
        *count += walk.ended;
        if (rc < 0 || walk.found == 0)
            break;
        rc = walk.error < 0 ? walk.error : -EAGAIN;
    }
    mnl_socket_close(destroyer);
    return rc;
}

int sock_destroy_port(uint16_t port)
{
    struct walk walk = {.port = port};
    int rc = netlink_open(&walk.destroyer);

    if (rc < 0)
        return rc;
    rc = walk_kinds(&walk, KINDS_TCP);
    mnl_socket_close(walk.destroyer);
    return rc < 0 ? rc : walk.error;
}

int sock_has_uid(uint32_t uid, bool *has_any)
{
    struct walk walk = {.uid = uid};
    int rc = walk_kinds(&walk, KINDS);

    if (rc == 0)
        *has_any = walk.found > 0;
    return rc;
}
