#include "tests/lib/tls_records.h"

size_t tls_unframe(struct span stream, uint8_t *out)
{
    size_t len = 0;

    while (stream.len >= TLS_RECORD_HEADER_LEN) {
        size_t record_len = (size_t)stream.data[3] << 8 | stream.data[4];
        if (stream.len - TLS_RECORD_HEADER_LEN < record_len)
            break;
        memcpy(out + len, stream.data + TLS_RECORD_HEADER_LEN, record_len);
        len += record_len;
        stream = span_from(stream, TLS_RECORD_HEADER_LEN + record_len);
    }
    return len;
}

size_t tls_frame(struct span message, size_t first, size_t rest, uint8_t *out)
{
    size_t len = 0;
    size_t record_len = first;

    while (message.len > 0) {
        if (record_len > message.len)
            record_len = message.len;
        const uint8_t header[TLS_RECORD_HEADER_LEN] = {22, 3, 1, (uint8_t)(record_len >> 8),
                                                       (uint8_t)record_len};
        memcpy(out + len, header, sizeof(header));
        memcpy(out + len + sizeof(header), message.data, record_len);
        len += sizeof(header) + record_len;
        message = span_from(message, record_len);
        record_len = rest;
    }
    return len;
}

bool tls_hello_equal(const struct tls_hello *a, const struct tls_hello *b)
{
    if (a->has_name != b->has_name || a->has_ech != b->has_ech ||
        a->legacy_version != b->legacy_version || a->alpn_count != b->alpn_count)
        return false;
    if (a->has_name && !hostname_equal(&a->name, &b->name))
        return false;
    for (size_t i = 0; i < a->alpn_count; i++) {
        if (!span_equal(a->alpn[i], b->alpn[i]))
            return false;
    }
    return true;
}
