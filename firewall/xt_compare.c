#include "firewall/xt_compare.h"

/* Before the kernel's headers, which then leave out what it defines. */
#include <net/if.h>
#include <netinet/in.h>

#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <linux/netfilter/xt_limit.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

/* How much of a match's or target's data says what it does; behind it the kernel keeps its own. */
static size_t data_len(const char *name, size_t size)
{
    static const struct {
        const char *name;
        size_t len;
    } known[] = {
        {"limit", offsetof(struct xt_rateinfo, prev)},
        {"hashlimit", offsetof(struct xt_hashlimit_mtinfo3, hinfo)},
        {"CT", offsetof(struct xt_ct_target_info_v1, ct)},
    };
    size_t len = size - sizeof(struct xt_entry_match);

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i].name) == 0 && known[i].len < len)
            return known[i].len;
    }
    return len;
}

/* The header of the part at `at`, when it fits; its name is NUL-terminated then. */
static bool read_part(struct span entry, size_t at, struct xt_entry_match *head)
{
    if (at > entry.len || entry.len - at < sizeof(*head))
        return false;
    memcpy(head, entry.data + at, sizeof(*head));
    head->u.user.name[sizeof(head->u.user.name) - 1] = '\0';
    return head->u.match_size >= sizeof(*head) && head->u.match_size <= entry.len - at;
}

static bool is_part_equal(struct span a, struct span b, size_t at, size_t *size)
{
    struct xt_entry_match x;
    struct xt_entry_match y;

    if (!read_part(a, at, &x) || !read_part(b, at, &y) || x.u.match_size != y.u.match_size)
        return false;
    *size = x.u.match_size;
    return strcmp(x.u.user.name, y.u.user.name) == 0 && x.u.user.revision == y.u.user.revision &&
           memcmp(a.data + at + sizeof(x), b.data + at + sizeof(y),
                  data_len(x.u.user.name, x.u.match_size)) == 0;
}

/* Where the entry keeps the two offsets: of its target, and of its end. */
static size_t offsets_at(enum ruleset_family family)
{
    return family == RULESET_V4 ? offsetof(struct ipt_entry, target_offset)
                                : offsetof(struct ip6t_entry, target_offset);
}

static size_t head_len(enum ruleset_family family)
{
    return family == RULESET_V4 ? sizeof(struct ipt_entry) : sizeof(struct ip6t_entry);
}

void xt_entry_name_target(enum ruleset_family family, uint8_t *entry, size_t len, const char *name)
{
    struct xt_entry_match target;
    uint16_t at;

    if (len < head_len(family))
        return;
    memcpy(&at, entry + offsets_at(family), sizeof(at));
    if (!read_part(span_of(entry, len), at, &target) || target.u.user.name[0] != '\0' ||
        strlen(name) >= sizeof(target.u.user.name))
        return;
    memset(target.u.user.name, 0, sizeof(target.u.user.name));
    memcpy(target.u.user.name, name, strlen(name));
    memset(entry + at, 0, target.u.match_size);
    memcpy(entry + at, &target, sizeof(target));
}

bool xt_entry_equal(enum ruleset_family family, struct span a, struct span b)
{
    size_t asked = family == RULESET_V4 ? offsetof(struct ipt_ip, invflags) + 1
                                        : offsetof(struct ip6t_ip6, invflags) + 1;
    size_t at = head_len(family);
    size_t offsets = offsets_at(family);
    uint16_t end;

    if (a.len != b.len || a.len < at || memcmp(a.data, b.data, asked) != 0 ||
        memcmp(a.data + offsets, b.data + offsets, 2 * sizeof(uint16_t)) != 0)
        return false;
    memcpy(&end, a.data + offsets + sizeof(end), sizeof(end));
    while (at < end) {
        size_t size;
        if (!is_part_equal(a, b, at, &size))
            return false;
        at += size;
    }
    return at == a.len;
}
