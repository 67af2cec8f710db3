/*
 * The field section of an HTTP/1 head (RFC 9112 5): what of it bears on who is spoken to and on
 * where the message ends. Shared by requests and replies.
 */
#ifndef PROXY_CORE_HTTP_FIELDS_H
#define PROXY_CORE_HTTP_FIELDS_H

#include "config/reason.h"
#include "config/span.h"
#include "proxy/core/reader.h"

enum { HTTP_FIELDS_MAX = 256 };

struct http_fields {
    bool has_host;
    struct span host; /* as written, trimmed; borrowed */

    bool has_length;
    uint64_t length;
    bool is_chunked; /* Transfer-Encoding is "chunked", and there is no Content-Length */

    bool connection_close;
    bool connection_keep_alive;
    bool connection_upgrade;

    bool has_upgrade;
    bool upgrade_is_h2c; /* HTTP/2 in any spelling, or an HTTP2-Settings field */
    bool accepts_json;
    bool expects_continue;
};

/*
 * Reads field lines up to and with the empty line; *rest moves behind it. *out, *rest are written
 * only on READ_OK, *reason only on READ_BAD:
 *
 * REASON_TOO_LARGE    more than HTTP_FIELDS_MAX lines;
 * REASON_BAD_REQUEST  a malformed line; a second Host, Content-Length or Transfer-Encoding; both of
 *                     the latter; a length that is not a plain decimal number below 2^63; a coding
 *                     other than "chunked"; a Connection field that names one of the three, which
 *                     would make the next hop drop it; one of the fields read here spelt with '_'
 *                     for '-', which some servers take for the same.
 */
enum read_status http_fields_read(struct span *rest, struct http_fields *out, enum reason *reason);

/*
 * Host, Content-Length or Transfer-Encoding, in any case and with '_' for '-': a field that may not
 * stand in a trailer section (RFC 9110 6.5.1) nor be named by Connection.
 */
bool http_field_is_framing(struct span name);

#endif
