#include "proxy/core/log_text.h"

/* Objects lie in objects once: a rule in a decision. */
enum { DEPTH_MAX = 2 };

enum value_kind { VALUE_STRING, VALUE_OBJECT, VALUE_PLAIN };

struct field {
    struct span key;
    enum value_kind kind;
    struct span value; /* a string without quotes, an object with its braces */
};

static bool take_byte(struct span *rest, char byte)
{
    if (span_is_empty(*rest) || rest->data[0] != (uint8_t)byte)
        return false;
    *rest = span_from(*rest, 1);
    return true;
}

/* What stands between quotes; escapes are skipped as pairs, which \u00XX survives. */
static bool take_string(struct span *rest, struct span *out)
{
    if (!take_byte(rest, '"'))
        return false;
    for (size_t i = 0; i < rest->len; i++) {
        uint8_t c = rest->data[i];
        if (c < 0x20 || c > 0x7e)
            return false;
        if (c == '\\') {
            i++;
            continue;
        }
        if (c != '"')
            continue;
        *out = span_first(*rest, i);
        *rest = span_from(*rest, i + 1);
        return true;
    }
    return false;
}

static bool is_plain(uint8_t c)
{
    return ascii_is_digit(c) || (c >= 'a' && c <= 'z');
}

static bool take_plain(struct span *rest, struct span *out)
{
    size_t len = 0;

    while (len < rest->len && is_plain(rest->data[len]))
        len++;
    *out = span_first(*rest, len);
    *rest = span_from(*rest, len);
    return len > 0;
}

static bool take_object(struct span *rest, unsigned depth, struct span *out);

static bool take_value(struct span *rest, unsigned depth, struct field *out)
{
    if (span_is_empty(*rest))
        return false;
    if (rest->data[0] == '"') {
        out->kind = VALUE_STRING;
        return take_string(rest, &out->value);
    }
    if (rest->data[0] == '{') {
        out->kind = VALUE_OBJECT;
        return take_object(rest, depth + 1, &out->value);
    }
    out->kind = VALUE_PLAIN;
    return take_plain(rest, &out->value);
}

/* The next field of an object; false, and nothing is taken, at its end and on a fault. */
static bool take_field(struct span *rest, unsigned depth, bool is_first, struct field *out)
{
    struct span at = *rest;

    if (!is_first && !take_byte(&at, ','))
        return false;
    if (!take_string(&at, &out->key) || !take_byte(&at, ':') || !take_value(&at, depth, out))
        return false;
    *rest = at;
    return true;
}

static bool take_object(struct span *rest, unsigned depth, struct span *out)
{
    struct span start = *rest;
    struct field field;
    bool is_first = true;

    if (depth > DEPTH_MAX || !take_byte(rest, '{'))
        return false;
    while (take_field(rest, depth, is_first, &field))
        is_first = false;
    if (!take_byte(rest, '}'))
        return false;
    *out = span_first(start, start.len - rest->len);
    return true;
}

bool log_text_is_line(struct span line)
{
    struct span object;

    return take_object(&line, 1, &object) && span_is_empty(line);
}

bool log_text_field(struct span line, const char *key, struct span *value)
{
    struct field field;
    bool is_first = true;

    if (!log_text_is_line(line))
        return false;
    take_byte(&line, '{');
    while (take_field(&line, 1, is_first, &field)) {
        if (span_equal(field.key, span_of_text(key))) {
            *value = field.value;
            return true;
        }
        is_first = false;
    }
    return false;
}

static void put_value(struct text *out, const struct field *field)
{
    bool is_quoted =
        field->kind == VALUE_STRING &&
        (span_is_empty(field->value) || span_find(field->value, ' ') < field->value.len ||
         span_find(field->value, '=') < field->value.len);

    if (is_quoted)
        text_put_char(out, '"');
    text_put_span(out, field->value);
    if (is_quoted)
        text_put_char(out, '"');
}

static void put_fields(struct text *out, const char *prefix, struct span object, unsigned depth)
{
    struct field field;
    bool is_first = true;

    take_byte(&object, '{');
    for (; take_field(&object, depth, is_first, &field); is_first = false) {
        bool is_head = depth == 1 && (span_equal(field.key, SPAN_LITERAL("v")) ||
                                      span_equal(field.key, SPAN_LITERAL("ts")) ||
                                      span_equal(field.key, SPAN_LITERAL("event")));
        if (is_head || (field.kind == VALUE_PLAIN && span_equal(field.value, SPAN_LITERAL("null"))))
            continue;
        if (field.kind == VALUE_OBJECT) {
            char name[32];
            struct text inner = TEXT_OF(name);
            text_put_span(&inner, field.key);
            text_put_char(&inner, '.');
            put_fields(out, name, field.value, depth + 1);
            continue;
        }
        text_put_char(out, ' ');
        text_put(out, prefix);
        text_put_span(out, field.key);
        text_put_char(out, '=');
        put_value(out, &field);
    }
}

bool log_text_print(struct span line, struct text *out)
{
    struct span time;
    struct span event;

    if (!log_text_field(line, "ts", &time) || !log_text_field(line, "event", &event))
        return false;
    text_put_span(out, time);
    text_put_char(out, ' ');
    text_put_span(out, event);
    put_fields(out, "", line, 1);
    return !out->is_cut;
}
