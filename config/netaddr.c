#include "config/netaddr.h"

#include <assert.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

#define V4(a, b, c, d, bits)                                                                       \
    {                                                                                              \
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}}, bits                             \
    }
#define V6(a, b, c, d, e, f, g, h, bits)                                                           \
    {                                                                                              \
        {{(a) >> 8, (a)&0xff, (b) >> 8, (b)&0xff, (c) >> 8, (c)&0xff, (d) >> 8, (d)&0xff,          \
          (e) >> 8, (e)&0xff, (f) >> 8, (f)&0xff, (g) >> 8, (g)&0xff, (h) >> 8, (h)&0xff}},        \
            bits                                                                                   \
    }

static const struct base_range base_range_list[] = {
    {V4(169, 254, 0, 0, 16), NETADDR_METADATA},
    {V6(0xfe80, 0, 0, 0, 0, 0, 0, 0, 10), NETADDR_METADATA},
    {V6(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0, 32), NETADDR_METADATA},
    {V4(168, 63, 129, 16, 32), NETADDR_METADATA},
    {V4(100, 100, 100, 200, 32), NETADDR_METADATA},
    {V4(192, 0, 0, 192, 32), NETADDR_METADATA},
    {V4(127, 0, 0, 0, 8), NETADDR_LOOPBACK},
    {V6(0, 0, 0, 0, 0, 0, 0, 1, 128), NETADDR_LOOPBACK},
    {V4(10, 0, 0, 0, 8), NETADDR_PRIVATE},
    {V4(172, 16, 0, 0, 12), NETADDR_PRIVATE},
    {V4(192, 168, 0, 0, 16), NETADDR_PRIVATE},
    {V4(100, 64, 0, 0, 10), NETADDR_PRIVATE},
    {V4(198, 18, 0, 0, 15), NETADDR_PRIVATE},
    {V4(192, 0, 0, 0, 24), NETADDR_PRIVATE},
    {V4(0, 0, 0, 0, 8), NETADDR_PRIVATE},
    {V4(224, 0, 0, 0, 4), NETADDR_PRIVATE},
    {V4(240, 0, 0, 0, 4), NETADDR_PRIVATE},
    {V6(0xfc00, 0, 0, 0, 0, 0, 0, 0, 7), NETADDR_PRIVATE},
    {V6(0xff00, 0, 0, 0, 0, 0, 0, 0, 8), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0, 0, 128), NETADDR_PRIVATE},
    /* IPv4-compatible (RFC 4291 2.5.5.1): ::/96 without ::/104, where :: and ::1 lie. */
    {V6(0, 0, 0, 0, 0, 0, 0x0100, 0, 104), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0x0200, 0, 103), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0x0400, 0, 102), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0x0800, 0, 101), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0x1000, 0, 100), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0x2000, 0, 99), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0x4000, 0, 98), NETADDR_PRIVATE},
    {V6(0, 0, 0, 0, 0, 0, 0x8000, 0, 97), NETADDR_PRIVATE},
    {V6(0x0064, 0xff9b, 0, 0, 0, 0, 0, 0, 96), NETADDR_PRIVATE},
    {V6(0x0064, 0xff9b, 0x0001, 0, 0, 0, 0, 0, 48), NETADDR_PRIVATE},
    {V6(0x2002, 0, 0, 0, 0, 0, 0, 0, 16), NETADDR_PRIVATE},
    {V6(0x2001, 0, 0, 0, 0, 0, 0, 0, 32), NETADDR_PRIVATE},
};

#undef V4
#undef V6

const struct base_range *base_ranges(size_t *count)
{
    *count = sizeof(base_range_list) / sizeof(base_range_list[0]);
    return base_range_list;
}

struct netaddr netaddr_v4(const uint8_t bytes[4])
{
    struct netaddr addr;

    memcpy(addr.bytes, mapped_prefix, sizeof(mapped_prefix));
    memcpy(addr.bytes + sizeof(mapped_prefix), bytes, 4);
    return addr;
}

struct netaddr netaddr_v6(const uint8_t bytes[16])
{
    struct netaddr addr;

    memcpy(addr.bytes, bytes, sizeof(addr.bytes));
    return addr;
}

bool netaddr_is_v4(const struct netaddr *addr)
{
    return memcmp(addr->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Exactly four decimal numbers 0..255, or false. */
static bool parse_v4(struct span text, uint8_t out[4])
{
    for (int i = 0; i < 4; i++) {
        size_t end = span_find(text, '.');
        uint64_t value;
        if ((end == text.len) != (i == 3))
            return false;
        if (!span_parse_number(span_first(text, end), 0, 255, &value))
            return false;
        out[i] = (uint8_t)value;
        text = span_from(text, end < text.len ? end + 1 : end);
    }
    return true;
}

static int hex_value(uint8_t c)
{
    c = ascii_lower(c);
    if (ascii_is_digit(c))
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to four hexadecimal digits that are the whole span, or false. */
static bool parse_hex_group(struct span text, uint8_t out[2])
{
    unsigned value = 0;

    if (text.len < 1 || text.len > 4)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int digit = hex_value(text.data[i]);
        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return true;
}

/*
 * Groups separated by single colons, an IPv4 tail allowed; the bytes written, or -1. An empty span
 * is zero groups.
 */
static int parse_groups(struct span text, uint8_t out[16])
{
    int used = 0;

    if (text.len == 0)
        return 0;
    for (;;) {
        size_t end = span_find(text, ':');
        struct span group = span_first(text, end);
        if (end == text.len && span_find(group, '.') < group.len)
            return used <= 12 && parse_v4(group, out + used) ? used + 4 : -1;
        if (used > 14 || !parse_hex_group(group, out + used))
            return -1;
        used += 2;
        if (end == text.len)
            return used;
        text = span_from(text, end + 1);
    }
}

static bool parse_v6(struct span text, uint8_t out[16])
{
    uint8_t head[16] = {0};
    uint8_t tail[16] = {0};
    size_t gap = text.len;

    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] == ':' && text.data[i + 1] == ':') {
            gap = i;
            break;
        }
    }
    if (gap == text.len)
        return parse_groups(text, out) == 16;

    struct span before = span_first(text, gap);
    if (span_find(before, '.') < before.len)
        return false; /* an IPv4 tail stands at the end or nowhere */
    int head_len = parse_groups(before, head);
    int tail_len = parse_groups(span_from(text, gap + 2), tail);
    if (head_len < 0 || tail_len < 0 || head_len + tail_len > 14)
        return false;
    memset(out, 0, 16);
    memcpy(out, head, (size_t)head_len);
    memcpy(out + 16 - tail_len, tail, (size_t)tail_len);
    return true;
}

bool netaddr_parse(struct span text, struct netaddr *out)
{
    uint8_t bytes[16];

    if (parse_v4(text, bytes)) {
        *out = netaddr_v4(bytes);
        return true;
    }
    if (parse_v6(text, bytes)) {
        *out = netaddr_v6(bytes);
        return true;
    }
    return false;
}

static size_t print_number(char *out, unsigned value, unsigned base)
{
    char digits[8];
    size_t count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

static size_t print_v4(const uint8_t bytes[4], char *out)
{
    size_t len = 0;

    for (int i = 0; i < 4; i++) {
        if (i > 0)
            out[len++] = '.';
        len += print_number(out + len, bytes[i], 10);
    }
    return len;
}

/* The first longest run of zero groups, at least two long (RFC 5952 4.2); *count 0 when none. */
static void longest_zero_run(const unsigned groups[8], int *start, int *count)
{
    *start = 0;
    *count = 0;
    for (int i = 0; i < 8; i++) {
        int run = 0;
        while (i + run < 8 && groups[i + run] == 0)
            run++;
        if (run >= 2 && run > *count) {
            *start = i;
            *count = run;
        }
    }
}

static size_t print_v6(const uint8_t bytes[16], char *out)
{
    unsigned groups[8];
    int zero_start;
    int zero_count;
    size_t len = 0;

    for (size_t i = 0; i < 8; i++)
        groups[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
    longest_zero_run(groups, &zero_start, &zero_count);
    for (int i = 0; i < 8; i++) {
        if (zero_count > 0 && i == zero_start) {
            out[len++] = ':';
            out[len++] = ':';
            i += zero_count - 1;
            continue;
        }
        if (len > 0 && out[len - 1] != ':')
            out[len++] = ':';
        len += print_number(out + len, groups[i], 16);
    }
    return len;
}

size_t netaddr_print(const struct netaddr *addr, char out[NETADDR_TEXT_MAX])
{
    size_t len =
        netaddr_is_v4(addr) ? print_v4(netaddr_v4_bytes(addr), out) : print_v6(addr->bytes, out);

    assert(len < NETADDR_TEXT_MAX);
    out[len] = '\0';
    return len;
}

/* Bits of the prefix in the 16-byte form. */
static unsigned wide_len(const struct netprefix *prefix)
{
    return prefix->len + (netprefix_is_v4(prefix) ? 96u : 0u);
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/* Clears what lies behind the prefix; true when something did. */
static bool clear_host_bits(struct netprefix *prefix)
{
    struct netaddr before = prefix->addr;
    unsigned bits = wide_len(prefix);

    for (unsigned i = bits; i < 128; i++)
        prefix->addr.bytes[i / 8] &= (uint8_t) ~(0x80u >> (i % 8));
    return !netaddr_equal(&before, &prefix->addr);
}

enum netprefix_status netprefix_parse(struct span text, struct netprefix *out)
{
    size_t slash = span_find(text, '/');
    struct netaddr addr;
    uint64_t len;

    if (!netaddr_parse(span_first(text, slash), &addr))
        return NETPREFIX_BAD;
    if (slash == text.len) {
        *out = netprefix_of_addr(&addr);
        return NETPREFIX_OK;
    }
    /* Written as IPv6, a mapped prefix counts 96 bits more than the IPv4 prefix that it means. */
    bool is_v6_text = span_find(span_first(text, slash), ':') < slash;
    if (!span_parse_number(span_from(text, slash + 1), 0, is_v6_text ? 128 : 32, &len))
        return NETPREFIX_BAD;
    struct netprefix prefix = {addr, (uint8_t)len};
    if (is_v6_text && netaddr_is_v4(&addr)) {
        if (len < 96)
            return NETPREFIX_BAD;
        prefix.len = (uint8_t)(len - 96);
    }
    enum netprefix_status status = clear_host_bits(&prefix) ? NETPREFIX_HOST_BITS : NETPREFIX_OK;
    *out = prefix;
    return status;
}

size_t netprefix_print(const struct netprefix *prefix, char out[NETPREFIX_TEXT_MAX])
{
    char text[NETADDR_TEXT_MAX];
    size_t len = netaddr_print(&prefix->addr, text);

    memcpy(out, text, len);
    out[len++] = '/';
    len += print_number(out + len, prefix->len, 10);
    out[len] = '\0';
    return len;
}

struct netprefix netprefix_of_addr(const struct netaddr *addr)
{
    return (struct netprefix){*addr, netaddr_is_v4(addr) ? 32 : 128};
}

bool netprefix_is_v4(const struct netprefix *prefix)
{
    return netaddr_is_v4(&prefix->addr);
}

bool netprefix_is_single(const struct netprefix *prefix)
{
    return prefix->len == (netprefix_is_v4(prefix) ? 32 : 128);
}

bool netprefix_contains(const struct netprefix *prefix, const struct netaddr *addr)
{
    return netprefix_is_v4(prefix) == netaddr_is_v4(addr) &&
           bits_equal(prefix->addr.bytes, addr->bytes, wide_len(prefix));
}

bool netprefix_covers(const struct netprefix *outer, const struct netprefix *inner)
{
    return outer->len <= inner->len && netprefix_contains(outer, &inner->addr);
}

bool netprefix_equal(const struct netprefix *a, const struct netprefix *b)
{
    return a->len == b->len && netaddr_equal(&a->addr, &b->addr);
}

static unsigned direct_classes(const struct netaddr *addr)
{
    unsigned classes = NETADDR_PUBLIC;

    for (size_t i = 0; i < sizeof(base_range_list) / sizeof(base_range_list[0]); i++) {
        if (netprefix_contains(&base_range_list[i].prefix, addr))
            classes |= base_range_list[i].class;
    }
    return classes;
}

static unsigned hidden_classes(const uint8_t bytes[4])
{
    struct netaddr hidden = netaddr_v4(bytes);

    return direct_classes(&hidden);
}

static bool starts_with(const struct netaddr *addr, const uint8_t *prefix, size_t len)
{
    return memcmp(addr->bytes, prefix, len) == 0;
}

/* Classes of the IPv4 address inside an IPv6 one; NETADDR_PUBLIC when none is inside. */
static unsigned embedded_classes(const struct netaddr *addr)
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    static const uint8_t nat64_local[6] = {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01};
    static const uint8_t compatible[12] = {0};
    static const uint8_t six_to_four[2] = {0x20, 0x02};
    static const uint8_t teredo[4] = {0x20, 0x01, 0x00, 0x00};
    const uint8_t *b = addr->bytes;

    if (starts_with(addr, nat64, sizeof(nat64)) ||
        starts_with(addr, compatible, sizeof(compatible)))
        return hidden_classes(b + 12);
    if (starts_with(addr, nat64_local, sizeof(nat64_local))) {
        /* RFC 6052 2.2: where the address lies depends on the prefix length that a site chose. */
        const uint8_t at48[4] = {b[6], b[7], b[9], b[10]};
        const uint8_t at56[4] = {b[7], b[9], b[10], b[11]};
        return hidden_classes(at48) | hidden_classes(at56) | hidden_classes(b + 9) |
               hidden_classes(b + 12);
    }
    if (starts_with(addr, six_to_four, sizeof(six_to_four)))
        return hidden_classes(b + 2);
    if (starts_with(addr, teredo, sizeof(teredo))) {
        /* RFC 4380 4: the server in the clear, the client's address inverted. */
        const uint8_t client[4] = {(uint8_t)~b[12], (uint8_t)~b[13], (uint8_t)~b[14],
                                   (uint8_t)~b[15]};
        return hidden_classes(b + 4) | hidden_classes(client);
    }
    return NETADDR_PUBLIC;
}

unsigned netaddr_classes(const struct netaddr *addr)
{
    unsigned classes = direct_classes(addr);

    if (!netaddr_is_v4(addr) && (classes & NETADDR_PRIVATE))
        classes |= embedded_classes(addr);
    return classes;
}
