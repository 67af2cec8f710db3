#include "config/lines.h"

bool lines_next(struct span *text, struct span *line)
{
    size_t len = span_find(*text, '\n');

    if (span_is_empty(*text))
        return false;
    *line = span_first(*text, len);
    *text = span_from(*text, len < text->len ? len + 1 : len);
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

struct span lines_word(struct span *line)
{
    size_t start = 0;
    size_t end;
    struct span word;

    while (start < line->len && is_blank(line->data[start]))
        start++;
    end = start;
    while (end < line->len && !is_blank(line->data[end]))
        end++;
    word = span_first(span_from(*line, start), end - start);
    *line = span_from(*line, end);
    return word;
}
