/*
 * IPv4 and IPv6 addresses and prefixes, one type for both, and the ranges of the base layer.
 *
 * IPv4 lives inside the IPv4-mapped form ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so that an address that
 * was written or dialled in that form is the IPv4 address from the border on.
 */
#ifndef CONFIG_NETADDR_H
#define CONFIG_NETADDR_H

#include "config/span.h"

/* Network byte order. */
struct netaddr {
    uint8_t bytes[16];
};

/* `len` counts bits of the address's own family: 0..32 or 0..128. Host bits are zero. */
struct netprefix {
    struct netaddr addr;
    uint8_t len;
};

enum { NETADDR_TEXT_MAX = 46, NETPREFIX_TEXT_MAX = 50 };

/* What the base layer holds against an address; several may apply. */
enum netaddr_class {
    NETADDR_PUBLIC = 0,
    NETADDR_METADATA = 1 << 0,
    NETADDR_LOOPBACK = 1 << 1,
    NETADDR_PRIVATE = 1 << 2,
};

/* One range of the base layer; `class` is the strongest reason (metadata, loopback, private). */
struct base_range {
    struct netprefix prefix;
    enum netaddr_class class;
};

struct netaddr netaddr_v4(const uint8_t bytes[4]);
struct netaddr netaddr_v6(const uint8_t bytes[16]);

bool netaddr_is_v4(const struct netaddr *addr);
bool netaddr_equal(const struct netaddr *a, const struct netaddr *b);

/* The four bytes of an IPv4 address (netaddr_is_v4). */
static inline const uint8_t *netaddr_v4_bytes(const struct netaddr *addr)
{
    return addr->bytes + 12;
}

/*
 * Reads a whole span: "1.2.3.4" (four decimal numbers without leading zeros, no inet_aton shapes)
 * or RFC 4291 text without zone and brackets. False leaves *out untouched.
 */
bool netaddr_parse(struct span text, struct netaddr *out);

/* RFC 5952 text, NUL-terminated, and its length. */
size_t netaddr_print(const struct netaddr *addr, char out[NETADDR_TEXT_MAX]);

enum netprefix_status { NETPREFIX_OK, NETPREFIX_BAD, NETPREFIX_HOST_BITS };

/*
 * Reads "ADDRESS" or "ADDRESS/LEN". A mapped prefix of at least 96 bits is the IPv4 prefix that it
 * stands for; a shorter one that would hold mapped addresses holds none of them. With
 * NETPREFIX_HOST_BITS *out is the prefix that the text should have named; with NETPREFIX_BAD it is
 * untouched.
 */
enum netprefix_status netprefix_parse(struct span text, struct netprefix *out);

/* "ADDRESS/LEN", NUL-terminated, and its length. */
size_t netprefix_print(const struct netprefix *prefix, char out[NETPREFIX_TEXT_MAX]);

struct netprefix netprefix_of_addr(const struct netaddr *addr);
bool netprefix_is_v4(const struct netprefix *prefix);
bool netprefix_is_single(const struct netprefix *prefix);
bool netprefix_contains(const struct netprefix *prefix, const struct netaddr *addr);
bool netprefix_covers(const struct netprefix *outer, const struct netprefix *inner);
bool netprefix_equal(const struct netprefix *a, const struct netprefix *b);

/*
 * All classes of an address, a mask of enum netaddr_class. Forms that hide an IPv4 address (NAT64,
 * 6to4, Teredo, IPv4-compatible) have the classes of the hidden address and NETADDR_PRIVATE.
 */
unsigned netaddr_classes(const struct netaddr *addr);

/*
 * The ranges of the base layer, strongest class first, so that the first match of a linear walk is
 * the reason. The kernel rules are made from this list and netaddr_classes() walks it. The mapped
 * range ::ffff:0:0/96 is not in it: no struct netaddr lies there as IPv6, a packet on the wire may.
 */
const struct base_range *base_ranges(size_t *count);

#endif
