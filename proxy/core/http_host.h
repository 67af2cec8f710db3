/*
 * The host and port that an HTTP request names: the value of Host, the authority of an absolute
 * URI, or the target of a CONNECT (RFC 9110 4.2 and 7.2, RFC 3986 3.2).
 */
#ifndef PROXY_CORE_HTTP_HOST_H
#define PROXY_CORE_HTTP_HOST_H

#include "config/hostname.h"
#include "config/netaddr.h"
#include "config/reason.h"
#include "config/span.h"

/* NONE is a request of HTTP/1.0 that names no host. */
enum http_host_kind { HTTP_HOST_NONE = 0, HTTP_HOST_NAME, HTTP_HOST_ADDRESS };

struct http_host {
    enum http_host_kind kind;
    struct hostname name; /* HTTP_HOST_NAME */
    struct netaddr addr;  /* HTTP_HOST_ADDRESS */
    bool has_port;
    uint16_t port; /* 1..65535 where has_port */
};

/*
 * Reads a whole span: "name", "1.2.3.4" or "[v6]", then maybe ":port". False leaves *out untouched
 * and gives the reason:
 *
 * REASON_BAD_REQUEST  not of this shape: empty, user info, a space, a comma, anything behind the
 *                     host but a port, a port that is empty, 0, above 65535 or has leading zeros;
 * REASON_BAD_NAME     of this shape, but no name and no address: an empty label, '*', '%', the
 *                     inet_aton spellings of an address, brackets around anything but IPv6.
 */
bool http_host_parse(struct span authority, struct http_host *out, enum reason *reason);

/* The same host, and the same port when `port_default` stands for the one that is not written. */
bool http_host_equal(const struct http_host *a, const struct http_host *b, uint16_t port_default);

#endif
