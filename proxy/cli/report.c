#include "proxy/cli/report.h"

void report_faults(FILE *out, const char *prefix, const struct faults *faults)
{
    char bytes[8192];

    for (size_t i = 0; i < faults->count; i++) {
        struct text text = TEXT_OF(bytes);
        fault_print(&faults->list[i], &text);
        fprintf(out, "%s%s\n", prefix, bytes);
    }
    if (faults->dropped > 0)
        fprintf(out, "%sand %zu more\n", prefix, faults->dropped);
}

void report_faults_json(FILE *out, const char *kind, const struct faults *faults)
{
    for (size_t i = 0; i < faults->count; i++) {
        const struct fault *fault = &faults->list[i];
        fprintf(out, "{\"kind\":\"%s\",\"file\":", kind);
        if (fault->file == NULL)
            fputs("null", out);
        else
            report_json_text(out, span_of_text(fault->file));
        if (fault->line == 0)
            fputs(",\"line\":null", out);
        else
            fprintf(out, ",\"line\":%u", fault->line);
        fputs(",\"message\":", out);
        report_json_text(out, span_of_text(fault->message));
        fputs("}\n", out);
    }
    if (faults->dropped > 0)
        fprintf(out, "{\"kind\":\"%s\",\"file\":null,\"line\":null,\"message\":\"and %zu more\"}\n",
                kind, faults->dropped);
}

/* Length of the UTF-8 sequence (RFC 3629) that starts here; 0 when none does. */
static size_t utf8_len(struct span text)
{
    uint8_t first = text.data[0];
    size_t len = first < 0x80   ? 1
                 : first < 0xc2 ? 0
                 : first < 0xe0 ? 2
                 : first < 0xf0 ? 3
                 : first < 0xf5 ? 4
                                : 0;

    if (len > text.len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((text.data[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Overlong forms, surrogates and what lies beyond U+10FFFF. */
    if ((first == 0xe0 && text.data[1] < 0xa0) || (first == 0xed && text.data[1] > 0x9f) ||
        (first == 0xf0 && text.data[1] < 0x90) || (first == 0xf4 && text.data[1] > 0x8f))
        return 0;
    return len;
}

void report_json_text(FILE *out, struct span text)
{
    fputc('"', out);
    while (text.len > 0) {
        uint8_t c = text.data[0];
        size_t len = utf8_len(text);
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\u%04x", c);
        else if (len == 0)
            fputs("\\ufffd", out);
        else
            fwrite(text.data, 1, len, out);
        text = span_from(text, len == 0 ? 1 : len);
    }
    fputc('"', out);
}
