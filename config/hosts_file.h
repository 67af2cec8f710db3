/*
 * The names that /etc/hosts gives to addresses (hosts(5)), bytes to values.
 */
#ifndef CONFIG_HOSTS_FILE_H
#define CONFIG_HOSTS_FILE_H

#include "config/policy.h"

enum { HOSTS_FILE_MAX = 10000 };

/*
 * Adds a host line for each name of each line, at most HOSTS_FILE_MAX; what is not an address or
 * not a name is skipped. False when memory ran out.
 */
bool hosts_file_parse(struct span text, struct policy *policy);

#endif
