#include "config/text.h"

#include <assert.h>

struct text text_init(char *data, size_t cap)
{
    assert(cap > 0);
    data[0] = '\0';
    return (struct text){data, cap, 0, false};
}

void text_put_span(struct text *t, struct span bytes)
{
    size_t room = t->cap - 1 - t->len;
    size_t take = bytes.len < room ? bytes.len : room;

    if (take < bytes.len)
        t->is_cut = true;
    if (take > 0)
        memcpy(t->data + t->len, bytes.data, take);
    t->len += take;
    t->data[t->len] = '\0';
}

void text_put(struct text *t, const char *literal)
{
    text_put_span(t, span_of_text(literal));
}

void text_put_char(struct text *t, char c)
{
    text_put_span(t, span_of(&c, 1));
}

void text_put_number(struct text *t, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    text_put_span(t, span_of(digits + at, sizeof(digits) - at));
}

void text_put_escaped(struct text *t, struct span bytes, size_t max)
{
    size_t take = bytes.len < max ? bytes.len : max;

    for (size_t i = 0; i < take; i++) {
        uint8_t c = bytes.data[i];
        if (c == '"' || c == '\\') {
            text_put_char(t, '\\');
            text_put_char(t, (char)c);
        } else if (c >= 0x20 && c < 0x7f) {
            text_put_char(t, (char)c);
        } else {
            text_put(t, "\\x");
            text_put_char(t, "0123456789abcdef"[c >> 4]);
            text_put_char(t, "0123456789abcdef"[c & 15]);
        }
    }
    if (take < bytes.len)
        text_put(t, "...");
}
