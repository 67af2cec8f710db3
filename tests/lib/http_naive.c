#include "tests/lib/http_naive.h"

#include <stdlib.h>

size_t http_naive_find(struct span s, const char *text)
{
    const uint8_t *at = s.len == 0 ? NULL : memmem(s.data, s.len, text, strlen(text));

    return at == NULL ? s.len : (size_t)(at - s.data);
}

size_t http_naive_chunked_len(struct span bytes)
{
    size_t at = 0;
    size_t size;

    do {
        char digits[17] = {0};
        memcpy(digits, bytes.data + at, bytes.len - at < 16 ? bytes.len - at : 16);
        size = strtoul(digits, NULL, 16);
        at += http_naive_find(span_from(bytes, at), "\n") + 1;
        if (size > 0)
            at += size + 2;
    } while (size > 0);
    /* From the last size's own line end: an empty line may follow it directly. */
    return at - 2 + http_naive_find(span_from(bytes, at - 2), "\r\n\r\n") + 4;
}

struct span http_naive_field(struct span head, const char *name)
{
    struct span sought = span_of_text(name);

    for (size_t at = 0; at < head.len; at += http_naive_find(span_from(head, at), "\r\n") + 2) {
        struct span rest = span_from(head, at);
        struct span line = span_first(rest, http_naive_find(rest, "\r\n"));
        if (line.len > sought.len && line.data[sought.len] == ':' &&
            span_equal_nocase(span_first(line, sought.len), sought))
            return span_from(line, sought.len + 1);
    }
    return (struct span){NULL, 0};
}
