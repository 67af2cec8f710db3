/*
 * The canonical text of a policy: what travels from the loader to the supervisor, from there to
 * the worker, and lies beside a running cage for reading.
 *
 * One statement a line, LF-terminated, in a fixed order, ASCII; the first line is the version:
 *
 *   policy 1
 *   mode allowlist
 *   set proxy.limits.idle_s 600
 *   uid cage 4242
 *   uid proxy 4243
 *   file 0 /etc/claude-cage/config
 *   server 203.0.113.53:53
 *   local 203.0.113.1
 *   host build.example 203.0.113.7
 *   allow name *.example.com:443 @0:7
 *   allow private jira.corp.example:443 @0:8
 *   allow address 10.0.0.0/24:22 @0:9
 *   block name evil.example @0:12
 *   end
 *
 * Every setting is written, so that the text says what is in force; values run to the end of the
 * line. Bytes outside of printable ASCII and '%' are written %XX in paths. A text without "end" is
 * cut off and refused. parse(print(policy)) is the same policy, and print(parse(text)) is the same
 * text when text is what print() writes.
 */
#ifndef CONFIG_POLICY_TEXT_H
#define CONFIG_POLICY_TEXT_H

#include "config/policy.h"

/* The text, from malloc, with its length; NULL when memory ran out. */
char *policy_text_print(const struct policy *policy, size_t *len);

/*
 * Fills *out, which must not be initialised. False with "line N: complaint" in `fault`; *out then
 * owns nothing and must not be used.
 */
bool policy_text_parse(struct span text, struct policy *out, struct text *fault);

#endif
