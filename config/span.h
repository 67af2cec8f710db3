/*
 * Borrowed bytes: a pointer and a length.
 *
 * A span owns nothing and is valid only as long as what it points into. Its bytes are arbitrary:
 * they may hold NUL and need not be text. An empty span may have a NULL pointer.
 */
#ifndef CONFIG_SPAN_H
#define CONFIG_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *data;
    size_t len;
};

#define SPAN_LITERAL(text) ((struct span){(const uint8_t *)(text), sizeof(text) - 1})
#define SPAN_NONE          ((struct span){NULL, 0})

static inline struct span span_of(const void *data, size_t len)
{
    return (struct span){(const uint8_t *)data, len};
}

static inline struct span span_of_text(const char *text)
{
    return span_of(text, strlen(text));
}

static inline bool span_is_empty(struct span s)
{
    return s.len == 0;
}

/* The bytes from `from` (at most s.len) to the end. */
static inline struct span span_from(struct span s, size_t from)
{
    return s.len == 0 ? s : span_of(s.data + from, s.len - from);
}

/* The first `len` (at most s.len) bytes. */
static inline struct span span_first(struct span s, size_t len)
{
    return span_of(s.data, len);
}

/* The same bytes. */
bool span_equal(struct span a, struct span b);

/* The same bytes when A-Z and a-z count as one; no other byte is folded, whatever the locale. */
bool span_equal_nocase(struct span a, struct span b);

/* Index of the first `byte`, or s.len when it does not occur. */
size_t span_find(struct span s, uint8_t byte);

/* ASCII classification and folding that no locale changes. */
static inline bool ascii_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static inline uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/*
 * A decimal number that is the whole span: digits only, no sign, no space, no leading zero but in
 * "0" itself. True and *out set when it lies in min..max, else false and *out untouched.
 */
bool span_parse_number(struct span s, uint64_t min, uint64_t max, uint64_t *out);

#endif
