#include "proxy/supervisor/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/hosts_file.h"
#include "config/resolv_conf.h"

enum { FILE_MAX = 1 << 20, ACCOUNT_ROOM = 16 << 10, DNS_PORT_DEFAULT = 53 };

/* A small file in one piece; an empty span when there is none. The memory is the caller's. */
static struct span read_file(const char *path, char **memory)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = malloc(FILE_MAX);
    size_t len = 0;

    *memory = bytes;
    while (fd >= 0 && bytes && len < FILE_MAX) {
        ssize_t got = read(fd, bytes + len, FILE_MAX - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    if (fd >= 0)
        close(fd);
    return bytes ? span_of(bytes, len) : SPAN_NONE;
}

static bool complain_user(struct text *fault, const char *name, const char *what)
{
    text_put(fault, "user \"");
    text_put_escaped(fault, span_of_text(name), POLICY_ACCOUNT_MAX);
    text_put(fault, what);
    return false;
}

bool machine_find_user(const char *name, struct machine_user *out, struct text *fault)
{
    char room[ACCOUNT_ROOM];
    struct passwd entry;
    struct passwd *found = NULL;
    uint64_t uid;
    bool is_number = span_parse_number(span_of_text(name), 0, UINT32_MAX - 1, &uid);

    if (is_number)
        getpwuid_r((uid_t)uid, &entry, room, sizeof(room), &found);
    else
        getpwnam_r(name, &entry, room, sizeof(room), &found);
    if (!found && !is_number)
        return complain_user(fault, name,
                             "\" does not exist: create it (useradd --system), or name another");
    if (found ? found->pw_uid == 0 : uid == 0)
        return complain_user(fault, name, "\" is root, which no cage can hold: name another");
    *out = found ? (struct machine_user){found->pw_uid, found->pw_gid}
                 : (struct machine_user){(uid_t)uid, (gid_t)uid};
    return true;
}

static bool add_users(struct policy *policy, struct text *fault)
{
    struct machine_user cage;
    struct machine_user proxy;

    if (!machine_find_user(policy->settings.user, &cage, fault) ||
        !machine_find_user(policy->settings.proxy_user, &proxy, fault))
        return false;
    if (cage.uid == proxy.uid) {
        text_put(fault, "user and proxy.user are the same uid: the proxy needs one of its own");
        return false;
    }
    policy->cage_uid = cage.uid;
    policy->proxy_uid = proxy.uid;
    return true;
}

static bool add_servers(struct policy *policy, struct text *fault)
{
    struct netaddr servers[POLICY_SERVERS_MAX];
    char *memory;
    size_t count;

    if (policy->server_count > 0)
        return true;
    count = resolv_conf_parse(read_file("/etc/resolv.conf", &memory), servers, POLICY_SERVERS_MAX);
    free(memory);
    for (size_t i = 0; i < count; i++) {
        struct dns_server server = {.address = servers[i], .port = DNS_PORT_DEFAULT};
        if (!policy_add_server(policy, &server))
            break;
    }
    if (count == 0)
        text_put(fault, "no resolver: /etc/resolv.conf names none, so set proxy.dns.servers");
    return count > 0;
}

static bool address_of(const struct sockaddr *socket_address, struct netaddr *out)
{
    if (!socket_address)
        return false;
    if (socket_address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, socket_address, sizeof(v4));
        *out = netaddr_v4((const uint8_t *)&v4.sin_addr);
        return true;
    }
    if (socket_address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, socket_address, sizeof(v6));
        *out = netaddr_v6(v6.sin6_addr.s6_addr);
        return true;
    }
    return false;
}

static bool add_locals(struct policy *policy, struct text *fault)
{
    struct ifaddrs *list = NULL;
    bool is_done = getifaddrs(&list) == 0;

    for (struct ifaddrs *at = list; is_done && at; at = at->ifa_next) {
        struct netaddr address;
        if (address_of(at->ifa_addr, &address) && !policy_is_local(policy, &address))
            is_done = policy_add_local(policy, &address);
    }
    if (list)
        freeifaddrs(list);
    if (!is_done)
        text_put(fault, "cannot read the machine's own addresses");
    return is_done;
}

static bool add_hosts(struct policy *policy, struct text *fault)
{
    char *memory;
    bool is_done = hosts_file_parse(read_file("/etc/hosts", &memory), policy);

    free(memory);
    if (!is_done)
        text_put(fault, "not enough memory for /etc/hosts");
    return is_done;
}

bool machine_complete(struct policy *policy, struct text *fault)
{
    return add_users(policy, fault) && add_servers(policy, fault) && add_locals(policy, fault) &&
           add_hosts(policy, fault);
}
