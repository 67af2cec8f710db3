/*
 * A DNS name in canonical form (RFC 1035 2.3.4, RFC 5890 A-labels).
 *
 * Canonical once, at the border: only struct hostname reaches the matcher, and two names are the
 * same host exactly when their bytes are equal.
 */
#ifndef CONFIG_HOSTNAME_H
#define CONFIG_HOSTNAME_H

#include "config/span.h"

enum { HOSTNAME_LEN_MAX = 253, HOSTNAME_LABEL_MAX = 63 };

/* Lower case, no trailing dot, NUL-terminated; labels of 1..63 bytes from a-z 0-9 '-' '_'. */
struct hostname {
    uint8_t len;
    char text[HOSTNAME_LEN_MAX + 1];
};

enum hostname_status {
    HOSTNAME_OK,
    HOSTNAME_EMPTY,      /* nothing, or only the root's dot */
    HOSTNAME_TOO_LONG,   /* over 253 bytes, or a label over 63 */
    HOSTNAME_BAD_LABEL,  /* an empty label */
    HOSTNAME_BAD_BYTE,   /* NUL, control, space, non-ASCII, brackets, '*', '@', ... */
    HOSTNAME_IP_LITERAL, /* an address in any notation that a resolver might take for one */
};

/*
 * Reads a whole span as a name: A-Z are folded, one trailing dot is dropped. IPv6 literals with or
 * without brackets, dotted quads and every name whose last label is a number (decimal or 0x...,
 * the inet_aton shapes) are HOSTNAME_IP_LITERAL. *out is written only on HOSTNAME_OK.
 */
enum hostname_status hostname_parse(struct span bytes, struct hostname *out);

/* What is wrong, for a fault message; static storage. */
const char *hostname_status_text(enum hostname_status status);

bool hostname_equal(const struct hostname *a, const struct hostname *b);

/* `name` lies below `apex`, at any depth; a name does not lie below itself. */
bool hostname_is_below(const struct hostname *name, const struct hostname *apex);

/*
 * The name's suffix that starts behind its first label: "a.b.c" -> "b.c", "c" -> empty. `from` is
 * the offset of a label of `name`; the return value is the next label's, or name->len at the end.
 */
size_t hostname_next_label(const struct hostname *name, size_t from);

static inline struct span hostname_span(const struct hostname *name)
{
    return span_of(name->text, name->len);
}

#endif
