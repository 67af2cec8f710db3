/*
 * The policy of configuration files, for commands: faults go to standard error.
 */
#ifndef PROXY_CLI_POLICY_FILE_H
#define PROXY_CLI_POLICY_FILE_H

#include "config/load.h"

/* False after printing every fault; *policy, which must not be initialised, then owns nothing. */
bool policy_file_load(const struct load_request *request, struct policy *policy);

#endif
