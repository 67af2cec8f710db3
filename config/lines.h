/*
 * Lines and words of the system's configuration files.
 */
#ifndef CONFIG_LINES_H
#define CONFIG_LINES_H

#include "config/span.h"

/* Cuts the next line, without its line feed, off *text; false at the end. */
bool lines_next(struct span *text, struct span *line);

/* Cuts the next word (no space, tab or carriage return) off *line; empty at its end. */
struct span lines_word(struct span *line);

#endif
