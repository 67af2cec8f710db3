/*
 * The first byte seeds how the rest is cut, the second says what the server answers. However the
 * stream is cut: the same heads, hosts, body lengths and refusal at the same places. A head is one
 * head, its host is canonical and written in it, and a body ends where a naive reader ends it.
 */
#include <stdlib.h>

#include "proxy/core/http_stream.h"
#include "tests/lib/http_naive.h"

enum { HEAD_MAX = 1024, EVENTS_MAX = 128 };

static void check(bool is_so)
{
    if (!is_so)
        abort();
}

struct event {
    enum http_stream_event kind;
    size_t at;
    size_t len;
    struct http_host host;
    enum reason reason;
};

struct trace {
    struct event events[EVENTS_MAX];
    size_t count;
    size_t at; /* where the bytes that did not move begin */
};

static bool contains_nocase(struct span s, struct span part)
{
    for (size_t i = 0; i + part.len <= s.len; i++) {
        if (span_equal_nocase(span_first(span_from(s, i), part.len), part))
            return true;
    }
    return false;
}

static void check_head(const struct http_head *head, struct span rest)
{
    struct span bytes = span_first(rest, head->head_len);
    struct hostname again;

    check(head->head_len <= HEAD_MAX && http_naive_find(bytes, "\r\n\r\n") + 4 == bytes.len);
    check(span_find(bytes, '\0') == bytes.len);
    check(head->method.data == bytes.data);
    check(!head->host.has_port || head->host.port > 0);
    check((head->body == HTTP_BODY_LENGTH) == (head->body_len > 0));
    if (head->host.kind != HTTP_HOST_NAME) {
        check(head->host.kind == HTTP_HOST_ADDRESS || head->minor == 0);
        return;
    }
    check(hostname_parse(hostname_span(&head->host.name), &again) == HOSTNAME_OK);
    check(hostname_equal(&again, &head->host.name));
    check(contains_nocase(bytes, hostname_span(&head->host.name)));
}

static void check_body(const struct http_head *head, struct span rest, size_t body_len)
{
    switch (head->body) {
    case HTTP_BODY_NONE:
        check(body_len == 0);
        return;
    case HTTP_BODY_LENGTH:
        check(body_len == head->body_len);
        return;
    case HTTP_BODY_CHUNKED:
        check(body_len == http_naive_chunked_len(rest));
        return;
    }
    abort();
}

/* Joins a BODY to the one before it. */
static void add_event(struct trace *t, const struct event *event)
{
    struct event *last = t->count == 0 ? NULL : &t->events[t->count - 1];

    if (last != NULL && last->kind == HTTP_STREAM_BODY && event->kind == HTTP_STREAM_BODY)
        last->len += event->len;
    else
        t->events[t->count++] = *event;
}

struct run {
    struct http_stream stream;
    struct span bytes;
    bool takes;
    bool has_head;
    struct http_head head; /* the last one accepted */
    size_t body_at;
};

/* All events that bytes up to `have` give; false when there will be no more. */
static bool read_events(struct run *r, size_t have, struct trace *t)
{
    while (t->count < EVENTS_MAX) {
        struct http_stream_item item = {.reason = REASON_ALLOWED};
        struct span rest = span_first(span_from(r->bytes, t->at), have - t->at);
        struct event event = {.at = t->at, .reason = REASON_ALLOWED};
        event.kind = http_stream_read(&r->stream, rest, &item);
        if (event.kind == HTTP_STREAM_MORE)
            return true;
        bool is_body_over = event.kind == HTTP_STREAM_HEAD || event.kind == HTTP_STREAM_WAIT;
        if (is_body_over && r->has_head) {
            check_body(&r->head, span_from(r->bytes, r->body_at), t->at - r->body_at);
            r->has_head = false;
        }
        if (event.kind == HTTP_STREAM_HEAD) {
            check_head(&item.head, rest);
            event.host = item.head.host;
            event.len = item.head.head_len;
            http_stream_accept_head(&r->stream);
            r->head = item.head;
            r->has_head = true;
            r->body_at = t->at + event.len;
        } else if (event.kind == HTTP_STREAM_BODY) {
            check(item.len > 0 && item.len <= rest.len);
            event.len = item.len;
        } else if (event.kind == HTTP_STREAM_WAIT && r->takes) {
            http_stream_set_opaque(&r->stream);
        } else if (event.kind == HTTP_STREAM_WAIT) {
            http_stream_resume(&r->stream);
        } else if (event.kind == HTTP_STREAM_BAD) {
            event.reason = item.reason;
        }
        t->at += event.len;
        add_event(t, &event);
        if (event.kind == HTTP_STREAM_BAD)
            return false;
    }
    return false;
}

/* In pieces that `seed` chooses; 0: all at once. */
static void run(struct span bytes, bool takes, unsigned seed, struct trace *t)
{
    struct run r = {.bytes = bytes, .takes = takes};
    size_t have = seed == 0 ? bytes.len : 0;

    http_stream_init(&r.stream, HEAD_MAX);
    memset(t, 0, sizeof(*t));
    while (read_events(&r, have, t) && have < bytes.len) {
        seed = seed * 1103515245 + 12345;
        have += 1 + (seed >> 16) % ((seed >> 28) + 1);
        if (have > bytes.len)
            have = bytes.len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct trace whole;
    static struct trace pieces;

    if (size < 2)
        return 0;
    struct span bytes = span_of(data + 2, size - 2);
    bool takes = data[1] % 2 == 1;

    run(bytes, takes, 0, &whole);
    run(bytes, takes, data[0] + 1U, &pieces);
    check(whole.at == pieces.at && whole.count == pieces.count);
    for (size_t i = 0; i < whole.count; i++) {
        struct event *a = &whole.events[i];
        struct event *b = &pieces.events[i];
        check(a->kind == b->kind && a->at == b->at && a->len == b->len && a->reason == b->reason);
        check(a->host.has_port == b->host.has_port);
        check(http_host_equal(&a->host, &b->host, 0));
    }
    return 0;
}
