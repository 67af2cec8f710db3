/*
 * Theory of operation. Every callback (a socket is ready, a timer ran out, a name was found, a dial
 * ended) enters through conn_enter(), turns what happened into an event for core/session, and
 * carries the action out that comes back (advance). On its way out conn_leave() moves what may
 * move, passes ends of stream on, and arms exactly the events that the state calls for; then it
 * frees the connection if it was closed meanwhile. So no function below has to ask whether the
 * connection still exists.
 *
 * Interest is never toggled: relay_wants() says from the state alone which sockets to wait for, and
 * relay_arm() applies it. The timer always runs, so that no connection can wait for nothing.
 */
#include "proxy/worker/conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/core/refusal.h"
#include "proxy/core/session.h"
#include "proxy/worker/dialer.h"
#include "proxy/worker/names.h"
#include "proxy/worker/origdst.h"
#include "proxy/worker/relay.h"
#include "proxy/worker/resolver.h"

enum {
    LINGER_MS = 2000,           /* for a refused client to read why */
    LINGER_BYTES_MAX = 1 << 20, /* and to stop sending */
};

/* One for all connections of a thread: nothing stays in it between two calls. */
static _Thread_local struct tls_hello_scratch scratch;

struct conn {
    struct worker_thread *thread;
    struct conn *next;
    struct conn *prev;
    uint64_t id;
    uint64_t started_ms;
    uint64_t active_ms; /* when a byte moved last */
    struct event *timer;
    struct matcher *matcher; /* keeps session.verdict.rule */
    struct resolver_lookup *lookup;
    struct dialer *dialer;
    struct relay relay;
    bool is_lingering; /* refused: the answer goes out, what comes in is thrown away */
    bool is_closed;
    unsigned depth; /* callbacks that are in this connection */
    struct session session;
};

/* Closing */

static void unlink_conn(struct conn *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->thread->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->thread->conn_count--;
}

static void log_close(struct conn *c, const char *why)
{
    const struct session *s = &c->session;
    struct log_close line = {
        .id = c->id,
        .upstream = session_is_relaying(s) ? &s->upstream : NULL,
        .upstream_port = s->port,
        .bytes_up = c->relay.bytes[CLIENT],
        .bytes_down = c->relay.bytes[UPSTREAM],
        .requests = s->requests,
        .duration_ms = thread_now_ms() - c->started_ms,
        .why = why,
    };

    thread_log_close(c->thread, &line);
}

/*
 * The only exit, idempotent: the first reason wins. With is_reset both ends see a broken
 * connection, never a short one that looks whole.
 */
static void conn_close(struct conn *c, const char *why, bool is_reset)
{
    if (c->is_closed)
        return;
    c->is_closed = true;
    log_close(c, why);
    resolver_look_up_cancel(c->lookup);
    dialer_cancel(c->dialer);
    c->lookup = NULL;
    c->dialer = NULL;
    if (c->timer != NULL)
        event_free(c->timer);
    c->timer = NULL;
    for (int i = 0; i < SIDES; i++)
        relay_close(&c->relay, (enum side_index)i, is_reset);
    unlink_conn(c);
    thread_count(c->thread, COUNTER_CONNECTIONS_OPEN, -1);
}

static void conn_enter(struct conn *c)
{
    c->depth++;
}

static void set_timer(struct conn *c, uint64_t ms)
{
    struct timeval wait = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};

    event_add(c->timer, &wait);
}

static bool arm(struct conn *c)
{
    assert(event_pending(c->timer, EV_TIMEOUT, NULL));
    return relay_arm(&c->relay);
}

/* Moving */

/* Closes where the relay found an end; true when the connection goes on. */
static bool settle(struct conn *c, enum relay_status status)
{
    switch (status) {
    case RELAY_OK:
        return true;
    case RELAY_CLIENT_BROKEN:
        conn_close(c, "client-reset", true);
        return false;
    case RELAY_UPSTREAM_BROKEN:
        conn_close(c, "upstream-reset", true);
        return false;
    case RELAY_DONE:
        conn_close(c, "end", false);
        return false;
    }
    return false;
}

static bool flush(struct conn *c, enum side_index to)
{
    size_t moved = 0;
    enum relay_status status = relay_flush(&c->relay, to, &moved);

    if (moved > 0) {
        c->active_ms = thread_now_ms();
        thread_count(c->thread, to == UPSTREAM ? COUNTER_BYTES_UP : COUNTER_BYTES_DOWN,
                     (int64_t)moved);
    }
    return settle(c, status);
}

static void settle_relay(struct conn *c)
{
    if (!flush(c, CLIENT) || !flush(c, UPSTREAM) || !session_is_relaying(&c->session))
        return;
    if (session_ends_upstream(&c->session) && c->relay.side[CLIENT].in.movable == 0)
        relay_shut(&c->relay, UPSTREAM);
    settle(c, relay_pass_ends(&c->relay));
}

/* A refused client gets its answer, then time to read it, then the end. */
static void settle_linger(struct conn *c)
{
    const struct side *client = &c->relay.side[CLIENT];

    if (!flush(c, CLIENT))
        return;
    bool is_told = c->relay.side[UPSTREAM].in.len == 0;
    if (is_told)
        relay_shut(&c->relay, CLIENT);
    if (client->is_broken || (client->is_ended && is_told) || c->relay.discarded > LINGER_BYTES_MAX)
        conn_close(c, reason_token(c->session.verdict.reason), client->is_broken);
}

static void conn_leave(struct conn *c)
{
    if (!c->is_closed && c->is_lingering)
        settle_linger(c);
    else if (!c->is_closed)
        settle_relay(c);
    if (!c->is_closed && !arm(c))
        conn_close(c, reason_token(REASON_INTERNAL_ERROR), true);
    if (--c->depth > 0 || !c->is_closed)
        return;
    matcher_unref(c->matcher);
    free(c);
}

/* Carrying out */

static void log_decision(struct conn *c)
{
    const struct session *s = &c->session;
    struct log_decision line = {
        .id = c->id,
        .layer = LOG_LAYER_PROXY,
        .kind = session_log_kind(s),
        .name = s->has_name ? hostname_span(&s->name) : SPAN_NONE,
        .address = &s->address,
        .port = s->port,
        .verdict = s->verdict,
    };

    thread_log_decision(c->thread, &line);
}

/* What a refused client is told goes where the server's bytes would be. False: nothing to tell. */
static bool put_refusal(struct conn *c)
{
    const struct session *s = &c->session;
    struct buffer *out = &c->relay.side[UPSTREAM].in;
    struct refusal refusal = {
        .reason = s->verdict.reason,
        .name = s->has_name ? &s->name : NULL,
        .address = &s->address,
        .port = s->port,
        .mode = matcher_mode(c->matcher),
        .rule = s->verdict.rule,
    };
    char http_data[REFUSAL_MAX];
    struct text http = TEXT_OF(http_data);
    uint8_t bytes[64];

    switch (session_refuse_with(s)) {
    case SESSION_REFUSE_RESET:
        return false;
    case SESSION_REFUSE_CLOSE:
        return true;
    case SESSION_REFUSE_HTTP:
        refusal_http(&refusal, s->wants_json, s->is_head, &http);
        return buffer_append(out, text_span(&http));
    case SESSION_REFUSE_ALERT:
        refusal_alert(s->verdict.reason, bytes);
        return buffer_append(out, span_of(bytes, REFUSAL_ALERT_LEN));
    case SESSION_REFUSE_H2:
        return buffer_append(out,
                             span_of(bytes, refusal_h2(s->verdict.reason, bytes, sizeof(bytes))));
    }
    return false;
}

static void refuse(struct conn *c)
{
    if (!put_refusal(c)) {
        conn_close(c, reason_token(c->session.verdict.reason), true);
        return;
    }
    struct buffer rest = c->relay.side[UPSTREAM].in;
    buffer_init(&c->relay.side[UPSTREAM].in, rest.cap);
    relay_close(&c->relay, UPSTREAM, false);
    c->relay.side[UPSTREAM].in = rest;
    buffer_discard(&c->relay.side[CLIENT].in);
    c->relay.is_discarding = true;
    c->is_lingering = true;
    set_timer(c, LINGER_MS);
}

static struct session_facts facts_of(const struct conn *c)
{
    return (struct session_facts){thread_matcher(c->thread), &scratch};
}

static struct session_action ask_names(struct conn *c)
{
    struct session_facts facts = facts_of(c);
    struct hostname names[NAMES_PER_ADDRESS_MAX];
    size_t count = names_of_address(c->thread->names, &c->session.address, thread_now_ms(), names,
                                    NAMES_PER_ADDRESS_MAX);

    return session_names(&c->session, &facts, names, count, NAMES_PER_ADDRESS_MAX);
}

static void advance(struct conn *c, struct session_action action);

static void on_found(void *arg, const struct netaddr *addresses, size_t count)
{
    struct conn *c = arg;
    struct session_facts facts = facts_of(c);

    conn_enter(c);
    c->lookup = NULL;
    advance(c, session_addresses(&c->session, &facts, addresses, count));
    conn_leave(c);
}

/*
 * What the DNS front gave out for this name is enough when the client dialled one of it; else the
 * name is looked up anew.
 */
static struct session_action ask_addresses(struct conn *c)
{
    struct session *s = &c->session;
    struct session_facts facts = facts_of(c);
    struct netaddr addresses[NAMES_ADDRESSES_MAX];
    size_t count = names_addresses(c->thread->names, &s->name, thread_now_ms(), addresses,
                                   NAMES_ADDRESSES_MAX);

    for (size_t i = 0; i < count; i++) {
        if (netaddr_equal(&addresses[i], &s->address))
            return session_addresses(s, &facts, addresses, count);
    }
    c->lookup = resolver_look_up(c->thread->resolver, &s->name, on_found, c);
    if (c->lookup == NULL)
        return session_over_limit(s);
    return (struct session_action){.kind = SESSION_WAIT};
}

static void on_socket(evutil_socket_t fd, short what, void *arg);

static void on_dialled(void *arg, enum reason reason, int fd, size_t index)
{
    struct conn *c = arg;

    conn_enter(c);
    c->dialer = NULL;
    if (fd >= 0 && !relay_open(&c->relay, UPSTREAM, fd, c->thread->base, on_socket, c))
        conn_close(c, reason_token(REASON_INTERNAL_ERROR), true);
    else
        advance(c, session_dialled(&c->session, reason, index));
    if (!c->is_closed && !c->is_lingering)
        set_timer(c, (uint64_t)thread_settings(c->thread)->limit_idle_s * 1000);
    conn_leave(c);
}

static struct session_action connect_upstream(struct conn *c)
{
    const struct session *s = &c->session;

    c->dialer = dialer_start(c->thread, s->candidates, s->candidate_count, s->port,
                             thread_settings(c->thread)->limit_dial_ms, on_dialled, c);
    if (c->dialer == NULL)
        return session_dialled(&c->session, REASON_INTERNAL_ERROR, 0);
    /* The resolver and the dialer have deadlines of their own. */
    set_timer(c, (uint64_t)thread_settings(c->thread)->limit_idle_s * 1000);
    return (struct session_action){.kind = SESSION_WAIT};
}

static struct session_action ask_client(struct conn *c)
{
    struct session_facts facts = facts_of(c);

    const struct side *client = &c->relay.side[CLIENT];

    return session_client(&c->session, &facts, buffer_waiting(&client->in), client->is_ended);
}

/* Carries actions out until there is nothing to do before the next event. */
static void advance(struct conn *c, struct session_action action)
{
    while (!c->is_closed) {
        if (action.is_decision) {
            matcher_unref(c->matcher);
            c->matcher = matcher_ref(thread_matcher(c->thread));
            log_decision(c);
        }
        switch (action.kind) {
        case SESSION_WAIT:
            return;
        case SESSION_ASK_NAMES:
            action = ask_names(c);
            break;
        case SESSION_ASK_ADDRESSES:
            action = ask_addresses(c);
            break;
        case SESSION_CONNECT:
            action = connect_upstream(c);
            break;
        case SESSION_MOVE:
            c->relay.side[CLIENT].in.movable += action.len;
            action = ask_client(c);
            break;
        case SESSION_GO_ON:
            action = ask_client(c);
            break;
        case SESSION_DENY:
            refuse(c);
            return;
        }
    }
}

/* The server's bytes; then the client's, which may have waited for an answer. */
static void advance_server(struct conn *c)
{
    struct side *side = &c->relay.side[UPSTREAM];

    for (;;) {
        struct session_action action =
            session_server(&c->session, buffer_waiting(&side->in), side->is_ended);
        if (action.kind == SESSION_MOVE) {
            side->in.movable += action.len;
            continue;
        }
        advance(c, action);
        break;
    }
    if (!c->is_closed && !c->is_lingering)
        advance(c, ask_client(c));
}

/* Events */

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    const struct side *client = &c->relay.side[CLIENT];
    enum side_index index = fd == client->fd ? CLIENT : UPSTREAM;

    conn_enter(c);
    bool is_new = (what & EV_READ) && relay_read(&c->relay, index);
    if (is_new)
        c->active_ms = thread_now_ms();
    if (is_new && !c->is_lingering && index == UPSTREAM)
        advance_server(c);
    else if (is_new && !c->is_lingering)
        advance(c, ask_client(c));
    /* Whoever is gone before anything was relayed wants no answer. */
    if (!c->is_closed && !c->is_lingering && client->is_broken && !session_is_relaying(&c->session))
        conn_close(c, "client-reset", true);
    conn_leave(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    uint64_t idle_ms = thread_now_ms() - c->active_ms;
    uint64_t idle_max_ms = (uint64_t)thread_settings(c->thread)->limit_idle_s * 1000;

    (void)fd;
    (void)what;
    conn_enter(c);
    if (c->is_lingering) {
        conn_close(c, reason_token(c->session.verdict.reason), true);
    } else if (c->session.state == SESSION_SNIFF) {
        struct session_facts facts = facts_of(c);
        set_timer(c, idle_max_ms);
        advance(c, session_silence(&c->session, &facts, buffer_waiting(&c->relay.side[CLIENT].in)));
    } else if (idle_ms >= idle_max_ms) {
        conn_close(c, "idle", true);
    } else {
        set_timer(c, idle_max_ms - idle_ms);
    }
    conn_leave(c);
}

/* Beginning */

/* A connection that is refused before it has a session. */
static void refuse_at_once(struct worker_thread *thread, int fd, enum reason reason,
                           const struct netaddr *address, uint16_t port)
{
    struct linger now = {1, 0};
    struct log_decision line = {
        .id = thread_next_id(thread),
        .layer = LOG_LAYER_PROXY,
        .kind = LOG_KIND_OTHER,
        .address = address,
        .port = port,
        .verdict = {VERDICT_DENY, reason, true, NULL},
    };

    thread_log_decision(thread, &line);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

static struct conn *conn_new(struct worker_thread *thread)
{
    const struct policy_settings *settings = thread_settings(thread);
    size_t cap = session_bytes_max(settings->limit_sniff_bytes, settings->limit_header_bytes);
    struct conn *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->thread = thread;
    c->id = thread_next_id(thread);
    c->started_ms = thread_now_ms();
    c->active_ms = c->started_ms;
    c->matcher = matcher_ref(thread_matcher(thread));
    c->next = thread->conns;
    if (c->next != NULL)
        c->next->prev = c;
    thread->conns = c;
    thread->conn_count++;
    thread_count(thread, COUNTER_CONNECTIONS, 1);
    thread_count(thread, COUNTER_CONNECTIONS_OPEN, 1);
    relay_init(&c->relay, cap);
    return c;
}

void conn_accept(struct worker_thread *thread, int client_fd)
{
    const struct policy_settings *settings = thread_settings(thread);
    struct netaddr address;
    uint16_t port;
    int one = 1;

    if (origdst_get(client_fd, &address, &port) != 0) {
        refuse_at_once(thread, client_fd, REASON_NOT_REDIRECTED, NULL, 0);
        return;
    }
    struct conn *c = NULL;
    if (thread_counter(thread, COUNTER_CONNECTIONS_OPEN) < settings->limit_connections)
        c = conn_new(thread);
    if (c == NULL) {
        refuse_at_once(thread, client_fd, REASON_LIMIT_REACHED, &address, port);
        return;
    }
    conn_enter(c);
    setsockopt(client_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    session_init(&c->session, &address, port, settings->limit_sniff_bytes,
                 settings->limit_header_bytes);
    c->timer = event_new(thread->base, -1, EV_TIMEOUT, on_timer, c);
    if (!relay_open(&c->relay, CLIENT, client_fd, thread->base, on_socket, c) || c->timer == NULL)
        conn_close(c, reason_token(REASON_INTERNAL_ERROR), true);
    else
        set_timer(c, settings->limit_sniff_ms);
    conn_leave(c);
}

/* Reload */

static bool rejudge(struct conn *c)
{
    struct hostname names[NAMES_PER_ADDRESS_MAX];
    size_t count = names_of_address(c->thread->names, &c->session.address, thread_now_ms(), names,
                                    NAMES_PER_ADDRESS_MAX);
    struct matcher *now = thread_matcher(c->thread);
    bool is_allowed = session_rejudge(&c->session, now, names, count, NAMES_PER_ADDRESS_MAX);

    matcher_unref(c->matcher);
    c->matcher = matcher_ref(now);
    return is_allowed;
}

uint32_t conn_rejudge_all(struct worker_thread *thread)
{
    uint32_t closed = 0;

    for (struct conn *c = thread->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (c->is_lingering)
            continue;
        conn_enter(c);
        if (!rejudge(c)) {
            log_decision(c);
            conn_close(c, "policy", true);
            closed++;
        }
        conn_leave(c);
    }
    return closed;
}

void conn_close_all(struct worker_thread *thread)
{
    for (struct conn *c = thread->conns, *next; c != NULL; c = next) {
        next = c->next;
        conn_enter(c);
        conn_close(c, "stop", true);
        conn_leave(c);
    }
}
