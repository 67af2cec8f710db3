#include "proxy/cli/denials.h"

#include <inttypes.h>

#include "proxy/core/log_text.h"
#include "proxy/core/refusal.h"

static bool has_value(struct span line, const char *key, const char *value)
{
    struct span field;

    return log_text_field(line, key, &field) && span_equal(field, span_of_text(value));
}

static bool read_denial(struct span line, struct denial *out)
{
    struct denial d = {.count = 1};
    struct span field;
    uint64_t port = 0;

    if (!has_value(line, "event", "decision") || !has_value(line, "verdict", "deny") ||
        !log_text_field(line, "reason", &field) || !reason_parse(field, &d.reason) ||
        !refusal_is_policy(d.reason))
        return false;
    d.has_name = log_text_field(line, "name", &field) && !span_equal(field, SPAN_LITERAL("null")) &&
                 hostname_parse(field, &d.name) == HOSTNAME_OK;
    d.has_address = log_text_field(line, "address", &field) && netaddr_parse(field, &d.address);
    if (log_text_field(line, "port", &field) && span_parse_number(field, 1, UINT16_MAX, &port))
        d.port = (uint16_t)port;
    *out = d;
    return true;
}

/* One line a name and reason, whatever the ports; an address counts with its port. */
static bool is_same(const struct denial *a, const struct denial *b)
{
    if (a->reason != b->reason || a->has_name != b->has_name)
        return false;
    if (a->has_name)
        return hostname_equal(&a->name, &b->name);
    return a->port == b->port && a->has_address == b->has_address &&
           (!a->has_address || netaddr_equal(&a->address, &b->address));
}

void denials_take(struct denials *denials, struct span line)
{
    struct denial d;

    if (!read_denial(line, &d))
        return;
    for (size_t i = 0; i < denials->count; i++) {
        if (is_same(&denials->list[i], &d)) {
            denials->list[i].count++;
            if (denials->list[i].port == 0)
                denials->list[i].port = d.port;
            return;
        }
    }
    if (denials->count == DENIALS_MAX)
        denials->dropped++;
    else
        denials->list[denials->count++] = d;
}

void denials_take_back(struct denials *denials, const struct hostname *name)
{
    for (size_t i = 0; i < denials->count; i++) {
        struct denial *d = &denials->list[i];
        if (!d->has_name || !hostname_equal(&d->name, name))
            continue;
        if (--d->count > 0)
            return;
        denials->count--;
        memmove(d, d + 1, (denials->count - i) * sizeof(*d));
        return;
    }
}

/* Everything in it is canonical, so that it may be pasted into a configuration. */
static void put_destination(const struct denial *d, struct text *out)
{
    char address[NETADDR_TEXT_MAX];

    if (d->has_name) {
        text_put_span(out, hostname_span(&d->name));
    } else if (d->has_address) {
        netaddr_print(&d->address, address);
        text_put(out, address);
    } else {
        text_put(out, "(no destination)");
    }
    if (d->port != 0) {
        text_put(out, " port ");
        text_put_number(out, d->port);
    } else if (d->has_name) {
        text_put(out, " (DNS)");
    }
}

static void put_entry(const struct denial *d, enum network_mode mode, struct text *out)
{
    struct refusal refusal = {
        .reason = d->reason,
        .name = d->has_name ? &d->name : NULL,
        .address = d->has_address ? &d->address : NULL,
        .port = d->port,
        .mode = mode,
    };
    struct text entry = *out;

    /* A name that was only asked for says nothing of the port; HTTPS is the likely one. */
    if (refusal.port == 0)
        refusal.port = 443;
    text_put(out, "  to allow: ");
    size_t before = out->len;
    refusal_entry(&refusal, out);
    if (out->len == before) {
        *out = entry;
        out->data[out->len] = '\0';
    }
}

void denials_print(const struct denials *denials, enum network_mode mode, FILE *out)
{
    if (denials->count > 0)
        fprintf(out, "cage-proxy: refused by policy:\n");
    for (size_t i = 0; i < denials->count; i++) {
        const struct denial *d = &denials->list[i];
        char data[1024];
        struct text line = TEXT_OF(data);
        put_destination(d, &line);
        text_put(&line, "  ");
        text_put(&line, reason_token(d->reason));
        put_entry(d, mode, &line);
        fprintf(out, "  %" PRIu64 " x %s\n", d->count, data);
    }
    if (denials->dropped > 0)
        fprintf(out, "  and %" PRIu64 " more\n", denials->dropped);
}
