#include "proxy/core/http_head.h"

#include "proxy/core/http_fields.h"
#include "proxy/core/http_text.h"
#include "tests/lib/http_text.h"
#include "tests/lib/unit.h"

enum { BYTES_MAX = 4096 };

#define GET  "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n"
#define HOST "Host: a.example\r\n"
#define END  "\r\n"

/* A whole head and what http_text_head() says of it; bytes of the next request may follow. */
struct accepted {
    const char *bytes;
    size_t len;
    const char *text;
};

#define OK(bytes, text)                                                                            \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, text                                                             \
    }

static const struct accepted accepted[] = {
    OK(GET HOST END, "a.example"),
    OK(GET HOST END GET "Host: b.example\r\n" END, "a.example"),
    OK(GET HOST END "\0\n garbage behind the head", "a.example"),
    OK(GET HOST "\r\n\r\n", "a.example"),
    OK("GET /a/b?c=d&e=%20|{} HTTP/1.1\r\n" HOST END, "a.example"),
    OK("GET //b.example/ HTTP/1.1\r\n" HOST END, "a.example"),
    OK("M-SEARCH /!$&'()*+,;=:@ HTTP/1.1\r\n" HOST END, "a.example"),
    OK(GET "Host:a.example\r\n" END, "a.example"),
    OK(GET "hOST: \t A.Example. \t\r\n" END, "a.example"),
    OK(GET "Host: a_b.example:8080\r\n" END, "a_b.example:8080"),
    OK(GET "Host: a.example:65535\r\n" END, "a.example:65535"),
    OK(GET "Host: a.example.:1\r\n" END, "a.example:1"),
    OK(GET "Host: 192.0.2.1\r\n" END, "192.0.2.1"),
    OK(GET "Host: 192.0.2.1:80\r\n" END, "192.0.2.1:80"),
    OK(GET "Host: [2001:DB8::1]\r\n" END, "[2001:db8::1]"),
    OK(GET "Host: [2001:db8:0::1]:8443\r\n" END, "[2001:db8::1]:8443"),
    OK(GET "Host: [::ffff:192.0.2.1]\r\n" END, "192.0.2.1"),
    OK("GET / HTTP/1.0\r\n\r\n", "- 1.0"),
    OK("GET / HTTP/1.0\r\n" HOST END, "a.example 1.0"),
    OK("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "- 1.0 keep"),
    OK("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "- 1.0"),
    OK("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", "- 1.0 length=5"),
    OK("HEAD / HTTP/1.1\r\n" HOST END, "a.example head"),
    OK("OPTIONS * HTTP/1.1\r\n" HOST END, "a.example asterisk"),
    OK("GET http://a.example/ HTTP/1.1\r\n" HOST END, "a.example absolute"),
    OK("GET HTTP://A.EXAMPLE./ HTTP/1.1\r\n" HOST END, "a.example absolute"),
    OK("GET http://a.example HTTP/1.1\r\n" HOST END, "a.example absolute"),
    OK("GET http://a.example?q=@b.example HTTP/1.1\r\n" HOST END, "a.example absolute"),
    OK("GET http://a.example:80/ HTTP/1.1\r\n" HOST END, "a.example:80 absolute"),
    OK("GET http://a.example/ HTTP/1.1\r\nHost: a.example:80\r\n" END, "a.example absolute"),
    OK("GET https://a.example/ HTTP/1.1\r\nHost: a.example:443\r\n" END, "a.example absolute"),
    OK("GET http://a.example:81/ HTTP/1.1\r\nHost: a.example:81\r\n" END, "a.example:81 absolute"),
    OK("GET http://[::1]/ HTTP/1.1\r\nHost: [0::1]\r\n" END, "[::1] absolute"),
    OK("GET http://a.example/ HTTP/1.0\r\n" END, "a.example 1.0 absolute"),
    OK("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n" END, "a.example:443 connect"),
    OK("CONNECT a.example:443 HTTP/1.1\r\n" HOST END, "a.example:443 connect"),
    OK("CONNECT a.example:443 HTTP/1.0\r\n\r\n", "a.example:443 1.0 connect"),
    OK("CONNECT a.example:443 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n" END,
       "a.example:443 connect"),
    OK("CONNECT [::1]:22 HTTP/1.1\r\nHost: [::1]:22\r\n" END, "[::1]:22 connect"),
    OK(POST HOST "Content-Length: 0\r\n" END, "a.example"),
    OK(POST HOST "Content-Length: 5\r\n" END "hello", "a.example length=5"),
    OK(POST HOST "content-length:\t9223372036854775807 \r\n" END,
       "a.example length=9223372036854775807"),
    OK(POST HOST "Transfer-Encoding: chunked\r\n" END, "a.example chunked"),
    OK(POST HOST "TRANSFER-ENCODING: Chunked\r\n" END, "a.example chunked"),
    OK(POST HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n" END, "a.example length=1 expect"),
    OK(GET HOST "Connection: close\r\n" END, "a.example close"),
    OK(GET HOST "Connection: keep-alive, ,Close\r\n" END, "a.example close"),
    OK(GET HOST "Connection: keep-alive\r\nConnection: close\r\n" END, "a.example close"),
    OK(GET HOST "Connection: closed\r\n" END, "a.example"),
    OK(GET HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n" END, "a.example upgrade"),
    OK(GET HOST "Upgrade: TLS/1.0, websocket\r\n" END, "a.example"),
    OK(GET HOST "Connection: upgrade\r\n" END, "a.example"),
    OK(GET HOST "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket, H2C\r\n" END,
       "a.example upgrade h2c"),
    OK(GET HOST "Upgrade: h2c-14\r\n" END, "a.example h2c"),
    OK(GET HOST "Upgrade: HTTP/2.0\r\n" END, "a.example h2c"),
    OK(GET HOST "Http2-Settings: AAMAAABk\r\n" END, "a.example h2c"),
    OK(GET HOST "Accept: text/html, Application/JSON ;q=0.5\r\n" END, "a.example json"),
    OK(GET HOST "Accept: application/json5\r\n" END, "a.example"),
    OK(GET HOST "X: \x80\xff\ttab inside \r\n" END, "a.example"),
    OK(GET HOST "X:\r\n" END, "a.example"),
    OK(GET HOST "X: a:b\r\n" END, "a.example"),
    OK(GET HOST "!#$%&'*+-.^_`|~09Az: x\r\n" END, "a.example"),
    OK(GET HOST "X_Host: b.example\r\nContent-Lengths: 5\r\n" END, "a.example"),
};

/*
 * A refused head, and the same with one byte (or one CRLF) changed, added or left out, which is
 * whole and good.
 */
struct refused {
    enum reason reason;
    struct span bad;
    struct span good;
};

#define NO(reason, bad, good)                                                                      \
    {                                                                                              \
        reason, {(const uint8_t *)(bad), sizeof(bad) - 1},                                         \
        {                                                                                          \
            (const uint8_t *)(good), sizeof(good) - 1                                              \
        }                                                                                          \
    }
#define REQ(bad, good)   NO(REASON_BAD_REQUEST, bad, good)
#define NAME(bad, good)  NO(REASON_BAD_NAME, bad, good)
#define LINE(bad, good)  REQ(bad "\r\n" HOST END, good "\r\n" HOST END)
#define FIELD(bad, good) REQ(GET HOST bad "\r\n" END, GET HOST good "\r\n" END)
#define HOSTS(bad, good)                                                                           \
    REQ(GET "Host: " bad "\r\n" END, GET "Host: " good "\r\n" END),                                \
        REQ("GET http://" bad "/ HTTP/1.0\r\n" END, "GET http://" good "/ HTTP/1.0\r\n" END)
#define NAMES(bad, good)                                                                           \
    NAME(GET "Host: " bad "\r\n" END, GET "Host: " good "\r\n" END),                               \
        NAME("GET http://" bad "/ HTTP/1.0\r\n" END, "GET http://" good "/ HTTP/1.0\r\n" END)

static const struct refused refused[] = {
    /* Line ends and control bytes. */
    REQ(END GET HOST END, GET HOST END),
    REQ("\n" GET HOST END, GET HOST END),
    REQ(" " GET HOST END, GET HOST END),
    REQ("GET / HTTP/1.1\n" HOST END, GET HOST END),
    REQ("GET / HTTP/1.1\r" HOST END, GET HOST END),
    REQ(GET "Host: a.example\n" END, GET HOST END),
    REQ(GET "Host: a.example\r" END, GET HOST END),
    REQ(GET HOST "\n", GET HOST END),
    REQ(GET HOST "\r\r\n", GET HOST END),
    REQ(GET HOST "X: a\rb\r\n" END, GET HOST "X: ab\r\n" END),
    REQ(GET HOST "X: a\nb\r\n" END, GET HOST "X: ab\r\n" END),
    FIELD("X: \0", "X: "),
    FIELD("X: a\x01", "X: a\t"),
    FIELD("X: \x1b[31m", "X: [31m"),
    FIELD("X: \x7f", "X: "),
    FIELD("X: a\x0b", "X: a"),
    FIELD("X: a\r\n b: c", "X: a\r\nb: c"),
    FIELD("X: a\r\n\tb: c", "X: a\r\nb: c"),
    REQ(GET " X: y\r\n" HOST END, GET "X: y\r\n" HOST END),

    /* The request line. */
    LINE("GET  / HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET /  HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET / HTTP/1.1 ", "GET / HTTP/1.1"),
    LINE("GET /\tHTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET\t/ HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET / x HTTP/1.1", "GET /x HTTP/1.1"),
    LINE("GE(T / HTTP/1.1", "GE!T / HTTP/1.1"),
    LINE("G\xc3T / HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET: / HTTP/1.1", "GET / HTTP/1.1"),
    LINE("Head / HTTP/1.1", "Hea / HTTP/1.1"),
    LINE("head / HTTP/1.1", "hea / HTTP/1.1"),
    LINE("connect / HTTP/1.1", "connec / HTTP/1.1"),
    LINE("GET / HTTP/1.2", "GET / HTTP/1.1"),
    LINE("GET / HTTP/1.9", "GET / HTTP/1.1"),
    LINE("GET / HTTP/2.1", "GET / HTTP/1.1"),
    LINE("GET / HTTP/1.10", "GET / HTTP/1.1"),
    LINE("GET / HTTP/01.1", "GET / HTTP/1.1"),
    LINE("GET / HTTP/1,1", "GET / HTTP/1.1"),
    LINE("GET / hTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET / HTTPS/1.1", "GET / HTTP/1.1"),
    LINE("GET / HTTP 1.1", "GET / HTTP/1.1"),
    LINE("GET /#x HTTP/1.1", "GET /x HTTP/1.1"),
    LINE("GET /\x80 HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET /\x01 HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET /\0 HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET x HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET * HTTP/1.1", "GET / HTTP/1.1"),
    LINE("GET a.example:80 HTTP/1.1", "GET /a.example:80 HTTP/1.1"),
    LINE("GET ftp://a.example/ HTTP/1.1", "GET /ftp://a.example/ HTTP/1.1"),
    LINE("GET httpx://a.example/ HTTP/1.1", "GET https://a.example/ HTTP/1.1"),
    LINE("GET http:/a.example/ HTTP/1.1", "GET http://a.example/ HTTP/1.1"),
    LINE("GET http:a.example/ HTTP/1.1", "GET /http:a.example/ HTTP/1.1"),

    /* The target against Host. */
    LINE("GET http://b.example/ HTTP/1.1", "GET http://a.example/ HTTP/1.1"),
    LINE("GET http://a.example:81/ HTTP/1.1", "GET http://a.example:80/ HTTP/1.1"),
    LINE("GET https://a.example:80/ HTTP/1.1", "GET http://a.example:80/ HTTP/1.1"),
    LINE("GET http:///a.example/ HTTP/1.1", "GET http://a.example/ HTTP/1.1"),
    LINE("GET http://a.example\\@b.example/ HTTP/1.1", "GET http://a.example/@b.example/ HTTP/1.1"),
    LINE("GET http://@a.example/ HTTP/1.1", "GET http://a.example/ HTTP/1.1"),
    LINE("CONNECT http://a.example HTTP/1.1", "CONNEC http://a.example HTTP/1.1"),
    LINE("CONNECT a.example: HTTP/1.1", "CONNECT a.example:1 HTTP/1.1"),
    LINE("CONNECT b.example:443 HTTP/1.1", "CONNECT a.example:443 HTTP/1.1"),
    LINE("CONNECT /a.example:443 HTTP/1.1", "CONNECT a.example:443 HTTP/1.1"),
    LINE("CONNECT @a.example:443 HTTP/1.1", "CONNECT a.example:443 HTTP/1.1"),
    REQ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:444\r\n" END,
        "CONNECT a.example:444 HTTP/1.1\r\nHost: a.example:444\r\n" END),
    REQ("CONNECT a.example:443 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n" END,
        "CONNECT a.example:443 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n" END),
    REQ("CONNECT a.example:443 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n" END,
        "CONNECT a.example:443 HTTP/1.1\r\n" HOST "Transfer-Encodin: chunked\r\n" END),
    REQ("CONNECT a.example:443 HTTP/1.1\r\n" END, "CONNECT a.example:443 HTTP/1.0\r\n" END),
    REQ("GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.2\r\n" END,
        "GET http://192.0.2.2/ HTTP/1.1\r\nHost: 192.0.2.2\r\n" END),
    REQ("GET http://[::1]/ HTTP/1.1\r\nHost: [::2]\r\n" END,
        "GET http://[::2]/ HTTP/1.1\r\nHost: [::2]\r\n" END),

    /* Host. */
    REQ(GET END, "GET / HTTP/1.0\r\n" END),
    REQ("GET http://a.example/ HTTP/1.1\r\n" END, "GET http://a.example/ HTTP/1.0\r\n" END),
    REQ(GET "Host:\r\n" END, GET "Host:a\r\n" END),
    REQ(GET "Host: \r\n" END, GET "Host: a\r\n" END),
    REQ("GET / HTTP/1.0\r\nHost:\r\n" END, "GET / HTTP/1.0\r\nHost:a\r\n" END),
    FIELD("Host: a.example", "Hosu: a.example"),
    FIELD("Host: b.example", "Hosu: b.example"),
    FIELD("HOST: b.example", "HOS: b.example"),
    REQ(GET "Host : a.example\r\n" END, GET HOST END),
    REQ(GET "Host\t: a.example\r\n" END, GET HOST END),
    REQ(GET "Host a.example\r\n" END, GET "Host:a.example\r\n" END),
    HOSTS("user@a.example", "usera.example"),
    HOSTS("a.example@", "a.example"),
    HOSTS("a.example:1@", "a.example:1"),
    HOSTS("a.example:", "a.example"),
    HOSTS("a.example:0", "a.example:1"),
    HOSTS("a.example:080", "a.example:80"),
    HOSTS("a.example:+80", "a.example:80"),
    HOSTS("a.example:-1", "a.example:1"),
    HOSTS("a.example:65536", "a.example:65535"),
    HOSTS("a.example:8o", "a.example:80"),
    HOSTS("a.example:80:", "a.example:80"),
    HOSTS("a.example,", "a.example"),
    HOSTS("a.example,b.example", "a.example.b.example"),
    HOSTS(":80", "a:80"),
    HOSTS("a::1", "a:1"),
    HOSTS("[::1", "[::1]"),
    HOSTS("[::1]80", "[::1]:80"),
    HOSTS("[::1].", "[::1]"),
    REQ("GET / HTTP/1.0\r\nHost: []\r\n" END, "GET / HTTP/1.0\r\nHosu: []\r\n" END),
    HOSTS("[fe80::1@]", "[fe80::1]"),
    HOSTS("a\\b", "ab"),
    HOSTS("a\"b", "ab"),
    REQ(GET "Host: a b\r\n" END, GET "Host: ab\r\n" END),
    REQ(GET "Host: a\tb\r\n" END, GET "Host: ab\r\n" END),
    REQ(GET "Host: a/\r\n" END, GET "Host: a\r\n" END),
    REQ(GET "Host: a?\r\n" END, GET "Host: a\r\n" END),
    REQ(GET "Host: a#\r\n" END, GET "Host: a\r\n" END),
    REQ(GET "Host: m\xfcnchen.de\r\n" END, GET "Host: mnchen.de\r\n" END),
    REQ("GET / HTTP/1.0\r\nHost: http://a\r\n" END, "GET / HTTP/1.0\r\nHosts: http://a\r\n" END),
    NAMES(".", "a"),
    NAMES("a..example", "a.example"),
    NAMES(".a.example", "a.example"),
    NAMES("a.example..", "a.example."),
    NAMES("*.example", "a.example"),
    NAMES("a%2eexample", "a2eexample"),
    NAMES("a!example", "a.example"),
    NAMES("0x7f.1", "0x7f.a"),
    NAMES("0x7f000001", "0x7f00000g"),
    NAMES("2130706433", "213070643a"),
    NAMES("127.1", "127.a"),
    NAMES("1.2.3.4.", "1.2.3.4"),
    NAMES("1.2.3.04", "1.2.3.4"),
    NAMES("1.2.3.256", "1.2.3.25"),
    NAMES("[:1.2.3.4]", "[::1.2.3.4]"),
    NAME("GET / HTTP/1.0\r\nHost: [1.2.3.4]\r\n" END, "GET / HTTP/1.0\r\nHosu: [1.2.3.4]\r\n" END),
    NAMES("[g::]", "[a::]"),
    NAME("GET / HTTP/1.0\r\nHost: [a.example]\r\n" END,
         "GET / HTTP/1.0\r\nHosu: [a.example]\r\n" END),
    NAMES("[::1%]", "[::1]"),
    NAMES("[:::1]", "[::1]"),
    NAME("CONNECT 1.2.3.4.:443 HTTP/1.0\r\n" END, "CONNECT 1.2.3.4:443 HTTP/1.0\r\n" END),

    /* Framing. */
    FIELD("Content-Length: 5\r\nTransfer-Encoding: chunked",
          "Content-Lengt: 5\r\nTransfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: chunked\r\nContent-Length: 5",
          "Transfer-Encodin: chunked\r\nContent-Length: 5"),
    FIELD("Content-Length: 0\r\nTransfer-Encoding: chunked",
          "Content-Lengt: 0\r\nTransfer-Encoding: chunked"),
    FIELD("Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Lengt: 5"),
    FIELD("Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5\r\nContent-Lengt: 6"),
    FIELD("Content-Length: 5, 5", "Content-Lengt: 5, 5"),
    FIELD("Content-Length: 5,", "Content-Length: 5"),
    FIELD("Content-Length: 5 5", "Content-Length: 55"),
    FIELD("Content-Length: -5", "Content-Length: 5"),
    FIELD("Content-Length: +5", "Content-Length: 5"),
    FIELD("Content-Length: 05", "Content-Length: 5"),
    FIELD("Content-Length: 00", "Content-Length: 0"),
    FIELD("Content-Length: 0x5", "Content-Lengt: 0x5"),
    FIELD("Content-Length: 5a", "Content-Length: 5"),
    FIELD("Content-Length: 5.0", "Content-Length: 50"),
    FIELD("Content-Length: \"5\"", "Content-Lengt: \"5\""),
    FIELD("Content-Length:", "Content-Length:0"),
    FIELD("Content-Length: 9223372036854775808", "Content-Length: 9223372036854775807"),
    FIELD("Content-Length: 18446744073709551621", "Content-Length: 1844674407370955162"),
    FIELD("Content-Length: 99999999999999999999999999",
          "Content-Lengt: 99999999999999999999999999"),
    FIELD("Content_Length: 5", "Content-Length: 5"),
    FIELD("content_length: 5", "content.length: 5"),
    FIELD("Transfer_Encoding: chunked", "Transfer-Encoding: chunked"),
    FIELD("TRANSFER_ENCODING: x", "TRANSFER.ENCODING: x"),
    FIELD("Http2_Settings: x", "Http2-Settings: x"),
    FIELD("Content-Length : 5", "Content-Length: 5"),
    FIELD("Transfer-Encoding : chunked", "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: xchunked", "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: chunkedx", "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: chunked,", "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: chunked;", "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: \x0b"
          "chunked",
          "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: \xa0"
          "chunked",
          "Transfer-Encoding: chunked"),
    FIELD("Transfer-Encoding: chunked, chunked", "Transfer-Encodin: chunked, chunked"),
    FIELD("Transfer-Encoding: gzip, chunked", "Transfer-Encodin: gzip, chunked"),
    FIELD("Transfer-Encoding: chunked, identity", "Transfer-Encodin: chunked, identity"),
    FIELD("Transfer-Encoding: identity", "Transfer-Encodin: identity"),
    FIELD("Transfer-Encoding: \"chunked\"", "Transfer-Encodin: \"chunked\""),
    FIELD("Transfer-Encoding:", "Transfer-Encodin:"),
    FIELD("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
          "Transfer-Encoding: chunked\r\nTransfer-Encodin: chunked"),
    FIELD("Transfer-Encoding: chunked\r\ntransfer-encoding: identity",
          "Transfer-Encoding: chunked\r\ntransfer-encodin: identity"),
    REQ("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n" END,
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n" END),

    /* Fields. */
    FIELD(": x", "a: x"),
    FIELD("X", "X:"),
    FIELD("X y: z", "Xy: z"),
    FIELD("X : z", "X: z"),
    FIELD("X\xc3: z", "X: z"),
    FIELD("X(: z", "X: z"),
    FIELD("\"X: z", "X: z"),
    FIELD("Connection: close, Host", "Connection: close, Hos"),
    FIELD("Connection: content-length", "Connection: content-lengt"),
    FIELD("Connection: Transfer-Encoding", "Connection: Transfer-Encodin"),
    FIELD("Connection: transfer_encoding", "Connection: transfer.encoding"),
    FIELD("Connection: close close", "Connection: close,close"),
    FIELD("Connection: clo\"se", "Connection: close"),
    FIELD("Upgrade: web socket", "Upgrade: websocket"),
    FIELD("Upgrade: websocket/", "Upgrade: websocket"),
    FIELD("Upgrade: a/b/c", "Upgrade: a/bc"),
};

/* The whole span's answer; `g` holds a copy beside a guard page. */
static enum read_status read_copy(struct span bytes, enum guarded_side side, size_t max,
                                  struct http_head *head, enum reason *reason)
{
    struct guarded g = guarded_copy(bytes, side);
    enum read_status status = http_head_read(g.bytes, max, head, reason);

    guarded_free(&g);
    return status;
}

static size_t head_len_of(struct span bytes)
{
    for (size_t i = 4; i <= bytes.len; i++) {
        if (memcmp(bytes.data + i - 4, "\r\n\r\n", 4) == 0)
            return i;
    }
    return 0;
}

/* No prefix that is shorter than the head has an answer; each longer one has the whole's. */
static void assert_accepted(struct span bytes, const char *text)
{
    size_t head_len = head_len_of(bytes);
    char got[HTTP_TEXT_MAX];

    for (size_t len = 0; len <= bytes.len; len++) {
        for (int side = 0; side < 2; side++) {
            struct http_head head = {.head_len = 7};
            enum reason reason = REASON_COUNT;
            enum read_status status = read_copy(span_first(bytes, len), (enum guarded_side)side,
                                                BYTES_MAX, &head, &reason);
            if (status != (len < head_len ? READ_MORE : READ_OK))
                fail_msg("%.*s: status %d at %zu", (int)bytes.len, (const char *)bytes.data,
                         (int)status, len);
            assert_int_equal(reason, REASON_COUNT);
            assert_int_equal(head.head_len, status == READ_OK ? head_len : 7);
            if (status != READ_OK || text == NULL)
                continue;
            http_text_head(&head, got);
            assert_string_equal(got, text);
        }
    }
}

/* READ_MORE, then READ_BAD with one reason for good, whatever follows. */
static void assert_refused(struct span bytes, size_t max, enum reason expected)
{
    enum read_status before = READ_MORE;

    for (size_t len = 0; len <= bytes.len; len++) {
        for (int side = 0; side < 2; side++) {
            struct http_head head = {.head_len = 7};
            enum reason reason = REASON_COUNT;
            enum read_status status =
                read_copy(span_first(bytes, len), (enum guarded_side)side, max, &head, &reason);
            if (status == READ_OK || (before == READ_BAD && status != READ_BAD))
                fail_msg("%.*s: status %d at %zu", (int)bytes.len, (const char *)bytes.data,
                         (int)status, len);
            assert_int_equal(head.head_len, 7);
            if (reason != (status == READ_BAD ? expected : REASON_COUNT))
                fail_msg("%.*s: %s at %zu", (int)bytes.len, (const char *)bytes.data,
                         reason_token(reason), len);
            before = status;
        }
    }
    if (before != READ_BAD)
        fail_msg("%.*s: not refused", (int)bytes.len, (const char *)bytes.data);
}

/* One byte or one CRLF makes the difference. */
static void assert_twins(struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    size_t longer = a.len < b.len ? b.len : a.len;
    size_t front = 0;
    size_t back = 0;

    while (front < shorter && a.data[front] == b.data[front])
        front++;
    while (back < shorter - front && a.data[a.len - 1 - back] == b.data[b.len - 1 - back])
        back++;
    struct span differing =
        span_first(span_from(a.len > b.len ? a : b, front), longer - front - back);
    if (differing.len != 1 && !span_equal(differing, SPAN_LITERAL("\r\n")))
        fail_msg("%.*s: its twin differs in %zu bytes", (int)a.len, (const char *)a.data,
                 differing.len);
}

static void accepted_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++)
        assert_accepted(span_of(accepted[i].bytes, accepted[i].len), accepted[i].text);
}

static void refused_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_refused(refused[i].bad, BYTES_MAX, refused[i].reason);
        assert_accepted(refused[i].good, NULL);
        assert_twins(refused[i].bad, refused[i].good);
    }
}

static void longest_head(void **state)
{
    struct span bytes = SPAN_LITERAL(GET HOST END "behind");
    size_t head_len = bytes.len - strlen("behind");
    struct http_head head;
    enum reason reason;

    (void)state;
    assert_int_equal(http_head_read(bytes, head_len, &head, &reason), READ_OK);
    assert_int_equal(head.head_len, head_len);
    for (size_t max = 0; max < head_len; max++)
        assert_refused(bytes, max, REASON_TOO_LARGE);
}

/* The first fault counts, also where the limit cuts the head behind it. */
static void fault_before_the_limit(void **state)
{
    (void)state;
    assert_refused(SPAN_LITERAL("GET  / HTTP/1.1\r\n" HOST END), 20, REASON_BAD_REQUEST);
    assert_refused(SPAN_LITERAL("GET  / HTTP/1.1\r\n" HOST END), 10, REASON_TOO_LARGE);
}

static void most_fields(void **state)
{
    static char bytes[BYTES_MAX];
    size_t len = strlen(GET HOST);
    struct http_head head;
    enum reason reason;

    (void)state;
    memcpy(bytes, GET HOST, len);
    for (int i = 1; i < HTTP_FIELDS_MAX; i++) {
        memcpy(bytes + len, "X:\r\n", 4);
        len += 4;
    }
    memcpy(bytes + len, "X:\r\n\r\n", 6);
    assert_int_equal(http_head_read(span_of(bytes, len + 6), BYTES_MAX, &head, &reason), READ_BAD);
    assert_int_equal(reason, REASON_TOO_LARGE);
    memcpy(bytes + len, "\r\n", 2);
    assert_int_equal(http_head_read(span_of(bytes, len + 2), BYTES_MAX, &head, &reason), READ_OK);
    assert_int_equal(head.head_len, len + 2);
}

/*
 * Every byte at every place of a good head: what is still read names the host that is written, and
 * no line end or control byte passes.
 */
static void every_byte_everywhere(void **state)
{
    struct span good = SPAN_LITERAL(POST HOST "Content-Length: 17\r\n" END);
    uint8_t bytes[128] = {0};
    struct span host = span_of(bytes + strlen(POST "Host:"), strlen(" a.example"));

    (void)state;
    for (size_t at = 0; at < good.len; at++) {
        for (unsigned value = 0; value < 256; value++) {
            struct http_head head;
            enum reason reason;
            struct hostname written;
            memcpy(bytes, good.data, good.len);
            bytes[at] = (uint8_t)value;
            if (http_head_read(span_of(bytes, good.len), BYTES_MAX, &head, &reason) != READ_OK)
                continue;
            if (value < ' ' || value == 0x7f)
                assert_true(value == good.data[at] || value == '\t');
            assert_int_equal(head.host.kind, HTTP_HOST_NAME);
            assert_int_equal(hostname_parse(http_trim(host), &written), HOSTNAME_OK);
            assert_true(hostname_equal(&written, &head.host.name));
        }
    }
}

static void h2_preface(void **state)
{
    struct span preface = SPAN_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    uint8_t bytes[32];

    (void)state;
    for (size_t len = 0; len <= preface.len; len++) {
        memcpy(bytes, preface.data, len);
        assert_int_equal(http_head_is_h2_preface(span_of(bytes, len)),
                         len == preface.len ? READ_OK : READ_MORE);
        if (len == 0)
            continue;
        bytes[len - 1] ^= 1;
        assert_int_equal(http_head_is_h2_preface(span_of(bytes, len)), READ_BAD);
    }
    assert_int_equal(http_head_is_h2_preface(SPAN_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0")),
                     READ_OK);
    assert_refused(preface, BYTES_MAX, REASON_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_table), cmocka_unit_test(refused_table),
        cmocka_unit_test(longest_head),   cmocka_unit_test(fault_before_the_limit),
        cmocka_unit_test(most_fields),    cmocka_unit_test(every_byte_everywhere),
        cmocka_unit_test(h2_preface),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
