/*
 * A script of events against the decision machine, played as the shell plays it. The first byte
 * chooses policy and destination, then each event is a letter with what belongs to it (see play()).
 *
 * What moved is judged once more by readers that begin at the connection's first byte:
 * - no client byte moves before a verdict that lets through, by the policy in force, what the bytes
 *   that moved name, and what stands behind the address;
 * - every HTTP head that moved names the same host, and no part of a head moved;
 * - only judged addresses are dialled, and a name is dialled where it lies only;
 * - after a denial nothing moves, and an answer of ours never stands within one of the server's.
 */
#include <stdlib.h>

#include "proxy/core/session.h"
#include "tests/lib/policies.h"

enum { NAMES_MAX = 3, ADDRESSES_MAX = 4, POLICIES = 6, STREAM_MAX = 8192, SNIFF_MAX = 512 };

static void check(bool is_so)
{
    if (!is_so)
        abort();
}

static struct matcher *matchers[POLICIES];
static struct hostname all_names[NAMES_MAX];
static struct netaddr all_addresses[ADDRESSES_MAX];
static struct tls_hello_scratch scratch;
static struct tls_hello_scratch own_scratch;

static void compile(size_t index, enum network_mode mode, const char *const *allow,
                    const char *const *block, bool audit, enum ech_mode ech)
{
    struct policy policy;

    policy_for_test(&policy, mode, allow, block);
    policy.settings.audit = audit;
    policy.settings.ech = ech;
    matchers[index] = matcher_compile(&policy);
    check(matchers[index] != NULL);
    policy_fini(&policy);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const allow[] = {"a.test", "b.test:80", "203.0.113.12:22", NULL};
    static const char *const less[] = {"b.test", NULL};
    static const char *const block[] = {"c.test", "203.0.113.11", NULL};
    static const char *const names[NAMES_MAX] = {"a.test", "b.test", "c.test"};
    static const char *const addresses[ADDRESSES_MAX] = {"203.0.113.10", "203.0.113.11",
                                                         "203.0.113.12", "10.0.0.1"};

    (void)argc;
    (void)argv;
    for (size_t i = 0; i < NAMES_MAX; i++)
        check(hostname_parse(span_of_text(names[i]), &all_names[i]) == HOSTNAME_OK);
    for (size_t i = 0; i < ADDRESSES_MAX; i++)
        check(netaddr_parse(span_of_text(addresses[i]), &all_addresses[i]));
    compile(0, MODE_ALLOWLIST, allow, NULL, false, ECH_OUTER);
    compile(1, MODE_ALLOWLIST, less, NULL, false, ECH_DENY);
    compile(2, MODE_ALLOWLIST, NULL, NULL, false, ECH_OUTER);
    compile(3, MODE_BLOCKLIST, NULL, block, false, ECH_OUTER);
    compile(4, MODE_BLOCKLIST, NULL, NULL, false, ECH_DENY);
    compile(5, MODE_ALLOWLIST, allow, NULL, true, ECH_OUTER);
    return 0;
}

struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t len;
    size_t moved;
    bool is_end;
};

enum pending { PENDING_NONE, PENDING_ADDRESSES, PENDING_DIAL };

struct world {
    struct session session;
    size_t policy;
    struct stream client;
    struct stream server;
    enum pending pending;
    struct hostname names[NAMES_MAX]; /* behind the address */
    size_t name_count;
    size_t name_max; /* more than so many were not looked at */
    struct netaddr addresses[ADDRESSES_MAX];
    size_t address_count;
    bool is_over;

    /* Readers of what moved. */
    struct http_stream http;
    struct http_reply reply;
    size_t heads;
    bool has_name; /* the name that the bytes that moved carry */
    struct hostname name;
};

static const struct matcher *policy_of(const struct world *w)
{
    return matchers[w->policy];
}

static struct session_facts facts_of(const struct world *w)
{
    return (struct session_facts){policy_of(w), &scratch};
}

static struct span waiting(const struct stream *s)
{
    return span_of(s->bytes + s->moved, s->len - s->moved);
}

/* What is judged */

static bool is_let_through(const struct world *w, const struct netaddr *address)
{
    const struct session *s = &w->session;
    struct destination where = {s->has_name ? &s->name : NULL, address, s->port, PROTOCOL_TCP};

    if (s->has_name)
        return verdict_lets_through(matcher_judge(policy_of(w), &where));
    if (w->name_count <= w->name_max)
        return verdict_lets_through(
            matcher_judge_nameless(policy_of(w), address, s->port, w->names, w->name_count));
    struct verdict verdict = matcher_judge(policy_of(w), &where);
    return !verdict.is_enforced || (verdict.kind == VERDICT_ALLOW && verdict.rule != NULL);
}

/* A name that comes after the server was connected must be one that stands behind its address. */
static void check_late_name(const struct world *w)
{
    bool is_behind = false;

    for (size_t i = 0; i < w->name_count && i < w->name_max; i++)
        is_behind = is_behind || hostname_equal(&w->names[i], &w->session.name);
    check(is_behind);
}

static bool is_one_of(const struct netaddr *address, const struct netaddr *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (netaddr_equal(address, &list[i]))
            return true;
    }
    return false;
}

static void check_candidates(const struct world *w)
{
    const struct session *s = &w->session;

    check(s->candidate_count > 0 && s->candidate_count <= SESSION_CANDIDATES_MAX);
    for (size_t i = 0; i < s->candidate_count; i++) {
        check(is_let_through(w, &s->candidates[i]));
        check(s->has_name ? is_one_of(&s->candidates[i], w->addresses, w->address_count)
                          : netaddr_equal(&s->candidates[i], &s->address));
    }
}

/* What moved */

static void see_head(struct world *w, const struct http_head *head)
{
    const struct session *s = &w->session;
    bool has_name = head->host.kind == HTTP_HOST_NAME;

    check(!head->is_connect && !head->upgrade_is_h2c);
    check(has_name == s->has_name && (!has_name || hostname_equal(&head->host.name, &s->name)));
    if (head->host.kind == HTTP_HOST_ADDRESS)
        check(netaddr_equal(&head->host.addr, &s->address));
    if (w->heads++ == 0) {
        w->has_name = has_name;
        w->name = s->name;
    }
    check(w->has_name == has_name && (!has_name || hostname_equal(&w->name, &head->host.name)));
    check(!http_reply_is_full(&w->reply));
    http_reply_push(&w->reply, head);
    http_stream_accept_head(&w->http);
}

/* Reads on in an HTTP stream where the bytes that have just moved begin. */
static void see_http(struct world *w, struct span bytes)
{
    while (bytes.len > 0) {
        struct http_stream_item item;
        size_t len = 0;
        switch (http_stream_read(&w->http, bytes, &item)) {
        case HTTP_STREAM_HEAD:
            len = item.head.head_len;
            see_head(w, &item.head);
            break;
        case HTTP_STREAM_BODY:
            len = item.len;
            break;
        case HTTP_STREAM_MORE: /* a part of a head, or of a chunk's size, moved */
        case HTTP_STREAM_WAIT: /* the answer did not come yet */
        case HTTP_STREAM_BAD:
            abort();
        }
        check(len > 0 && len <= bytes.len);
        bytes = span_from(bytes, len);
    }
}

static void see_hello(struct world *w, struct span all)
{
    struct tls_hello hello;
    enum reason reason;
    const struct session *s = &w->session;

    check(tls_hello_read(all, &own_scratch, &hello, &reason) == TLS_HELLO_OK);
    check(hello.has_name == s->has_name);
    check(!hello.has_name || hostname_equal(&hello.name, &s->name));
    w->has_name = hello.has_name;
    w->name = s->name;
}

static void see_client_bytes(struct world *w, size_t len)
{
    const struct session *s = &w->session;
    struct span all = span_of(w->client.bytes, w->client.moved + len);

    check(len > 0 && len <= waiting(&w->client).len);
    check(s->state == SESSION_HTTP || s->state == SESSION_OPAQUE);
    check(is_let_through(w, &s->address));
    check(!s->has_name || is_let_through(w, &s->upstream));
    enum sniff_protocol protocol = sniff_guess(all, w->client.is_end);
    check(protocol == s->protocol);
    if (protocol == SNIFF_TLS)
        see_hello(w, all);
    else if (protocol == SNIFF_HTTP)
        see_http(w, span_from(all, w->client.moved));
    else
        check(protocol == SNIFF_OTHER && !s->has_name);
    w->client.moved += len;
}

static void see_reply(struct world *w, struct span bytes)
{
    struct http_reply_item item;

    for (;;) {
        switch (http_reply_read(&w->reply, bytes, &item)) {
        case HTTP_REPLY_MORE:
            return;
        case HTTP_REPLY_MOVE:
            bytes = span_from(bytes, item.len);
            break;
        case HTTP_REPLY_DONE:
            if (item.declines)
                http_stream_resume(&w->http);
            break;
        case HTTP_REPLY_SWITCHED:
            http_stream_set_opaque(&w->http);
            break;
        case HTTP_REPLY_UNTRACKED:
            break;
        }
    }
}

static void see_server_bytes(struct world *w, size_t len)
{
    const struct session *s = &w->session;
    struct span all = span_of(w->server.bytes, w->server.moved + len);

    check(len > 0 && len <= waiting(&w->server).len);
    check(session_is_relaying(s));
    check(s->state == SESSION_REFUSING || is_let_through(w, &s->address));
    if (s->protocol == SNIFF_HTTP && s->state != SESSION_SERVER_FIRST)
        see_reply(w, span_from(all, w->server.moved));
    w->server.moved += len;
}

/* Playing */

static void check_denied(struct world *w)
{
    struct session_facts facts = facts_of(w);
    struct session *s = &w->session;
    enum session_refusal how = session_refuse_with(s);

    check(s->state == SESSION_DENIED && !verdict_lets_through(s->verdict));
    if (how != SESSION_REFUSE_RESET && how != SESSION_REFUSE_CLOSE && w->server.moved > 0)
        check(how == SESSION_REFUSE_HTTP && w->heads > 0 && http_reply_can_inject(&w->reply));
    w->is_over = true;
    check(session_client(s, &facts, waiting(&w->client), w->client.is_end).kind != SESSION_MOVE);
    check(session_server(s, waiting(&w->server), w->server.is_end).kind != SESSION_MOVE);
}

static void advance(struct world *w, struct session_action action)
{
    struct session *s = &w->session;
    struct session_facts facts = facts_of(w);
    bool is_late = s->state == SESSION_SERVER_FIRST;

    for (;;) {
        switch (action.kind) {
        case SESSION_WAIT:
            check((s->state == SESSION_RESOLVE) == (w->pending == PENDING_ADDRESSES));
            check((s->state == SESSION_DIAL) == (w->pending == PENDING_DIAL));
            check(s->state != SESSION_NAMES && s->state != SESSION_DENIED);
            return;
        case SESSION_ASK_NAMES:
            action = session_names(s, &facts, w->names, w->name_count, w->name_max);
            if (is_late && s->has_name && action.kind != SESSION_DENY)
                check_late_name(w);
            break;
        case SESSION_ASK_ADDRESSES:
            check(s->has_name && is_let_through(w, &s->address));
            w->pending = PENDING_ADDRESSES;
            return;
        case SESSION_CONNECT:
            check_candidates(w);
            w->pending = PENDING_DIAL;
            return;
        case SESSION_MOVE:
            see_client_bytes(w, action.len);
            action = session_client(s, &facts, waiting(&w->client), w->client.is_end);
            break;
        case SESSION_GO_ON:
            action = session_client(s, &facts, waiting(&w->client), w->client.is_end);
            break;
        case SESSION_DENY:
            check_denied(w);
            return;
        }
    }
}

static void hear_client(struct world *w)
{
    struct session_facts facts = facts_of(w);

    advance(w, session_client(&w->session, &facts, waiting(&w->client), w->client.is_end));
}

static void hear_server(struct world *w)
{
    if (!session_is_relaying(&w->session))
        return;
    for (;;) {
        struct session_action action =
            session_server(&w->session, waiting(&w->server), w->server.is_end);
        if (action.kind != SESSION_MOVE) {
            advance(w, action);
            break;
        }
        see_server_bytes(w, action.len);
    }
    if (!w->is_over)
        hear_client(w);
}

static void add_bytes(struct stream *s, struct span bytes)
{
    if (s->is_end || bytes.len > STREAM_MAX - s->len)
        return;
    if (bytes.len > 0)
        memcpy(s->bytes + s->len, bytes.data, bytes.len);
    s->len += bytes.len;
}

static void answer_lookup(struct world *w)
{
    struct session_facts facts = facts_of(w);

    if (w->pending != PENDING_ADDRESSES)
        return;
    w->pending = PENDING_NONE;
    advance(w, session_addresses(&w->session, &facts, w->addresses, w->address_count));
}

static void answer_dial(struct world *w, enum reason reason, size_t which)
{
    struct session *s = &w->session;

    if (w->pending != PENDING_DIAL)
        return;
    w->pending = PENDING_NONE;
    which %= s->candidate_count;
    struct netaddr address = s->candidates[which];
    advance(w, session_dialled(s, reason, which));
    if (!w->is_over) {
        check(netaddr_equal(&s->upstream, &address));
        hear_server(w);
    }
}

static void change_policy(struct world *w, size_t policy)
{
    struct session *s = &w->session;

    w->policy = policy % POLICIES;
    if (!session_rejudge(s, policy_of(w), w->names, w->name_count, w->name_max)) {
        check(!verdict_lets_through(s->verdict));
        w->is_over = true;
    }
}

/* One event; the bytes of the script that it used. */
static size_t play(struct world *w, struct span script)
{
    struct session_facts facts = facts_of(w);
    uint8_t argument = script.len > 1 ? script.data[1] : 0;
    struct span text = span_from(script, script.len < 2 ? script.len : 2);

    text = span_first(text, text.len < argument ? text.len : argument);
    switch (script.data[0]) {
    case 'c': /* the client sends so many bytes */
        add_bytes(&w->client, text);
        hear_client(w);
        return 2 + text.len;
    case 's': /* the server does */
        add_bytes(&w->server, text);
        hear_server(w);
        return 2 + text.len;
    case 'C':
        w->client.is_end = true;
        hear_client(w);
        return 1;
    case 'S':
        if (session_is_relaying(&w->session))
            w->server.is_end = true;
        hear_server(w);
        return 1;
    case 'q': /* the sniffing deadline */
        if (w->session.state == SESSION_SNIFF)
            advance(w, session_silence(&w->session, &facts, waiting(&w->client)));
        return 1;
    case 'n': /* what stands behind the address from now on */
        w->name_count = 0;
        for (size_t i = 0; i < NAMES_MAX; i++) {
            if (argument & 1U << i)
                w->names[w->name_count++] = all_names[i];
        }
        w->name_max = argument & 128 ? 1 : NAMES_MAX;
        if (w->session.has_judged)
            change_policy(w, w->policy);
        return 2;
    case 'a': /* where the name lies */
        w->address_count = 0;
        for (size_t i = 0; i < ADDRESSES_MAX; i++) {
            if (argument & 1U << i)
                w->addresses[w->address_count++] = all_addresses[i];
        }
        answer_lookup(w);
        return 2;
    case 'd':
        answer_dial(w, REASON_ALLOWED, argument);
        return 2;
    case 'D':
        answer_dial(w, REASON_UPSTREAM_REFUSED, 0);
        return 1;
    case 'p':
        change_policy(w, argument);
        return 2;
    default:
        return 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    static const uint16_t ports[] = {80, 443, 22};

    if (size < 1 || size > STREAM_MAX)
        return 0;
    memset(&w, 0, sizeof(w));
    w.policy = data[0] % POLICIES;
    w.name_max = NAMES_MAX;
    session_init(&w.session, &all_addresses[data[0] / POLICIES % ADDRESSES_MAX],
                 ports[data[0] / POLICIES / ADDRESSES_MAX % 3], SNIFF_MAX, SNIFF_MAX);
    http_stream_init(&w.http, SNIFF_MAX);
    http_reply_init(&w.reply, SNIFF_MAX);
    struct span script = span_of(data + 1, size - 1);
    while (script.len > 0 && !w.is_over) {
        size_t used = play(&w, script);
        script = span_from(script, used < script.len ? used : script.len);
    }
    return 0;
}
