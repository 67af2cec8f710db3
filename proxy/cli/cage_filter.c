/*
 * The seccomp filter of the command: everything is allowed but what goes around the kernel layers
 * (sockets that the owner match does not see) or acts as somebody else (typing into a terminal,
 * kernel keys that make root ask DNS).
 *
 * The kernel reads int arguments from the low 32 bits of a register, seccomp sees all 64: every
 * comparison here is masked, or high bits would walk around it.
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "proxy/cli/cage_parts.h"

#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif

enum {
    /* include/uapi/linux/in.h; not in every libc's header. */
    PROTOCOL_SMC = 256,
    PROTOCOL_MPTCP = 262,
    /* Families below this are refused one by one, the others by their high bits. */
    FAMILY_BITS = 5,
};

static const uint64_t low_word = UINT64_C(0xffffffff);

/* A refusal of `call` when argument `arg` has `value` in its low word. */
static int refuse_value(scmp_filter_ctx filter, int call, unsigned arg, uint32_t value, int err)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)err), call, 1,
                            SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, low_word, value));
}

static bool is_family_allowed(unsigned family)
{
    return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
}

/* There is no "not equal under a mask": small families by value, the rest by each bit they may
 * have. */
static int refuse_families(scmp_filter_ctx filter, int call)
{
    int err = 0;

    for (unsigned family = 0; family < (1u << FAMILY_BITS) && err == 0; family++)
        if (!is_family_allowed(family))
            err = refuse_value(filter, call, 0, family, EAFNOSUPPORT);
    for (unsigned bit = FAMILY_BITS; bit < 32 && err == 0; bit++)
        err = seccomp_rule_add(
            filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), call, 1,
            SCMP_CMP(0, SCMP_CMP_MASKED_EQ, UINT64_C(1) << bit, UINT64_C(1) << bit));
    return err;
}

/*
 * SMC and MPTCP make TCP connections that belong to the kernel and to no user: no owner rule sees
 * them. Callers of both fall back to TCP.
 */
static int refuse_protocols(scmp_filter_ctx filter)
{
    int err = refuse_value(filter, SCMP_SYS(socket), 2, PROTOCOL_SMC, EPROTONOSUPPORT);

    return err != 0 ? err
                    : refuse_value(filter, SCMP_SYS(socket), 2, PROTOCOL_MPTCP, EPROTONOSUPPORT);
}

/*
 * Joining a group makes the kernel send IGMP or MLD reports, which have no owner and carry bits
 * that the cage chooses. TCP_ULP turns a TCP socket into one of another kind (smc).
 */
static int refuse_options(scmp_filter_ctx filter)
{
    static const int options[][2] = {
        {IPPROTO_IP, IP_ADD_MEMBERSHIP},
        {IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP},
        {IPPROTO_IP, IP_BLOCK_SOURCE},
        {IPPROTO_IP, IP_UNBLOCK_SOURCE},
        {IPPROTO_IP, IP_MSFILTER},
        {IPPROTO_IP, MCAST_JOIN_GROUP},
        {IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP},
        {IPPROTO_IP, MCAST_BLOCK_SOURCE},
        {IPPROTO_IP, MCAST_UNBLOCK_SOURCE},
        {IPPROTO_IP, MCAST_MSFILTER},
        {IPPROTO_IPV6, IPV6_JOIN_GROUP},
        {IPPROTO_IPV6, IPV6_JOIN_ANYCAST},
        {IPPROTO_IPV6, MCAST_JOIN_GROUP},
        {IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP},
        {IPPROTO_IPV6, MCAST_BLOCK_SOURCE},
        {IPPROTO_IPV6, MCAST_UNBLOCK_SOURCE},
        {IPPROTO_IPV6, MCAST_MSFILTER},
        {IPPROTO_TCP, TCP_ULP},
    };
    int err = 0;

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && err == 0; i++)
        err = seccomp_rule_add(
            filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(setsockopt), 2,
            SCMP_CMP(1, SCMP_CMP_MASKED_EQ, low_word, (scmp_datum_t)options[i][0]),
            SCMP_CMP(2, SCMP_CMP_MASKED_EQ, low_word, (scmp_datum_t)options[i][1]));
    return err;
}

static int refuse_calls(scmp_filter_ctx filter)
{
    static const struct {
        int call;
        int err;
    } rows[] = {
        /* io_uring makes sockets without socket(2): absent, so that callers fall back. */
        {SCMP_SYS(io_uring_setup), ENOSYS},
        {SCMP_SYS(io_uring_enter), ENOSYS},
        {SCMP_SYS(io_uring_register), ENOSYS},
        /* The dns_resolver upcall asks DNS as root. */
        {SCMP_SYS(request_key), EPERM},
        {SCMP_SYS(add_key), EPERM},
    };
    int err = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && err == 0; i++)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)rows[i].err), rows[i].call, 0);
    return err;
}

static int filter_fill(scmp_filter_ctx filter)
{
    int err;

    /* x32 and i386 number their calls otherwise: nothing above would hold for them. */
    err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (err == 0)
        err = refuse_value(filter, SCMP_SYS(ioctl), 1, TIOCSTI, EPERM);
    if (err == 0)
        err = refuse_value(filter, SCMP_SYS(ioctl), 1, TIOCLINUX, EPERM);
    if (err == 0)
        err = refuse_calls(filter);
    if (err == 0)
        err = refuse_families(filter, SCMP_SYS(socket));
    if (err == 0)
        err = refuse_families(filter, SCMP_SYS(socketpair));
    if (err == 0)
        err = refuse_protocols(filter);
    if (err == 0)
        err = refuse_options(filter);
    return err;
}

int cage_filter_load(char message[CAGE_MESSAGE_MAX])
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int err;

    if (filter == NULL)
        return cage_fail(message, ENOMEM, "seccomp filter: out of memory");
    err = filter_fill(filter);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    if (err != 0)
        return cage_fail(message, -err,
                         "seccomp filter: %s: the kernel must have CONFIG_SECCOMP_FILTER",
                         strerror(-err));
    return 0;
}
