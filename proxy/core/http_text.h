/*
 * The lexical layer of HTTP/1 (RFC 9112 2.2 and 5, RFC 9110 5.6), strict: what two readers could
 * take for two things is refused. Shared by requests, replies and chunked bodies.
 */
#ifndef PROXY_CORE_HTTP_TEXT_H
#define PROXY_CORE_HTTP_TEXT_H

#include "config/span.h"
#include "proxy/core/reader.h"

/* One or more token bytes (RFC 9110 5.6.2). */
bool http_is_token(struct span s);

/* Without the spaces and tabs at either end. */
struct span http_trim(struct span s);

/*
 * The next line, without its CRLF; *rest moves behind it. READ_BAD as soon as the line holds a CR
 * or LF that is not part of a CRLF, a NUL, or another control byte than a tab. *rest and *line are
 * untouched unless READ_OK.
 */
enum read_status http_line_next(struct span *rest, struct span *line);

/*
 * "name: value" of a line. False, and nothing written, when the name is not a token directly in
 * front of the colon; a folded line (RFC 9112 5.2) is refused with that, for it begins with a
 * space.
 */
bool http_field_split(struct span line, struct span *name, struct span *value);

/*
 * The next member of a comma-separated list, trimmed, empty members skipped; false at the end.
 * Commas inside quotes separate too: no list that matters here may hold any.
 */
bool http_list_next(struct span *rest, struct span *item);

/*
 * Whether reading a head from `bytes` can have another outcome than READ_MORE for its lines: they
 * hold an empty line or a byte that is certainly bad. *scanned (0 for a new head) remembers how far
 * was looked, so that a head which comes one byte at a time is not read again for every byte.
 */
bool http_head_is_decided(struct span bytes, size_t *scanned);

#endif
