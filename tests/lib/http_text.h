/*
 * What the tests of the HTTP/1 readers say about a head, as text that a table row can hold.
 */
#ifndef TESTS_LIB_HTTP_TEXT_H
#define TESTS_LIB_HTTP_TEXT_H

#include "proxy/core/http_head.h"

enum { HTTP_TEXT_MAX = 512 };

/* "a.example:8080", "1.2.3.4", "[::1]:80", "-" for none. */
void http_text_host(const struct http_host *host, char out[HTTP_TEXT_MAX]);

/*
 * The host, then what is not as in "GET / HTTP/1.1": 1.0, absolute, connect, asterisk, head,
 * length=N, chunked, upgrade, h2c, json, expect, close (1.1) or keep (1.0).
 */
void http_text_head(const struct http_head *head, char out[HTTP_TEXT_MAX]);

#endif
