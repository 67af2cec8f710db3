#include "proxy/core/refusal.h"

#include <assert.h>

/* How a reason is told; the entry that helps is of the kind that `help` names. */
enum help { HELP_NONE, HELP_NAME, HELP_ADDRESS };

struct telling {
    const char *status;
    enum help help;
    bool is_policy;
};

static const char *const forbidden = "403 Forbidden";

static struct telling telling_of(enum reason reason)
{
    switch (reason) {
    case REASON_NOT_ALLOWED:
    case REASON_NO_NAME:
    case REASON_AMBIGUOUS_ADDRESS:
    case REASON_BLOCKED:
        return (struct telling){forbidden, HELP_NAME, true};
    case REASON_PRIVATE_ADDRESS:
    case REASON_LOOPBACK_ADDRESS:
        return (struct telling){forbidden, HELP_ADDRESS, true};
    case REASON_METADATA_ADDRESS:
    case REASON_BAD_NAME:
    case REASON_ECH_REFUSED:
    case REASON_H2C_REFUSED:
    case REASON_QUIC_REFUSED:
    case REASON_CONNECT_REFUSED:
    case REASON_NOT_REDIRECTED:
    case REASON_LIMIT_REACHED:
    case REASON_DNS_REFUSED:
        return (struct telling){forbidden, HELP_NONE, true};
    case REASON_HOST_CHANGED:
        return (struct telling){"421 Misdirected Request", HELP_NONE, true};
    case REASON_BAD_REQUEST:
    case REASON_BAD_HELLO:
        return (struct telling){"400 Bad Request", HELP_NONE, true};
    case REASON_SNIFF_TIMEOUT:
        return (struct telling){"408 Request Timeout", HELP_NONE, true};
    case REASON_TOO_LARGE:
        return (struct telling){"431 Request Header Fields Too Large", HELP_NONE, true};
    case REASON_NAME_UNRESOLVABLE:
    case REASON_UPSTREAM_REFUSED:
        return (struct telling){"502 Bad Gateway", HELP_NONE, false};
    case REASON_UPSTREAM_TIMEOUT:
        return (struct telling){"504 Gateway Timeout", HELP_NONE, false};
    case REASON_INTERNAL_ERROR:
    case REASON_ALLOWED:
    case REASON_COUNT:
        break;
    }
    return (struct telling){"500 Internal Server Error", HELP_NONE, true};
}

bool refusal_is_policy(enum reason reason)
{
    return telling_of(reason).is_policy;
}

static void put_port(const struct refusal *refusal, struct text *out)
{
    text_put_char(out, ':');
    text_put_number(out, refusal->port);
}

static void put_address_entry(const struct refusal *refusal, struct text *out)
{
    struct rule rule = {.kind = RULE_ADDRESS,
                        .prefix = netprefix_of_addr(refusal->address),
                        .ports = {1, {{refusal->port, refusal->port}}}};

    rule_print(&rule, out);
}

void refusal_entry(const struct refusal *refusal, struct text *out)
{
    enum help help = telling_of(refusal->reason).help;

    if (help == HELP_NONE)
        return;
    if (help == HELP_NAME && refusal->name != NULL) {
        text_put(out, "allow = { domains = { \"");
        text_put_span(out, hostname_span(refusal->name));
        put_port(refusal, out);
    } else if (refusal->address != NULL) {
        text_put(out, "allow = { ips = { \"");
        put_address_entry(refusal, out);
    } else {
        return;
    }
    text_put(out, "\" } }");
}

/* A JSON string of text that holds printable ASCII only; quotes and backslashes are escaped. */
static void put_json(struct text *out, const char *text)
{
    text_put_char(out, '"');
    text_put_escaped(out, span_of_text(text), RULE_TEXT_MAX);
    text_put_char(out, '"');
}

static void put_json_body(const struct refusal *refusal, const char *entry, struct text *out)
{
    text_put(out, "{\"error\":");
    put_json(out, refusal_is_policy(refusal->reason) ? "refused by cage-proxy policy"
                                                     : "destination not reached");
    text_put(out, ",\"reason\":");
    put_json(out, reason_token(refusal->reason));
    text_put(out, ",\"name\":");
    if (refusal->name != NULL)
        put_json(out, refusal->name->text);
    else
        text_put(out, "null");
    text_put(out, ",\"port\":");
    text_put_number(out, refusal->port);
    text_put(out, ",\"rule\":");
    if (refusal->rule != NULL)
        put_json(out, refusal->rule->text);
    else
        text_put(out, "null");
    text_put(out, ",\"add\":");
    if (entry[0] != '\0')
        put_json(out, entry);
    else
        text_put(out, "null");
    text_put(out, "}\n");
}

static void put_where(const struct refusal *refusal, struct text *out)
{
    char address[NETADDR_TEXT_MAX];

    if (refusal->name != NULL) {
        text_put_span(out, hostname_span(refusal->name));
    } else if (refusal->address != NULL) {
        netaddr_print(refusal->address, address);
        text_put(out, address);
    }
    text_put(out, " port ");
    text_put_number(out, refusal->port);
}

static void put_text_body(const struct refusal *refusal, const char *entry, struct text *out)
{
    if (refusal_is_policy(refusal->reason)) {
        text_put(out, "cage-proxy refused this request: ");
        text_put(out, reason_token(refusal->reason));
        text_put(out, " (");
        text_put(out, reason_sentence(refusal->reason));
        text_put(out, ").\nDestination: ");
        put_where(refusal, out);
        text_put(out, ".\nThis is the policy of this machine, not an answer of the origin. "
                      "Do not retry; it will be refused again.\n");
    } else {
        text_put(out, "cage-proxy could not reach the destination: ");
        text_put(out, reason_token(refusal->reason));
        text_put(out, " (");
        text_put(out, reason_sentence(refusal->reason));
        text_put(out, ").\nDestination: ");
        put_where(refusal, out);
        text_put(out, ".\nThe policy allows it; this is not a refusal by policy.\n");
    }
    if (refusal->rule != NULL) {
        text_put(out, "Decided by the entry ");
        text_put(out, refusal->rule->text);
        text_put(out, ".\n");
    }
    if (entry[0] != '\0') {
        text_put(out, "To allow it, the user outside of the cage adds: ");
        text_put(out, entry);
        text_put_char(out, '\n');
    }
}

static const char *proxy_error(const struct refusal *refusal)
{
    if (refusal->reason == REASON_BLOCKED)
        return "blocked-by-denylist";
    if (refusal->mode == MODE_ALLOWLIST && telling_of(refusal->reason).help == HELP_NAME)
        return "blocked-by-allowlist";
    return "blocked-by-policy";
}

void refusal_http(const struct refusal *refusal, bool wants_json, bool is_head, struct text *out)
{
    char body_data[REFUSAL_MAX / 2];
    char entry_data[RULE_TEXT_MAX];
    struct text body = TEXT_OF(body_data);
    struct text entry = TEXT_OF(entry_data);

    refusal_entry(refusal, &entry);
    if (wants_json)
        put_json_body(refusal, entry_data, &body);
    else
        put_text_body(refusal, entry_data, &body);
    assert(!body.is_cut);

    text_put(out, "HTTP/1.1 ");
    text_put(out, telling_of(refusal->reason).status);
    text_put(out, wants_json ? "\r\nContent-Type: application/json"
                             : "\r\nContent-Type: text/plain; charset=utf-8");
    text_put(out, "\r\nContent-Length: ");
    text_put_number(out, body.len);
    text_put(out, "\r\nX-Cage-Reason: ");
    text_put(out, reason_token(refusal->reason));
    if (refusal_is_policy(refusal->reason)) {
        text_put(out, "\r\nX-Proxy-Error: ");
        text_put(out, proxy_error(refusal));
    }
    text_put(out, "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
    if (!is_head)
        text_put_span(out, text_span(&body));
}

void refusal_alert(enum reason reason, uint8_t out[REFUSAL_ALERT_LEN])
{
    enum { ALERT = 21, FATAL = 2, ACCESS_DENIED = 49, UNRECOGNIZED_NAME = 112 };
    bool is_name = reason == REASON_NOT_ALLOWED || reason == REASON_BLOCKED ||
                   reason == REASON_BAD_NAME || reason == REASON_NO_NAME ||
                   reason == REASON_AMBIGUOUS_ADDRESS || reason == REASON_NAME_UNRESOLVABLE;
    const uint8_t alert[REFUSAL_ALERT_LEN] = {
        ALERT, 3, 3, 0, 2, FATAL, is_name ? UNRECOGNIZED_NAME : ACCESS_DENIED};

    memcpy(out, alert, sizeof(alert));
}

size_t refusal_h2(enum reason reason, uint8_t *out, size_t cap)
{
    enum { FRAME_SETTINGS = 4, FRAME_GOAWAY = 7, HTTP_1_1_REQUIRED = 13 };
    struct span debug = span_of_text(reason_token(reason));
    uint8_t goaway_len = (uint8_t)(8 + debug.len);
    const uint8_t head[] = {
        0, 0, 0, FRAME_SETTINGS,   0, 0, 0, 0, 0, 0, 0, goaway_len, FRAME_GOAWAY, 0, 0, 0, 0, 0, 0,
        0, 0, 0, /* last stream */
        0, 0, 0, HTTP_1_1_REQUIRED};

    if (cap < sizeof(head) + debug.len)
        return 0;
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), debug.data, debug.len);
    return sizeof(head) + debug.len;
}
