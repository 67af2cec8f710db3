/*
 * Names under which anybody may register (publicsuffix.org, ICANN section; libpsl).
 */
#ifndef CONFIG_PUBLIC_SUFFIX_H
#define CONFIG_PUBLIC_SUFFIX_H

#include "config/hostname.h"

/*
 * True for "com", "co.uk" and every single label. The list's private section (github.io, ...) is
 * left out: an operator may well mean all of it.
 */
bool public_suffix_is(const struct hostname *name);

#endif
