/*
 * HTTP/1 as a careless reader understands it, to compare with what the strict ones say of messages
 * that they accept.
 */
#ifndef TESTS_LIB_HTTP_NAIVE_H
#define TESTS_LIB_HTTP_NAIVE_H

#include "config/span.h"

/* Where `text` first stands in `s`; s.len when it does not. */
size_t http_naive_find(struct span s, const char *text);

/* The length of a whole chunked body, trailer included, that is known to be good. */
size_t http_naive_chunked_len(struct span bytes);

/* The value of a field of one whole head, or an empty span. */
struct span http_naive_field(struct span head, const char *name);

#endif
