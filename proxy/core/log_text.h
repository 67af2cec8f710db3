/*
 * Reading log lines (proxy/core/log_line.h) back: for a person's terminal, and for who counts them.
 *
 * A line is JSON as log_line writes it: one object of strings, numbers, literals and objects, all
 * printable ASCII. Whatever else comes, from a worker that somebody took over, is refused.
 */
#ifndef PROXY_CORE_LOG_TEXT_H
#define PROXY_CORE_LOG_TEXT_H

#include "config/text.h"

/* The whole span is one line of the form above, without its line feed. */
bool log_text_is_line(struct span line);

/*
 * The line for a person, appended to `out`: "TIME EVENT key=value ...", null left out, objects
 * as key.key=value, values with spaces quoted. False when it is no line; `out` is then void.
 */
bool log_text_print(struct span line, struct text *out);

/*
 * The value of a field of the outer object as it stands there, a string without its quotes and
 * with its escapes. False when the line has none, or is no line.
 */
bool log_text_field(struct span line, const char *key, struct span *value);

#endif
