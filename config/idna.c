#include "config/idna.h"

#include <idn2.h>

/* Longer than any name that fits into 253 bytes of A-labels, and short enough to convert. */
enum { UTF8_LEN_MAX = 1024 };

static bool is_ascii(struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] >= 0x80)
            return false;
    }
    return true;
}

static bool parse_ascii(struct span bytes, struct hostname *out, const char **why)
{
    enum hostname_status status = hostname_parse(bytes, out);

    if (status != HOSTNAME_OK)
        *why = hostname_status_text(status);
    return status == HOSTNAME_OK;
}

bool idna_parse(struct span utf8, struct hostname *out, const char **why)
{
    char text[UTF8_LEN_MAX + 1];
    uint8_t *ascii = NULL;

    if (is_ascii(utf8))
        return parse_ascii(utf8, out, why);
    if (utf8.len > UTF8_LEN_MAX) {
        *why = hostname_status_text(HOSTNAME_TOO_LONG);
        return false;
    }
    /* The library reads up to a NUL: what stands behind one would be dropped in silence. */
    if (span_find(utf8, 0) < utf8.len) {
        *why = hostname_status_text(HOSTNAME_BAD_BYTE);
        return false;
    }
    memcpy(text, utf8.data, utf8.len);
    text[utf8.len] = '\0';

    int status =
        idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (status != IDN2_OK) {
        *why = idn2_strerror(status);
        return false;
    }
    bool is_name = parse_ascii(span_of_text((const char *)ascii), out, why);
    idn2_free(ascii);
    return is_name;
}
