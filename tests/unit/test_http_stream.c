#include "proxy/core/http_stream.h"

#include "tests/lib/http_text.h"
#include "tests/lib/unit.h"

enum { HEAD_MAX = 512, TRANSCRIPT_MAX = 4096 };

#define GET     "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define GET_B   "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"
#define POST(n) "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: " #n "\r\n\r\n"
#define CHUNKED "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
#define CONNECT "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
#define UPGRADE "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
#define UPGRADE_POST                                                                               \
    "POST / HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\nConnection: upgrade\r\n"                  \
    "Content-Length: 3\r\n\r\n"

/* What the caller does when the stream waits for an answer. */
enum answer { STOP, DECLINED, TAKEN };

/*
 * A client's bytes and what becomes of them: "H(host ...)" for each head, all of which are
 * accepted, "Bn" for n bytes of body, "W" for a wait, the reason of a refusal, with "body:" in
 * front where it came within a body, and "+n" for bytes that are left unread.
 */
struct row {
    const char *bytes;
    size_t len;
    const char *transcript;
    enum answer answer;
};

#define ROW(bytes, transcript)                                                                     \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, transcript, STOP                                                 \
    }
#define ROW_ANSWER(answer, bytes, transcript)                                                      \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, transcript, answer                                               \
    }
/* A chunked body that is read to its end, before and behind other requests. */
#define WHOLE(body, n)                                                                             \
    ROW(GET CHUNKED body GET_B, "H(a.example) H(a.example chunked) B" #n " H(b.example)")
/* A chunked body of which `n` bytes move before it is refused, whatever follows. */
#define REFUSED(body, n, reason)                                                                   \
    ROW(CHUNKED body "\r\n\r\n" GET_B, "H(a.example chunked)" n " body:" reason)

static const struct row rows[] = {
    ROW("", ""),
    ROW("GET / HTTP/1.1\r\nHost: a.example\r\n\r", " +34"),
    ROW(GET, "H(a.example)"),
    ROW(GET GET_B, "H(a.example) H(b.example)"),
    ROW(GET GET_B "GET", "H(a.example) H(b.example) +3"),
    ROW(GET "\r\n" GET_B, "H(a.example) bad-request"),
    ROW(GET "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "H(a.example) bad-request"),
    ROW(GET "\x16\x03\x01\x02", "H(a.example) bad-request"),
    ROW("GET / HTTP/1.1\n", "bad-request"),
    ROW("GET / HTTP/1.1\r\nX: \0", "bad-request"),
    ROW("GET / HTTP/1.1\r\nHost: 1.2\r\n\r\n", "bad-name"),
    ROW(POST(5) "hello", "H(a.example length=5) B5"),
    ROW(POST(5) "hell", "H(a.example length=5) B4"),
    ROW(POST(5) "hello" GET_B, "H(a.example length=5) B5 H(b.example)"),
    ROW(POST(5) "\r\n\r\n\n" GET_B, "H(a.example length=5) B5 H(b.example)"),
    ROW(POST(0) GET_B, "H(a.example) H(b.example)"),
    ROW(POST(35) GET_B, "H(a.example length=35) B35"),
    ROW(POST(4) "hello" GET_B, "H(a.example length=4) B4 H(b.example)"),
    ROW(POST(6) "hello" GET_B, "H(a.example length=6) B6 H(b.example)"),
    ROW(POST(5) "hello\r\n" GET_B, "H(a.example length=5) B5 bad-request"),
    ROW(POST(9223372036854775807) "hello", "H(a.example length=9223372036854775807) B5"),

    WHOLE("0\r\n\r\n", 5),
    WHOLE("5\r\nhello\r\n0\r\n\r\n", 15),
    WHOLE("5\r\n\r\n0\r\n\r\n0\r\n\r\n", 15),
    WHOLE("0005\r\nhello\r\n000\r\n\r\n", 20),
    WHOLE("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", 35),
    WHOLE("1;a\r\nx\r\n1;a=b;c;d=e\r\nx\r\n0;z\r\n\r\n", 31),
    WHOLE("0\r\nX: y\r\nZ:\r\n\r\n", 15),
    WHOLE("0\r\nHosts: y\r\nX_Host: a\r\n\r\n", 26),
    WHOLE("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", 41),
    ROW(CHUNKED "7fffffffffffffff\r\nhello", "H(a.example chunked) B23"),
    ROW(CHUNKED "5\r\nhello\r\n0\r\n", "H(a.example chunked) B13"),
    ROW(CHUNKED "5\r\nhello\r\n0\r\n\r", "H(a.example chunked) B13 +1"),
    ROW(CHUNKED "5\r\nhello\r", "H(a.example chunked) B8 +1"),
    ROW(CHUNKED "5\r", "H(a.example chunked) +2"),

    REFUSED("8000000000000000\r\n", "", "bad-request"),
    REFUSED("10000000000000005\r\nhello", "", "bad-request"),
    REFUSED("00000000000000005\r\nhello", "", "bad-request"),
    REFUSED("", "", "bad-request"),
    REFUSED("-5\r\nhello", "", "bad-request"),
    REFUSED("+5\r\nhello", "", "bad-request"),
    REFUSED("0x5\r\nhello", "", "bad-request"),
    REFUSED(" 5\r\nhello", "", "bad-request"),
    REFUSED("5 \r\nhello", "", "bad-request"),
    REFUSED("5\t\r\nhello", "", "bad-request"),
    REFUSED("g\r\nhello", "", "bad-request"),
    REFUSED(";a\r\nhello", "", "bad-request"),
    REFUSED("5\nhello", "", "bad-request"),
    REFUSED("5\rhello", "", "bad-request"),
    REFUSED("5\0\r\nhello", "", "bad-request"),
    REFUSED("5;\r\nhello", "", "bad-request"),
    REFUSED("5;a;\r\nhello", "", "bad-request"),
    REFUSED("5;=b\r\nhello", "", "bad-request"),
    REFUSED("5;a=\r\nhello", "", "bad-request"),
    REFUSED("5;a=b=c\r\nhello", "", "bad-request"),
    REFUSED("5;a=\"b\"\r\nhello", "", "bad-request"),
    REFUSED("5; a\r\nhello", "", "bad-request"),
    REFUSED("5;a\nb\r\nhello", "", "bad-request"),
    REFUSED("5;a\rb\r\nhello", "", "bad-request"),
    REFUSED("5;a\0\r\nhello", "", "bad-request"),
    REFUSED("5,5\r\nhello", "", "bad-request"),
    REFUSED("5\r\nhello0\r\n", " B8", "bad-request"),
    REFUSED("5\r\nhello\n0\r\n", " B8", "bad-request"),
    REFUSED("5\r\nhello\rx0\r\n", " B8", "bad-request"),
    REFUSED("4\r\nhello", " B7", "bad-request"),
    REFUSED("5\r\nhello\r\n\r\n0", " B10", "bad-request"),
    REFUSED("0\r\nHost: b.example", " B3", "bad-request"),
    REFUSED("0\r\nX: y\r\nCONTENT-LENGTH: 5", " B9", "bad-request"),
    REFUSED("0\r\nTransfer_Encoding: chunked", " B3", "bad-request"),
    REFUSED("0\r\nX: y\r\n z", " B9", "bad-request"),
    REFUSED("0\r\nX : y", " B3", "bad-request"),
    REFUSED("0\r\nX", " B3", "bad-request"),
    REFUSED("0\r\nX: y\n", " B3", "bad-request"),
    REFUSED("0\r\n\n", " B3", "bad-request"),
    REFUSED("0\r\n" GET_B, " B3", "bad-request"),

    ROW(CONNECT, "H(a.example:443 connect) W"),
    ROW(CONNECT GET_B, "H(a.example:443 connect) W +35"),
    ROW_ANSWER(DECLINED, CONNECT GET_B, "H(a.example:443 connect) W H(b.example)"),
    ROW_ANSWER(TAKEN, CONNECT GET_B "\0", "H(a.example:443 connect) W B36"),
    ROW(UPGRADE GET_B, "H(a.example upgrade) W +35"),
    ROW_ANSWER(DECLINED, UPGRADE GET_B, "H(a.example upgrade) W H(b.example)"),
    ROW_ANSWER(DECLINED, UPGRADE "\x81", "H(a.example upgrade) W +1"),
    ROW_ANSWER(TAKEN, UPGRADE "\x81\x05hello", "H(a.example upgrade) W B7"),
    ROW_ANSWER(TAKEN, UPGRADE_POST "abcHost", "H(a.example length=3 upgrade) B3 W B4"),
    ROW_ANSWER(DECLINED, UPGRADE_POST "abc" UPGRADE GET,
               "H(a.example length=3 upgrade) B3 W H(a.example upgrade) W H(a.example)"),
};

/* A caller: bytes [at, have) lie in its buffer. */
struct caller {
    struct http_stream stream;
    struct span bytes;
    size_t at;
    enum answer answer;
    bool is_stopped;
    size_t body_len; /* BODY bytes not yet in the transcript */
    char transcript[TRANSCRIPT_MAX];
};

static void note(struct caller *c, const char *text)
{
    size_t len = strlen(c->transcript);

    snprintf(c->transcript + len, TRANSCRIPT_MAX - len, "%s%s", len == 0 ? "" : " ", text);
}

static void note_body(struct caller *c)
{
    char text[32];

    snprintf(text, sizeof(text), "B%zu", c->body_len);
    if (c->body_len > 0)
        note(c, text);
    c->body_len = 0;
}

static void on_head(struct caller *c, const struct http_head *head)
{
    char facts[HTTP_TEXT_MAX];
    char text[HTTP_TEXT_MAX + 8];
    struct span bytes = span_first(span_from(c->bytes, c->at), head->head_len);

    assert_memory_equal(bytes.data + bytes.len - 4, "\r\n\r\n", 4);
    http_text_head(head, facts);
    snprintf(text, sizeof(text), "H(%s)", facts);
    note(c, text);
    http_stream_accept_head(&c->stream);
    c->at += head->head_len;
}

static void on_wait(struct caller *c)
{
    if (strlen(c->transcript) < 2 || strcmp(c->transcript + strlen(c->transcript) - 2, " W") != 0)
        note(c, "W");
    switch (c->answer) {
    case STOP:
        c->is_stopped = true;
        return;
    case DECLINED:
        http_stream_resume(&c->stream);
        return;
    case TAKEN:
        http_stream_set_opaque(&c->stream);
        return;
    }
}

/* The buffer holds bytes up to `have`: all events that they give. */
static void feed(struct caller *c, size_t have)
{
    while (!c->is_stopped) {
        struct guarded g =
            guarded_copy(span_first(span_from(c->bytes, c->at), have - c->at), GUARDED_END);
        struct http_stream_item item = {.reason = REASON_COUNT};
        enum http_stream_event event = http_stream_read(&c->stream, g.bytes, &item);
        guarded_free(&g);
        if (event == HTTP_STREAM_MORE)
            return;
        if (event != HTTP_STREAM_BODY)
            note_body(c);
        switch (event) {
        case HTTP_STREAM_MORE:
            return;
        case HTTP_STREAM_HEAD:
            on_head(c, &item.head);
            break;
        case HTTP_STREAM_BODY:
            assert_in_range(item.len, 1, have - c->at);
            c->at += item.len;
            c->body_len += item.len;
            break;
        case HTTP_STREAM_WAIT:
            on_wait(c);
            break;
        case HTTP_STREAM_BAD:
            note(c, item.is_in_body ? "body:" : "");
            strcat(c->transcript, reason_token(item.reason));
            c->is_stopped = true;
            assert_int_equal(http_stream_read(&c->stream, SPAN_LITERAL(GET), &item),
                             HTTP_STREAM_BAD);
            return;
        }
    }
}

static struct caller caller_init(struct span bytes, enum answer answer)
{
    struct caller c = {.bytes = bytes, .answer = answer};

    http_stream_init(&c.stream, HEAD_MAX);
    return c;
}

static void finish(struct caller *c, const char *expected, const char *how, size_t cut)
{
    char text[32];

    note_body(c);
    snprintf(text, sizeof(text), "+%zu", c->bytes.len - c->at);
    if (c->bytes.len > c->at && c->stream.state != HTTP_STREAM_IS_BAD)
        strcat(strcat(c->transcript, " "), text);
    if (strcmp(c->transcript, expected) != 0)
        fail_msg("%s at %zu: %.*s\ngot  \"%s\"\nwant \"%s\"", how, cut,
                 (int)(c->bytes.len < 300 ? c->bytes.len : 300), (const char *)c->bytes.data,
                 c->transcript, expected);
}

/* Whole, in every two pieces, and byte by byte: one transcript. */
static void assert_transcript(struct span bytes, enum answer answer, const char *expected)
{
    for (size_t cut = 0; cut <= bytes.len; cut++) {
        struct caller c = caller_init(bytes, answer);
        feed(&c, cut);
        feed(&c, bytes.len);
        finish(&c, expected, "cut", cut);
    }
    struct caller c = caller_init(bytes, answer);
    for (size_t have = 0; have <= bytes.len; have++)
        feed(&c, have);
    finish(&c, expected, "byte by byte", 0);
}

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_transcript(span_of(rows[i].bytes, rows[i].len), rows[i].answer, rows[i].transcript);
}

/* A head stays at the front, and is the same, until it is accepted. */
static void head_is_shown_again(void **state)
{
    struct http_stream stream;
    struct http_stream_item item;
    struct span bytes = SPAN_LITERAL(POST(3) "abc");

    (void)state;
    http_stream_init(&stream, HEAD_MAX);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(http_stream_read(&stream, bytes, &item), HTTP_STREAM_HEAD);
        assert_int_equal(item.head.head_len, bytes.len - 3);
        assert_ptr_equal(item.head.method.data, bytes.data);
    }
    http_stream_accept_head(&stream);
    assert_int_equal(http_stream_read(&stream, SPAN_LITERAL("abc"), &item), HTTP_STREAM_BODY);
    assert_int_equal(item.len, 3);
}

static void head_limit(void **state)
{
    static char bytes[HEAD_MAX + 1];
    struct http_stream stream;
    struct http_stream_item item;

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    http_stream_init(&stream, HEAD_MAX);
    for (size_t len = 0; len < HEAD_MAX; len++)
        assert_int_equal(http_stream_read(&stream, span_of(bytes, len), &item), HTTP_STREAM_MORE);
    assert_int_equal(http_stream_read(&stream, span_of(bytes, HEAD_MAX), &item), HTTP_STREAM_BAD);
    assert_int_equal(item.reason, REASON_TOO_LARGE);
    assert_false(item.is_in_body);
}

/* `unit` so often that a limit of the chunked coding is passed; the last byte that may pass does.
 */
static void assert_limit(const char *start, const char *unit, size_t count, const char *end,
                         const char *expected)
{
    size_t unit_len = strlen(unit);
    size_t len = 0;
    char *bytes = malloc(strlen(start) + count * unit_len + strlen(end) + 1);

    assert_non_null(bytes);
    strcpy(bytes, start);
    len = strlen(start);
    for (size_t i = 0; i < count; i++, len += unit_len)
        memcpy(bytes + len, unit, unit_len);
    strcpy(bytes + len, end);
    struct caller c = caller_init(span_of_text(bytes), STOP);
    feed(&c, c.bytes.len);
    finish(&c, expected, "whole", 0);
    free(bytes);
}

static void chunked_limits(void **state)
{
    (void)state;
    assert_limit(CHUNKED "1;", "x", 254, "\r\n", "H(a.example chunked) B258");
    assert_limit(CHUNKED "1;", "x", 255, "\r\n", "H(a.example chunked) body:too-large");
    assert_limit(CHUNKED "0\r\nX:", "x", 1022, "\r\n", "H(a.example chunked) B1029");
    assert_limit(CHUNKED "0\r\nX:", "x", 1023, "\r\n", "H(a.example chunked) B3 body:too-large");
    assert_limit(CHUNKED "0\r\n", "X:3456\r\n", 1024, "\r\n", "H(a.example chunked) B8197");
    assert_limit(CHUNKED "0\r\n", "X:3456\r\n", 1025, "\r\n",
                 "H(a.example chunked) B8195 body:too-large");
}

/* One-byte chunks go on for ever; extensions without end do not. */
static void chunked_framing_budget(void **state)
{
    (void)state;
    assert_limit(CHUNKED, "1\r\nx\r\n", 40000, "0\r\n\r\n", "H(a.example chunked) B240005");
    assert_limit(CHUNKED, "1;extension\r\nx\r\n", 8000, "0\r\n\r\n",
                 "H(a.example chunked) B69904 body:too-large");
}

static void answers_nobody_asked_for(void **state)
{
    struct http_stream stream;
    struct http_stream_item item;

    (void)state;
    http_stream_init(&stream, HEAD_MAX);
    http_stream_resume(&stream);
    assert_int_equal(http_stream_read(&stream, SPAN_LITERAL(GET), &item), HTTP_STREAM_HEAD);
    http_stream_set_opaque(&stream);
    assert_int_equal(http_stream_read(&stream, SPAN_LITERAL(GET), &item), HTTP_STREAM_BAD);
    assert_int_equal(item.reason, REASON_INTERNAL_ERROR);
}

/* The answer may come before the request's body has ended. */
static void early_answers(void **state)
{
    struct http_stream stream;
    struct http_stream_item item;

    (void)state;
    for (int is_taken = 0; is_taken < 2; is_taken++) {
        http_stream_init(&stream, HEAD_MAX);
        assert_int_equal(http_stream_read(&stream, SPAN_LITERAL(UPGRADE_POST), &item),
                         HTTP_STREAM_HEAD);
        assert_false(http_stream_awaits_answer(&stream));
        http_stream_accept_head(&stream);
        assert_true(http_stream_awaits_answer(&stream));
        if (is_taken)
            http_stream_set_opaque(&stream);
        else
            http_stream_resume(&stream);
        assert_int_equal(http_stream_read(&stream, SPAN_LITERAL("abc" GET), &item),
                         HTTP_STREAM_BODY);
        assert_int_equal(item.len, is_taken ? strlen("abc" GET) : 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(head_is_shown_again),
        cmocka_unit_test(head_limit),
        cmocka_unit_test(chunked_limits),
        cmocka_unit_test(chunked_framing_budget),
        cmocka_unit_test(answers_nobody_asked_for),
        cmocka_unit_test(early_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
