/*
 * A byte cursor with child windows.
 *
 * Wire formats nest: a length, then so many bytes that hold further lengths. Reading a
 * length-prefixed field yields a child reader that cannot see past the field. When the outer reader
 * runs out, more bytes may follow (READ_MORE); when a child runs out, the message is malformed
 * (READ_BAD), because its length promised otherwise. A failed read consumes nothing.
 */
#ifndef PROXY_CORE_READER_H
#define PROXY_CORE_READER_H

#include "config/span.h"

enum read_status { READ_OK, READ_MORE, READ_BAD };

struct reader {
    struct span rest;
    bool is_child;
};

/* An outer reader over bytes of which more may come. */
static inline struct reader reader_init(struct span bytes)
{
    return (struct reader){bytes, false};
}

/* A reader over bytes that are all there is. */
static inline struct reader reader_init_whole(struct span bytes)
{
    return (struct reader){bytes, true};
}

static inline bool reader_at_end(const struct reader *r)
{
    return r->rest.len == 0;
}

/* Big-endian numbers. */
enum read_status reader_u8(struct reader *r, uint8_t *out);
enum read_status reader_u16(struct reader *r, uint16_t *out);
enum read_status reader_u24(struct reader *r, uint32_t *out);
enum read_status reader_u32(struct reader *r, uint32_t *out);

/* The next `len` bytes. */
enum read_status reader_bytes(struct reader *r, size_t len, struct span *out);

/* A field behind a length of 8, 16 or 24 bits. */
enum read_status reader_child8(struct reader *r, struct reader *child);
enum read_status reader_child16(struct reader *r, struct reader *child);
enum read_status reader_child24(struct reader *r, struct reader *child);

#endif
