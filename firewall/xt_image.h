/*
 * The part of one kernel table that belongs to a cage: its chains and the jumps that lead into
 * them, as entries. Made from a ruleset or read from a kernel, and compared with each other.
 */
#ifndef FIREWALL_XT_IMAGE_H
#define FIREWALL_XT_IMAGE_H

#include "firewall/xt_encode.h"

enum { XT_NAME_MAX = 32 };

/* Zero-padded, as libiptc wants chain names. */
struct xt_name {
    char text[XT_NAME_MAX];
};

struct xt_image_entry {
    struct xt_name chain;
    bool is_jump; /* in a chain of the kernel's, at `place` counted from 0 */
    unsigned place;
    size_t offset; /* of its bytes */
    size_t len;
};

struct xt_image {
    struct xt_image_entry *entries; /* chain by chain */
    size_t count;
    uint8_t *bytes;
    size_t bytes_len;
    size_t bytes_cap;
    /* Read from a kernel: somebody's rule stands before a jump of ours, or a chain of ours is
     * empty. */
    bool is_disturbed;
};

/* All zero is an image without entries. */
void xt_image_free(struct xt_image *image);

/*
 * Copies entry and bytes to the end and returns where the bytes lie, until the next addition;
 * offset and len are set here. NULL when memory ran out.
 */
uint8_t *xt_image_add(struct xt_image *image, const struct xt_image_entry *entry,
                      struct span bytes);

/* What one table should hold; *out must be all zero. False when memory ran out. */
bool xt_image_of_rules(const struct ruleset *ruleset, enum ruleset_family family,
                       enum ruleset_table table, struct xt_image *out);

/*
 * The kernel's image is what it should be: the same entries in the same order, each jump of ours
 * before everybody's rules but other cages'.
 */
bool xt_image_is_in_force(enum ruleset_family family, const struct xt_image *wanted,
                          const struct xt_image *kernels);

/* Some entry stands in this chain. */
bool xt_image_has_chain(const struct xt_image *image, const char *chain);

struct xt_name xt_name_of(const char *text);

static inline struct span xt_image_bytes(const struct xt_image *image, size_t index)
{
    return span_of(image->bytes + image->entries[index].offset, image->entries[index].len);
}

#endif
