#include "proxy/core/tls_hello.h"

#include "proxy/core/reader.h"

enum {
    RECORD_TYPE_FIRST = 20, /* change_cipher_spec */
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_TYPE_LAST = 24, /* heartbeat */
    RECORD_LEN_MAX = 1 << 14,
    HANDSHAKE_CLIENT_HELLO = 1,
    HANDSHAKE_HEADER_LEN = 4,
    VERSION_MAJOR = 3,
    VERSION_MAJOR_LENIENT_MAX = 15, /* what Go's crypto/tls takes in front of the first hello */
    VERSION_SSL3 = 0x0300,
    VERSION_TLS10 = 0x0301,
    VERSION_TLS13 = 0x0304,
    RANDOM_LEN = 32,
    SESSION_ID_MAX = 32,
    COMPRESSION_NULL = 0,
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_ALPN = 16,
    EXTENSION_ECH = 0xfe0d,
    NAME_TYPE_HOST = 0,
};

static enum tls_hello_status bad(enum reason why, enum reason *reason)
{
    *reason = why;
    return TLS_HELLO_BAD;
}

/*
 * The header of one record. `version` is the first record's, or zero before it. Each byte is judged
 * as it comes, so that a stream that is no TLS does not wait for the fifth.
 */
static enum read_status read_record_header(struct reader *r, uint16_t *version, uint16_t *len)
{
    struct reader probe = *r;
    uint8_t type;
    uint8_t major;
    uint8_t minor;
    enum read_status status = reader_u8(&probe, &type);

    if (status == READ_OK && type != RECORD_HANDSHAKE)
        return READ_BAD;
    if (status == READ_OK)
        status = reader_u8(&probe, &major);
    if (status == READ_OK && major != VERSION_MAJOR)
        return READ_BAD;
    if (status == READ_OK)
        status = reader_u8(&probe, &minor);
    if (status != READ_OK)
        return status;
    uint16_t found = (uint16_t)(VERSION_SSL3 | minor);
    if (found > VERSION_TLS13 || (*version != 0 && found != *version))
        return READ_BAD;
    status = reader_u16(&probe, len);
    if (status != READ_OK)
        return status;
    if (*len == 0 || *len > RECORD_LEN_MAX)
        return READ_BAD;
    *version = found;
    *r = probe;
    return READ_OK;
}

/*
 * Judges what is there of the message's header: `before` is the message so far and `part` what
 * follows it. *message_len (header included) is set once all four bytes are there, else zero.
 */
static enum tls_hello_status judge_message_header(struct span before, struct span part,
                                                  size_t *message_len, enum reason *reason)
{
    uint8_t header[HANDSHAKE_HEADER_LEN];
    size_t len = 0;

    for (size_t i = 0; i < before.len && len < sizeof(header); i++)
        header[len++] = before.data[i];
    for (size_t i = 0; i < part.len && len < sizeof(header); i++)
        header[len++] = part.data[i];

    *message_len = 0;
    if (len > 0 && header[0] != HANDSHAKE_CLIENT_HELLO)
        return bad(REASON_BAD_HELLO, reason);
    if (len < sizeof(header))
        return TLS_HELLO_MORE;
    *message_len = sizeof(header) + ((size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
    return *message_len > TLS_HELLO_LEN_MAX ? bad(REASON_TOO_LARGE, reason) : TLS_HELLO_OK;
}

/* `before` and `part` in one piece: `part` itself where it is all, else in the scratch memory. */
static struct span join(struct span before, struct span part, struct tls_hello_scratch *scratch)
{
    if (span_is_empty(before))
        return part;
    if (before.data != scratch->message)
        memcpy(scratch->message, before.data, before.len);
    memcpy(scratch->message + before.len, part.data, part.len);
    return span_of(scratch->message, before.len + part.len);
}

/* The handshake message that starts the stream, without its header, and where the stream goes on.
 */
static enum tls_hello_status join_message(struct reader *r, struct tls_hello_scratch *scratch,
                                          struct span *body, enum reason *reason)
{
    struct span message = SPAN_NONE;
    size_t message_len = 0;
    uint16_t version = 0;

    while (message_len == 0 || message.len < message_len) {
        uint16_t record_len;
        struct span part;
        enum read_status read = read_record_header(r, &version, &record_len);
        if (read == READ_MORE)
            return TLS_HELLO_MORE;
        if (read != READ_OK)
            return bad(REASON_BAD_HELLO, reason);
        part = r->rest.len < record_len ? r->rest : span_first(r->rest, record_len);
        if (judge_message_header(message, part, &message_len, reason) == TLS_HELLO_BAD)
            return TLS_HELLO_BAD;
        /* Without this, a short message would hide bytes that another reader starts from. */
        if (message_len != 0 && message.len + record_len > message_len)
            return bad(REASON_BAD_HELLO, reason);
        if (reader_bytes(r, record_len, &part) != READ_OK)
            return TLS_HELLO_MORE;
        message = join(message, part, scratch);
    }
    *body = span_from(message, HANDSHAKE_HEADER_LEN);
    return TLS_HELLO_OK;
}

static bool read_server_name(struct reader data, struct tls_hello *hello)
{
    struct reader list;
    struct reader name;
    uint8_t type;

    if (reader_child16(&data, &list) != READ_OK || !reader_at_end(&data))
        return false;
    if (reader_u8(&list, &type) != READ_OK || type != NAME_TYPE_HOST)
        return false;
    if (reader_child16(&list, &name) != READ_OK || !reader_at_end(&list))
        return false;
    hello->has_name = true;
    return hostname_parse(name.rest, &hello->name) == HOSTNAME_OK;
}

static bool read_alpn(struct reader data, struct tls_hello *hello)
{
    struct reader list;
    struct reader protocol;

    if (reader_child16(&data, &list) != READ_OK || !reader_at_end(&data) || reader_at_end(&list))
        return false;
    while (!reader_at_end(&list)) {
        if (reader_child8(&list, &protocol) != READ_OK || reader_at_end(&protocol))
            return false;
        if (hello->alpn_count < TLS_HELLO_ALPN_MAX)
            hello->alpn[hello->alpn_count++] = protocol.rest;
    }
    return true;
}

/* True when `type` was not there before. */
static bool note_type(struct tls_hello_scratch *scratch, uint16_t type)
{
    uint8_t *byte = &scratch->types_seen[type / 8];
    uint8_t bit = (uint8_t)(1 << type % 8);

    if (*byte & bit)
        return false;
    *byte |= bit;
    return true;
}

static bool read_extensions(struct reader list, struct tls_hello_scratch *scratch,
                            struct tls_hello *hello, enum reason *reason)
{
    memset(scratch->types_seen, 0, sizeof(scratch->types_seen));
    while (!reader_at_end(&list)) {
        uint16_t type;
        struct reader data;
        *reason = REASON_BAD_HELLO;
        if (reader_u16(&list, &type) != READ_OK || reader_child16(&list, &data) != READ_OK)
            return false;
        if (type == EXTENSION_SERVER_NAME)
            *reason = REASON_BAD_NAME;
        if (!note_type(scratch, type))
            return false;
        if (type == EXTENSION_SERVER_NAME && !read_server_name(data, hello))
            return false;
        if (type == EXTENSION_ALPN && !read_alpn(data, hello))
            return false;
        if (type == EXTENSION_ECH)
            hello->has_ech = true;
    }
    return true;
}

/* The fields before the extensions; only the version tells us anything. */
static bool read_fixed_part(struct reader *r, struct tls_hello *hello)
{
    struct span random;
    struct reader session_id;
    struct reader suites;
    struct reader compression;

    if (reader_u16(r, &hello->legacy_version) != READ_OK || hello->legacy_version < VERSION_TLS10 ||
        hello->legacy_version > VERSION_TLS13)
        return false;
    if (reader_bytes(r, RANDOM_LEN, &random) != READ_OK)
        return false;
    if (reader_child8(r, &session_id) != READ_OK || session_id.rest.len > SESSION_ID_MAX)
        return false;
    if (reader_child16(r, &suites) != READ_OK || reader_at_end(&suites) || suites.rest.len % 2 != 0)
        return false;
    return reader_child8(r, &compression) == READ_OK &&
           span_find(compression.rest, COMPRESSION_NULL) < compression.rest.len;
}

static bool read_body(struct reader r, struct tls_hello_scratch *scratch, struct tls_hello *hello,
                      enum reason *reason)
{
    struct reader extensions;

    *reason = REASON_BAD_HELLO;
    if (!read_fixed_part(&r, hello))
        return false;
    /* TLS 1.2 and older may end here (RFC 5246 7.4.1.2). */
    if (reader_at_end(&r))
        return true;
    if (reader_child16(&r, &extensions) != READ_OK || !reader_at_end(&r))
        return false;
    return read_extensions(extensions, scratch, hello, reason);
}

enum tls_hello_status tls_hello_read(struct span stream, struct tls_hello_scratch *scratch,
                                     struct tls_hello *out, enum reason *reason)
{
    struct reader r = reader_init(stream);
    struct tls_hello hello = {0};
    struct span body;
    enum reason why;
    enum tls_hello_status status = join_message(&r, scratch, &body, reason);

    if (status != TLS_HELLO_OK)
        return status;
    if (!read_body(reader_init_whole(body), scratch, &hello, &why))
        return bad(why, reason);
    hello.stream_len = stream.len - r.rest.len;
    *out = hello;
    return TLS_HELLO_OK;
}

enum tls_hello_guess tls_hello_guess(struct span stream)
{
    if (stream.len == 0)
        return TLS_HELLO_GUESS_MORE;
    uint8_t type = stream.data[0];
    if (type < RECORD_TYPE_FIRST || type > RECORD_TYPE_LAST)
        return TLS_HELLO_GUESS_NO;
    if (stream.len < 2)
        return TLS_HELLO_GUESS_MORE;
    uint8_t major = stream.data[1];
    bool is_version = type == RECORD_HANDSHAKE || type == RECORD_ALERT
                          ? major <= VERSION_MAJOR_LENIENT_MAX
                          : major == VERSION_MAJOR;
    return is_version ? TLS_HELLO_GUESS_YES : TLS_HELLO_GUESS_NO;
}
