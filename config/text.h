/*
 * Bounded text building without allocation and without a locale.
 *
 * A full buffer stops taking bytes and says so in `is_cut`; what stands in it stays NUL-terminated.
 */
#ifndef CONFIG_TEXT_H
#define CONFIG_TEXT_H

#include "config/span.h"

struct text {
    char *data;
    size_t cap; /* at least 1 */
    size_t len;
    bool is_cut;
};

#define TEXT_OF(array) text_init(array, sizeof(array))

struct text text_init(char *data, size_t cap);
void text_put(struct text *t, const char *literal);
void text_put_span(struct text *t, struct span bytes);
void text_put_char(struct text *t, char c);
void text_put_number(struct text *t, uint64_t value);

/*
 * Bytes that a person or a program may have chosen: printable ASCII as it is, '"' and '\' behind a
 * backslash, the rest as \xNN. At most `max` bytes are taken, then "..." marks the cut.
 */
void text_put_escaped(struct text *t, struct span bytes, size_t max);

static inline struct span text_span(const struct text *t)
{
    return span_of(t->data, t->len);
}

#endif
