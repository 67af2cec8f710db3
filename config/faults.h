/*
 * What is wrong with a configuration: every fault with its place, so that all can be said at once.
 *
 * The list is bounded: past FAULTS_MAX faults, or without memory, a fault is counted and its words
 * are dropped. A fault is never lost: faults_any() is true from the first one on.
 */
#ifndef CONFIG_FAULTS_H
#define CONFIG_FAULTS_H

#include "config/text.h"

enum {
    FAULTS_MAX = 100,
    FAULT_MESSAGE_MAX = 1000, /* bytes of one message, NUL included; longer ones are cut */
};

struct fault {
    char *file;    /* NULL: not in a file */
    uint32_t line; /* 0: the file as a whole */
    char *message; /* printable, one line */
};

struct faults {
    struct fault list[FAULTS_MAX];
    size_t count;
    size_t dropped;
};

void faults_init(struct faults *faults);
void faults_fini(struct faults *faults);

/* Copies what it is given; `file` may be NULL. Bytes that are not printable ASCII become '?'. */
void faults_add(struct faults *faults, const char *file, uint32_t line, struct span message);

/* Puts the faults from `first` on in the order of their lines, each line's own order kept. */
void faults_sort(struct faults *faults, size_t first);

bool faults_any(const struct faults *faults);

/* "file:line: message", without a line break. */
void fault_print(const struct fault *fault, struct text *out);

#endif
