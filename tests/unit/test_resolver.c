#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/worker/names.h"
#include "proxy/worker/resolver.h"
#include "tests/lib/policies.h"
#include "tests/lib/test_thread.h"
#include "tests/lib/unit.h"

/* How the fake resolver treats a question. */
enum manner {
    MANNER_HONEST,
    MANNER_FOLDS,     /* answers with the name in lower case */
    MANNER_FORGED,    /* folds over UDP, and over TCP says something else */
    MANNER_SILENT,    /* answers nothing */
    MANNER_ONLY_V4,   /* AAAA is never answered */
    MANNER_TRUNCATES, /* over UDP */
    MANNER_SERVFAIL,
    MANNER_NXDOMAIN,
    MANNER_JUNK, /* not DNS behind the question */
};

enum { PACKET_MAX = 512, SEEN_MAX = 4096, SOON_MS = 3000 };

/* One on 127.0.0.1, over UDP and TCP, in the loop of the thread under test. */
struct fake {
    enum manner manner;
    int udp;
    int tcp;
    struct event *udp_event;
    struct event *tcp_event;
    uint16_t port;
    uint8_t address; /* last byte of what it says: 203.0.113.N and 2001:db8::N */
    uint32_t ttl_s;
    size_t udp_count;
    size_t tcp_count;
    uint16_t ids[SEEN_MAX];
    uint16_t ports[SEEN_MAX];
    size_t mixed_count; /* names that had letters in both cases */
};

static struct test_thread t;
static struct names *names;
static struct fake fake;
static struct resolver *resolver;

static size_t question_len(const uint8_t *packet)
{
    size_t at = DNS_HEADER_LEN;

    while (packet[at] != 0)
        at += packet[at] + 1u;
    return at + 5;
}

static void fold(uint8_t *packet)
{
    for (size_t i = DNS_HEADER_LEN; packet[i] != 0; i++)
        packet[i] = ascii_lower(packet[i]);
}

/* Turns a question into its answer; 0: none. */
static size_t answer(struct fake *f, uint8_t *packet, bool is_tcp)
{
    size_t len = question_len(packet);
    bool is_v4 = packet[len - 3] == DNS_TYPE_A;
    const uint8_t v4[] = {203, 0, 113, f->address};
    const uint8_t v6[] = {0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, f->address};
    const uint8_t head[] = {0xc0,
                            12,
                            0,
                            packet[len - 3],
                            0,
                            1,
                            (uint8_t)(f->ttl_s >> 24),
                            (uint8_t)(f->ttl_s >> 16),
                            (uint8_t)(f->ttl_s >> 8),
                            (uint8_t)f->ttl_s,
                            0,
                            is_v4 ? 4 : 16};

    if (f->manner == MANNER_SILENT || (f->manner == MANNER_ONLY_V4 && !is_v4))
        return 0;
    packet[2] = 0x81;
    packet[3] = 0x80;
    packet[11] = 0; /* no OPT */
    if (f->manner == MANNER_SERVFAIL || f->manner == MANNER_NXDOMAIN) {
        packet[3] |= f->manner == MANNER_SERVFAIL ? DNS_RCODE_SERVFAIL : DNS_RCODE_NXDOMAIN;
        return len;
    }
    if (f->manner == MANNER_TRUNCATES && !is_tcp) {
        packet[2] |= 2;
        return len;
    }
    if (f->manner == MANNER_FOLDS || f->manner == MANNER_FORGED)
        fold(packet);
    if (f->manner == MANNER_FORGED && is_tcp)
        packet[DNS_HEADER_LEN + 1] ^= 1;
    packet[7] = 1;
    memcpy(packet + len, head, sizeof(head));
    memcpy(packet + len + sizeof(head), is_v4 ? v4 : v6, is_v4 ? 4 : 16);
    len += sizeof(head) + (is_v4 ? 4 : 16);
    return f->manner == MANNER_JUNK ? len - 1 : len;
}

static bool is_mixed(const uint8_t *packet)
{
    bool has_upper = false;
    bool has_lower = false;

    for (size_t i = DNS_HEADER_LEN; packet[i] != 0; i++) {
        has_upper = has_upper || (packet[i] >= 'A' && packet[i] <= 'Z');
        has_lower = has_lower || (packet[i] >= 'a' && packet[i] <= 'z');
    }
    return has_upper && has_lower;
}

static void on_udp(evutil_socket_t fd, short what, void *arg)
{
    struct fake *f = arg;
    uint8_t packet[PACKET_MAX];
    struct sockaddr_in peer;
    socklen_t peer_len = sizeof(peer);
    ssize_t len = recvfrom(fd, packet, sizeof(packet), 0, (struct sockaddr *)&peer, &peer_len);

    (void)what;
    if (len < DNS_HEADER_LEN)
        return;
    f->ids[f->udp_count % SEEN_MAX] = (uint16_t)(packet[0] << 8 | packet[1]);
    f->ports[f->udp_count % SEEN_MAX] = peer.sin_port;
    f->udp_count++;
    f->mixed_count += is_mixed(packet);
    size_t out = answer(f, packet, false);
    if (out > 0)
        assert_int_equal(sendto(fd, packet, out, 0, (struct sockaddr *)&peer, peer_len), out);
}

/* One question, which the other side writes at once. */
static void on_tcp_question(evutil_socket_t client, short what, void *arg)
{
    struct fake *f = arg;
    uint8_t packet[2 + PACKET_MAX];
    ssize_t len = read(client, packet, sizeof(packet));

    (void)what;
    assert_true(len > 2 + DNS_HEADER_LEN);
    assert_int_equal(len, 2 + (packet[0] << 8 | packet[1]));
    f->tcp_count++;
    size_t out = answer(f, packet + 2, true);
    packet[0] = (uint8_t)(out >> 8);
    packet[1] = (uint8_t)out;
    assert_int_equal(write(client, packet, out + 2), out + 2);
    close(client);
}

static void on_tcp(evutil_socket_t fd, short what, void *arg)
{
    int client = accept(fd, NULL, NULL);

    (void)what;
    assert_true(client >= 0);
    event_base_once(t.thread.base, client, EV_READ, on_tcp_question, arg, NULL);
}

static int listen_on(int type, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        (type == SOCK_STREAM && listen(fd, 64) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A port that both protocols have free. */
static void fake_open(struct fake *f)
{
    *f = (struct fake){.tcp = -1, .udp = -1, .address = 10, .ttl_s = 300};
    for (int i = 0; i < 100 && f->tcp < 0; i++) {
        struct sockaddr_in own;
        socklen_t own_len = sizeof(own);
        if (f->udp >= 0)
            close(f->udp);
        f->udp = listen_on(SOCK_DGRAM, 0);
        assert_int_equal(getsockname(f->udp, (struct sockaddr *)&own, &own_len), 0);
        f->port = ntohs(own.sin_port);
        f->tcp = listen_on(SOCK_STREAM, f->port);
    }
    assert_true(f->tcp >= 0);
    f->udp_event = event_new(t.thread.base, f->udp, EV_READ | EV_PERSIST, on_udp, f);
    f->tcp_event = event_new(t.thread.base, f->tcp, EV_READ | EV_PERSIST, on_tcp, f);
    event_add(f->udp_event, NULL);
    event_add(f->tcp_event, NULL);
}

static void fake_close(struct fake *f)
{
    event_free(f->udp_event);
    event_free(f->tcp_event);
    close(f->udp);
    close(f->tcp);
}

static void add_host(struct policy *policy, const char *name, const char *address)
{
    struct host_line line;

    assert_int_equal(hostname_parse(span_of_text(name), &line.name), HOSTNAME_OK);
    assert_true(netaddr_parse(span_of_text(address), &line.address));
    assert_true(policy_add_host(policy, &line));
}

static void policy_with_port(struct policy *policy, uint16_t port)
{
    policy_for_test(policy, MODE_BLOCKLIST, NULL, NULL);
    policy->servers[0].address = netaddr_v4((uint8_t[]){127, 0, 0, 1});
    policy->servers[0].port = port;
    add_host(policy, "build.example", "203.0.113.77");
    add_host(policy, "build.example", "203.0.113.78");
}

static int setup(void **state)
{
    struct policy policy;

    (void)state;
    policy_with_port(&policy, 1);
    test_thread_init(&t, &policy);
    policy_fini(&policy);
    names = names_new(100);
    assert_non_null(names);
    t.thread.names = names;
    fake_open(&fake);
    policy_with_port(&policy, fake.port);
    test_thread_switch(&t, &policy);
    policy_fini(&policy);
    resolver = resolver_new(&t.thread);
    assert_non_null(resolver);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    resolver_free(resolver);
    fake_close(&fake);
    test_thread_fini(&t);
    names_free(names);
    return 0;
}

/* What a callback was told. */
struct told {
    bool is_done;
    size_t times;
    enum resolver_status status;
    struct dns_reply reply;
    struct resolver_query *cancels; /* cancelled by the callback */
    struct told *next;              /* asked for by the callback */
};

static struct resolver_query *ask(const char *name, uint16_t type, struct told *told);

static void on_done(void *arg, enum resolver_status status, const struct dns_reply *reply)
{
    struct told *told = arg;

    told->times++;
    told->status = status;
    assert_int_equal(reply != NULL, status == RESOLVER_OK);
    if (reply)
        told->reply = *reply;
    told->is_done = true;
    resolver_cancel(told->cancels);
    if (told->next)
        assert_non_null(ask("next.example", DNS_TYPE_A, told->next));
}

static struct resolver_query *ask(const char *name, uint16_t type, struct told *told)
{
    struct hostname host;

    assert_int_equal(hostname_parse(span_of_text(name), &host), HOSTNAME_OK);
    struct resolver_query *query = resolver_ask(resolver, &host, type, on_done, told);
    assert_true(query == NULL || !told->is_done); /* never inside the call */
    return query;
}

static struct told ask_and_wait(const char *name, uint16_t type, unsigned limit_ms)
{
    struct told told = {0};

    assert_non_null(ask(name, type, &told));
    if (!test_thread_run(&t, &told.is_done, limit_ms))
        fail_msg("%s: no answer", name);
    assert_int_equal(told.times, 1);
    return told;
}

static void check_address(const struct dns_reply *reply, size_t index, const char *wanted)
{
    char text[NETADDR_TEXT_MAX];

    assert_true(index < reply->count);
    netaddr_print(&reply->addresses[index], text);
    assert_string_equal(text, wanted);
}

static void answers_and_caches(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct told told = ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
        assert_int_equal(told.status, RESOLVER_OK);
        assert_int_equal(told.reply.count, 1);
        check_address(&told.reply, 0, "203.0.113.10");
        assert_true(told.reply.ttl_s == 300 || told.reply.ttl_s == 299);
    }
    assert_int_equal(fake.udp_count, 1);
    struct told told = ask_and_wait("www.example.com", DNS_TYPE_AAAA, SOON_MS);
    check_address(&told.reply, 0, "2001:db8::a");
    assert_int_equal(fake.udp_count, 2);
}

static void ids_ports_and_case_are_random(void **state)
{
    enum { ASKED = 64 };
    size_t ports_differ = 0;
    size_t ids_differ = 0;
    char name[32];

    (void)state;
    for (unsigned i = 0; i < ASKED; i++) {
        snprintf(name, sizeof(name), "host%u.example.com", i);
        ask_and_wait(name, DNS_TYPE_A, SOON_MS);
    }
    assert_int_equal(fake.udp_count, ASKED);
    for (size_t i = 1; i < ASKED; i++) {
        ports_differ += fake.ports[i] != fake.ports[i - 1];
        ids_differ += fake.ids[i] != fake.ids[i - 1];
    }
    /* A channel that ran empty has taken another port. */
    assert_true(ports_differ > ASKED - 5);
    assert_true(ids_differ > ASKED - 5);
    assert_true(fake.mixed_count > ASKED - 5);
}

static void who_asks_the_same_waits_for_it(void **state)
{
    struct told told[3] = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_non_null(ask("www.example.com", DNS_TYPE_A, &told[i]));
    for (size_t i = 0; i < 3; i++) {
        assert_true(test_thread_run(&t, &told[i].is_done, SOON_MS));
        check_address(&told[i].reply, 0, "203.0.113.10");
    }
    assert_int_equal(fake.udp_count, 1);
}

static void a_cancelled_query_is_not_told(void **state)
{
    struct told cancelled = {0};
    struct told first = {0};
    struct told second = {0};
    struct told next = {0};

    (void)state;
    resolver_cancel(ask("www.example.com", DNS_TYPE_A, &cancelled));
    resolver_cancel(NULL);
    /* Whichever of the two is told first cancels the other, and asks something new. */
    struct resolver_query *a = ask("www.example.com", DNS_TYPE_A, &first);
    struct resolver_query *b = ask("www.example.com", DNS_TYPE_A, &second);
    first.cancels = b;
    second.cancels = a;
    first.next = second.next = &next;
    assert_true(test_thread_run(&t, &next.is_done, SOON_MS));
    assert_int_equal(first.times + second.times, 1);
    assert_int_equal(cancelled.times, 0);
    /* What was asked for was learned nevertheless. */
    assert_int_equal(fake.udp_count, 2);
    ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(fake.udp_count, 2);
}

static void a_server_that_folds_names_is_asked_over_tcp(void **state)
{
    (void)state;
    fake.manner = MANNER_FOLDS;
    struct told told = ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(told.status, RESOLVER_OK);
    check_address(&told.reply, 0, "203.0.113.10");
    assert_int_equal(fake.tcp_count, 1);
    assert_int_equal(fake.udp_count, 1);
}

static void an_answer_to_something_else_is_none(void **state)
{
    (void)state;
    fake.manner = MANNER_FORGED;
    struct told told = ask_and_wait("www.example.com", DNS_TYPE_A, 3 * SOON_MS);
    assert_int_not_equal(told.status, RESOLVER_OK);
    fake.manner = MANNER_JUNK;
    told = ask_and_wait("junk.example.com", DNS_TYPE_A, 3 * SOON_MS);
    assert_int_equal(told.status, RESOLVER_FAILED);
}

static void a_truncated_answer_is_fetched_over_tcp(void **state)
{
    (void)state;
    fake.manner = MANNER_TRUNCATES;
    struct told told = ask_and_wait("www.example.com", DNS_TYPE_AAAA, SOON_MS);
    assert_int_equal(told.status, RESOLVER_OK);
    check_address(&told.reply, 0, "2001:db8::a");
    assert_int_equal(fake.tcp_count, 1);
}

static void negative_answers(void **state)
{
    (void)state;
    fake.manner = MANNER_NXDOMAIN;
    struct told told = ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(told.status, RESOLVER_OK);
    assert_int_equal(told.reply.rcode, DNS_RCODE_NXDOMAIN);
    /* Without an SOA it is not kept. */
    ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(fake.udp_count, 2);
    fake.manner = MANNER_SERVFAIL;
    told = ask_and_wait("broken.example.com", DNS_TYPE_A, 2 * SOON_MS);
    assert_true(told.status == RESOLVER_FAILED || told.reply.rcode == DNS_RCODE_SERVFAIL);
}

static void silence_ends_in_time(void **state)
{
    enum { ASKED = 300 };
    static struct told told[ASKED];
    char name[32];

    (void)state;
    fake.manner = MANNER_SILENT;
    for (unsigned i = 0; i < ASKED; i++) {
        snprintf(name, sizeof(name), "host%u.example.com", i);
        assert_non_null(ask(name, DNS_TYPE_A, &told[i]));
    }
    uint64_t start_ms = thread_now_ms();
    for (size_t i = 0; i < ASKED; i++) {
        if (!test_thread_run(&t, &told[i].is_done, 10000))
            fail_msg("%zu was not told", i);
        assert_int_equal(told[i].status, RESOLVER_TIMEOUT);
    }
    assert_in_range(thread_now_ms() - start_ms, 4000, 8000);
    /* One is still in flight when everything is freed. */
    assert_non_null(ask("last.example.com", DNS_TYPE_A, &(struct told){0}));
}

static void the_machine_knows_itself(void **state)
{
    static const struct {
        const char *name;
        uint16_t type;
        const char *address; /* NULL: none */
    } rows[] = {
        {"localhost", DNS_TYPE_A, "127.0.0.1"},     {"localhost", DNS_TYPE_AAAA, "::1"},
        {"a.b.localhost", DNS_TYPE_A, "127.0.0.1"}, {"build.example", DNS_TYPE_A, "203.0.113.77"},
        {"build.example", DNS_TYPE_AAAA, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct told told = ask_and_wait(rows[i].name, rows[i].type, SOON_MS);
        assert_int_equal(told.status, RESOLVER_OK);
        assert_int_equal(told.reply.rcode, DNS_RCODE_NOERROR);
        if (rows[i].address)
            check_address(&told.reply, 0, rows[i].address);
        else
            assert_int_equal(told.reply.count, 0);
    }
    assert_int_equal(fake.udp_count, 0);
    ask_and_wait("notlocalhost", DNS_TYPE_A, SOON_MS);
    assert_int_equal(fake.udp_count, 1);
}

static int reconfigure(uint16_t port, size_t servers)
{
    struct policy policy;

    policy_with_port(&policy, port);
    policy.server_count = servers;
    test_thread_switch(&t, &policy);
    policy_fini(&policy);
    return resolver_reconfigure(resolver, thread_policy(&t.thread));
}

static void other_servers_are_asked_after_a_reload(void **state)
{
    static struct fake other;
    struct told waiting = {0};
    struct told told;

    (void)state;
    fake_open(&other);
    other.address = 20;
    ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(reconfigure(fake.port, 1), 0); /* the same: the cache stays */
    ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(fake.udp_count, 1);

    assert_non_null(ask("wait.example.com", DNS_TYPE_A, &waiting));
    assert_int_equal(reconfigure(other.port, 1), 0);
    told = ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    check_address(&told.reply, 0, "203.0.113.20");
    told = ask_and_wait("wait.example.com", DNS_TYPE_A, SOON_MS);
    check_address(&told.reply, 0, "203.0.113.20");
    /* Who asked before is answered as it was asked. */
    assert_true(test_thread_run(&t, &waiting.is_done, SOON_MS));
    check_address(&waiting.reply, 0, "203.0.113.10");

    assert_int_equal(reconfigure(other.port, 0), 0);
    told = ask_and_wait("none.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(told.status, RESOLVER_FAILED);
    fake_close(&other);
}

static void nobody_is_there(void **state)
{
    (void)state;
    event_del(fake.udp_event);
    event_del(fake.tcp_event);
    assert_int_equal(reconfigure(1, 1), 0); /* refused by the kernel, at once */
    struct told told = ask_and_wait("www.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(told.status, RESOLVER_FAILED);
}

static void what_leaves_the_machine_is_limited(void **state)
{
    struct policy policy;
    struct told told = {0};

    (void)state;
    policy_with_port(&policy, fake.port);
    policy.settings.dns_new_names_per_minute = 2;
    policy.settings.dns_label_max = 8;
    test_thread_switch(&t, &policy);
    policy_fini(&policy);
    ask_and_wait("a.example.com", DNS_TYPE_A, SOON_MS);
    assert_null(ask("longlabel.example.com", DNS_TYPE_A, &told));
    ask_and_wait("b.example.com", DNS_TYPE_A, SOON_MS);
    assert_null(ask("c.example.com", DNS_TYPE_A, &told));
    /* What was admitted, and what does not leave. */
    ask_and_wait("b.example.com", DNS_TYPE_AAAA, SOON_MS);
    ask_and_wait("build.example", DNS_TYPE_A, SOON_MS);
    ask_and_wait("b.example.com", DNS_TYPE_A, SOON_MS);
    assert_int_equal(fake.udp_count, 3);
    assert_false(told.is_done);
}

struct found {
    bool is_done;
    size_t count;
    struct netaddr addresses[8];
};

static void on_found(void *arg, const struct netaddr *addresses, size_t count)
{
    struct found *found = arg;

    assert_false(found->is_done);
    found->is_done = true;
    found->count = count;
    memcpy(found->addresses, addresses, count * sizeof(addresses[0]));
}

static struct found look_up(const char *name, unsigned limit_ms)
{
    struct found found = {0};
    struct hostname host;

    assert_int_equal(hostname_parse(span_of_text(name), &host), HOSTNAME_OK);
    assert_non_null(resolver_look_up(resolver, &host, on_found, &found));
    assert_false(found.is_done);
    assert_true(test_thread_run(&t, &found.is_done, limit_ms));
    return found;
}

static void lookups_take_both_families(void **state)
{
    struct found found = look_up("www.example.com", SOON_MS);
    struct hostname host = {15, "www.example.com"};

    (void)state;
    assert_int_equal(found.count, 2);
    assert_false(netaddr_is_v4(&found.addresses[0]));
    assert_true(netaddr_is_v4(&found.addresses[1]));
    found = look_up("build.example", SOON_MS);
    assert_int_equal(found.count, 2);
    /* One family that is not answered does not hold the other up. */
    fake.manner = MANNER_ONLY_V4;
    found = look_up("four.example.com", SOON_MS);
    assert_int_equal(found.count, 1);
    assert_true(netaddr_is_v4(&found.addresses[0]));
    fake.manner = MANNER_NXDOMAIN;
    assert_int_equal(look_up("no.example.com", SOON_MS).count, 0);
    struct found never = {0};
    resolver_look_up_cancel(resolver_look_up(resolver, &host, on_found, &never));
    resolver_look_up_cancel(NULL);
    look_up("other.example.com", SOON_MS);
    assert_false(never.is_done);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_and_caches),
        TEST(ids_ports_and_case_are_random),
        TEST(who_asks_the_same_waits_for_it),
        TEST(a_cancelled_query_is_not_told),
        TEST(a_server_that_folds_names_is_asked_over_tcp),
        TEST(an_answer_to_something_else_is_none),
        TEST(a_truncated_answer_is_fetched_over_tcp),
        TEST(negative_answers),
        TEST(silence_ends_in_time),
        TEST(the_machine_knows_itself),
        TEST(other_servers_are_asked_after_a_reload),
        TEST(nobody_is_there),
        TEST(what_leaves_the_machine_is_limited),
        TEST(lookups_take_both_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
