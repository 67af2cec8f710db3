#include "firewall/xt_image.h"

#include <assert.h>
#include <stdlib.h>

#include "firewall/xt_compare.h"

struct xt_name xt_name_of(const char *text)
{
    struct xt_name name = {0};
    size_t len = strlen(text);

    assert(len < sizeof(name.text));
    memcpy(name.text, text, len);
    return name;
}

void xt_image_free(struct xt_image *image)
{
    free(image->entries);
    free(image->bytes);
    *image = (struct xt_image){0};
}

/* The entries' array doubles; its capacity is the next power of two of its count. */
static bool grow_entries(struct xt_image *image)
{
    size_t count = image->count;

    if (count > 0 && (count & (count - 1)) != 0)
        return true;
    struct xt_image_entry *entries =
        reallocarray(image->entries, count == 0 ? 1 : count * 2, sizeof(*entries));
    if (entries == NULL)
        return false;
    image->entries = entries;
    return true;
}

static bool grow_bytes(struct xt_image *image, size_t need)
{
    if (image->bytes_cap - image->bytes_len >= need)
        return true;
    size_t cap = (image->bytes_cap + need) * 2;
    uint8_t *bytes = realloc(image->bytes, cap);
    if (bytes == NULL)
        return false;
    image->bytes = bytes;
    image->bytes_cap = cap;
    return true;
}

uint8_t *xt_image_add(struct xt_image *image, const struct xt_image_entry *entry, struct span bytes)
{
    if (!grow_entries(image) || !grow_bytes(image, bytes.len))
        return NULL;
    struct xt_image_entry *added = &image->entries[image->count++];
    *added = *entry;
    added->offset = image->bytes_len;
    added->len = bytes.len;
    uint8_t *copy = image->bytes + image->bytes_len;
    memcpy(copy, bytes.data, bytes.len);
    image->bytes_len += bytes.len;
    return copy;
}

bool xt_image_of_rules(const struct ruleset *ruleset, enum ruleset_family family,
                       enum ruleset_table table, struct xt_image *out)
{
    unsigned place = 0;

    assert(ruleset->count <= ruleset->cap);
    for (size_t i = 0; i < ruleset->count; i++) {
        const struct ruleset_rule *r = &ruleset->rules[i];
        char chain[RULESET_CHAIN_TEXT_MAX];
        struct xt_entry_bytes bytes;
        if (r->family != family || r->table != table)
            continue;
        ruleset_chain_text(ruleset->cage.uid, r->chain, chain);
        xt_encode(ruleset, r, &bytes);
        struct xt_image_entry entry = {
            .chain = xt_name_of(chain),
            .is_jump = r->chain == RULESET_OUTPUT || r->chain == RULESET_POSTROUTING,
        };
        if (entry.is_jump)
            entry.place = place++;
        if (xt_image_add(out, &entry, span_of(bytes.bytes, bytes.len)) == NULL) {
            xt_image_free(out);
            return false;
        }
    }
    return true;
}

bool xt_image_is_in_force(enum ruleset_family family, const struct xt_image *wanted,
                          const struct xt_image *kernels)
{
    if (wanted->count != kernels->count || kernels->is_disturbed)
        return false;
    for (size_t i = 0; i < wanted->count; i++) {
        const struct xt_image_entry *a = &wanted->entries[i];
        const struct xt_image_entry *b = &kernels->entries[i];
        if (strcmp(a->chain.text, b->chain.text) != 0 ||
            !xt_entry_equal(family, xt_image_bytes(wanted, i), xt_image_bytes(kernels, i)))
            return false;
    }
    return true;
}

bool xt_image_has_chain(const struct xt_image *image, const char *chain)
{
    for (size_t i = 0; i < image->count; i++) {
        if (strcmp(image->entries[i].chain.text, chain) == 0)
            return true;
    }
    return false;
}
