#include "config/span.h"

bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool span_equal_nocase(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i]))
            return false;
    }
    return true;
}

size_t span_find(struct span s, uint8_t byte)
{
    const uint8_t *at = s.len == 0 ? NULL : memchr(s.data, byte, s.len);

    return at == NULL ? s.len : (size_t)(at - s.data);
}

bool span_parse_number(struct span s, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0 || (s.len > 1 && s.data[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.data[i]))
            return false;
        uint64_t digit = (uint64_t)(s.data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value < min || value > max)
        return false;
    *out = value;
    return true;
}
