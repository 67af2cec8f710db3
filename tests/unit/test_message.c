#include "proxy/core/message.h"
#include "tests/lib/unit.h"

struct row {
    const char *bytes;
    size_t len;
    bool is_valid;
};

#define ROW(bytes, is_valid)                                                                       \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, is_valid                                                         \
    }

static const struct row rows[] = {
    ROW("\1\1\0\6\0\0\0\0\x3f\4\0\0\0\7", true),
    ROW("\1\1\0\6\0\0\0\0\1\1\0\0\0\0", true),
    ROW("\1\1\0\6\0\0\0\0\0\1\0\0\0\0", false),   /* no socket */
    ROW("\1\1\0\6\0\0\0\0\x40\1\0\0\0\0", false), /* a socket that there is not */
    ROW("\1\1\0\6\0\0\0\0\1\0\0\0\0\0", false),   /* no thread */
    ROW("\1\1\0\6\0\0\0\0\1\x11\0\0\0\0", false), /* too many */
    ROW("\1\1\0\6\0\0\0\1\1\1\0\0\0\0", false),   /* a generation where there is none */
    ROW("\1\1\0\5\0\0\0\0\1\1\0\0\0", false),     /* a short body, its length true */
    ROW("\1\1\0\7\0\0\0\0\1\1\0\0\0\0\0", false), /* a long one */
    ROW("\1\1\0\5\0\0\0\0\1\1\0\0\0\0", false),   /* a length that lies */
    ROW("\1\2\0\4\0\0\0\1\0\0\0\1", true),        /* POLICY */
    ROW("\1\2\0\4\0\0\0\0\0\0\0\1", false),       /* without a generation */
    ROW("\1\2\0\4\0\0\0\1\0\0\0\0", false),       /* of nothing */
    ROW("\1\2\0\4\0\0\0\1\x10\0\0\0", true),      /* of the most there may be */
    ROW("\1\2\0\4\0\0\0\1\x10\0\0\1", false),
    ROW("\1\3\0\0\0\0\0\2", true),                 /* SWITCH */
    ROW("\1\4\0\4\0\0\0\0\xff\xff\xff\xff", true), /* PING */
    ROW("\1\5\0\0\0\0\0\0", true),                 /* ASK_STATS */
    ROW("\1\6\0\0\0\0\0\0", true),                 /* STOP */
    ROW("\1\7\0\0\0\0\0\0", true),                 /* HELLO */
    ROW("\1\x08\0\0\0\0\0\1", true),               /* READY */
    ROW("\1\x09\0\4\0\0\0\1\0\2no", true),         /* FAULT */
    ROW("\1\x09\0\3\0\0\0\1\0\2n", false),
    ROW("\1\x09\0\4\0\0\0\1\0\1no", false),
    ROW("\1\x09\0\2\0\0\0\1\0\0", false),
    ROW("\1\x09\0\4\0\0\0\1\0\2n\n", false), /* bytes that a log must not carry */
    ROW("\1\x09\0\4\0\0\0\1\0\2n\x9b", false),
    ROW("\1\x0a\0\4\0\0\0\3\0\0\0\5", true),            /* ACTIVE */
    ROW("\1\x0b\0\4\0\0\0\0\0\0\0\5", true),            /* PONG */
    ROW("\1\x0c\0\x08\0\0\0\0\0\0\0\0\0\0\0\5", false), /* STATS with one counter */
    ROW("\1\0\0\0\0\0\0\0", false),                     /* no such types */
    ROW("\1\x0d\0\0\0\0\0\0", false),
    ROW("\1\xff\0\0\0\0\0\0", false),
    ROW("\2\6\0\0\0\0\0\0", false), /* another version */
    ROW("\0\6\0\0\0\0\0\0", false),
};

static void parse_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct message message = {.generation = 77};
        uint8_t again[MESSAGE_LEN_MAX];
        struct guarded g = guarded_copy(span_of(rows[i].bytes, rows[i].len), GUARDED_END);
        if (message_parse(g.bytes, &message) != rows[i].is_valid)
            fail_msg("row %zu", i);
        if (rows[i].is_valid) {
            assert_int_equal(message_encode(&message, again), rows[i].len);
            assert_memory_equal(again, rows[i].bytes, rows[i].len);
        } else {
            assert_int_equal(message.generation, 77);
        }
        guarded_free(&g);
    }
}

/* No beginning of a message is a message. */
static void prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t len = 0; len < rows[i].len; len++) {
            struct message message;
            struct guarded g = guarded_copy(span_of(rows[i].bytes, len), GUARDED_END);
            assert_false(message_parse(g.bytes, &message));
            guarded_free(&g);
        }
}

static void random_bytes(void **state)
{
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 50000; round++) {
        uint8_t bytes[MESSAGE_HEADER_LEN + 16];
        uint8_t again[MESSAGE_LEN_MAX];
        struct message message;
        size_t body = test_random(&random) % 17;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(test_random(&random) % 3 ? 0 : test_random(&random));
        bytes[0] = MESSAGE_VERSION;
        bytes[1] = (uint8_t)(test_random(&random) % MESSAGE_TYPE_END);
        bytes[2] = 0;
        bytes[3] = (uint8_t)body;
        if (!message_parse(span_of(bytes, MESSAGE_HEADER_LEN + body), &message))
            continue;
        assert_int_equal(message_encode(&message, again), MESSAGE_HEADER_LEN + body);
        assert_memory_equal(again, bytes, MESSAGE_HEADER_LEN + body);
    }
}

static void stats_round_trip(void **state)
{
    struct message message = {.type = MESSAGE_STATS};
    struct message back;
    uint8_t bytes[MESSAGE_LEN_MAX];
    size_t len;

    (void)state;
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        message.body.stats.counters[i] = (UINT64_MAX >> i) - i;
    len = message_encode(&message, bytes);
    assert_int_equal(len, MESSAGE_HEADER_LEN + 8 * COUNTER_COUNT);
    assert_true(message_parse(span_of(bytes, len), &back));
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        assert_true(back.body.stats.counters[i] == message.body.stats.counters[i]);
}

static void what_cannot_be_said(void **state)
{
    uint8_t bytes[MESSAGE_LEN_MAX];
    struct message no_type = {.type = MESSAGE_TYPE_END};
    struct message no_generation = {.type = MESSAGE_SWITCH};
    struct message no_socket = {.type = MESSAGE_START, .body.start.threads = 1};
    struct message no_policy = {.type = MESSAGE_POLICY, .generation = 1};
    struct message no_fault = {.type = MESSAGE_FAULT, .generation = 1};

    (void)state;
    assert_int_equal(message_encode(&no_type, bytes), 0);
    assert_int_equal(message_encode(&no_generation, bytes), 0);
    assert_int_equal(message_encode(&no_socket, bytes), 0);
    assert_int_equal(message_encode(&no_policy, bytes), 0);
    assert_int_equal(message_encode(&no_fault, bytes), 0);
    no_generation.generation = 1;
    assert_int_equal(message_encode(&no_generation, bytes), MESSAGE_HEADER_LEN);
}

static void faults(void **state)
{
    char text[MESSAGE_FAULT_MAX + 50];
    uint8_t bytes[MESSAGE_LEN_MAX];
    struct message message = message_fault_of(3, SPAN_LITERAL("line 7:\n\x1b[0m \xc3\xbc"));

    (void)state;
    assert_int_equal(message.body.fault.len, 15);
    assert_memory_equal(message.body.fault.text, "line 7:??[0m ??", 15);
    memset(text, 'a', sizeof(text));
    message = message_fault_of(3, span_of(text, sizeof(text)));
    assert_int_equal(message_encode(&message, bytes), MESSAGE_HEADER_LEN + 2 + MESSAGE_FAULT_MAX);
    message = message_fault_of(3, SPAN_NONE);
    assert_int_not_equal(message_encode(&message, bytes), 0);
}

static void descriptors(void **state)
{
    struct message start = {.type = MESSAGE_START, .body.start = {.sockets = 0x15, .threads = 4}};
    struct message policy = {.type = MESSAGE_POLICY, .generation = 1};
    struct message ping = {.type = MESSAGE_PING};

    (void)state;
    assert_int_equal(message_descriptors(&start), 7);
    assert_int_equal(message_descriptors(&policy), 1);
    assert_int_equal(message_descriptors(&ping), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_table),         cmocka_unit_test(prefixes),
        cmocka_unit_test(random_bytes),        cmocka_unit_test(stats_round_trip),
        cmocka_unit_test(what_cannot_be_said), cmocka_unit_test(faults),
        cmocka_unit_test(descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
