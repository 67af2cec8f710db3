#include "proxy/core/http_text.h"

static bool is_token_byte(uint8_t c)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    uint8_t lower = ascii_lower(c);

    return ascii_is_digit(c) || (lower >= 'a' && lower <= 'z') ||
           memchr(marks, c, sizeof(marks) - 1) != NULL;
}

static bool is_control(uint8_t c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool http_is_token(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_token_byte(s.data[i]))
            return false;
    }
    return s.len > 0;
}

struct span http_trim(struct span s)
{
    while (s.len > 0 && is_blank(s.data[0]))
        s = span_from(s, 1);
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

enum read_status http_line_next(struct span *rest, struct span *line)
{
    for (size_t i = 0; i < rest->len; i++) {
        if (!is_control(rest->data[i]))
            continue;
        if (rest->data[i] != '\r')
            return READ_BAD;
        if (i + 1 == rest->len)
            return READ_MORE;
        if (rest->data[i + 1] != '\n')
            return READ_BAD;
        *line = span_first(*rest, i);
        *rest = span_from(*rest, i + 2);
        return READ_OK;
    }
    return READ_MORE;
}

bool http_field_split(struct span line, struct span *name, struct span *value)
{
    size_t colon = span_find(line, ':');

    if (colon == line.len || !http_is_token(span_first(line, colon)))
        return false;
    *name = span_first(line, colon);
    *value = http_trim(span_from(line, colon + 1));
    return true;
}

bool http_list_next(struct span *rest, struct span *item)
{
    while (rest->len > 0) {
        size_t comma = span_find(*rest, ',');
        *item = http_trim(span_first(*rest, comma));
        *rest = span_from(*rest, comma < rest->len ? comma + 1 : comma);
        if (item->len > 0)
            return true;
    }
    return false;
}

/* The byte at `i` ends a head or spoils it; all before it has passed. */
static bool decides(struct span bytes, size_t i)
{
    uint8_t c = bytes.data[i];
    bool after_cr = i > 0 && bytes.data[i - 1] == '\r';

    if (c == '\n')
        return !after_cr || i == 1 || bytes.data[i - 2] == '\n';
    return after_cr || (is_control(c) && c != '\r');
}

bool http_head_is_decided(struct span bytes, size_t *scanned)
{
    for (; *scanned < bytes.len; (*scanned)++) {
        if (decides(bytes, *scanned))
            return true;
    }
    return false;
}
