/*
 * U-labels to A-labels (IDNA 2008, RFC 5891; libidn2), the only place that does it.
 */
#ifndef CONFIG_IDNA_H
#define CONFIG_IDNA_H

#include "config/hostname.h"

/*
 * The canonical name of a name that a person wrote in UTF-8. ASCII names pass through
 * hostname_parse() unchanged by IDNA, so that underscores stay legal. False with a one-line
 * complaint (static storage) in *why when there is no such name; *out is then untouched.
 */
bool idna_parse(struct span utf8, struct hostname *out, const char **why);

#endif
