/*
 * Any bytes as a TCP stream. What must hold:
 * - a prefix says MORE or the whole stream's answer, and OK not before the hello's last byte;
 * - the same hello in other records, or with bytes behind it, has the same answer;
 * - a name is canonical, and stands in the hello behind its type and length.
 */
#include <stdlib.h>

#include "proxy/core/tls_hello.h"
#include "tests/lib/tls_records.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { PREFIXES_MAX = 200 };

/* The whole stream's answer may borrow from its scratch memory while others are compared with it.
 */
static struct tls_hello_scratch whole_scratch;
static struct tls_hello_scratch other_scratch;

struct answer {
    enum tls_hello_status status;
    enum reason reason;
    struct tls_hello hello;
};

static struct answer read_stream(struct span stream, struct tls_hello_scratch *scratch)
{
    struct answer a = {.reason = REASON_COUNT};

    a.status = tls_hello_read(stream, scratch, &a.hello, &a.reason);
    return a;
}

static void check_same(const struct answer *got, const struct answer *want)
{
    CHECK(got->status == want->status && got->reason == want->reason);
    CHECK(want->status != TLS_HELLO_OK || tls_hello_equal(&got->hello, &want->hello));
}

static void check_prefixes(struct span stream, const struct answer *want)
{
    size_t step = stream.len / PREFIXES_MAX + 1;
    bool is_answered = false;

    for (size_t len = 0; len < stream.len; len += step) {
        /* A copy of its own, so that reading past the prefix is seen. */
        uint8_t *bytes = (uint8_t *)malloc(len);
        if (len > 0)
            memcpy(bytes, stream.data, len);
        struct answer got = read_stream(span_of(bytes, len), &other_scratch);
        CHECK(!is_answered || got.status != TLS_HELLO_MORE);
        is_answered = got.status != TLS_HELLO_MORE;
        if (is_answered)
            CHECK(got.status == want->status && got.reason == want->reason);
        if (want->status == TLS_HELLO_OK)
            CHECK(is_answered == (len >= want->hello.stream_len));
        free(bytes);
    }
}

static void check_framings(struct span message, const struct answer *want)
{
    static uint8_t framed[TLS_FRAMED_LEN_MAX];
    size_t cut = message.len < 2 ? 1 : message.data[message.len / 2] % (message.len - 1) + 1;
    const size_t sizes[][2] = {{1, 1}, {3, 5}, {cut, 1 << 14}, {cut, cut}};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t len = tls_frame(message, sizes[i][0], sizes[i][1], framed);
        struct answer got = read_stream(span_of(framed, len), &other_scratch);
        check_same(&got, want);
    }
}

static void check_behind(struct span stream, const struct answer *want)
{
    static const uint8_t behind[] = {22, 3, 1, 0, 4, 1, 0, 0, 0};
    size_t len = want->hello.stream_len;
    uint8_t *bytes = (uint8_t *)malloc(len + sizeof(behind));

    memcpy(bytes, stream.data, len);
    memcpy(bytes + len, behind, sizeof(behind));
    struct answer got = read_stream(span_of(bytes, len + sizeof(behind)), &other_scratch);
    check_same(&got, want);
    CHECK(got.hello.stream_len == len);
    free(bytes);
}

static void check_name(struct span message, const struct hostname *name)
{
    struct hostname again;
    bool is_found = false;

    CHECK(hostname_parse(hostname_span(name), &again) == HOSTNAME_OK);
    CHECK(hostname_equal(name, &again));
    for (size_t at = 3; at + name->len <= message.len && !is_found; at++) {
        const uint8_t *before = message.data + at - 3;
        size_t len = (size_t)before[1] << 8 | before[2];
        is_found = before[0] == 0 && (len == name->len || len == name->len + 1U) &&
                   span_equal_nocase(span_of(message.data + at, name->len), hostname_span(name));
    }
    CHECK(is_found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[TLS_FRAMED_LEN_MAX];
    struct span stream = span_of(data, size);

    if (size > sizeof(bytes))
        return -1;
    struct answer whole = read_stream(stream, &whole_scratch);
    check_prefixes(stream, &whole);
    if (whole.status == TLS_HELLO_OK) {
        CHECK(tls_hello_guess(stream) == TLS_HELLO_GUESS_YES);
        check_behind(stream, &whole);
        stream = span_first(stream, whole.hello.stream_len);
    } else if (whole.status != TLS_HELLO_BAD || whole.reason != REASON_BAD_NAME) {
        return 0;
    }
    /* A bad name is found in a complete message only; its own length says where it ends. */
    struct span message = span_of(bytes, tls_unframe(stream, bytes));
    message = span_first(message, 4U + ((size_t)bytes[2] << 8 | bytes[3]));
    check_framings(message, &whole);
    if (whole.status == TLS_HELLO_OK && whole.hello.has_name)
        check_name(message, &whole.hello.name);
    return 0;
}
