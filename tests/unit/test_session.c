/*
 * The decision machine, driven as the shell drives it: a script of events against a policy, the
 * world behind it played by the fields of `struct world`.
 */
#include "proxy/core/session.h"
#include "tests/lib/policies.h"
#include "tests/lib/unit.h"

enum { NAMES_MAX = 4, WIRE_MAX = 8192 };

struct world {
    struct matcher *matcher;
    struct session session;
    struct hostname names[NAMES_MAX]; /* behind the original destination */
    size_t name_count;
    struct netaddr addresses[NAMES_MAX]; /* of the proven name */
    size_t address_count;
    bool is_over_limit; /* it may not be looked up */
    enum reason dial_reason;

    uint8_t client[WIRE_MAX]; /* bytes that wait */
    size_t client_len;
    bool is_client_end;
    uint8_t up[WIRE_MAX]; /* bytes that left for the server */
    size_t up_len;
    uint8_t server[WIRE_MAX];
    size_t server_len;
    size_t down_len;
    bool is_denied;
    unsigned decisions;
    size_t dialled; /* candidates of the last dial, 0: none */
};

static struct tls_hello_scratch scratch;

static struct session_facts facts_of(const struct world *w)
{
    return (struct session_facts){w->matcher, &scratch};
}

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr;

    assert_true(netaddr_parse(span_of_text(text), &addr));
    return addr;
}

static struct hostname name_of(const char *text)
{
    struct hostname name;

    assert_int_equal(hostname_parse(span_of_text(text), &name), HOSTNAME_OK);
    return name;
}

static const char *const allow[] = {"good.example",   "also.example:80", "port.example:443",
                                    "*.wild.example", "private.example", NULL};

static void world_init(struct world *w, enum network_mode mode, const char *address, int port)
{
    static const char *const block[] = {"bad.example", NULL};
    struct policy policy;
    struct netaddr to = addr_of(address);

    memset(w, 0, sizeof(*w));
    policy_for_test(&policy, mode, mode == MODE_ALLOWLIST ? allow : NULL,
                    mode == MODE_BLOCKLIST ? block : NULL);
    w->matcher = matcher_compile(&policy);
    policy_fini(&policy);
    w->dial_reason = REASON_ALLOWED;
    session_init(&w->session, &to, (uint16_t)port, 4096, 4096);
}

static void world_fini(struct world *w)
{
    matcher_unref(w->matcher);
}

static void add_name(struct world *w, const char *name)
{
    w->names[w->name_count++] = name_of(name);
}

static void add_address(struct world *w, const char *address)
{
    w->addresses[w->address_count++] = addr_of(address);
}

static struct span client_span(const struct world *w)
{
    return span_of(w->client, w->client_len);
}

static struct session_action move_up(struct world *w, size_t len)
{
    struct session_facts facts = facts_of(w);

    assert_true(len > 0 && len <= w->client_len);
    assert_true(session_is_relaying(&w->session));
    memcpy(w->up + w->up_len, w->client, len);
    w->up_len += len;
    memmove(w->client, w->client + len, w->client_len - len);
    w->client_len -= len;
    return session_client(&w->session, &facts, client_span(w), w->is_client_end);
}

static void advance(struct world *w, struct session_action action)
{
    struct session_facts facts = facts_of(w);

    for (;;) {
        w->decisions += action.is_decision;
        switch (action.kind) {
        case SESSION_WAIT:
            return;
        case SESSION_ASK_NAMES:
            action = session_names(&w->session, &facts, w->names, w->name_count, NAMES_MAX);
            break;
        case SESSION_ASK_ADDRESSES:
            action = w->is_over_limit
                         ? session_over_limit(&w->session)
                         : session_addresses(&w->session, &facts, w->addresses, w->address_count);
            break;
        case SESSION_CONNECT:
            w->dialled = w->session.candidate_count;
            action = session_dialled(&w->session, w->dial_reason, 0);
            break;
        case SESSION_MOVE:
            action = move_up(w, action.len);
            break;
        case SESSION_GO_ON:
            action = session_client(&w->session, &facts, client_span(w), w->is_client_end);
            break;
        case SESSION_DENY:
            w->is_denied = true;
            return;
        }
    }
}

static void send_bytes(struct world *w, const void *bytes, size_t len)
{
    struct session_facts facts = facts_of(w);

    memcpy(w->client + w->client_len, bytes, len);
    w->client_len += len;
    advance(w, session_client(&w->session, &facts, client_span(w), w->is_client_end));
}

static void send_text(struct world *w, const char *text)
{
    send_bytes(w, text, strlen(text));
}

static void end_client(struct world *w)
{
    w->is_client_end = true;
    send_bytes(w, "", 0);
}

static void fall_silent(struct world *w)
{
    struct session_facts facts = facts_of(w);

    advance(w, session_silence(&w->session, &facts, client_span(w)));
}

static void answer(struct world *w, const char *text, bool is_end)
{
    struct session_action action;

    memcpy(w->server + w->server_len, text, strlen(text));
    w->server_len += strlen(text);
    for (;;) {
        action = session_server(&w->session, span_of(w->server, w->server_len), is_end);
        if (action.kind != SESSION_MOVE)
            break;
        w->down_len += action.len;
        memmove(w->server, w->server + action.len, w->server_len - action.len);
        w->server_len -= action.len;
    }
    advance(w, action);
    if (!w->is_denied)
        send_bytes(w, "", 0);
}

static size_t hello_with(const char *name, uint8_t *out)
{
    size_t name_len = strlen(name);
    uint8_t sni[300];
    size_t sni_len = 0;
    uint8_t body[400] = {3, 3};
    size_t len = 2 + 32;

    body[len++] = 0;                           /* session id */
    memcpy(body + len, "\0\2\x13\x01\1\0", 6); /* suites, compression */
    len += 6;
    if (name_len > 0) {
        sni[sni_len++] = 0;
        sni[sni_len++] = 0;
        sni[sni_len++] = 0;
        sni[sni_len++] = (uint8_t)(name_len + 5);
        sni[sni_len++] = 0;
        sni[sni_len++] = (uint8_t)(name_len + 3);
        sni[sni_len++] = 0;
        sni[sni_len++] = 0;
        sni[sni_len++] = (uint8_t)name_len;
        memcpy(sni + sni_len, name, name_len);
        sni_len += name_len;
    }
    body[len++] = 0;
    body[len++] = (uint8_t)sni_len;
    memcpy(body + len, sni, sni_len);
    len += sni_len;
    const uint8_t head[] = {0x16, 3, 1, 0, (uint8_t)(len + 4), 1, 0, 0, (uint8_t)len};
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), body, len);
    return sizeof(head) + len;
}

static void say_hello(struct world *w, const char *name)
{
    uint8_t bytes[500];

    send_bytes(w, bytes, hello_with(name, bytes));
}

static void assert_denied(const struct world *w, enum reason reason, enum session_refusal how)
{
    if (!w->is_denied || w->session.verdict.reason != reason)
        fail_msg("%s: %s, not %s", w->is_denied ? "denied" : "not denied",
                 reason_token(w->session.verdict.reason), reason_token(reason));
    assert_int_equal(session_refuse_with(&w->session), how);
}

#define REQUEST(host) "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n"
#define REPLY         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void tls_allowed(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    add_address(&w, "203.0.113.10");
    say_hello(&w, "Good.Example");
    assert_int_equal(w.session.state, SESSION_OPAQUE);
    assert_true(w.up_len > 0 && w.client_len == 0);
    assert_int_equal(w.decisions, 1);
    world_fini(&w);
}

/* The verdict is the same, and nothing moves before it, wherever the stream is cut. */
static void tls_every_split(void **state)
{
    uint8_t bytes[500];
    size_t len = hello_with("good.example", bytes);

    (void)state;
    for (size_t cut = 1; cut < len; cut++) {
        struct world w;
        world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
        add_address(&w, "203.0.113.10");
        send_bytes(&w, bytes, cut);
        assert_int_equal(w.session.state, SESSION_SNIFF);
        assert_int_equal(w.up_len, 0);
        send_bytes(&w, bytes + cut, len - cut);
        assert_int_equal(w.session.state, SESSION_OPAQUE);
        assert_int_equal(w.up_len, len);
        assert_memory_equal(w.up, bytes, len);
        world_fini(&w);
    }
}

/* A server's first record: a ServerHello that asks for another hello, or one that goes on. */
static size_t server_hello(bool is_retry, uint8_t *out)
{
    static const uint8_t retry[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11,
                                    0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
                                    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e,
                                    0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};
    static const uint8_t head[] = {0x16, 3, 3, 0, 50, 2, 0, 0, 46, 3, 3};

    memset(out, 0, 55);
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), retry, sizeof(retry));
    if (!is_retry)
        out[sizeof(head) + 31] ^= 1;
    return 55;
}

static void answer_bytes(struct world *w, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len && !w->is_denied; i++) {
        struct session_action action = session_server(&w->session, span_of(bytes + i, 1), false);
        assert_int_equal(action.kind, SESSION_MOVE);
        assert_int_equal(action.len, 1);
        send_bytes(w, "", 0);
    }
}

static void open_tls(struct world *w, const char *name)
{
    world_init(w, MODE_ALLOWLIST, "203.0.113.10", 443);
    add_address(w, "203.0.113.10");
    add_name(w, "good.example");
    say_hello(w, name);
    assert_int_equal(w->session.state, SESSION_OPAQUE);
}

/* The second hello that a server asks for names the same host, however it is cut. */
static void tls_second_hello(void **state)
{
    static const struct {
        const char *first;
        const char *second;
        enum reason reason;
    } rows[] = {
        {"good.example", "good.example", REASON_ALLOWED},
        {"good.example", "GOOD.example.", REASON_ALLOWED},
        {"good.example", "evil.example", REASON_HOST_CHANGED},
        {"good.example", "also.example", REASON_HOST_CHANGED},
        {"good.example", "", REASON_HOST_CHANGED},
        {"", "", REASON_ALLOWED},
        {"", "evil.example", REASON_HOST_CHANGED},
        {"good.example", "1.2.3.4", REASON_BAD_NAME},
    };
    static const uint8_t ccs[] = {20, 3, 3, 0, 1, 1};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int how = 0; how < 4; how++) {
            struct world w;
            uint8_t server[64];
            uint8_t second[500];
            size_t server_len = server_hello(true, server);
            size_t second_len = hello_with(rows[i].second, second);
            open_tls(&w, rows[i].first);
            if (how & 1)
                send_bytes(&w, ccs, sizeof(ccs));
            size_t before = w.up_len;
            /* Sent before it is asked for, it does not move. */
            if (how & 2)
                send_bytes(&w, second, second_len);
            assert_int_equal(w.up_len, before);
            answer_bytes(&w, server, server_len);
            for (size_t at = 0; !(how & 2) && at < second_len && !w.is_denied; at++) {
                assert_int_equal(w.up_len, before);
                send_bytes(&w, second + at, 1);
            }
            if (rows[i].reason != REASON_ALLOWED) {
                assert_denied(&w, rows[i].reason, SESSION_REFUSE_RESET);
                assert_int_equal(w.up_len, before);
            } else {
                assert_int_equal(w.up_len, before + second_len);
                send_text(&w, "\x17\x03\x03 anything");
                assert_int_equal(w.client_len, 0);
            }
            world_fini(&w);
        }
    }
}

/* A server that goes on: its client's next handshake records are none of ours. */
static void tls_without_retry(void **state)
{
    static const uint8_t record[] = {22, 3, 3, 0, 4, 1, 0, 0, 0};
    struct world w;
    uint8_t server[64];

    (void)state;
    open_tls(&w, "good.example");
    answer_bytes(&w, server, server_hello(false, server));
    send_bytes(&w, record, sizeof(record));
    assert_int_equal(w.client_len, 0);
    world_fini(&w);

    /* Early data does not wait for the server. */
    open_tls(&w, "good.example");
    send_text(&w, "\x17\x03\x03");
    assert_int_equal(w.client_len, 3);
    send_bytes(&w, "\x00\x02xy", 4);
    assert_int_equal(w.client_len, 0);
    send_bytes(&w, record, sizeof(record));
    assert_int_equal(w.client_len, sizeof(record));
    end_client(&w);
    assert_denied(&w, REASON_BAD_HELLO, SESSION_REFUSE_ALERT);
    world_fini(&w);
}

static void tls_denied(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    say_hello(&w, "evil.example");
    assert_denied(&w, REASON_NOT_ALLOWED, SESSION_REFUSE_ALERT);
    assert_int_equal(w.up_len + w.dialled, 0);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    say_hello(&w, "1.2.3.4");
    assert_denied(&w, REASON_BAD_NAME, SESSION_REFUSE_ALERT);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    send_bytes(&w, "\x16\x03\x01", 3);
    fall_silent(&w);
    assert_denied(&w, REASON_SNIFF_TIMEOUT, SESSION_REFUSE_CLOSE);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    send_bytes(&w, "\x16\x03\x01", 3);
    end_client(&w);
    assert_denied(&w, REASON_BAD_HELLO, SESSION_REFUSE_ALERT);
    world_fini(&w);
}

/* A name does not vouch for the address that was dialled. */
static void name_does_not_vouch(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "198.51.100.66", 443);
    add_address(&w, "203.0.113.11");
    add_address(&w, "203.0.113.10");
    say_hello(&w, "good.example");
    struct netaddr first = addr_of("203.0.113.11");
    assert_int_equal(w.dialled, 2);
    assert_true(netaddr_equal(&w.session.upstream, &first));
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    add_address(&w, "203.0.113.11");
    add_address(&w, "203.0.113.10");
    say_hello(&w, "good.example");
    struct netaddr dialled = addr_of("203.0.113.10");
    assert_true(netaddr_equal(&w.session.upstream, &dialled));
    world_fini(&w);
}

static void candidates_are_judged(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    add_address(&w, "10.0.0.5");
    add_address(&w, "169.254.169.254");
    add_address(&w, "203.0.113.1");
    say_hello(&w, "good.example");
    assert_denied(&w, REASON_PRIVATE_ADDRESS, SESSION_REFUSE_ALERT);
    assert_int_equal(w.dialled, 0);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    add_address(&w, "10.0.0.5");
    add_address(&w, "203.0.113.10");
    say_hello(&w, "good.example");
    assert_int_equal(w.dialled, 1);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    send_text(&w, REQUEST("good.example"));
    assert_denied(&w, REASON_NAME_UNRESOLVABLE, SESSION_REFUSE_HTTP);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(&w, "203.0.113.10");
    w.is_over_limit = true;
    send_text(&w, REQUEST("good.example"));
    assert_denied(&w, REASON_LIMIT_REACHED, SESSION_REFUSE_HTTP);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    add_address(&w, "203.0.113.10");
    w.dial_reason = REASON_UPSTREAM_REFUSED;
    say_hello(&w, "good.example");
    assert_denied(&w, REASON_UPSTREAM_REFUSED, SESSION_REFUSE_RESET);
    world_fini(&w);
}

static void original_destination_is_judged(void **state)
{
    static const struct {
        const char *address;
        enum reason reason;
    } rows[] = {
        {"10.0.0.5", REASON_PRIVATE_ADDRESS},
        {"169.254.169.254", REASON_METADATA_ADDRESS},
        {"127.0.0.1", REASON_LOOPBACK_ADDRESS},
        {"203.0.113.1", REASON_LOOPBACK_ADDRESS},
        {"64:ff9b::a9fe:a9fe", REASON_METADATA_ADDRESS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        world_init(&w, MODE_ALLOWLIST, rows[i].address, 443);
        add_address(&w, "203.0.113.10");
        say_hello(&w, "good.example");
        assert_denied(&w, rows[i].reason, SESSION_REFUSE_ALERT);
        world_fini(&w);
    }
}

static void nameless(void **state)
{
    static const struct {
        const char *names[3];
        int port;
        enum reason reason;
    } rows[] = {
        {{NULL}, 22, REASON_NO_NAME},
        {{"good.example"}, 22, REASON_ALLOWED},
        {{"good.example", "evil.example"}, 22, REASON_AMBIGUOUS_ADDRESS},
        {{"port.example"}, 22, REASON_NO_NAME},
        {{"port.example"}, 443, REASON_ALLOWED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int how = 0; how < 3; how++) {
            struct world w;
            world_init(&w, MODE_ALLOWLIST, "203.0.113.10", rows[i].port);
            for (int n = 0; n < 3 && rows[i].names[n] != NULL; n++)
                add_name(&w, rows[i].names[n]);
            if (how == 0)
                send_text(&w, "SSH-2.0-x\r\n");
            else if (how == 1)
                say_hello(&w, "");
            else
                fall_silent(&w);
            if (rows[i].reason == REASON_ALLOWED)
                assert_true(session_is_relaying(&w.session) && w.dialled == 1);
            else
                assert_denied(&w, rows[i].reason,
                              how == 1 ? SESSION_REFUSE_ALERT : SESSION_REFUSE_RESET);
            world_fini(&w);
        }
    }
}

/* More names than were looked at: what the others are is not known, in either mode. */
static void too_many_names(void **state)
{
    static const enum reason reasons[] = {
        [MODE_ALLOWLIST] = REASON_NO_NAME,
        [MODE_BLOCKLIST] = REASON_AMBIGUOUS_ADDRESS,
    };

    (void)state;
    for (int mode = MODE_ALLOWLIST; mode <= MODE_BLOCKLIST; mode++) {
        struct world w;
        world_init(&w, (enum network_mode)mode, "203.0.113.10", 22);
        struct session_facts facts = facts_of(&w);
        for (int i = 0; i < NAMES_MAX; i++)
            add_name(&w, "good.example");
        assert_int_equal(session_silence(&w.session, &facts, SPAN_NONE).kind, SESSION_ASK_NAMES);
        struct session_action action =
            session_names(&w.session, &facts, w.names, NAMES_MAX + 1, NAMES_MAX);
        assert_int_equal(action.kind, SESSION_DENY);
        assert_int_equal(w.session.verdict.reason, reasons[mode]);
        world_fini(&w);
    }
}

/* Silence opens the server's direction only; what comes then is judged as any first message. */
static void silence_proves_nothing(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 443);
    add_name(&w, "good.example");
    fall_silent(&w);
    assert_int_equal(w.session.state, SESSION_SERVER_FIRST);
    say_hello(&w, "evil.example");
    assert_denied(&w, REASON_NOT_ALLOWED, SESSION_REFUSE_ALERT);
    assert_int_equal(w.up_len, 0);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_name(&w, "good.example");
    fall_silent(&w);
    answer(&w, "220 banner\r\n", false);
    send_text(&w, REQUEST("evil.example"));
    assert_denied(&w, REASON_NOT_ALLOWED, SESSION_REFUSE_CLOSE);
    assert_int_equal(w.up_len, 0);
    assert_int_equal(w.down_len, 12);
    world_fini(&w);

    /* Allowed by itself, but not a name of the address that is connected. */
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_name(&w, "good.example");
    fall_silent(&w);
    send_text(&w, REQUEST("also.example"));
    assert_denied(&w, REASON_AMBIGUOUS_ADDRESS, SESSION_REFUSE_HTTP);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_name(&w, "good.example");
    fall_silent(&w);
    send_text(&w, REQUEST("good.example"));
    assert_int_equal(w.session.state, SESSION_HTTP);
    assert_int_equal(w.up_len, strlen(REQUEST("good.example")));
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 25);
    add_name(&w, "good.example");
    fall_silent(&w);
    send_text(&w, "EHLO a\r\n");
    assert_int_equal(w.session.state, SESSION_OPAQUE);
    assert_int_equal(w.up_len, 8);
    world_fini(&w);

    /* A partial message is no message: nothing of it moves. */
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 25);
    add_name(&w, "good.example");
    fall_silent(&w);
    send_text(&w, "EHLO");
    assert_int_equal(w.session.state, SESSION_SERVER_FIRST);
    assert_int_equal(w.up_len, 0);
    world_fini(&w);
}

static void blocklist(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_BLOCKLIST, "203.0.113.10", 443);
    add_address(&w, "203.0.113.10");
    say_hello(&w, "bad.example");
    assert_denied(&w, REASON_BLOCKED, SESSION_REFUSE_ALERT);
    world_fini(&w);

    world_init(&w, MODE_BLOCKLIST, "203.0.113.10", 443);
    add_address(&w, "203.0.113.10");
    say_hello(&w, "other.example");
    assert_int_equal(w.session.state, SESSION_OPAQUE);
    world_fini(&w);

    world_init(&w, MODE_BLOCKLIST, "203.0.113.10", 22);
    fall_silent(&w);
    assert_int_equal(w.session.state, SESSION_SERVER_FIRST);
    say_hello(&w, "bad.example");
    assert_denied(&w, REASON_BLOCKED, SESSION_REFUSE_ALERT);
    world_fini(&w);
}

static void open_http(struct world *w)
{
    world_init(w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(w, "203.0.113.10");
    send_text(w, REQUEST("good.example"));
    assert_int_equal(w->session.state, SESSION_HTTP);
    assert_int_equal(w->up_len, strlen(REQUEST("good.example")));
}

static void http_keep_alive(void **state)
{
    struct world w;

    (void)state;
    open_http(&w);
    answer(&w, REPLY, false);
    send_text(&w, REQUEST("good.example"));
    answer(&w, REPLY, false);
    assert_int_equal(w.session.requests, 2);
    assert_int_equal(w.down_len, 2 * strlen(REPLY));

    send_text(&w, REQUEST("also.example"));
    assert_denied(&w, REASON_HOST_CHANGED, SESSION_REFUSE_HTTP);
    assert_int_equal(w.up_len, 2 * strlen(REQUEST("good.example")));
    world_fini(&w);
}

/* A forbidden request behind an allowed one never leaves; the first answer arrives whole. */
static void http_pipelined(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(&w, "203.0.113.10");
    send_text(&w, REQUEST("good.example") REQUEST("evil.example"));
    assert_int_equal(w.up_len, strlen(REQUEST("good.example")));
    assert_false(w.is_denied);
    answer(&w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", false);
    assert_false(w.is_denied);
    answer(&w, "k", false);
    assert_denied(&w, REASON_HOST_CHANGED, SESSION_REFUSE_HTTP);
    assert_int_equal(w.down_len, strlen(REPLY));
    assert_int_equal(w.up_len, strlen(REQUEST("good.example")));
    world_fini(&w);

    /* Where the answers' ends are not known, nothing of ours is put between them. */
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(&w, "203.0.113.10");
    send_text(&w, REQUEST("good.example") REQUEST("evil.example"));
    answer(&w, "nonsense\r\n", false);
    assert_false(w.is_denied);
    answer(&w, "", true);
    assert_denied(&w, REASON_HOST_CHANGED, SESSION_REFUSE_CLOSE);
    world_fini(&w);

    /* The server went away without an answer: ours would be taken for it. */
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(&w, "203.0.113.10");
    send_text(&w, REQUEST("good.example") REQUEST("evil.example"));
    answer(&w, "", true);
    assert_denied(&w, REASON_HOST_CHANGED, SESSION_REFUSE_CLOSE);
    world_fini(&w);
}

static void http_refused(void **state)
{
    static const struct {
        const char *request;
        enum reason reason;
    } rows[] = {
        {REQUEST("evil.example"), REASON_NOT_ALLOWED},
        {"CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
         REASON_CONNECT_REFUSED},
        {"GET / HTTP/1.1\r\nHost: good.example\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
         REASON_H2C_REFUSED},
        {REQUEST("203.0.113.11"), REASON_BAD_NAME},
        {REQUEST("203.0.113.10"), REASON_NO_NAME},
        {"GET / HTTP/1.0\r\n\r\n", REASON_NO_NAME},
        {"GET / HTTP/1.1\r\nHost: good.example\r\nHost: good.example\r\n\r\n", REASON_BAD_REQUEST},
        {"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 1\r\n"
         "Transfer-Encoding: chunked\r\n\r\n",
         REASON_BAD_REQUEST},
        {"\r\n" REQUEST("good.example"), REASON_BAD_REQUEST},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
        add_address(&w, "203.0.113.10");
        send_text(&w, rows[i].request);
        assert_denied(&w, rows[i].reason, SESSION_REFUSE_HTTP);
        assert_int_equal(w.up_len, 0);
        world_fini(&w);
    }
}

static void http_body_fault(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(&w, "203.0.113.10");
    send_text(&w, "POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    send_text(&w, "zz\r\n");
    assert_denied(&w, REASON_BAD_REQUEST, SESSION_REFUSE_RESET);
    world_fini(&w);

    /* A head that the client never finishes. */
    open_http(&w);
    answer(&w, REPLY, false);
    send_text(&w, "GET / HT");
    end_client(&w);
    assert_denied(&w, REASON_BAD_REQUEST, SESSION_REFUSE_HTTP);
    world_fini(&w);
}

static void http_upgrade(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: good.example\r\nUpgrade: websocket\r\n"
                                  "Connection: upgrade\r\n\r\n";
    struct world w;

    (void)state;
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(&w, "203.0.113.10");
    send_text(&w, request);
    send_text(&w, "\x81\x85"
                  "xxxxx");
    assert_int_equal(w.up_len, strlen(request));
    answer(&w,
           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
           "Connection: upgrade\r\n\r\nframes",
           false);
    assert_int_equal(w.session.state, SESSION_OPAQUE);
    assert_int_equal(w.up_len, strlen(request) + 7);
    assert_int_equal(w.server_len, 0);
    world_fini(&w);

    /* Declined: HTTP goes on, and is judged on. */
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
    add_address(&w, "203.0.113.10");
    send_text(&w, request);
    answer(&w, REPLY, false);
    send_text(&w, REQUEST("evil.example"));
    assert_denied(&w, REASON_HOST_CHANGED, SESSION_REFUSE_HTTP);
    world_fini(&w);
}

static void tunnels_are_refused(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_BLOCKLIST, "203.0.113.10", 1080);
    send_bytes(&w, "\x05\x01\x00", 3);
    assert_denied(&w, REASON_CONNECT_REFUSED, SESSION_REFUSE_RESET);
    world_fini(&w);

    world_init(&w, MODE_BLOCKLIST, "203.0.113.10", 80);
    send_text(&w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_denied(&w, REASON_H2C_REFUSED, SESSION_REFUSE_H2);
    world_fini(&w);
}

static void first_message_is_bounded(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, MODE_BLOCKLIST, "203.0.113.10", 80);
    for (int i = 0; i < 4096 && !w.is_denied; i++)
        send_text(&w, "a");
    assert_denied(&w, REASON_TOO_LARGE, SESSION_REFUSE_RESET);
    assert_int_equal(w.client_len, 4096);
    world_fini(&w);
}

static void rejudge(void **state)
{
    static const char *const narrower[] = {"also.example:80", NULL};
    static const char *const blocked[] = {"198.51.100.7", NULL};
    struct policy policy;
    struct world w;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, narrower, NULL);
    struct matcher *next = matcher_compile(&policy);
    policy_fini(&policy);
    policy_for_test(&policy, MODE_BLOCKLIST, NULL, blocked);
    struct matcher *blocking = matcher_compile(&policy);
    policy_fini(&policy);

    open_http(&w);
    assert_true(session_rejudge(&w.session, w.matcher, NULL, 0, NAMES_MAX));
    assert_false(session_rejudge(&w.session, next, NULL, 0, NAMES_MAX));
    assert_int_equal(w.session.verdict.reason, REASON_NOT_ALLOWED);
    world_fini(&w);

    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 22);
    add_name(&w, "good.example");
    fall_silent(&w);
    assert_true(session_rejudge(&w.session, w.matcher, w.names, 1, NAMES_MAX));
    assert_false(session_rejudge(&w.session, next, w.names, 1, NAMES_MAX));
    world_fini(&w);

    /* What is being dialled is judged too: the name keeps its right, one of its addresses does not.
     */
    world_init(&w, MODE_BLOCKLIST, "203.0.113.10", 80);
    struct session_facts facts = facts_of(&w);
    const struct netaddr both[] = {addr_of("203.0.113.10"), addr_of("198.51.100.7")};
    struct span request = span_of_text(REQUEST("good.example"));
    session_client(&w.session, &facts, request, false);
    assert_int_equal(session_addresses(&w.session, &facts, both, 2).kind, SESSION_CONNECT);
    assert_true(session_rejudge(&w.session, w.matcher, NULL, 0, NAMES_MAX));
    assert_false(session_rejudge(&w.session, blocking, NULL, 0, NAMES_MAX));
    assert_int_equal(w.session.verdict.reason, REASON_BLOCKED);
    world_fini(&w);
    matcher_unref(blocking);

    /* Nothing was judged yet: there is nothing to take back. */
    world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 22);
    assert_true(session_rejudge(&w.session, next, NULL, 0, NAMES_MAX));
    world_fini(&w);
    matcher_unref(next);
}

/*
 * Whatever bytes come in whatever pieces: nothing leaves before a verdict that lets through, and
 * what leaves is a prefix of what was sent.
 */
static void random_streams(void **state)
{
    static const char *const pieces[] = {
        REQUEST("good.example"),
        REQUEST("evil.example"),
        "GET / HT",
        "\r\n",
        "\x16\x03\x01",
        "POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 3\r\n\r\nabc",
        "\r\n0\r\n\r\n",
        "SSH-2.0-x\r\n",
    };
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct world w;
        uint8_t sent[WIRE_MAX];
        size_t sent_len = 0;
        world_init(&w, MODE_ALLOWLIST, "203.0.113.10", 80);
        add_address(&w, "203.0.113.10");
        if (test_random(&random) % 2)
            add_name(&w, "good.example");
        for (int step = 0; step < 6 && !w.is_denied; step++) {
            const char *piece = pieces[test_random(&random) % 8];
            size_t len = 1 + test_random(&random) % strlen(piece);
            if (test_random(&random) % 8 == 0 && w.session.state == SESSION_SNIFF) {
                fall_silent(&w);
                continue;
            }
            memcpy(sent + sent_len, piece, len);
            sent_len += len;
            send_bytes(&w, piece, len);
            if (w.session.state == SESSION_HTTP && test_random(&random) % 2)
                answer(&w, REPLY, false);
        }
        assert_true(w.up_len <= sent_len);
        assert_memory_equal(w.up, sent, w.up_len);
        if (w.up_len > 0 && w.session.protocol == SNIFF_HTTP) {
            w.up[w.up_len] = '\0';
            assert_null(strstr((const char *)w.up, "Host: evil"));
        }
        world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_allowed),
        cmocka_unit_test(tls_every_split),
        cmocka_unit_test(tls_second_hello),
        cmocka_unit_test(tls_without_retry),
        cmocka_unit_test(tls_denied),
        cmocka_unit_test(name_does_not_vouch),
        cmocka_unit_test(candidates_are_judged),
        cmocka_unit_test(original_destination_is_judged),
        cmocka_unit_test(nameless),
        cmocka_unit_test(too_many_names),
        cmocka_unit_test(silence_proves_nothing),
        cmocka_unit_test(blocklist),
        cmocka_unit_test(http_keep_alive),
        cmocka_unit_test(http_pipelined),
        cmocka_unit_test(http_refused),
        cmocka_unit_test(http_body_fault),
        cmocka_unit_test(http_upgrade),
        cmocka_unit_test(tunnels_are_refused),
        cmocka_unit_test(first_message_is_bounded),
        cmocka_unit_test(rejudge),
        cmocka_unit_test(random_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
