/*
 * What a refused client is told, in its own protocol.
 */
#ifndef PROXY_CORE_REFUSAL_H
#define PROXY_CORE_REFUSAL_H

#include "config/matcher.h"

enum { REFUSAL_MAX = 4096 };

/* What the refusal is about; everything in it is canonical, so that it may be pasted. */
struct refusal {
    enum reason reason;
    const struct hostname *name;   /* NULL when none is proven */
    const struct netaddr *address; /* the original destination */
    uint16_t port;                 /* likewise */
    enum network_mode mode;
    const struct matcher_rule *rule; /* the entry that decided, or NULL */
};

/*
 * The entry that would allow this destination, as it is written in a configuration: for a name
 * `allow.domains`, else `allow.ips`. Empty when no entry would (a malformed request, a limit) or
 * none should be suggested (metadata addresses).
 */
void refusal_entry(const struct refusal *refusal, struct text *out);

/*
 * A whole HTTP/1.1 answer into `out` (REFUSAL_MAX bytes): 403, or 400, 421, 408, 431, 502, 504
 * where the reason says that it is not the policy's doing. `wants_json` chooses the body's form,
 * `is_head` leaves the body out. "Connection: close" always.
 */
void refusal_http(const struct refusal *refusal, bool wants_json, bool is_head, struct text *out);

enum { REFUSAL_ALERT_LEN = 7 };

/* A fatal TLS alert in a plain record (RFC 8446 6): unrecognized_name, or access_denied. */
void refusal_alert(enum reason reason, uint8_t out[REFUSAL_ALERT_LEN]);

/* SETTINGS and a GOAWAY with the reason as debug data (RFC 9113 6.8), for HTTP/2 clients. */
size_t refusal_h2(enum reason reason, uint8_t *out, size_t cap);

/* The reason is the policy's doing, not the destination's or the client's. */
bool refusal_is_policy(enum reason reason);

#endif
