/*
 * The words that may stand at a place, and which of them was meant.
 */
#ifndef CONFIG_WORDS_H
#define CONFIG_WORDS_H

#include "config/text.h"

enum { WORDS_MAX = 64 };

struct words {
    struct span word[WORDS_MAX];
    size_t count;
};

/* A word that was the last one added already is left out. */
void words_add(struct words *words, struct span word);

bool words_has(const struct words *words, struct span word);

/* The word that is at most one (short words) or two edits away, ASCII case ignored; else empty. */
struct span words_nearest(const struct words *words, struct span key);

/* `did you mean "x"?`, or `there are: x, y, z`. */
void words_suggest(const struct words *words, struct span key, struct text *out);

#endif
