/*
 * The ClientHello reader against mbedtls 2.28: hellos that an mbedtls client makes, and random
 * changes of them, are read by both.
 *
 * mbedtls takes a ClientHello in one record only, hence the re-framing. Where both take a hello,
 * both have the same name, or neither has one. What mbedtls takes and we do not is one of `enum
 * difference`; there is nothing that only we take and whose name mbedtls has otherwise.
 */
#include <mbedtls/certs.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/x509_crt.h>

#include "proxy/core/tls_hello.h"
#include "tests/lib/tls_records.h"
#include "tests/lib/unit.h"

enum { ROUNDS_GENERATED = 400, CHANGES_EACH = 40, FLIGHT_MAX = 4096 };

static struct tls_hello_scratch scratch;

/* The far end of a connection: what it sends is kept, what it may read was put there before. */
struct wire {
    uint8_t sent[FLIGHT_MAX];
    size_t sent_len;
    struct span unread;
};

static int wire_send(void *context, const unsigned char *bytes, size_t len)
{
    struct wire *wire = (struct wire *)context;

    if (len > sizeof(wire->sent) - wire->sent_len)
        return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    memcpy(wire->sent + wire->sent_len, bytes, len);
    wire->sent_len += len;
    return (int)len;
}

static int wire_receive(void *context, unsigned char *bytes, size_t len)
{
    struct wire *wire = (struct wire *)context;

    if (wire->unread.len == 0)
        return MBEDTLS_ERR_SSL_WANT_READ;
    if (len > wire->unread.len)
        len = wire->unread.len;
    memcpy(bytes, wire->unread.data, len);
    wire->unread = span_from(wire->unread, len);
    return (int)len;
}

/* Random bytes that the test's seed decides. */
static int seeded_random(void *context, unsigned char *bytes, size_t len)
{
    uint64_t *state = (uint64_t *)context;

    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)test_random(state);
    return 0;
}

/* What one client asks for. */
struct options {
    int minor_min;
    int minor_max;
    int suites[8];
    const char *alpn[5];
    size_t name_len; /* 0: no server_name */
    char name[HOSTNAME_LEN_MAX + 1];
    bool has_tickets;
    bool has_extended_ms;
    bool has_encrypt_then_mac;
    bool has_truncated_hmac;
    bool is_fallback;
    bool has_renegotiation;
    unsigned char fragment_len;
};

static bool coin(uint64_t *random)
{
    return test_random(random) % 2 == 0;
}

/* Letters in labels of random length; the last label is never a number. */
static void random_name(uint64_t *random, size_t len, char *out)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_";
    size_t label = 0;

    for (size_t i = 0; i < len; i++) {
        bool may_end = label > 0 && i + 1 < len;
        if (may_end && (label == HOSTNAME_LABEL_MAX || test_random(random) % 9 == 0)) {
            out[i] = '.';
            label = 0;
            continue;
        }
        out[i] = alphabet[test_random(random) % (sizeof(alphabet) - 1)];
        label++;
    }
    out[len - 1] = label > HOSTNAME_LABEL_MAX ? '.' : 'z';
    out[len] = '\0';
}

static void random_options(uint64_t *random, struct options *o)
{
    static const char *const protocols[] = {"h2", "http/1.1", "http/1.0", "x", "acme-tls/1"};
    const int *all = mbedtls_ssl_list_ciphersuites();
    size_t suite_count = test_random(random) % 7;
    size_t alpn_count = test_random(random) % 5;

    memset(o, 0, sizeof(*o));
    o->minor_max = 1 + (int)(test_random(random) % 3);
    o->minor_min = 1 + (int)(test_random(random) % (uint64_t)o->minor_max);
    size_t total = 0;
    while (all[total] != 0)
        total++;
    for (size_t i = 0; i < suite_count; i++)
        o->suites[i] = all[test_random(random) % total];
    if (suite_count > 0 && test_random(random) % 8 != 0)
        o->suites[suite_count] = MBEDTLS_TLS_RSA_WITH_AES_128_CBC_SHA; /* in every version */
    for (size_t i = 0; i < alpn_count; i++)
        o->alpn[i] = protocols[(i + test_random(random)) % 5];
    if (test_random(random) % 4 != 0) {
        o->name_len = 1 + test_random(random) % HOSTNAME_LEN_MAX;
        random_name(random, o->name_len, o->name);
    }
    o->has_tickets = coin(random);
    o->has_extended_ms = coin(random);
    o->has_encrypt_then_mac = coin(random);
    o->has_truncated_hmac = coin(random);
    /* A server that knows a later version refuses it. */
    o->is_fallback = test_random(random) % 8 == 0;
    o->has_renegotiation = coin(random);
    o->fragment_len = (unsigned char)(test_random(random) % 5);
}

static void set_options(mbedtls_ssl_config *config, const struct options *o)
{
    mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, o->minor_min);
    mbedtls_ssl_conf_max_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, o->minor_max);
    if (o->suites[0] != 0)
        mbedtls_ssl_conf_ciphersuites(config, o->suites);
    if (o->alpn[0] != NULL)
        assert_int_equal(mbedtls_ssl_conf_alpn_protocols(config, (const char **)o->alpn), 0);
    mbedtls_ssl_conf_session_tickets(config, o->has_tickets);
    mbedtls_ssl_conf_extended_master_secret(config, o->has_extended_ms);
    mbedtls_ssl_conf_encrypt_then_mac(config, o->has_encrypt_then_mac);
    mbedtls_ssl_conf_truncated_hmac(config, o->has_truncated_hmac);
    mbedtls_ssl_conf_fallback(config, o->is_fallback);
    mbedtls_ssl_conf_renegotiation(config, o->has_renegotiation);
    assert_int_equal(mbedtls_ssl_conf_max_frag_len(config, o->fragment_len), 0);
}

/* The first flight of an mbedtls client, or nothing when it cannot make one from these options. */
static struct span client_flight(const struct options *o, uint64_t *random, struct wire *wire)
{
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;

    *wire = (struct wire){.sent_len = 0};
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&ssl);
    assert_int_equal(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    mbedtls_ssl_conf_rng(&config, seeded_random, random);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_NONE);
    set_options(&config, o);
    assert_int_equal(mbedtls_ssl_setup(&ssl, &config), 0);
    if (o->name_len > 0)
        assert_int_equal(mbedtls_ssl_set_hostname(&ssl, o->name), 0);
    mbedtls_ssl_set_bio(&ssl, wire, wire_send, wire_receive, NULL);
    (void)mbedtls_ssl_handshake(&ssl);
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&config);
    return span_of(wire->sent, wire->sent_len);
}

/* What an mbedtls server makes of a hello. */
struct seen {
    bool is_accepted; /* its ServerHello is next */
    bool has_name;
    size_t name_len;
    uint8_t name[FLIGHT_MAX];
};

/* Made once: keys are dear. */
struct server {
    mbedtls_ssl_config config;
    mbedtls_x509_crt rsa;
    mbedtls_x509_crt ec;
    mbedtls_pk_context rsa_key;
    mbedtls_pk_context ec_key;
    uint64_t random;
    struct seen *seen;
};

static int on_name(void *context, mbedtls_ssl_context *ssl, const unsigned char *name, size_t len)
{
    struct server *server = (struct server *)context;

    (void)ssl;
    server->seen->has_name = true;
    server->seen->name_len = len;
    memcpy(server->seen->name, name, len);
    return 0;
}

static void server_init(struct server *s)
{
    static const char psk[] = "oracle";

    mbedtls_ssl_config_init(&s->config);
    mbedtls_x509_crt_init(&s->rsa);
    mbedtls_x509_crt_init(&s->ec);
    mbedtls_pk_init(&s->rsa_key);
    mbedtls_pk_init(&s->ec_key);
    assert_int_equal(mbedtls_ssl_config_defaults(&s->config, MBEDTLS_SSL_IS_SERVER,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    assert_int_equal(mbedtls_x509_crt_parse(&s->rsa,
                                            (const unsigned char *)mbedtls_test_srv_crt_rsa,
                                            mbedtls_test_srv_crt_rsa_len),
                     0);
    assert_int_equal(mbedtls_x509_crt_parse(&s->ec, (const unsigned char *)mbedtls_test_srv_crt_ec,
                                            mbedtls_test_srv_crt_ec_len),
                     0);
    assert_int_equal(mbedtls_pk_parse_key(&s->rsa_key,
                                          (const unsigned char *)mbedtls_test_srv_key_rsa,
                                          mbedtls_test_srv_key_rsa_len, NULL, 0),
                     0);
    assert_int_equal(mbedtls_pk_parse_key(&s->ec_key,
                                          (const unsigned char *)mbedtls_test_srv_key_ec,
                                          mbedtls_test_srv_key_ec_len, NULL, 0),
                     0);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&s->config, &s->rsa, &s->rsa_key), 0);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&s->config, &s->ec, &s->ec_key), 0);
    assert_int_equal(mbedtls_ssl_conf_psk(&s->config, (const unsigned char *)psk, sizeof(psk),
                                          (const unsigned char *)psk, sizeof(psk)),
                     0);
    mbedtls_ssl_conf_min_version(&s->config, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_1);
    mbedtls_ssl_conf_ciphersuites(&s->config, mbedtls_ssl_list_ciphersuites());
    mbedtls_ssl_conf_rng(&s->config, seeded_random, &s->random);
    mbedtls_ssl_conf_sni(&s->config, on_name, s);
}

static void server_free(struct server *s)
{
    mbedtls_ssl_config_free(&s->config);
    mbedtls_x509_crt_free(&s->rsa);
    mbedtls_x509_crt_free(&s->ec);
    mbedtls_pk_free(&s->rsa_key);
    mbedtls_pk_free(&s->ec_key);
}

static void server_read(struct server *server, struct span stream, struct seen *seen)
{
    static struct wire wire;
    mbedtls_ssl_context ssl;
    int status = 0;

    wire.sent_len = 0;
    wire.unread = stream;
    *seen = (struct seen){.is_accepted = false};
    server->seen = seen;
    mbedtls_ssl_init(&ssl);
    assert_int_equal(mbedtls_ssl_setup(&ssl, &server->config), 0);
    mbedtls_ssl_set_bio(&ssl, &wire, wire_send, wire_receive, NULL);
    while (status == 0 && ssl.state < MBEDTLS_SSL_SERVER_HELLO)
        status = mbedtls_ssl_handshake_step(&ssl);
    seen->is_accepted = status == 0;
    mbedtls_ssl_free(&ssl);
}

/*
 * Why we refuse what mbedtls takes. The first three are policy.md's bad-name; the others are hellos
 * that the RFCs call malformed, where another server could read on differently: bad-hello.
 */
enum difference {
    DIFFERENCE_NONE,
    DIFFERENCE_NAME,       /* a name that is none, which mbedtls hands to its server as it came */
    DIFFERENCE_NAME_LIST,  /* something in the list behind the first name (RFC 6066 3) */
    DIFFERENCE_NAME_TYPE,  /* a name of an unknown type, which mbedtls skips */
    DIFFERENCE_TYPE_TWICE, /* an extension type twice (RFC 8446 4.2) */
    DIFFERENCE_ALPN,       /* a malformed ALPN list, which mbedtls without protocols skips */
    DIFFERENCE_RECORD,     /* a record version that is no TLS; mbedtls takes any from 3.0 */
    DIFFERENCE_VERSION,    /* the same for the client's version */
    DIFFERENCE_NO_NULL,    /* compression methods without null (RFC 5246 7.4.1.2) */
    DIFFERENCE_COUNT,
};

static size_t read_u16(const uint8_t *at)
{
    return (size_t)at[0] << 8 | at[1];
}

/* What mbedtls took for a name against the extension that it stands in. */
static enum difference explain_name(const uint8_t *extension, const struct seen *seen)
{
    struct hostname name;

    if (extension[6] != 0)
        return DIFFERENCE_NAME_TYPE;
    if (read_u16(extension + 2) != 5 + seen->name_len)
        return DIFFERENCE_NAME_LIST;
    if (hostname_parse(span_of(seen->name, seen->name_len), &name) != HOSTNAME_OK)
        return DIFFERENCE_NAME;
    return DIFFERENCE_NONE;
}

static enum difference explain_extensions(struct span list, enum reason reason,
                                          const struct seen *seen)
{
    static uint8_t types_seen[UINT16_MAX + 1];
    enum difference found = DIFFERENCE_NONE;

    memset(types_seen, 0, sizeof(types_seen));
    for (size_t at = 0; at + 4 <= list.len; at += 4 + read_u16(list.data + at + 2)) {
        size_t type = read_u16(list.data + at);
        if (types_seen[type]++ > 0)
            return DIFFERENCE_TYPE_TWICE;
        if (type == 0 && reason == REASON_BAD_NAME)
            found = explain_name(list.data + at, seen);
        if (type == 16 && reason == REASON_BAD_HELLO)
            found = DIFFERENCE_ALPN;
    }
    return found;
}

/* The difference that a hello shows which mbedtls took and we refused. */
static enum difference explain(struct span stream, enum reason reason, const struct seen *seen)
{
    const uint8_t *bytes = stream.data;

    if (bytes[1] != 3 || bytes[2] > 4)
        return DIFFERENCE_RECORD;
    if (bytes[9] != 3 || bytes[10] > 4)
        return DIFFERENCE_VERSION;
    size_t compression = 44U + bytes[43];
    compression += 2 + read_u16(bytes + compression);
    size_t extensions = compression + 1 + bytes[compression];
    if (memchr(bytes + compression + 1, 0, bytes[compression]) == NULL)
        return DIFFERENCE_NO_NULL;
    return explain_extensions(span_from(stream, extensions + 2), reason, seen);
}

/* Both readers on one stream; fails the test on every difference that is not named. */
static enum difference compare(struct server *server, struct span stream, struct tls_hello *hello)
{
    static struct seen seen;
    enum reason reason = REASON_COUNT;
    struct hostname name;
    enum tls_hello_status status = tls_hello_read(stream, &scratch, hello, &reason);

    server_read(server, stream, &seen);
    if (status != TLS_HELLO_OK) {
        if (!seen.is_accepted)
            return DIFFERENCE_NONE;
        assert_int_equal(status, TLS_HELLO_BAD);
        enum difference difference = explain(stream, reason, &seen);
        assert_int_not_equal(difference, DIFFERENCE_NONE);
        return difference;
    }
    if (!hello->has_name) {
        assert_false(seen.has_name);
        return DIFFERENCE_NONE;
    }
    assert_true(seen.has_name || !seen.is_accepted);
    if (seen.has_name) {
        assert_int_equal(hostname_parse(span_of(seen.name, seen.name_len), &name), HOSTNAME_OK);
        assert_true(hostname_equal(&name, &hello->name));
    }
    return DIFFERENCE_NONE;
}

/* Our answer must not depend on the records, for mbedtls sees only one of them. */
static void check_other_framings(struct span stream, const struct tls_hello *want)
{
    static uint8_t message[FLIGHT_MAX];
    static uint8_t framed[TLS_FRAMED_LEN_MAX];
    static struct tls_hello_scratch other;
    struct span whole = span_of(message, tls_unframe(stream, message));

    for (size_t cut = 1; cut < whole.len; cut++) {
        struct tls_hello got;
        enum reason reason;
        size_t len = tls_frame(whole, cut, cut % 2 == 0 ? whole.len : cut, framed);
        assert_int_equal(tls_hello_read(span_of(framed, len), &other, &got, &reason), TLS_HELLO_OK);
        assert_true(tls_hello_equal(&got, want));
    }
}

static void check_changes(struct server *server, struct span hello, uint64_t *random,
                          unsigned counts[DIFFERENCE_COUNT])
{
    uint8_t bytes[FLIGHT_MAX];
    struct span stream;

    memcpy(bytes, hello.data, hello.len);
    stream = span_of(bytes, hello.len);
    for (int i = 0; i < CHANGES_EACH; i++) {
        struct tls_hello changed;
        size_t at = test_random(random) % hello.len;
        /* Small changes of lengths and types are the ones that readers disagree on. */
        uint64_t change =
            coin(random) ? UINT64_C(1) << test_random(random) % 3 : 1 + test_random(random) % 255;
        bytes[at] = (uint8_t)(hello.data[at] ^ change);
        counts[compare(server, stream, &changed)]++;
        bytes[at] = hello.data[at];
    }
}

static void generated(void **state)
{
    static struct wire wire;
    uint64_t random = test_seed();
    struct server server = {.random = random};
    unsigned counts[DIFFERENCE_COUNT] = {0};
    unsigned accepted = 0;
    unsigned flights = 0;
    struct options options;

    (void)state;
    server_init(&server);
    while (flights < ROUNDS_GENERATED) {
        static uint8_t framed[FLIGHT_MAX];
        struct tls_hello hello = {0};
        struct hostname name;
        random_options(&random, &options);
        struct span flight = client_flight(&options, &random, &wire);
        if (flight.len == 0)
            continue;
        flights++;
        assert_int_equal(compare(&server, flight, &hello), DIFFERENCE_NONE);
        accepted += server.seen->is_accepted;
        assert_int_equal(hello.stream_len, flight.len);
        assert_int_equal(hello.has_name, options.name_len > 0);
        if (hello.has_name) {
            assert_int_equal(hostname_parse(span_of_text(options.name), &name), HOSTNAME_OK);
            assert_true(hostname_equal(&name, &hello.name));
        }
        size_t alpn_count = 0;
        while (options.alpn[alpn_count] != NULL)
            alpn_count++;
        assert_int_equal(hello.alpn_count, alpn_count);
        check_other_framings(flight, &hello);
        memcpy(framed, flight.data, flight.len);
        check_changes(&server, span_of(framed, flight.len), &random, counts);
    }
    print_message("%u hellos, %u of them taken by mbedtls\n", flights, accepted);
    for (size_t i = 0; i < DIFFERENCE_COUNT; i++)
        print_message("difference %zu: %u changed ones\n", i, counts[i]);
    /* Else the comparison says nothing. */
    assert_true(accepted > ROUNDS_GENERATED / 2);
    server_free(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
