/*
 * Verdicts and the reason tokens that explain them.
 *
 * One list for everything that judges or reports: the log, a 403, a TLS alert, a DNS answer, a
 * kernel rule and `explain` carry the same token for the same decision.
 */
#ifndef CONFIG_REASON_H
#define CONFIG_REASON_H

#include <stdbool.h>

#include "config/span.h"

/* DENY is zero: a verdict that nobody set is a denial. */
enum verdict_kind { VERDICT_DENY = 0, VERDICT_ALLOW };

/* REASON_INTERNAL_ERROR is zero: a reason that nobody set says so. */
enum reason {
    REASON_INTERNAL_ERROR = 0,
    REASON_ALLOWED,
    REASON_NOT_ALLOWED,
    REASON_BLOCKED,
    REASON_METADATA_ADDRESS,
    REASON_PRIVATE_ADDRESS,
    REASON_LOOPBACK_ADDRESS,
    REASON_NO_NAME,
    REASON_BAD_NAME,
    REASON_BAD_REQUEST,
    REASON_BAD_HELLO,
    REASON_AMBIGUOUS_ADDRESS,
    REASON_NAME_UNRESOLVABLE,
    REASON_HOST_CHANGED,
    REASON_ECH_REFUSED,
    REASON_H2C_REFUSED,
    REASON_QUIC_REFUSED,
    REASON_CONNECT_REFUSED,
    REASON_SNIFF_TIMEOUT,
    REASON_TOO_LARGE,
    REASON_NOT_REDIRECTED,
    REASON_UPSTREAM_REFUSED,
    REASON_UPSTREAM_TIMEOUT,
    REASON_LIMIT_REACHED,
    REASON_DNS_REFUSED,
    REASON_COUNT
};

/* The token, e.g. "not-allowed"; static storage. */
const char *reason_token(enum reason reason);

/* One sentence without a full stop that a person who was refused understands; static storage. */
const char *reason_sentence(enum reason reason);

/* The reason of a token; false and *out untouched when there is none. */
bool reason_parse(struct span token, enum reason *out);

#endif
