#include "tests/lib/http_text.h"

#include <stdio.h>

static size_t add(char out[HTTP_TEXT_MAX], size_t len, const char *text)
{
    return len + (size_t)snprintf(out + len, HTTP_TEXT_MAX - len, "%s", text);
}

void http_text_host(const struct http_host *host, char out[HTTP_TEXT_MAX])
{
    char addr[NETADDR_TEXT_MAX];
    size_t len = 0;

    switch (host->kind) {
    case HTTP_HOST_NONE:
        len = add(out, len, "-");
        break;
    case HTTP_HOST_NAME:
        len = add(out, len, host->name.text);
        break;
    case HTTP_HOST_ADDRESS:
        netaddr_print(&host->addr, addr);
        len = add(out, len, netaddr_is_v4(&host->addr) ? "" : "[");
        len = add(out, len, addr);
        len = add(out, len, netaddr_is_v4(&host->addr) ? "" : "]");
        break;
    }
    if (host->has_port)
        snprintf(out + len, HTTP_TEXT_MAX - len, ":%u", (unsigned)host->port);
}

static const char *target_text(enum http_target target)
{
    switch (target) {
    case HTTP_TARGET_ORIGIN:
        return "";
    case HTTP_TARGET_ABSOLUTE:
        return " absolute";
    case HTTP_TARGET_AUTHORITY:
        return " connect";
    case HTTP_TARGET_ASTERISK:
        return " asterisk";
    }
    return " ?";
}

void http_text_head(const struct http_head *head, char out[HTTP_TEXT_MAX])
{
    http_text_host(&head->host, out);
    size_t len = strlen(out);

    len = add(out, len, head->minor == 1 ? "" : " 1.0");
    len = add(out, len, target_text(head->target));
    len = add(out, len, head->is_head ? " head" : "");
    if (head->body == HTTP_BODY_LENGTH)
        len += (size_t)snprintf(out + len, HTTP_TEXT_MAX - len, " length=%llu",
                                (unsigned long long)head->body_len);
    len = add(out, len, head->body == HTTP_BODY_CHUNKED ? " chunked" : "");
    len = add(out, len, head->wants_upgrade ? " upgrade" : "");
    len = add(out, len, head->upgrade_is_h2c ? " h2c" : "");
    len = add(out, len, head->accepts_json ? " json" : "");
    len = add(out, len, head->expects_continue ? " expect" : "");
    if (head->keeps_alive != (head->minor == 1))
        add(out, len, head->keeps_alive ? " keep" : " close");
}
