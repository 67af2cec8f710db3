/*
 * Any bytes as a connection's beginning. What is answered before they are all there stays the
 * answer, with more bytes and at the end; and what names the protocol names what its reader reads.
 */
#include <stdlib.h>

#include "proxy/core/sniff.h"

enum { CUTS_DENSE = 32 };

static void check(bool is_so)
{
    if (!is_so)
        abort();
}

/* What sniff_read() makes of a stream is what the readers behind it make of it. */
static void check_read(struct span bytes, bool is_end, enum sniff_protocol guess)
{
    static struct tls_hello_scratch scratch;
    struct tls_hello hello;
    struct sniff sniff;

    sniff_read(bytes, is_end, &scratch, &hello, &sniff);
    check(sniff.protocol == guess || (sniff.protocol == SNIFF_NEED_MORE && !is_end));
    check(sniff.used <= bytes.len && (sniff.used == 0 || sniff.protocol == guess));
    if (sniff.has_name) {
        struct hostname again;
        check(sniff.used > 0 && (guess == SNIFF_TLS || guess == SNIFF_HTTP));
        check(hostname_parse(hostname_span(&sniff.name), &again) == HOSTNAME_OK);
        check(hostname_equal(&again, &sniff.name));
    }
    if (is_end && sniff.protocol == guess && (guess == SNIFF_TLS || guess == SNIFF_HTTP))
        check((sniff.used > 0) ==
              (sniff.reason == REASON_ALLOWED || sniff.reason == REASON_H2C_REFUSED));
    if (guess == SNIFF_TUNNEL || guess == SNIFF_H2C)
        check(sniff.reason != REASON_ALLOWED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span bytes = span_of(data, size);
    enum sniff_protocol answer = SNIFF_NEED_MORE;

    /* Every cut where marks end, then fewer. */
    for (size_t len = 0; len <= size; len += len < CUTS_DENSE ? 1 : 1 + size / CUTS_DENSE) {
        enum sniff_protocol guess = sniff_guess(span_first(bytes, len), false);
        check(answer == SNIFF_NEED_MORE || guess == answer);
        answer = guess;
        enum sniff_protocol at_end = sniff_guess(span_first(bytes, len), true);
        check(at_end != SNIFF_NEED_MORE);
        check(answer == SNIFF_NEED_MORE || at_end == answer);
    }
    enum sniff_protocol whole = sniff_guess(bytes, false);
    check(answer == SNIFF_NEED_MORE || whole == answer);
    check_read(bytes, false, whole);
    check_read(bytes, true, sniff_guess(bytes, true));
    return 0;
}
