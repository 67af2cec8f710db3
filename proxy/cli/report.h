/*
 * What commands print of faults, and JSON for machines.
 */
#ifndef PROXY_CLI_REPORT_H
#define PROXY_CLI_REPORT_H

#include <stdio.h>

#include "config/faults.h"

/* A line each, "PREFIXfile:line: message", and how many more there are. */
void report_faults(FILE *out, const char *prefix, const struct faults *faults);

/* One JSON object a line: {"kind":KIND,"file":...,"line":...,"message":...}. */
void report_faults_json(FILE *out, const char *kind, const struct faults *faults);

/* A JSON string, quoted: valid UTF-8 as it is, other bytes as U+FFFD. */
void report_json_text(FILE *out, struct span text);

#endif
