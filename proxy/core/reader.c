#include "proxy/core/reader.h"

static enum read_status short_of(const struct reader *r)
{
    return r->is_child ? READ_BAD : READ_MORE;
}

enum read_status reader_bytes(struct reader *r, size_t len, struct span *out)
{
    if (r->rest.len < len)
        return short_of(r);
    *out = span_first(r->rest, len);
    r->rest = span_from(r->rest, len);
    return READ_OK;
}

/* A big-endian number of `width` (at most 4) bytes. */
static enum read_status read_number(struct reader *r, size_t width, uint32_t *out)
{
    struct span bytes;
    enum read_status status = reader_bytes(r, width, &bytes);

    if (status != READ_OK)
        return status;
    *out = 0;
    for (size_t i = 0; i < width; i++)
        *out = *out << 8 | bytes.data[i];
    return READ_OK;
}

enum read_status reader_u8(struct reader *r, uint8_t *out)
{
    uint32_t value;
    enum read_status status = read_number(r, 1, &value);

    if (status == READ_OK)
        *out = (uint8_t)value;
    return status;
}

enum read_status reader_u16(struct reader *r, uint16_t *out)
{
    uint32_t value;
    enum read_status status = read_number(r, 2, &value);

    if (status == READ_OK)
        *out = (uint16_t)value;
    return status;
}

enum read_status reader_u24(struct reader *r, uint32_t *out)
{
    return read_number(r, 3, out);
}

enum read_status reader_u32(struct reader *r, uint32_t *out)
{
    return read_number(r, 4, out);
}

static enum read_status read_child(struct reader *r, size_t width, struct reader *child)
{
    struct reader probe = *r;
    uint32_t len;
    struct span bytes;
    enum read_status status = read_number(&probe, width, &len);

    if (status == READ_OK)
        status = reader_bytes(&probe, len, &bytes);
    if (status != READ_OK)
        return status;
    *r = probe;
    *child = reader_init_whole(bytes);
    return READ_OK;
}

enum read_status reader_child8(struct reader *r, struct reader *child)
{
    return read_child(r, 1, child);
}

enum read_status reader_child16(struct reader *r, struct reader *child)
{
    return read_child(r, 2, child);
}

enum read_status reader_child24(struct reader *r, struct reader *child)
{
    return read_child(r, 3, child);
}
