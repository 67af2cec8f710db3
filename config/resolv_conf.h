/*
 * The resolvers that /etc/resolv.conf names (resolv.conf(5)), bytes to values.
 *
 * Only `nameserver` lines matter to a proxy: search lists and ndots are for stub resolvers, which
 * read the file themselves. As in the C library a keyword stands at the start of its line, and a
 * line that is not understood is skipped; so are addresses with a zone, which no kernel rule names.
 */
#ifndef CONFIG_RESOLV_CONF_H
#define CONFIG_RESOLV_CONF_H

#include "config/netaddr.h"

/* The servers in their order, without repetition, at most `max`; returns how many. */
size_t resolv_conf_parse(struct span text, struct netaddr *servers, size_t max);

#endif
