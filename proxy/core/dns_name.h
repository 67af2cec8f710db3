/*
 * Domain names as DNS messages carry them (RFC 1035 3.1 and 4.1.4).
 *
 * A struct dns_name keeps every byte as it was received, letter case included, because an answer
 * has to echo it; what is judged is the canonical struct hostname made from it.
 */
#ifndef PROXY_CORE_DNS_NAME_H
#define PROXY_CORE_DNS_NAME_H

#include "config/hostname.h"
#include "config/netaddr.h"
#include "proxy/core/reader.h"

enum {
    DNS_NAME_MAX = 255,
    /* A name has at most 127 labels, so more pointers than that point at nothing but pointers. */
    DNS_POINTERS_MAX = 127,
    DNS_CASE_BYTES = 32,
};

/* Labels behind their lengths, the root's zero byte last, never a pointer; `len` is 1..255. */
struct dns_name {
    uint8_t len;
    uint8_t bytes[DNS_NAME_MAX];
};

/*
 * Reads the name at the front of `r`. READ_BAD: cut short, over 255 bytes, or a label type other
 * than 00. A compression pointer is READ_BAD too. On failure `r` and *out are untouched.
 */
enum read_status dns_name_read_plain(struct reader *r, struct dns_name *out);

/*
 * The same with compression: `r` is a window into `message`, the whole message, and pointers lead
 * strictly backwards to bytes behind the header.
 */
enum read_status dns_name_read(struct reader *r, struct span message, struct dns_name *out);

static inline struct span dns_name_span(const struct dns_name *name)
{
    return span_of(name->bytes, name->len);
}

/* The same name, ASCII letters folded (RFC 4343 3). */
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);

/* `name` is `apex` or lies below it. */
bool dns_name_is_within(const struct dns_name *name, const struct dns_name *apex);

/*
 * The canonical host name. False and *out untouched for what no host is called: the root, a byte
 * outside a-z 0-9 '-' '_' in a label (a dot inside a label included), an address.
 */
bool dns_name_to_host(const struct dns_name *name, struct hostname *out);

/* The wire form of a host name that hostname_parse has made. */
void dns_name_from_host(const struct hostname *host, struct dns_name *out);

/*
 * Sets the case of each letter: bit i of `bits` set makes byte i upper case, clear lower case. The
 * name stays the same name, and an answer that does not repeat its case was made by somebody who
 * has not seen the question.
 */
void dns_name_mix_case(struct dns_name *name, const uint8_t bits[DNS_CASE_BYTES]);

/*
 * The address that a reverse name stands for: d.c.b.a.in-addr.arpa (RFC 1035 3.5) or 32 nibbles
 * below ip6.arpa (RFC 3596 2.5). False and *out untouched for every other name.
 */
bool dns_name_to_address(const struct hostname *host, struct netaddr *out);

#endif
