#include "proxy/cli/explanation.h"

#include "config/idna.h"

enum { PORT_DNS = 53, PORT_DEFAULT = 443 };

static bool complain(struct text *fault, const char *what)
{
    text_put(fault, what);
    return false;
}

/* "http://host/path" -> "host", with the scheme's port; what is no URL stays as it is. */
static bool cut_url(struct span *text, uint16_t *port, struct text *fault)
{
    static const struct {
        const char *scheme;
        uint16_t port;
    } schemes[] = {{"https://", 443}, {"http://", 80},  {"wss://", 443}, {"ws://", 80},
                   {"ssh://", 22},    {"git://", 9418}, {"ftp://", 21}};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t len = strlen(schemes[i].scheme);
        if (text->len < len ||
            !span_equal_nocase(span_first(*text, len), span_of_text(schemes[i].scheme)))
            continue;
        struct span rest = span_from(*text, len);
        size_t end = 0;
        while (end < rest.len && strchr("/?#", rest.data[end]) == NULL)
            end++;
        *text = span_first(rest, end);
        *port = schemes[i].port;
        size_t at = span_find(*text, '@');
        if (at < text->len)
            *text = span_from(*text, at + 1);
        return true;
    }
    for (size_t i = 0; i + 2 < text->len; i++) {
        if (memcmp(text->data + i, "://", 3) == 0)
            return complain(fault, "no such kind of URL; write host:port instead");
    }
    return true;
}

static bool parse_port(struct span text, uint16_t *port, struct text *fault)
{
    uint64_t value;

    if (!span_parse_number(text, 1, UINT16_MAX, &value))
        return complain(fault, "a port is a number from 1 to 65535");
    *port = (uint16_t)value;
    return true;
}

/* Cuts a port off: behind brackets, or behind the only colon. */
static bool cut_port(struct span *text, struct explain_question *q, struct text *fault)
{
    size_t colon;

    if (text->len > 0 && text->data[0] == '[') {
        size_t close = span_find(*text, ']');
        if (close == text->len)
            return complain(fault, "'[' without ']'");
        struct span behind = span_from(*text, close + 1);
        *text = span_from(span_first(*text, close), 1);
        if (behind.len == 0)
            return true;
        if (behind.data[0] != ':')
            return complain(fault, "after ']' only :PORT may follow");
        q->has_port = true;
        return parse_port(span_from(behind, 1), &q->port, fault);
    }
    colon = span_find(*text, ':');
    bool has_second =
        colon < text->len && span_find(span_from(*text, colon + 1), ':') < text->len - colon - 1;
    if (colon == text->len || has_second)
        return true;
    q->has_port = true;
    if (!parse_port(span_from(*text, colon + 1), &q->port, fault))
        return false;
    *text = span_first(*text, colon);
    return true;
}

bool explain_parse(struct span text, struct explain_question *out, struct text *fault)
{
    struct explain_question q = {.port = PORT_DEFAULT};
    const char *why = "";
    uint16_t url_port = 0;

    if (!cut_url(&text, &url_port, fault) || !cut_port(&text, &q, fault))
        return false;
    if (!q.has_port && url_port != 0) {
        q.has_port = true;
        q.port = url_port;
    }
    q.has_address = netaddr_parse(text, &q.address);
    q.has_name = !q.has_address;
    if (q.has_name && !idna_parse(text, &q.name, &why))
        return complain(fault, why);
    *out = q;
    return true;
}

static const char *step_of(const struct verdict *verdict)
{
    switch (verdict->reason) {
    case REASON_ALLOWED:
        return verdict->rule != NULL ? "an allow entry" : "the default of blocklist mode";
    case REASON_BLOCKED:
        return "a block entry";
    case REASON_METADATA_ADDRESS:
    case REASON_PRIVATE_ADDRESS:
    case REASON_LOOPBACK_ADDRESS:
        return "the base layer";
    case REASON_QUIC_REFUSED:
        return "QUIC, which is refused so that clients use TCP";
    case REASON_INTERNAL_ERROR:
    case REASON_NOT_ALLOWED:
    case REASON_NO_NAME:
    case REASON_BAD_NAME:
    case REASON_BAD_REQUEST:
    case REASON_BAD_HELLO:
    case REASON_AMBIGUOUS_ADDRESS:
    case REASON_NAME_UNRESOLVABLE:
    case REASON_HOST_CHANGED:
    case REASON_ECH_REFUSED:
    case REASON_H2C_REFUSED:
    case REASON_CONNECT_REFUSED:
    case REASON_SNIFF_TIMEOUT:
    case REASON_TOO_LARGE:
    case REASON_NOT_REDIRECTED:
    case REASON_UPSTREAM_REFUSED:
    case REASON_UPSTREAM_TIMEOUT:
    case REASON_LIMIT_REACHED:
    case REASON_DNS_REFUSED:
    case REASON_COUNT:
        break;
    }
    return "the default of allowlist mode";
}

/* The verdict on the address alone, which is what the kernel sees. */
static struct verdict judge_packet(const struct matcher *matcher, const struct explain_question *q)
{
    struct destination where = {NULL, &q->address, q->port, q->protocol};

    return matcher_judge(matcher, &where);
}

/* The kernel decides on entries and base layer by address, and on all UDP but DNS. */
static bool is_kernel(const struct explain_question *q, const struct verdict *verdict)
{
    if (q->protocol == PROTOCOL_UDP)
        return true;
    return verdict->rule != NULL || verdict->reason == REASON_METADATA_ADDRESS ||
           verdict->reason == REASON_PRIVATE_ADDRESS || verdict->reason == REASON_LOOPBACK_ADDRESS;
}

static struct explanation explained(struct verdict verdict, enum explain_layer layer)
{
    return (struct explanation){verdict, layer, step_of(&verdict)};
}

static struct explanation judge_address(const struct matcher *matcher,
                                        const struct explain_question *q)
{
    struct verdict packet = judge_packet(matcher, q);
    struct verdict verdict = packet;

    /* DNS to any server, blocked ones too, is answered by the front unless an entry opens 53. */
    if (q->port == PORT_DNS && (packet.rule == NULL || packet.kind == VERDICT_DENY)) {
        verdict = q->has_name ? matcher_judge_name(matcher, &q->name)
                              : (struct verdict){VERDICT_ALLOW, REASON_ALLOWED, true, NULL};
        return (struct explanation){verdict, EXPLAIN_DNS,
                                    "the DNS front, which answers whatever server is asked"};
    }
    if (is_kernel(q, &packet))
        return explained(packet, EXPLAIN_KERNEL);
    if (q->has_name) {
        struct destination where = {&q->name, &q->address, q->port, q->protocol};
        verdict = matcher_judge(matcher, &where);
    }
    return explained(verdict, EXPLAIN_PROXY);
}

static struct explanation judge_name(const struct matcher *matcher,
                                     const struct explain_question *q)
{
    struct destination where = {&q->name, NULL, q->port, q->protocol};
    struct verdict look_up = matcher_judge_name(matcher, &q->name);

    if (look_up.kind == VERDICT_DENY || q->port == PORT_DNS)
        return explained(look_up, EXPLAIN_DNS);
    return explained(matcher_judge(matcher, &where),
                     q->protocol == PROTOCOL_UDP ? EXPLAIN_KERNEL : EXPLAIN_PROXY);
}

struct explanation explain_judge(const struct matcher *matcher,
                                 const struct explain_question *question)
{
    return question->has_address ? judge_address(matcher, question) : judge_name(matcher, question);
}

const char *explain_layer_text(enum explain_layer layer)
{
    switch (layer) {
    case EXPLAIN_KERNEL:
        return "kernel";
    case EXPLAIN_DNS:
        return "dns";
    case EXPLAIN_PROXY:
        return "proxy";
    }
    return "kernel";
}
