#include "proxy/core/session.h"

#include <assert.h>

#define TO(state) (1u << (state))

/* What may follow each state; every state may end in DENIED. */
static const unsigned successors[SESSION_STATE_COUNT] = {
    [SESSION_SNIFF] = TO(SESSION_NAMES) | TO(SESSION_RESOLVE),
    [SESSION_NAMES] = TO(SESSION_DIAL),
    [SESSION_RESOLVE] = TO(SESSION_DIAL),
    [SESSION_DIAL] = TO(SESSION_SERVER_FIRST) | TO(SESSION_OPAQUE) | TO(SESSION_HTTP),
    [SESSION_SERVER_FIRST] = TO(SESSION_OPAQUE) | TO(SESSION_HTTP),
    [SESSION_OPAQUE] = 0,
    [SESSION_HTTP] = TO(SESSION_OPAQUE) | TO(SESSION_REFUSING),
    [SESSION_REFUSING] = 0,
    [SESSION_DENIED] = 0,
};

static void set_state(struct session *s, enum session_state state)
{
    assert(state == SESSION_DENIED || (successors[s->state] & TO(state)));
    s->state = state;
}

static struct session_action act(enum session_action_kind kind)
{
    return (struct session_action){.kind = kind};
}

static struct session_action move(size_t len)
{
    return (struct session_action){.kind = SESSION_MOVE, .len = len};
}

static struct verdict denial(enum reason reason)
{
    return (struct verdict){VERDICT_DENY, reason, true, NULL};
}

/* Ends the connection; the denial is a decision of its own. */
static struct session_action deny_with(struct session *s, struct verdict verdict)
{
    s->verdict = verdict;
    s->has_judged = true;
    set_state(s, SESSION_DENIED);
    return (struct session_action){.kind = SESSION_DENY, .is_decision = true};
}

static struct session_action deny(struct session *s, enum reason reason)
{
    return deny_with(s, denial(reason));
}

/*
 * Refuses a request behind others: the answers that are due go out first, since an answer of ours
 * in the middle of one would be read as part of it.
 */
static struct session_action refuse_request(struct session *s, struct verdict verdict)
{
    if (http_reply_can_inject(&s->reply))
        return deny_with(s, verdict);
    s->verdict = verdict;
    set_state(s, SESSION_REFUSING);
    return (struct session_action){.kind = SESSION_WAIT, .is_decision = true};
}

/* A verdict lets through: goes on with `next` and logs it. */
static struct session_action go_on_with(struct session *s, struct verdict verdict,
                                        enum session_state state, enum session_action_kind next)
{
    s->verdict = verdict;
    s->has_judged = true;
    set_state(s, state);
    return (struct session_action){.kind = next, .is_decision = true};
}

void session_init(struct session *s, const struct netaddr *address, uint16_t port,
                  size_t sniff_bytes_max, size_t head_bytes_max)
{
    memset(s, 0, sizeof(*s));
    s->state = SESSION_SNIFF;
    s->protocol = SNIFF_NEED_MORE;
    s->address = *address;
    s->port = port;
    s->sniff_bytes_max = sniff_bytes_max;
    http_stream_init(&s->stream, head_bytes_max);
    http_reply_init(&s->reply, head_bytes_max);
}

size_t session_bytes_max(size_t sniff_bytes_max, size_t head_bytes_max)
{
    size_t most = sniff_bytes_max > head_bytes_max ? sniff_bytes_max : head_bytes_max;

    return most + HTTP_TRAILER_LINE_MAX + 2;
}

/* Judging */

static struct destination destination_of(const struct session *s, const struct netaddr *address)
{
    return (struct destination){s->has_name ? &s->name : NULL, address, s->port, PROTOCOL_TCP};
}

static struct verdict judge_name(const struct session *s, const struct matcher *matcher,
                                 const struct netaddr *address)
{
    struct destination where = destination_of(s, address);

    return matcher_judge(matcher, &where);
}

/*
 * The verdict without a name, from the names behind the address. With more of them than were
 * looked at nothing is proven of the rest, so only an address entry can allow it then.
 */
static struct verdict judge_nameless(const struct session *s, const struct matcher *matcher,
                                     const struct hostname *names, size_t count, size_t max)
{
    struct verdict by_address = judge_name(s, matcher, &s->address);

    if (count <= max)
        return matcher_judge_nameless(matcher, &s->address, s->port, names, count);
    bool is_by_entry = by_address.kind == VERDICT_ALLOW && by_address.rule != NULL;
    return is_by_entry || by_address.kind == VERDICT_DENY ? by_address
                                                          : denial(REASON_AMBIGUOUS_ADDRESS);
}

static bool is_among(const struct hostname *name, const struct hostname *names, size_t count,
                     size_t max)
{
    for (size_t i = 0; i < count && i < max; i++) {
        if (hostname_equal(name, &names[i]))
            return true;
    }
    return false;
}

/* The first message */

enum message_status { MESSAGE_WHOLE, MESSAGE_MORE, MESSAGE_BAD };

static enum message_status bad_message(enum reason *reason, enum reason why)
{
    *reason = why;
    return MESSAGE_BAD;
}

static enum message_status take_hello(struct session *s, const struct session_facts *facts,
                                      struct span bytes, bool is_end, enum reason *reason)
{
    struct tls_hello hello;

    switch (tls_hello_read(bytes, facts->scratch, &hello, reason)) {
    case TLS_HELLO_OK:
        s->has_ech = hello.has_ech;
        s->has_name = hello.has_name;
        if (hello.has_name)
            s->name = hello.name;
        tls_watch_init(&s->watch, hello.stream_len);
        if (hello.has_ech && matcher_settings(facts->matcher)->ech == ECH_DENY)
            return bad_message(reason, REASON_ECH_REFUSED);
        return MESSAGE_WHOLE;
    case TLS_HELLO_MORE:
        return is_end ? bad_message(reason, REASON_BAD_HELLO) : MESSAGE_MORE;
    case TLS_HELLO_BAD:
        return MESSAGE_BAD;
    }
    return bad_message(reason, REASON_INTERNAL_ERROR);
}

/* What is refused in a request whoever it is for; REASON_ALLOWED when nothing is. */
static enum reason head_reason(const struct session *s, const struct http_head *head)
{
    if (head->is_connect)
        return REASON_CONNECT_REFUSED;
    if (head->upgrade_is_h2c)
        return REASON_H2C_REFUSED;
    if (head->host.kind == HTTP_HOST_ADDRESS && !netaddr_equal(&head->host.addr, &s->address))
        return REASON_BAD_NAME;
    return REASON_ALLOWED;
}

static void note_request(struct session *s, const struct http_head *head)
{
    s->wants_json = head->accepts_json;
    s->is_head = head->is_head;
}

static enum message_status take_head(struct session *s, struct span bytes, bool is_end,
                                     enum reason *reason)
{
    struct http_stream_item item;

    switch (http_stream_read(&s->stream, bytes, &item)) {
    case HTTP_STREAM_HEAD:
        note_request(s, &item.head);
        s->has_name = item.head.host.kind == HTTP_HOST_NAME;
        if (s->has_name)
            s->name = item.head.host.name;
        *reason = head_reason(s, &item.head);
        return *reason == REASON_ALLOWED ? MESSAGE_WHOLE : MESSAGE_BAD;
    case HTTP_STREAM_MORE:
        return is_end ? bad_message(reason, REASON_BAD_REQUEST) : MESSAGE_MORE;
    case HTTP_STREAM_BAD:
        return bad_message(reason, item.reason);
    case HTTP_STREAM_BODY:
    case HTTP_STREAM_WAIT:
        break;
    }
    return bad_message(reason, REASON_INTERNAL_ERROR);
}

/* Reads the protocol and, where it carries one, the name. */
static enum message_status take_message(struct session *s, const struct session_facts *facts,
                                        struct span bytes, bool is_end, enum reason *reason)
{
    s->protocol = sniff_guess(bytes, is_end);
    switch (s->protocol) {
    case SNIFF_NEED_MORE:
        return bytes.len < s->sniff_bytes_max ? MESSAGE_MORE
                                              : bad_message(reason, REASON_TOO_LARGE);
    case SNIFF_TLS: {
        enum message_status status = take_hello(s, facts, bytes, is_end, reason);
        bool is_too_large = status == MESSAGE_MORE && bytes.len >= s->sniff_bytes_max;
        return is_too_large ? bad_message(reason, REASON_TOO_LARGE) : status;
    }
    case SNIFF_HTTP:
        return take_head(s, bytes, is_end, reason);
    case SNIFF_H2C:
        return bad_message(reason, REASON_H2C_REFUSED);
    case SNIFF_TUNNEL:
        return bad_message(reason, REASON_CONNECT_REFUSED);
    case SNIFF_OTHER:
        return MESSAGE_WHOLE;
    }
    return bad_message(reason, REASON_INTERNAL_ERROR);
}

/* Client */

static struct session_action sniff_client(struct session *s, const struct session_facts *facts,
                                          struct span bytes, bool is_end)
{
    enum reason reason = REASON_INTERNAL_ERROR;

    if (bytes.len == 0) {
        if (!is_end)
            return act(SESSION_WAIT);
        s->protocol = SNIFF_OTHER;
        s->is_silent = true;
        set_state(s, SESSION_NAMES);
        return act(SESSION_ASK_NAMES);
    }
    switch (take_message(s, facts, bytes, is_end, &reason)) {
    case MESSAGE_MORE:
        return act(SESSION_WAIT);
    case MESSAGE_BAD:
        return deny(s, reason);
    case MESSAGE_WHOLE:
        break;
    }
    if (!s->has_name) {
        set_state(s, SESSION_NAMES);
        return act(SESSION_ASK_NAMES);
    }
    struct verdict verdict = judge_name(s, facts->matcher, &s->address);
    if (!verdict_lets_through(verdict))
        return deny_with(s, verdict);
    return go_on_with(s, verdict, SESSION_RESOLVE, SESSION_ASK_ADDRESSES);
}

/* A client that was judged by its silence speaks: its first message is judged as any other. */
static struct session_action hear_client(struct session *s, const struct session_facts *facts,
                                         struct span bytes, bool is_end)
{
    enum reason reason = REASON_INTERNAL_ERROR;

    if (bytes.len == 0)
        return act(SESSION_WAIT);
    switch (take_message(s, facts, bytes, is_end, &reason)) {
    case MESSAGE_MORE:
        return act(SESSION_WAIT);
    case MESSAGE_BAD:
        return deny(s, reason);
    case MESSAGE_WHOLE:
        return act(SESSION_ASK_NAMES);
    }
    return deny(s, REASON_INTERNAL_ERROR);
}

/* Whether a later request still names the host that the connection was opened for. */
static bool is_same_host(const struct session *s, const struct http_host *host)
{
    if (host->kind != HTTP_HOST_NAME)
        return !s->has_name;
    return s->has_name && hostname_equal(&host->name, &s->name);
}

static struct session_action take_request(struct session *s, const struct session_facts *facts,
                                          const struct http_head *head)
{
    if (s->requests > 0) {
        note_request(s, head);
        enum reason reason = head_reason(s, head);
        if (reason == REASON_ALLOWED && !is_same_host(s, &head->host))
            reason = REASON_HOST_CHANGED;
        if (reason != REASON_ALLOWED)
            return refuse_request(s, denial(reason));
        struct verdict verdict =
            s->has_name ? judge_name(s, facts->matcher, &s->address) : s->verdict;
        if (!verdict_lets_through(verdict))
            return refuse_request(s, verdict);
    }
    if (http_reply_is_full(&s->reply))
        return act(SESSION_WAIT);
    http_reply_push(&s->reply, head);
    http_stream_accept_head(&s->stream);
    s->requests++;
    return move(head->head_len);
}

static struct session_action read_requests(struct session *s, const struct session_facts *facts,
                                           struct span bytes, bool is_end)
{
    struct http_stream_item item;

    if (bytes.len == 0)
        return act(SESSION_WAIT);
    switch (http_stream_read(&s->stream, bytes, &item)) {
    case HTTP_STREAM_HEAD:
        return take_request(s, facts, &item.head);
    case HTTP_STREAM_BODY:
        return move(item.len);
    case HTTP_STREAM_MORE:
        return is_end ? refuse_request(s, denial(REASON_BAD_REQUEST)) : act(SESSION_WAIT);
    case HTTP_STREAM_WAIT:
        return act(SESSION_WAIT);
    case HTTP_STREAM_BAD:
        s->is_in_body = item.is_in_body;
        return item.is_in_body ? deny(s, item.reason) : refuse_request(s, denial(item.reason));
    }
    return deny(s, REASON_INTERNAL_ERROR);
}

/* The hello that the server asked for again: for the same name, or the connection ends. */
static struct session_action take_second_hello(struct session *s, const struct session_facts *facts,
                                               struct span bytes, bool is_end)
{
    enum reason reason = REASON_BAD_HELLO;
    struct tls_hello hello;

    switch (tls_hello_read(bytes, facts->scratch, &hello, &reason)) {
    case TLS_HELLO_OK:
        break;
    case TLS_HELLO_MORE:
        if (bytes.len >= s->sniff_bytes_max)
            return deny(s, REASON_TOO_LARGE);
        return is_end ? deny(s, REASON_BAD_HELLO) : act(SESSION_WAIT);
    case TLS_HELLO_BAD:
        return deny(s, reason);
    }
    if (hello.has_ech && matcher_settings(facts->matcher)->ech == ECH_DENY)
        return deny(s, REASON_ECH_REFUSED);
    if (hello.has_name != s->has_name || (hello.has_name && !hostname_equal(&hello.name, &s->name)))
        return deny(s, REASON_HOST_CHANGED);
    tls_watch_end(&s->watch);
    return move(hello.stream_len);
}

static struct session_action relay_client(struct session *s, const struct session_facts *facts,
                                          struct span bytes, bool is_end)
{
    size_t len = 0;

    if (bytes.len == 0)
        return act(SESSION_WAIT);
    if (s->protocol != SNIFF_TLS)
        return move(bytes.len);
    switch (tls_watch_client(&s->watch, bytes, &len)) {
    case TLS_WATCH_MOVE:
        tls_watch_moved(&s->watch, bytes, len);
        return move(len);
    case TLS_WATCH_HELLO:
        return take_second_hello(s, facts, bytes, is_end);
    case TLS_WATCH_MORE:
        return is_end ? deny(s, REASON_BAD_HELLO) : act(SESSION_WAIT);
    }
    return deny(s, REASON_INTERNAL_ERROR);
}

struct session_action session_client(struct session *s, const struct session_facts *facts,
                                     struct span bytes, bool is_end)
{
    switch (s->state) {
    case SESSION_SNIFF:
        return sniff_client(s, facts, bytes, is_end);
    case SESSION_SERVER_FIRST:
        return hear_client(s, facts, bytes, is_end);
    case SESSION_OPAQUE:
        return relay_client(s, facts, bytes, is_end);
    case SESSION_HTTP:
        return read_requests(s, facts, bytes, is_end);
    case SESSION_NAMES:
    case SESSION_RESOLVE:
    case SESSION_DIAL:
    case SESSION_REFUSING:
    case SESSION_DENIED:
        return act(SESSION_WAIT);
    case SESSION_STATE_COUNT:
        break;
    }
    return deny(s, REASON_INTERNAL_ERROR);
}

struct session_action session_silence(struct session *s, const struct session_facts *facts,
                                      struct span bytes)
{
    (void)facts;
    assert(s->state == SESSION_SNIFF);
    if (bytes.len > 0) {
        s->protocol = sniff_guess(bytes, false);
        return deny(s, REASON_SNIFF_TIMEOUT);
    }
    s->protocol = SNIFF_OTHER;
    s->is_silent = true;
    set_state(s, SESSION_NAMES);
    return act(SESSION_ASK_NAMES);
}

/* Names */

/*
 * The server is connected already, so a name that comes now must be one that stands behind its
 * address; another site of a shared address is refused even when it is allowed by itself.
 */
static struct session_action judge_late(struct session *s, const struct session_facts *facts,
                                        const struct hostname *names, size_t count, size_t max)
{
    struct verdict verdict = s->has_name ? judge_name(s, facts->matcher, &s->address)
                                         : judge_nameless(s, facts->matcher, names, count, max);

    if (!verdict_lets_through(verdict))
        return deny_with(s, verdict);
    if (s->has_name && !is_among(&s->name, names, count, max))
        return deny(s, REASON_AMBIGUOUS_ADDRESS);
    return go_on_with(s, verdict, s->protocol == SNIFF_HTTP ? SESSION_HTTP : SESSION_OPAQUE,
                      SESSION_GO_ON);
}

struct session_action session_names(struct session *s, const struct session_facts *facts,
                                    const struct hostname *names, size_t count, size_t max)
{
    if (s->state == SESSION_SERVER_FIRST)
        return judge_late(s, facts, names, count, max);
    assert(s->state == SESSION_NAMES);
    struct verdict verdict = judge_nameless(s, facts->matcher, names, count, max);
    if (!verdict_lets_through(verdict))
        return deny_with(s, verdict);
    s->candidates[0] = s->address;
    s->candidate_count = 1;
    return go_on_with(s, verdict, SESSION_DIAL, SESSION_CONNECT);
}

/* Addresses */

/* In the order given, but for the address that the client dialled: that one comes first. */
static void add_candidate(struct session *s, const struct netaddr *address)
{
    if (s->candidate_count == SESSION_CANDIDATES_MAX)
        s->candidate_count--;
    s->candidates[s->candidate_count++] = *address;
    if (!netaddr_equal(address, &s->address))
        return;
    for (size_t i = s->candidate_count - 1; i > 0; i--)
        s->candidates[i] = s->candidates[i - 1];
    s->candidates[0] = *address;
}

struct session_action session_addresses(struct session *s, const struct session_facts *facts,
                                        const struct netaddr *addresses, size_t count)
{
    struct verdict refused = denial(REASON_NAME_UNRESOLVABLE);

    assert(s->state == SESSION_RESOLVE);
    s->candidate_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct verdict verdict = judge_name(s, facts->matcher, &addresses[i]);
        if (verdict_lets_through(verdict))
            add_candidate(s, &addresses[i]);
        else if (refused.reason == REASON_NAME_UNRESOLVABLE)
            refused = verdict;
    }
    if (s->candidate_count == 0)
        return deny_with(s, refused);
    set_state(s, SESSION_DIAL);
    return act(SESSION_CONNECT);
}

struct session_action session_over_limit(struct session *s)
{
    assert(s->state == SESSION_RESOLVE);
    return deny(s, REASON_LIMIT_REACHED);
}

struct session_action session_dialled(struct session *s, enum reason reason, size_t index)
{
    assert(s->state == SESSION_DIAL);
    if (reason != REASON_ALLOWED)
        return deny(s, reason);
    s->upstream = s->candidates[index];
    set_state(s, s->is_silent                ? SESSION_SERVER_FIRST
                 : s->protocol == SNIFF_HTTP ? SESSION_HTTP
                                             : SESSION_OPAQUE);
    return act(SESSION_GO_ON);
}

/* Server */

/* The end of a connection whose last request is refused, or whose server cannot be followed. */
static struct session_action end_refusing(struct session *s)
{
    set_state(s, SESSION_DENIED);
    return act(SESSION_DENY);
}

static struct session_action after_replies(struct session *s, bool is_end)
{
    bool is_over = is_end || http_reply_can_inject(&s->reply);

    return s->state == SESSION_REFUSING && is_over ? end_refusing(s) : act(SESSION_WAIT);
}

static struct session_action move_server(struct session *s, size_t len)
{
    s->has_server_bytes = true;
    return move(len);
}

static struct session_action read_replies(struct session *s, struct span bytes, bool is_end)
{
    struct http_reply_item item;

    for (;;) {
        switch (http_reply_read(&s->reply, bytes, &item)) {
        case HTTP_REPLY_MORE:
            if (is_end && bytes.len > 0)
                return move_server(s, bytes.len);
            return after_replies(s, is_end);
        case HTTP_REPLY_MOVE:
            return move_server(s, item.len);
        case HTTP_REPLY_DONE:
            if (item.declines)
                http_stream_resume(&s->stream);
            break;
        case HTTP_REPLY_SWITCHED:
            http_stream_set_opaque(&s->stream);
            if (s->state == SESSION_HTTP) {
                set_state(s, SESSION_OPAQUE);
                return bytes.len > 0 ? move_server(s, bytes.len) : act(SESSION_WAIT);
            }
            break;
        case HTTP_REPLY_UNTRACKED:
            if (http_stream_awaits_answer(&s->stream)) {
                s->is_in_body = true;
                s->verdict = denial(REASON_UPSTREAM_REFUSED);
                return end_refusing(s);
            }
            break;
        }
    }
}

struct session_action session_server(struct session *s, struct span bytes, bool is_end)
{
    switch (s->state) {
    case SESSION_OPAQUE:
        if (s->protocol == SNIFF_TLS)
            tls_watch_server(&s->watch, bytes);
        return bytes.len > 0 ? move_server(s, bytes.len) : act(SESSION_WAIT);
    case SESSION_SERVER_FIRST:
        return bytes.len > 0 ? move_server(s, bytes.len) : act(SESSION_WAIT);
    case SESSION_HTTP:
    case SESSION_REFUSING:
        return read_replies(s, bytes, is_end);
    case SESSION_SNIFF:
    case SESSION_NAMES:
    case SESSION_RESOLVE:
    case SESSION_DIAL:
    case SESSION_DENIED:
    case SESSION_STATE_COUNT:
        break;
    }
    return deny(s, REASON_INTERNAL_ERROR);
}

/* Reload */

bool session_rejudge(struct session *s, const struct matcher *matcher, const struct hostname *names,
                     size_t count, size_t max)
{
    if (!s->has_judged || s->state == SESSION_REFUSING || s->state == SESSION_DENIED) {
        /* The matcher that its rule belongs to may go now. */
        s->verdict.rule = NULL;
        return true;
    }
    struct verdict verdict = s->has_name ? judge_name(s, matcher, &s->address)
                                         : judge_nameless(s, matcher, names, count, max);
    /* Where it is connected, or may be in a moment. */
    const struct netaddr *ends = session_is_relaying(s) ? &s->upstream : s->candidates;
    size_t end_count = session_is_relaying(s) ? 1 : s->candidate_count;
    for (size_t i = 0; i < end_count && s->has_name && verdict_lets_through(verdict); i++) {
        struct verdict of_end = judge_name(s, matcher, &ends[i]);
        if (!verdict_lets_through(of_end))
            verdict = of_end;
    }
    s->verdict = verdict;
    return verdict_lets_through(verdict);
}

/* Telling */

static bool is_upstream_failure(enum reason reason)
{
    return reason == REASON_UPSTREAM_REFUSED || reason == REASON_UPSTREAM_TIMEOUT;
}

enum session_refusal session_refuse_with(const struct session *s)
{
    switch (s->protocol) {
    case SNIFF_TLS:
        if (s->has_server_bytes || is_upstream_failure(s->verdict.reason))
            return SESSION_REFUSE_RESET;
        return s->verdict.reason == REASON_SNIFF_TIMEOUT ? SESSION_REFUSE_CLOSE
                                                         : SESSION_REFUSE_ALERT;
    case SNIFF_HTTP:
        if (s->is_in_body)
            return SESSION_REFUSE_RESET;
        if (s->requests == 0)
            return s->has_server_bytes ? SESSION_REFUSE_CLOSE : SESSION_REFUSE_HTTP;
        return http_reply_can_inject(&s->reply) ? SESSION_REFUSE_HTTP : SESSION_REFUSE_CLOSE;
    case SNIFF_H2C:
        return s->has_server_bytes ? SESSION_REFUSE_RESET : SESSION_REFUSE_H2;
    case SNIFF_NEED_MORE:
    case SNIFF_TUNNEL:
    case SNIFF_OTHER:
        break;
    }
    return SESSION_REFUSE_RESET;
}

enum log_kind session_log_kind(const struct session *s)
{
    switch (s->protocol) {
    case SNIFF_TLS:
        return LOG_KIND_TLS;
    case SNIFF_HTTP:
    case SNIFF_H2C:
        return s->verdict.reason == REASON_CONNECT_REFUSED ? LOG_KIND_CONNECT : LOG_KIND_HTTP;
    case SNIFF_TUNNEL:
        return LOG_KIND_CONNECT;
    case SNIFF_NEED_MORE:
    case SNIFF_OTHER:
        break;
    }
    return LOG_KIND_OTHER;
}
