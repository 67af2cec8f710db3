/*
 * The settings as data: one table drives reading a configuration, `check`, the canonical text, the
 * manual's table and "did you mean".
 */
#ifndef CONFIG_POLICY_OPTION_H
#define CONFIG_POLICY_OPTION_H

#include "config/policy.h"

enum option_kind {
    OPTION_NUMBER, /* uint32_t, min..max */
    OPTION_BOOL,
    OPTION_CHOICE, /* uint32_t, index into choices */
    OPTION_TEXT,   /* char[max], NUL-terminated, printable ASCII */
};

struct option_def {
    const char *path; /* "user", "proxy.limits.idle_s": the keys of the configuration */
    enum option_kind kind;
    size_t offset; /* in struct policy_settings */
    uint32_t min;
    uint32_t max;
    uint32_t initial;           /* number, choice or bool */
    const char *initial_text;   /* OPTION_TEXT */
    const char *const *choices; /* OPTION_CHOICE, NULL-terminated */
    const char *doc;            /* one line */
};

const struct option_def *policy_options(size_t *count);

/* NULL when there is none of that exact path. */
const struct option_def *policy_option_find(struct span path);

/* Set one value; false with a complaint in `fault`, the settings are then unchanged. */
bool policy_option_set_number(struct policy_settings *settings, const struct option_def *option,
                              uint64_t value, struct text *fault);
bool policy_option_set_bool(struct policy_settings *settings, const struct option_def *option,
                            bool value, struct text *fault);
bool policy_option_set_text(struct policy_settings *settings, const struct option_def *option,
                            struct span value, struct text *fault);

/* The value as text, as policy_option_read() reads it: numbers in digits, true/false, the choice.
 */
void policy_option_print(const struct policy_settings *settings, const struct option_def *option,
                         struct text *out);
bool policy_option_read(struct policy_settings *settings, const struct option_def *option,
                        struct span text, struct text *fault);

void policy_settings_init(struct policy_settings *settings);

/* How many single-character edits lie between two words; above `max` any number above it. */
unsigned edit_distance(struct span a, struct span b, unsigned max);

#endif
