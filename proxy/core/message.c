#include "proxy/core/message.h"

#include <assert.h>

#include "proxy/core/reader.h"

/* Bytes written behind each other; the longest body fits MESSAGE_LEN_MAX (asserted below). */
struct writer {
    uint8_t *out;
    size_t len;
};

static_assert(MESSAGE_HEADER_LEN + 2 + MESSAGE_FAULT_MAX <= MESSAGE_LEN_MAX, "a fault fits");
static_assert(MESSAGE_HEADER_LEN + 8 * COUNTER_COUNT <= MESSAGE_LEN_MAX, "the counters fit");
static_assert(SOCKET_COUNT <= 8, "the sockets fit their mask");

static void put_u8(struct writer *w, unsigned value)
{
    w->out[w->len++] = (uint8_t)value;
}

static void put_u16(struct writer *w, unsigned value)
{
    put_u8(w, value >> 8);
    put_u8(w, value & 0xff);
}

static void put_u32(struct writer *w, uint32_t value)
{
    put_u16(w, value >> 16);
    put_u16(w, value & 0xffff);
}

static void put_u64(struct writer *w, uint64_t value)
{
    put_u32(w, (uint32_t)(value >> 32));
    put_u32(w, (uint32_t)value);
}

static bool get_u64(struct reader *r, uint64_t *out)
{
    uint32_t high;
    uint32_t low;

    if (reader_u32(r, &high) != READ_OK || reader_u32(r, &low) != READ_OK)
        return false;
    *out = (uint64_t)high << 32 | low;
    return true;
}

static bool write_nothing(struct writer *w, const struct message *m)
{
    (void)w;
    (void)m;
    return true;
}

static bool read_nothing(struct reader *r, struct message *m)
{
    (void)r;
    (void)m;
    return true;
}

static bool start_is_valid(const struct message_start *start)
{
    return start->sockets != 0 && start->sockets < 1 << SOCKET_COUNT && start->threads > 0 &&
           start->threads <= MESSAGE_THREADS_MAX;
}

static bool write_start(struct writer *w, const struct message *m)
{
    put_u8(w, m->body.start.sockets);
    put_u8(w, m->body.start.threads);
    put_u32(w, m->body.start.epoch);
    return start_is_valid(&m->body.start);
}

static bool read_start(struct reader *r, struct message *m)
{
    struct message_start *start = &m->body.start;

    return reader_u8(r, &start->sockets) == READ_OK && reader_u8(r, &start->threads) == READ_OK &&
           reader_u32(r, &start->epoch) == READ_OK && start_is_valid(start);
}

static bool policy_is_valid(const struct message_policy *policy)
{
    return policy->len > 0 && policy->len <= MESSAGE_POLICY_MAX;
}

static bool write_policy(struct writer *w, const struct message *m)
{
    put_u32(w, m->body.policy.len);
    return policy_is_valid(&m->body.policy);
}

static bool read_policy(struct reader *r, struct message *m)
{
    return reader_u32(r, &m->body.policy.len) == READ_OK && policy_is_valid(&m->body.policy);
}

static bool write_ping(struct writer *w, const struct message *m)
{
    put_u32(w, m->body.ping.number);
    return true;
}

static bool read_ping(struct reader *r, struct message *m)
{
    return reader_u32(r, &m->body.ping.number) == READ_OK;
}

static bool is_printable(char c)
{
    return c >= 0x20 && c < 0x7f;
}

static bool fault_is_valid(const struct message_fault *fault)
{
    if (fault->len == 0 || fault->len > MESSAGE_FAULT_MAX)
        return false;
    for (size_t i = 0; i < fault->len; i++)
        if (!is_printable(fault->text[i]))
            return false;
    return true;
}

static bool write_fault(struct writer *w, const struct message *m)
{
    const struct message_fault *fault = &m->body.fault;

    if (!fault_is_valid(fault))
        return false;
    put_u16(w, fault->len);
    memcpy(w->out + w->len, fault->text, fault->len);
    w->len += fault->len;
    return true;
}

static bool read_fault(struct reader *r, struct message *m)
{
    struct message_fault *fault = &m->body.fault;
    struct reader text;

    if (reader_child16(r, &text) != READ_OK || text.rest.len == 0 ||
        text.rest.len > MESSAGE_FAULT_MAX)
        return false;
    fault->len = (uint16_t)text.rest.len;
    memcpy(fault->text, text.rest.data, text.rest.len);
    return fault_is_valid(fault);
}

static bool write_active(struct writer *w, const struct message *m)
{
    put_u32(w, m->body.active.closed);
    return true;
}

static bool read_active(struct reader *r, struct message *m)
{
    return reader_u32(r, &m->body.active.closed) == READ_OK;
}

static bool write_stats(struct writer *w, const struct message *m)
{
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        put_u64(w, m->body.stats.counters[i]);
    return true;
}

static bool read_stats(struct reader *r, struct message *m)
{
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        if (!get_u64(r, &m->body.stats.counters[i]))
            return false;
    return true;
}

static const struct message_shape {
    bool has_generation;
    bool (*write)(struct writer *w, const struct message *m);
    bool (*read)(struct reader *r, struct message *m);
} shapes[MESSAGE_TYPE_END] = {
    [MESSAGE_START] = {false, write_start, read_start},
    [MESSAGE_POLICY] = {true, write_policy, read_policy},
    [MESSAGE_SWITCH] = {true, write_nothing, read_nothing},
    [MESSAGE_PING] = {false, write_ping, read_ping},
    [MESSAGE_ASK_STATS] = {false, write_nothing, read_nothing},
    [MESSAGE_STOP] = {false, write_nothing, read_nothing},
    [MESSAGE_HELLO] = {false, write_nothing, read_nothing},
    [MESSAGE_READY] = {true, write_nothing, read_nothing},
    [MESSAGE_FAULT] = {true, write_fault, read_fault},
    [MESSAGE_ACTIVE] = {true, write_active, read_active},
    [MESSAGE_PONG] = {false, write_ping, read_ping},
    [MESSAGE_STATS] = {false, write_stats, read_stats},
};

static const struct message_shape *shape_of(unsigned type)
{
    return type < MESSAGE_TYPE_END && shapes[type].read ? &shapes[type] : NULL;
}

size_t message_encode(const struct message *message, uint8_t out[MESSAGE_LEN_MAX])
{
    const struct message_shape *shape = shape_of((unsigned)message->type);
    struct writer header = {out, 0};
    struct writer body = {out, MESSAGE_HEADER_LEN};

    if (!shape || shape->has_generation != (message->generation != 0))
        return 0;
    if (!shape->write(&body, message))
        return 0;
    put_u8(&header, MESSAGE_VERSION);
    put_u8(&header, (unsigned)message->type);
    put_u16(&header, (unsigned)(body.len - MESSAGE_HEADER_LEN));
    put_u32(&header, message->generation);
    return body.len;
}

bool message_parse(struct span bytes, struct message *out)
{
    struct message message = {0};
    const struct message_shape *shape;
    struct reader r = reader_init_whole(bytes);
    uint8_t version;
    uint8_t type;
    uint16_t body_len;

    if (reader_u8(&r, &version) != READ_OK || version != MESSAGE_VERSION ||
        reader_u8(&r, &type) != READ_OK || reader_u16(&r, &body_len) != READ_OK ||
        reader_u32(&r, &message.generation) != READ_OK)
        return false;
    shape = shape_of(type);
    if (!shape || r.rest.len != body_len || shape->has_generation != (message.generation != 0))
        return false;
    message.type = (enum message_type)type;
    if (!shape->read(&r, &message) || !reader_at_end(&r))
        return false;
    *out = message;
    return true;
}

size_t message_descriptors(const struct message *message)
{
    size_t count = 0;

    if (message->type == MESSAGE_POLICY)
        return 1;
    if (message->type != MESSAGE_START)
        return 0;
    for (unsigned socket = 0; socket < SOCKET_COUNT; socket++)
        count += message->body.start.sockets >> socket & 1;
    return count + message->body.start.threads;
}

struct message message_fault_of(uint32_t generation, struct span text)
{
    struct message message = {.type = MESSAGE_FAULT, .generation = generation};
    struct message_fault *fault = &message.body.fault;

    if (span_is_empty(text))
        text = SPAN_LITERAL("unknown");
    fault->len = (uint16_t)(text.len < MESSAGE_FAULT_MAX ? text.len : MESSAGE_FAULT_MAX);
    for (size_t i = 0; i < fault->len; i++) {
        fault->text[i] = '?';
        if (is_printable((char)text.data[i]))
            fault->text[i] = (char)text.data[i];
    }
    return message;
}
