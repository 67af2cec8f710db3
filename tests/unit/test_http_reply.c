#include "proxy/core/http_reply.h"

#include "tests/lib/unit.h"

enum { HEAD_MAX = 256, TRANSCRIPT_MAX = 1024 };

#define OK       "HTTP/1.1 200 OK\r\n"
#define LENGTH   "Content-Length: "
#define CHUNKED  "Transfer-Encoding: chunked\r\n"
#define END      "\r\n"
#define SWITCH   "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define EMPTY    OK LENGTH "0\r\n" END

/*
 * The requests in flight, a letter each (G: GET, H: HEAD, C: CONNECT, U: wants an upgrade, L: GET
 * with "Connection: close"), a server's bytes and what is said of them: "n" for n bytes that move,
 * "D(status)" for a complete response, "d(status)" where it declines an upgrade or a CONNECT,
 * "S(status)" for a switch, "?" where track is lost, "+n" for n bytes that do not move yet, "!" at
 * the end when an answer of ours may follow.
 */
struct row {
    const char *requests;
    const char *bytes;
    size_t len;
    const char *transcript;
};

#define ROW(requests, bytes, transcript)                                                           \
    {                                                                                              \
        requests, bytes, sizeof(bytes) - 1, transcript                                             \
    }

static const struct row rows[] = {
    ROW("", "", "!"),
    ROW("G", "", ""),
    ROW("", "H", "? 1"),
    ROW("", "HTTP/1.1 408 Request Timeout\r\n", "? 30"),
    ROW("G", EMPTY, "38 D(200) !"),
    ROW("GG", EMPTY, "38 D(200)"),
    ROW("GG", EMPTY EMPTY, "38 D(200) 38 D(200) !"),
    ROW("G", EMPTY EMPTY, "38 D(200) ? 38"),
    ROW("G", "HTTP/1.1 200 OK\r\nConten", "+23"),
    ROW("G", "HTTP/1.1 200 \r\n" LENGTH "0\r\n\r\n", "36 D(200) !"),
    ROW("G", "HTTP/1.1 404 N\xc3\xb6\r\n" LENGTH "3\r\n\r\nabc", "42 D(404) !"),
    ROW("G", OK LENGTH "5\r\n\r\nhello", "43 D(200) !"),
    ROW("G", OK LENGTH "5\r\n\r\nhell", "42"),
    ROW("GG", OK LENGTH "5\r\n\r\nhello" EMPTY, "43 D(200) 38 D(200) !"),
    ROW("G", OK LENGTH "5\r\n\r\nhello\r\n", "43 D(200) ? 2"),
    ROW("GG", OK LENGTH "5\r\n\r\nhello\r\n", "43 D(200) ? 2"),
    ROW("G", OK CHUNKED END "5\r\nhello\r\n0\r\n\r\n", "62 D(200) !"),
    ROW("GG", OK CHUNKED END "0\r\nX: y\r\n\r\n" EMPTY, "58 D(200) 38 D(200) !"),
    ROW("G", OK CHUNKED END "5\r\nhello\r\n0\r\n", "60"),
    ROW("G", OK CHUNKED END "5\r\nhellox\r\n0\r\n\r\n", "55 ? 8"),
    ROW("G", OK CHUNKED END "5 \r\nhello\r\n0\r\n\r\n", "47 ? 16"),
    ROW("G", OK CHUNKED END "0\r\nContent-Length: 5\r\n\r\n", "50 ? 21"),
    ROW("G", OK END "until the end" EMPTY, "70"),
    ROW("GG", OK END EMPTY, "57"),

    /* Responses without a body. */
    ROW("H", OK LENGTH "5\r\n\r\n", "38 D(200) !"),
    ROW("H", OK CHUNKED END, "47 D(200) !"),
    ROW("H", OK END, "19 D(200) !"),
    ROW("HG", OK LENGTH "5\r\n\r\n" EMPTY, "38 D(200) 38 D(200) !"),
    ROW("GH", EMPTY OK LENGTH "5\r\n\r\n", "38 D(200) 38 D(200) !"),
    ROW("G", "HTTP/1.1 304 Not Modified\r\n" LENGTH "5\r\n\r\n", "48 D(304) !"),
    ROW("G", "HTTP/1.1 304 Not Modified\r\n" CHUNKED END, "57 D(304) !"),
    ROW("G", "HTTP/1.1 204 No Content\r\n\r\n", "27 D(204) !"),
    ROW("G", "HTTP/1.1 204 No Content\r\n" LENGTH "0\r\n\r\n", "46 D(204) !"),
    ROW("G", "HTTP/1.1 204 No Content\r\n" LENGTH "5\r\n\r\n", "? 46"),
    ROW("G", "HTTP/1.1 204 No Content\r\n" CHUNKED END, "? 55"),
    ROW("H", "HTTP/1.1 204 No Content\r\n" CHUNKED END, "? 55"),

    /* Informational responses. */
    ROW("G", CONTINUE, "25"),
    ROW("G", CONTINUE EMPTY, "63 D(200) !"),
    ROW("H", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" CONTINUE EMPTY, "100 D(200) !"),
    ROW("G", "HTTP/1.1 100 \r\n" LENGTH "0\r\n\r\n" EMPTY, "74 D(200) !"),
    ROW("G", "HTTP/1.1 100 \r\n" LENGTH "5\r\n\r\n" EMPTY, "? 74"),
    ROW("G", "HTTP/1.1 100 \r\n" CHUNKED END EMPTY, "? 83"),
    ROW("", CONTINUE, "? 25"),

    /* Upgrades and tunnels. */
    ROW("U", SWITCH, "69 S(101)"),
    ROW("U", SWITCH "\x81\0" EMPTY, "69 S(101) 40"),
    ROW("U", CONTINUE SWITCH, "94 S(101)"),
    ROW("U", EMPTY, "38 d(200) !"),
    ROW("UG", EMPTY EMPTY, "38 d(200) 38 D(200) !"),
    ROW("G", SWITCH "x", "? 70"),
    ROW("GU", EMPTY SWITCH "x", "38 D(200) 69 S(101) 1"),
    ROW("UG", SWITCH "x", "69 S(101) 1"),
    ROW("C", SWITCH, "? 69"),
    ROW("C", OK END "\x16\x03\x01", "19 S(200) 3"),
    ROW("C", EMPTY "\x16\x03\x01", "38 S(200) 3"),
    ROW("C", OK CHUNKED END "5\r\n", "47 S(200) 3"),
    ROW("C", "HTTP/1.0 200 OK\r\n\r\n", "19 S(200)"),
    ROW("C", "HTTP/1.1 299 \r\n\r\n", "17 S(299)"),
    ROW("C", "HTTP/1.1 407 \r\n" LENGTH "3\r\n\r\nabc", "39 d(407) !"),
    ROW("C", "HTTP/1.1 502 \r\n\r\nabc", "20"),

    /* The end of the connection. */
    ROW("G", OK "Connection: close\r\n" LENGTH "0\r\n\r\n", "57 D(200)"),
    ROW("GG", OK "Connection: close\r\n" LENGTH "0\r\n\r\n" EMPTY, "57 D(200) ? 38"),
    ROW("G", OK "Connection: keep-alive\r\n" LENGTH "0\r\n\r\n", "62 D(200) !"),
    ROW("L", EMPTY, "38 D(200)"),
    ROW("G", "HTTP/1.0 200 OK\r\n" LENGTH "0\r\n\r\n", "38 D(200)"),
    ROW("G", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" LENGTH "0\r\n\r\n", "62 D(200) !"),
    ROW("G", "HTTP/1.0 200 OK\r\n\r\nabc", "22"),
    ROW("G", "HTTP/1.0 200 OK\r\n" CHUNKED END, "? 47"),

    /* Status lines. */
    ROW("G", "\r\n" EMPTY, "? 40"),
    ROW("G", "HTTP/1.1 200\r\n" LENGTH "0\r\n\r\n", "? 35"),
    ROW("G", "HTTP/1.1  200 OK\r\n" LENGTH "0\r\n\r\n", "? 39"),
    ROW("G", "HTTP/1.1 20 OK\r\n" LENGTH "0\r\n\r\n", "? 37"),
    ROW("G", "HTTP/1.1 2000 OK\r\n" LENGTH "0\r\n\r\n", "? 39"),
    ROW("G", "HTTP/1.1 099 OK\r\n" LENGTH "0\r\n\r\n", "? 38"),
    ROW("G", "HTTP/1.1 600 OK\r\n" LENGTH "0\r\n\r\n", "? 38"),
    ROW("G", "HTTP/1.1 +20 OK\r\n" LENGTH "0\r\n\r\n", "? 38"),
    ROW("G", "HTTP/1.2 200 OK\r\n" LENGTH "0\r\n\r\n", "? 38"),
    ROW("G", "http/1.1 200 OK\r\n" LENGTH "0\r\n\r\n", "? 38"),
    ROW("G", "HTTP/2 200 OK\r\n" LENGTH "0\r\n\r\n", "? 36"),
    ROW("G", "ICY 200 OK\r\n" LENGTH "0\r\n\r\n", "? 33"),
    ROW("G", "HTTP/1.1 200 OK\n" LENGTH "0\r\n\r\n", "? 37"),
    ROW("G", "HTTP/1.1 200 O\0K\r\n" LENGTH "0\r\n\r\n", "? 39"),
    ROW("G", "<html>\n", "? 7"),
    ROW("G", "<html>", "+6"),

    /* Fields: what test_http_head.c says of requests holds for responses too. */
    ROW("G", OK LENGTH "0\n\r\n", "? 37"),
    ROW("G", OK LENGTH "-1\r\n\r\n", "? 39"),
    ROW("G", OK LENGTH "5, 5\r\n\r\nhello", "? 46"),
    ROW("G", OK LENGTH "5\r\n" LENGTH "5\r\n\r\nhello", "? 62"),
    ROW("G", OK LENGTH "0\r\n" CHUNKED END "0\r\n\r\n", "? 71"),
    ROW("G", OK CHUNKED LENGTH "0\r\n" END "0\r\n\r\n", "? 71"),
    ROW("H", OK CHUNKED LENGTH "0\r\n" END, "? 66"),
    ROW("G", OK CHUNKED CHUNKED END "0\r\n\r\n", "? 80"),
    ROW("G", OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "? 58"),
    ROW("G", OK "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", "52 D(200) !"),
    ROW("G", OK "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n", "? 52"),
    ROW("G", OK "X: y\r\n z\r\n" LENGTH "0\r\n\r\n", "? 48"),
    ROW("G", OK "X : y\r\n" LENGTH "0\r\n\r\n", "? 45"),
    ROW("G", OK "Connection: content-length\r\n" LENGTH "0\r\n\r\n", "? 66"),
};

/* A caller: bytes [at, have) lie in its buffer. */
struct caller {
    struct http_reply reply;
    struct span bytes;
    size_t at;
    size_t moved; /* not yet in the transcript */
    char transcript[TRANSCRIPT_MAX];
};

static void note(struct caller *c, const char *text)
{
    size_t len = strlen(c->transcript);

    snprintf(c->transcript + len, TRANSCRIPT_MAX - len, "%s%s", len == 0 ? "" : " ", text);
}

static void note_number(struct caller *c, const char *format, size_t number)
{
    char text[32];

    snprintf(text, sizeof(text), format[0] == '+' ? "+%zu" : "%zu", number);
    if (number > 0)
        note(c, text);
}

static void note_status(struct caller *c, char letter, uint16_t status)
{
    char text[32];

    snprintf(text, sizeof(text), "%c(%u)", letter, (unsigned)status);
    note(c, text);
}

static void feed(struct caller *c, size_t have)
{
    for (;;) {
        struct guarded g =
            guarded_copy(span_first(span_from(c->bytes, c->at), have - c->at), GUARDED_END);
        struct http_reply_item item = {0};
        enum http_reply_event event = http_reply_read(&c->reply, g.bytes, &item);
        guarded_free(&g);
        if (event == HTTP_REPLY_MORE)
            return;
        if (event != HTTP_REPLY_MOVE) {
            note_number(c, "", c->moved);
            c->moved = 0;
        }
        switch (event) {
        case HTTP_REPLY_MORE:
            break;
        case HTTP_REPLY_MOVE:
            assert_in_range(item.len, 1, have - c->at);
            assert_false(http_reply_can_inject(&c->reply));
            c->at += item.len;
            c->moved += item.len;
            break;
        case HTTP_REPLY_DONE:
            note_status(c, item.declines ? 'd' : 'D', item.status);
            break;
        case HTTP_REPLY_SWITCHED:
            note_status(c, 'S', item.status);
            break;
        case HTTP_REPLY_UNTRACKED:
            note(c, "?");
            break;
        }
    }
}

static void push(struct http_reply *reply, char letter)
{
    struct http_head head = {.is_head = letter == 'H',
                             .is_connect = letter == 'C',
                             .wants_upgrade = letter == 'U',
                             .keeps_alive = letter != 'L'};

    http_reply_push(reply, &head);
}

static struct caller caller_init(const struct row *row)
{
    struct caller c = {.bytes = span_of(row->bytes, row->len)};

    http_reply_init(&c.reply, HEAD_MAX);
    for (const char *letter = row->requests; *letter != '\0'; letter++)
        push(&c.reply, *letter);
    return c;
}

static void finish(struct caller *c, const struct row *row, const char *how, size_t cut)
{
    note_number(c, "", c->moved);
    note_number(c, "+", c->bytes.len - c->at);
    if (http_reply_can_inject(&c->reply))
        note(c, "!");
    if (strcmp(c->transcript, row->transcript) != 0)
        fail_msg("%s at %zu: %s %.*s\ngot  \"%s\"\nwant \"%s\"", how, cut, row->requests,
                 (int)row->len, row->bytes, c->transcript, row->transcript);
}

/* Whole, in every two pieces, and byte by byte: one transcript. */
static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        for (size_t cut = 0; cut <= row->len; cut++) {
            struct caller c = caller_init(row);
            feed(&c, cut);
            feed(&c, row->len);
            finish(&c, row, "cut", cut);
        }
        struct caller c = caller_init(row);
        for (size_t have = 0; have <= row->len; have++)
            feed(&c, have);
        finish(&c, row, "byte by byte", 0);
    }
}

static void head_limit(void **state)
{
    static char bytes[HEAD_MAX];
    struct http_reply_item item;
    struct http_reply reply;

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    http_reply_init(&reply, HEAD_MAX);
    push(&reply, 'G');
    for (size_t len = 0; len < HEAD_MAX; len++)
        assert_int_equal(http_reply_read(&reply, span_of(bytes, len), &item), HTTP_REPLY_MORE);
    assert_int_equal(http_reply_read(&reply, span_of(bytes, HEAD_MAX), &item),
                     HTTP_REPLY_UNTRACKED);
}

/* Requests go round the ring, and each response meets its own. */
static void queue(void **state)
{
    struct span empty = SPAN_LITERAL(EMPTY);
    struct span head = SPAN_LITERAL(OK END);
    struct http_reply_item item;
    struct http_reply reply;

    (void)state;
    http_reply_init(&reply, HEAD_MAX);
    for (int i = 0; i < HTTP_REPLY_QUEUE_MAX; i++) {
        assert_false(http_reply_is_full(&reply));
        push(&reply, i % 2 == 0 ? 'G' : 'H');
    }
    assert_true(http_reply_is_full(&reply));
    for (int i = 0; i < 3 * HTTP_REPLY_QUEUE_MAX; i++) {
        struct span bytes = i % 2 == 0 ? empty : head;
        assert_int_equal(http_reply_read(&reply, bytes, &item), HTTP_REPLY_MOVE);
        assert_int_equal(item.len, bytes.len);
        assert_int_equal(http_reply_read(&reply, SPAN_NONE, &item), HTTP_REPLY_DONE);
        assert_false(http_reply_is_full(&reply));
        push(&reply, i % 2 == 0 ? 'G' : 'H');
        assert_true(http_reply_is_full(&reply));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(head_limit),
        cmocka_unit_test(queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
