#include "proxy/core/sniff.h"
#include "tests/lib/unit.h"

struct row {
    const char *bytes;
    size_t len;
    enum sniff_protocol protocol;
    enum sniff_protocol at_end; /* when nothing follows */
};

#define ROW(bytes, protocol, at_end)                                                               \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, protocol, at_end                                                 \
    }
#define SAME(bytes, protocol) ROW(bytes, protocol, protocol)
#define MORE(bytes, at_end)   ROW(bytes, SNIFF_NEED_MORE, at_end)

static const struct row rows[] = {
    MORE("", SNIFF_OTHER),
    MORE("\x16", SNIFF_OTHER),
    SAME("\x16\x03", SNIFF_TLS),
    SAME("\x16\x02", SNIFF_TLS),
    MORE("\x16\x10", SNIFF_OTHER),
    SAME("\x16\x10\xff", SNIFF_OTHER),
    /* A warning that Go's crypto/tls skips, and the hello behind it. */
    SAME("\x15\x03\x01\0\x02\x01\x5a\x16\x03\x01", SNIFF_TLS),
    SAME("\x80\x2e\x01", SNIFF_OTHER),
    SAME("GET / HTTP/1.1\r\n", SNIFF_HTTP),
    SAME("GET / HTTP/1.1", SNIFF_HTTP),
    SAME("GET / HTT", SNIFF_HTTP),
    MORE("GET x HTT", SNIFF_OTHER),
    MORE("GET", SNIFF_OTHER),
    SAME("FOO / HTTP/1.1\r\n", SNIFF_HTTP),
    SAME("foo\t/ http/1.1\n", SNIFF_HTTP),
    SAME("GET\v/\fHTTP/1.1\n", SNIFF_HTTP),
    SAME("GET\r/\rHTTP/1.1\r", SNIFF_HTTP),
    SAME("\r\n\r\nGET / HTTP/1.1\r\n", SNIFF_HTTP),
    SAME(" GET / HTTP/1.1\r\n", SNIFF_HTTP),
    SAME("FOO /\xff HTTP/1.0\r\n", SNIFF_HTTP),
    SAME("\x01GET / HTTP/1.1\r\n", SNIFF_HTTP),
    SAME("\0GET / HTTP/1.1\r\n", SNIFF_OTHER),
    SAME("GET x\0 HTTP/1.1\r\n", SNIFF_OTHER),
    /* An LDAP bind, whose length is a form feed, and a BitTorrent handshake. */
    SAME("0\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0", SNIFF_OTHER),
    SAME("\x13"
         "BitTorrent protocol\0\0\0\0\0\0\0\0",
         SNIFF_OTHER),
    SAME("CONNECT a.example:443 HTTP/1.1\r\n", SNIFF_HTTP),
    SAME("FOO / ", SNIFF_HTTP),
    MORE("FOO a ", SNIFF_OTHER),
    /* Node reads the fields behind all of these, Host included. */
    SAME("GET /\r\nHost: a.example\r\n\r\n", SNIFF_HTTP),
    SAME("GET http://a.example/\r\n", SNIFF_HTTP),
    SAME("OPTIONS * RTSP/1.0\r\n", SNIFF_HTTP),
    SAME("DESCRIBE rtsp://a.example/ RTSP/1.0\r\n", SNIFF_HTTP),
    SAME("SOURCE / ICE/1.0\r\n", SNIFF_HTTP),
    SAME("CONNECT a.example:443\r\n", SNIFF_HTTP),
    SAME("CONNECT\r\naccept-version:1.2\r\n", SNIFF_OTHER),
    SAME("GET\r\n/\r\n", SNIFF_OTHER),
    SAME("INVITE sip:a@a.example SIP/2.0\r\n", SNIFF_OTHER),
    SAME("get key\r\n", SNIFF_OTHER),
    SAME("EHLO a.example\r\n", SNIFF_OTHER),
    SAME("SSH-2.0-OpenSSH_9.2\r\n", SNIFF_OTHER),
    SAME("*1\r\n$4\r\nPING\r\n", SNIFF_OTHER),
    SAME("{\"a\":1}", SNIFF_OTHER),
    SAME("AMQP\0\0\x09\x01", SNIFF_OTHER),
    SAME("\0\0\0\x08\x04\xd2\x16\x2f", SNIFF_OTHER),
    SAME("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SNIFF_H2C),
    ROW("PRI * HTTP/2.0\r\n\r\n", SNIFF_NEED_MORE, SNIFF_HTTP),
    SAME("PRI * HTTP/2.0\r\n\r\nXX", SNIFF_HTTP),
    SAME("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", SNIFF_TUNNEL),
    SAME("\r\n\r\n\0\r\nQUIT\n\x21", SNIFF_TUNNEL),
    SAME("\x04\x01\0\x50", SNIFF_TUNNEL),
    SAME("\x04\x02\0\x50", SNIFF_TUNNEL),
    SAME("\x04\x03\0\x50", SNIFF_OTHER),
    SAME("\x05\x01\0", SNIFF_TUNNEL),
    MORE("\x05", SNIFF_OTHER),
    MORE("P", SNIFF_OTHER),
    SAME("POST / HTTP/1.1\r\n", SNIFF_HTTP),
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int side = 0; side < 2; side++) {
            struct guarded g =
                guarded_copy(span_of(rows[i].bytes, rows[i].len), (enum guarded_side)side);
            if (sniff_guess(g.bytes, false) != rows[i].protocol ||
                sniff_guess(g.bytes, true) != rows[i].at_end)
                fail_msg("row %zu \"%s\": %d, %d", i, rows[i].bytes,
                         (int)sniff_guess(g.bytes, false), (int)sniff_guess(g.bytes, true));
            guarded_free(&g);
        }
    }
}

/* An answer given early is the answer given late. */
static void answers_stay(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t cut = 0; cut <= rows[i].len; cut++) {
            enum sniff_protocol early = sniff_guess(span_of(rows[i].bytes, cut), false);
            if (early != SNIFF_NEED_MORE && early != rows[i].protocol)
                fail_msg("row %zu cut at %zu: %d", i, cut, (int)early);
        }
    }
}

static void reads_a_request(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: Good.Example:8080\r\n\r\nrest";
    static struct tls_hello_scratch scratch;
    struct tls_hello hello;
    struct sniff sniff;

    (void)state;
    sniff_read(span_of_text(text), false, &scratch, &hello, &sniff);
    assert_string_equal(sniff_protocol_text(&sniff), "http");
    assert_true(sniff.has_name);
    assert_string_equal(sniff.name.text, "good.example");
    assert_int_equal(sniff.port, 8080);
    assert_int_equal(sniff.used, sizeof(text) - 1 - 4);
    assert_int_equal(sniff.reason, REASON_ALLOWED);

    sniff_read(SPAN_LITERAL("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"), false,
               &scratch, &hello, &sniff);
    assert_string_equal(sniff_protocol_text(&sniff), "connect");
    assert_string_equal(sniff.name.text, "a.example");
    assert_int_equal(sniff.port, 443);

    sniff_read(SPAN_LITERAL("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), false, &scratch,
               &hello, &sniff);
    assert_int_equal(sniff.reason, REASON_BAD_REQUEST);
    assert_false(sniff.has_name);

    sniff_read(SPAN_LITERAL("GET / HTTP/1.1\r\nHost: a\r\n"), false, &scratch, &hello, &sniff);
    assert_string_equal(sniff_protocol_text(&sniff), "need-more");
    sniff_read(SPAN_LITERAL("GET / HTTP/1.1\r\nHost: a\r\n"), true, &scratch, &hello, &sniff);
    assert_int_equal(sniff.reason, REASON_BAD_REQUEST);
    sniff_read(SPAN_LITERAL("\x16\x03\x01"), true, &scratch, &hello, &sniff);
    assert_int_equal(sniff.reason, REASON_BAD_HELLO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(answers_stay),
        cmocka_unit_test(reads_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
