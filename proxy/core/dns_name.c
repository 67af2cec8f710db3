#include "proxy/core/dns_name.h"

#include <assert.h>

enum { MESSAGE_HEADER_LEN = 12, LABEL_TYPE_MASK = 0xc0, LABEL_POINTER = 0xc0 };

static_assert(DNS_CASE_BYTES * 8 > DNS_NAME_MAX, "a bit for every byte of a name");
static_assert(DNS_NAME_MAX == HOSTNAME_LEN_MAX + 2, "a name as text and on the wire");

/*
 * Appends labels to `name` up to the root (*is_pointer false) or to the first byte of a pointer
 * (*is_pointer true), whose upper six bits are then in *pointer_high.
 */
static enum read_status read_labels(struct reader *r, struct dns_name *name, bool *is_pointer,
                                    uint8_t *pointer_high)
{
    for (;;) {
        uint8_t len;
        struct span label;
        enum read_status status = reader_u8(r, &len);

        if (status != READ_OK)
            return status;
        *is_pointer = (len & LABEL_TYPE_MASK) == LABEL_POINTER;
        if (*is_pointer) {
            *pointer_high = len & (uint8_t)~LABEL_TYPE_MASK;
            return READ_OK;
        }
        /* RFC 1035 4.1.4: "The 10 and 01 combinations are reserved for future use." */
        if ((len & LABEL_TYPE_MASK) != 0)
            return READ_BAD;
        status = reader_bytes(r, len, &label);
        if (status != READ_OK)
            return status;
        /*
         * RFC 1035 3.1: "the total length of a domain name (i.e., label octets and label length
         * octets) is restricted to 255 octets or less."
         */
        if ((size_t)name->len + 1 + len > DNS_NAME_MAX)
            return READ_BAD;
        name->bytes[name->len++] = len;
        if (len == 0)
            return READ_OK;
        memcpy(name->bytes + name->len, label.data, len);
        name->len = (uint8_t)(name->len + len);
    }
}

enum read_status dns_name_read_plain(struct reader *r, struct dns_name *out)
{
    struct reader probe = *r;
    struct dns_name name = {0};
    bool is_pointer;
    uint8_t pointer_high;
    enum read_status status = read_labels(&probe, &name, &is_pointer, &pointer_high);

    if (status != READ_OK)
        return status;
    if (is_pointer)
        return READ_BAD;
    *r = probe;
    *out = name;
    return READ_OK;
}

/*
 * Follows pointers until the name ends. Each one is given only the bytes between its target and
 * the place where the part that holds it began, so it cannot lead forward, to itself or in a
 * circle.
 */
static enum read_status follow_pointers(struct span message, size_t part_start, size_t target,
                                        struct dns_name *name)
{
    for (unsigned jumps = 0; jumps < DNS_POINTERS_MAX; jumps++) {
        bool is_pointer;
        uint8_t high;
        uint8_t low;

        /*
         * RFC 1035 4.1.4: "an entire domain name or a list of labels at the end of a domain name
         * is replaced with a pointer to a prior occurrence of the same name." No name occurs in
         * the header.
         */
        if (target >= part_start || target < MESSAGE_HEADER_LEN)
            return READ_BAD;
        struct reader part = reader_init_whole(span_of(message.data + target, part_start - target));
        if (read_labels(&part, name, &is_pointer, &high) != READ_OK)
            return READ_BAD;
        if (!is_pointer)
            return READ_OK;
        if (reader_u8(&part, &low) != READ_OK)
            return READ_BAD;
        part_start = target;
        target = (size_t)high << 8 | low;
    }
    return READ_BAD;
}

enum read_status dns_name_read(struct reader *r, struct span message, struct dns_name *out)
{
    struct reader probe = *r;
    struct dns_name name = {0};
    bool is_pointer;
    uint8_t high;
    uint8_t low;
    enum read_status status = read_labels(&probe, &name, &is_pointer, &high);

    if (status == READ_OK && is_pointer) {
        status = reader_u8(&probe, &low);
        if (status == READ_OK)
            status = follow_pointers(message, (size_t)(r->rest.data - message.data),
                                     (size_t)high << 8 | low, &name);
    }
    if (status != READ_OK)
        return status;
    *r = probe;
    *out = name;
    return READ_OK;
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
    /* A length byte is at most 63 and so never taken for a letter. */
    return span_equal_nocase(dns_name_span(a), dns_name_span(b));
}

bool dns_name_is_within(const struct dns_name *name, const struct dns_name *apex)
{
    size_t at = 0;

    while ((size_t)name->len - at > apex->len)
        at += (size_t)name->bytes[at] + 1;
    return span_equal_nocase(span_from(dns_name_span(name), at), dns_name_span(apex));
}

bool dns_name_to_host(const struct dns_name *name, struct hostname *out)
{
    char text[HOSTNAME_LEN_MAX];
    size_t len = 0;

    for (size_t at = 0; name->bytes[at] != 0; at += (size_t)name->bytes[at] + 1) {
        struct span label = span_of(name->bytes + at + 1, name->bytes[at]);
        /* "good.example" as one label is not the host good.example. */
        if (span_find(label, '.') < label.len)
            return false;
        if (len > 0)
            text[len++] = '.';
        memcpy(text + len, label.data, label.len);
        len += label.len;
    }
    return hostname_parse(span_of(text, len), out) == HOSTNAME_OK;
}

void dns_name_from_host(const struct hostname *host, struct dns_name *out)
{
    struct span rest = hostname_span(host);

    out->len = 0;
    for (;;) {
        size_t len = span_find(rest, '.');
        assert(len > 0 && len <= HOSTNAME_LABEL_MAX && (size_t)out->len + len + 2 <= DNS_NAME_MAX);
        out->bytes[out->len++] = (uint8_t)len;
        memcpy(out->bytes + out->len, rest.data, len);
        out->len = (uint8_t)(out->len + len);
        if (len == rest.len)
            break;
        rest = span_from(rest, len + 1);
    }
    out->bytes[out->len++] = 0;
}

void dns_name_mix_case(struct dns_name *name, const uint8_t bits[DNS_CASE_BYTES])
{
    for (size_t i = 0; i < name->len; i++) {
        uint8_t c = ascii_lower(name->bytes[i]);
        bool is_upper = (bits[i / 8] >> (i % 8) & 1) != 0;
        if (c >= 'a' && c <= 'z' && is_upper)
            c = (uint8_t)(c - 'a' + 'A');
        name->bytes[i] = c;
    }
}

/* Cuts the last label off `rest`; the label, empty when nothing is left. */
static struct span cut_last_label(struct span *rest)
{
    size_t start = rest->len;

    while (start > 0 && rest->data[start - 1] != '.')
        start--;
    struct span label = span_from(*rest, start);
    *rest = span_first(*rest, start > 0 ? start - 1 : 0);
    return label;
}

static bool to_address_v4(struct span rest, struct netaddr *out)
{
    uint8_t bytes[4];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        uint64_t value;
        if (!span_parse_number(cut_last_label(&rest), 0, 255, &value))
            return false;
        bytes[i] = (uint8_t)value;
    }
    if (!span_is_empty(rest))
        return false;
    *out = netaddr_v4(bytes);
    return true;
}

static bool to_address_v6(struct span rest, struct netaddr *out)
{
    uint8_t bytes[16] = {0};

    for (size_t i = 0; i < 2 * sizeof(bytes); i++) {
        struct span label = cut_last_label(&rest);
        if (label.len != 1)
            return false;
        uint8_t c = label.data[0];
        if (!ascii_is_digit(c) && !(c >= 'a' && c <= 'f'))
            return false;
        int nibble = ascii_is_digit(c) ? c - '0' : c - 'a' + 10;
        bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | nibble);
    }
    if (!span_is_empty(rest))
        return false;
    *out = netaddr_v6(bytes);
    return true;
}

bool dns_name_to_address(const struct hostname *host, struct netaddr *out)
{
    struct span rest = hostname_span(host);

    if (!span_equal(cut_last_label(&rest), SPAN_LITERAL("arpa")))
        return false;
    struct span tree = cut_last_label(&rest);
    if (span_equal(tree, SPAN_LITERAL("in-addr")))
        return to_address_v4(rest, out);
    if (span_equal(tree, SPAN_LITERAL("ip6")))
        return to_address_v6(rest, out);
    return false;
}
