#include "config/hostname.h"

#include <assert.h>

static bool is_name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || ascii_is_digit(c) || c == '-' || c == '_';
}

static bool is_hex_digit(uint8_t c)
{
    return ascii_is_digit(c) || (c >= 'a' && c <= 'f');
}

/*
 * inet_aton and the URL standard take a name for an IPv4 address when its last label is a number:
 * "1.2.3.4", "127.1", "2130706433", "0x7f.1", "1.2.3.0x". No top-level domain is one.
 */
static bool last_label_is_number(const struct hostname *name)
{
    size_t start = name->len;

    while (start > 0 && name->text[start - 1] != '.')
        start--;
    const uint8_t *label = (const uint8_t *)name->text + start;
    size_t len = name->len - start;
    bool is_hex = len >= 2 && label[0] == '0' && label[1] == 'x';

    for (size_t i = is_hex ? 2 : 0; i < len; i++) {
        if (is_hex ? !is_hex_digit(label[i]) : !ascii_is_digit(label[i]))
            return false;
    }
    return true;
}

enum hostname_status hostname_parse(struct span bytes, struct hostname *out)
{
    struct hostname name = {0};
    size_t label_len = 0;

    if (bytes.len > 0 && bytes.data[bytes.len - 1] == '.')
        bytes.len--;
    if (bytes.len == 0)
        return HOSTNAME_EMPTY;
    if (bytes.data[0] == '[' || span_find(bytes, ':') < bytes.len)
        return HOSTNAME_IP_LITERAL;
    if (bytes.len > HOSTNAME_LEN_MAX)
        return HOSTNAME_TOO_LONG;

    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = ascii_lower(bytes.data[i]);
        if (c == '.') {
            if (label_len == 0)
                return HOSTNAME_BAD_LABEL;
            label_len = 0;
        } else {
            if (!is_name_byte(c))
                return HOSTNAME_BAD_BYTE;
            if (++label_len > HOSTNAME_LABEL_MAX)
                return HOSTNAME_TOO_LONG;
        }
        name.text[i] = (char)c;
    }
    if (label_len == 0)
        return HOSTNAME_BAD_LABEL;
    name.len = (uint8_t)bytes.len;
    if (last_label_is_number(&name))
        return HOSTNAME_IP_LITERAL;
    *out = name;
    return HOSTNAME_OK;
}

const char *hostname_status_text(enum hostname_status status)
{
    switch (status) {
    case HOSTNAME_OK:
        return "a valid name";
    case HOSTNAME_EMPTY:
        return "the name is empty";
    case HOSTNAME_TOO_LONG:
        return "the name is over 253 bytes, or a label over 63";
    case HOSTNAME_BAD_LABEL:
        return "the name has an empty label";
    case HOSTNAME_BAD_BYTE:
        return "a name holds only letters, digits, '-', '_' and dots";
    case HOSTNAME_IP_LITERAL:
        return "this is an address, not a name";
    }
    return "not a name";
}

bool hostname_equal(const struct hostname *a, const struct hostname *b)
{
    return span_equal(hostname_span(a), hostname_span(b));
}

bool hostname_is_below(const struct hostname *name, const struct hostname *apex)
{
    if (name->len <= apex->len)
        return false;
    size_t dot = (size_t)name->len - apex->len - 1;

    return name->text[dot] == '.' && memcmp(name->text + dot + 1, apex->text, apex->len) == 0;
}

size_t hostname_next_label(const struct hostname *name, size_t from)
{
    assert(from < name->len);
    size_t dot = from + span_find(span_from(hostname_span(name), from), '.');

    return dot < name->len ? dot + 1 : name->len;
}
