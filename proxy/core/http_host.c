#include "proxy/core/http_host.h"

/* RFC 3986 reg-name less the comma, which would make a list of it. */
static bool is_host_byte(uint8_t c)
{
    static const char marks[] = "-._~%!$&'()*+;=";
    uint8_t lower = ascii_lower(c);

    return ascii_is_digit(c) || (lower >= 'a' && lower <= 'z') ||
           memchr(marks, c, sizeof(marks) - 1) != NULL;
}

static bool is_host_text(struct span host, bool is_bracketed)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!is_host_byte(host.data[i]) && !(is_bracketed && host.data[i] == ':'))
            return false;
    }
    return host.len > 0;
}

static bool read_port(struct span suffix, struct http_host *host)
{
    uint64_t port;

    if (suffix.len == 0)
        return true;
    if (suffix.data[0] != ':' || !span_parse_number(span_from(suffix, 1), 1, UINT16_MAX, &port))
        return false;
    host->has_port = true;
    host->port = (uint16_t)port;
    return true;
}

bool http_host_parse(struct span authority, struct http_host *out, enum reason *reason)
{
    struct http_host parsed = {0};
    bool is_bracketed = authority.len > 0 && authority.data[0] == '[';
    struct span rest = span_from(authority, is_bracketed ? 1 : 0);
    size_t end = span_find(rest, is_bracketed ? ']' : ':');
    struct span host = span_first(rest, end);

    *reason = REASON_BAD_REQUEST;
    if (is_bracketed && end == rest.len)
        return false;
    if (!is_host_text(host, is_bracketed))
        return false;
    if (!read_port(span_from(rest, is_bracketed ? end + 1 : end), &parsed))
        return false;

    *reason = REASON_BAD_NAME;
    if (is_bracketed && span_find(host, ':') == host.len)
        return false;
    if (netaddr_parse(host, &parsed.addr))
        parsed.kind = HTTP_HOST_ADDRESS;
    else if (!is_bracketed && hostname_parse(host, &parsed.name) == HOSTNAME_OK)
        parsed.kind = HTTP_HOST_NAME;
    else
        return false;
    *out = parsed;
    return true;
}

bool http_host_equal(const struct http_host *a, const struct http_host *b, uint16_t port_default)
{
    uint16_t port_a = a->has_port ? a->port : port_default;
    uint16_t port_b = b->has_port ? b->port : port_default;

    if (a->kind != b->kind || port_a != port_b)
        return false;
    switch (a->kind) {
    case HTTP_HOST_NONE:
        return true;
    case HTTP_HOST_NAME:
        return hostname_equal(&a->name, &b->name);
    case HTTP_HOST_ADDRESS:
        return netaddr_equal(&a->addr, &b->addr);
    }
    return false;
}
