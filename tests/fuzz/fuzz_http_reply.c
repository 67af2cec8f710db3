/*
 * The first byte seeds how the stream is cut, the second counts the requests, of which each has a
 * byte of flags; the rest is the server's. However the stream is cut: the same events at the same
 * places. A response is reported complete where a naive reader ends it, and nothing behind that
 * place moves before; an answer of ours fits only there.
 */
#include <stdlib.h>

#include "proxy/core/http_reply.h"
#include "tests/lib/http_naive.h"

enum { HEAD_MAX = 512, EVENTS_MAX = 128 };

static void check(bool is_so)
{
    if (!is_so)
        abort();
}

struct event {
    enum http_reply_event kind;
    size_t at;
    size_t len;
    uint16_t status;
    bool declines;
};

struct trace {
    struct event events[EVENTS_MAX];
    size_t count;
    size_t at; /* where the bytes that did not move begin */
};

struct run {
    struct http_reply reply;
    struct span bytes;
    struct http_head requests[HTTP_REPLY_QUEUE_MAX];
    size_t request_count;
    size_t answered;
    size_t start; /* of the response that is due */
    bool is_over; /* no boundary is known any more */
};

/* The final head that moved since `start`, behind the informational ones; empty when none did. */
static struct span final_head(const struct run *r, size_t at, bool *is_switch)
{
    struct span rest = span_first(span_from(r->bytes, r->start), at - r->start);

    for (;;) {
        size_t len = http_naive_find(rest, "\r\n\r\n") + 4;
        if (len > rest.len)
            return span_of(NULL, 0);
        *is_switch = memcmp(rest.data + 9, "101", 3) == 0 ||
                     (r->requests[r->answered].is_connect && rest.data[9] == '2');
        if (rest.data[9] != '1' || *is_switch)
            return span_first(rest, len);
        rest = span_from(rest, len);
    }
}

static bool has_no_body(const struct run *r, struct span head)
{
    return r->requests[r->answered].is_head || memcmp(head.data + 9, "204", 3) == 0 ||
           memcmp(head.data + 9, "304", 3) == 0;
}

static bool ends_by_head(const struct run *r, struct span head)
{
    return has_no_body(r, head) || http_naive_field(head, "content-length").len > 0;
}

static size_t end_of(const struct run *r, struct span head)
{
    struct span length = http_naive_field(head, "content-length");
    size_t head_end = (size_t)(head.data + head.len - r->bytes.data);

    if (has_no_body(r, head))
        return head_end;
    if (length.len > 0)
        return head_end + strtoull((const char *)length.data, NULL, 10);
    check(http_naive_field(head, "transfer-encoding").len > 0);
    return head_end + http_naive_chunked_len(span_from(r->bytes, head_end));
}

/* What moved does not pass the end of the response, nor reach it unreported. */
static void check_not_past(const struct run *r, size_t at, bool is_reported)
{
    bool is_switch = false;

    if (r->is_over || at == r->start)
        return;
    check(r->answered < r->request_count);
    struct span head = final_head(r, at, &is_switch);
    if (head.len == 0 || (!is_switch && !ends_by_head(r, head)))
        return;
    size_t end = is_switch ? (size_t)(head.data + head.len - r->bytes.data) : end_of(r, head);
    check(is_reported ? at <= end : at < end);
}

/* What moved since the last boundary is one whole response, which ends here. */
static void check_done(struct run *r, size_t at, const struct http_reply_item *item)
{
    bool is_switch = false;
    struct span head = final_head(r, at, &is_switch);

    check(r->answered < r->request_count && head.len > 0 && !is_switch);
    check(at == end_of(r, head));
    check(item->status == strtoul((const char *)head.data + 9, NULL, 10));
    check(item->declines ==
          (r->requests[r->answered].is_connect || r->requests[r->answered].wants_upgrade));
    r->answered++;
    r->start = at;
}

static void check_switched(struct run *r, size_t at)
{
    bool is_switch = false;
    struct span head = final_head(r, at, &is_switch);

    check(r->answered < r->request_count && is_switch);
    check(at == (size_t)(head.data + head.len - r->bytes.data));
    check(r->requests[r->answered].is_connect || r->requests[r->answered].wants_upgrade);
    r->is_over = true;
}

/* Joins a MOVE to the one before it. */
static void add_event(struct trace *t, const struct event *event)
{
    struct event *last = t->count == 0 ? NULL : &t->events[t->count - 1];

    if (last != NULL && last->kind == HTTP_REPLY_MOVE && event->kind == HTTP_REPLY_MOVE)
        last->len += event->len;
    else
        t->events[t->count++] = *event;
}

/* All events that bytes up to `have` give; false when there will be no more. */
static bool read_events(struct run *r, size_t have, struct trace *t)
{
    while (t->count < EVENTS_MAX) {
        struct http_reply_item item = {0};
        struct span rest = span_first(span_from(r->bytes, t->at), have - t->at);
        struct event event = {.at = t->at};
        event.kind = http_reply_read(&r->reply, rest, &item);
        switch (event.kind) {
        case HTTP_REPLY_MORE:
            check(!r->is_over || rest.len == 0);
            check_not_past(r, t->at, false);
            return true;
        case HTTP_REPLY_MOVE:
            check(item.len > 0 && item.len <= rest.len);
            check_not_past(r, t->at + item.len, true);
            event.len = item.len;
            break;
        case HTTP_REPLY_DONE:
            check(!r->is_over);
            check_done(r, t->at, &item);
            event.status = item.status;
            event.declines = item.declines;
            break;
        case HTTP_REPLY_SWITCHED:
            check(!r->is_over);
            check_switched(r, t->at);
            event.status = item.status;
            break;
        case HTTP_REPLY_UNTRACKED:
            check(!r->is_over);
            r->is_over = true;
            break;
        }
        t->at += event.len;
        add_event(t, &event);
        if (http_reply_can_inject(&r->reply))
            check(!r->is_over && r->answered == r->request_count && t->at == r->start);
    }
    return false;
}

/* In pieces that `seed` chooses; 0: all at once. */
static void run(struct span flags, struct span bytes, unsigned seed, struct trace *t)
{
    struct run r = {.bytes = bytes, .request_count = flags.len};
    size_t have = seed == 0 ? bytes.len : 0;

    http_reply_init(&r.reply, HEAD_MAX);
    for (size_t i = 0; i < flags.len; i++) {
        r.requests[i] = (struct http_head){.is_head = flags.data[i] & 1,
                                           .is_connect = flags.data[i] & 2,
                                           .wants_upgrade = flags.data[i] & 4,
                                           .keeps_alive = !(flags.data[i] & 8)};
        http_reply_push(&r.reply, &r.requests[i]);
    }
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

    if (size < 2 || data[1] > HTTP_REPLY_QUEUE_MAX || size < 2U + data[1])
        return 0;
    struct span flags = span_of(data + 2, data[1]);
    struct span bytes = span_of(data + 2 + data[1], size - 2 - data[1]);

    run(flags, bytes, 0, &whole);
    run(flags, bytes, data[0] + 1U, &pieces);
    check(whole.at == pieces.at && whole.count == pieces.count);
    for (size_t i = 0; i < whole.count; i++) {
        struct event *a = &whole.events[i];
        struct event *b = &pieces.events[i];
        check(a->kind == b->kind && a->at == b->at && a->len == b->len);
        check(a->status == b->status && a->declines == b->declines);
    }
    return 0;
}
