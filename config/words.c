#include "config/words.h"

#include <assert.h>
#include <limits.h>

#include "config/policy_option.h"

void words_add(struct words *words, struct span word)
{
    if (words->count > 0 && span_equal(words->word[words->count - 1], word))
        return;
    assert(words->count < WORDS_MAX);
    words->word[words->count++] = word;
}

bool words_has(const struct words *words, struct span word)
{
    for (size_t i = 0; i < words->count; i++) {
        if (span_equal(words->word[i], word))
            return true;
    }
    return false;
}

struct span words_nearest(const struct words *words, struct span key)
{
    struct span nearest = SPAN_NONE;
    unsigned least = UINT_MAX;

    for (size_t i = 0; i < words->count; i++) {
        unsigned most = words->word[i].len < 5 ? 1 : 2;
        unsigned distance = edit_distance(words->word[i], key, most);
        if (distance <= most && distance < least) {
            least = distance;
            nearest = words->word[i];
        }
    }
    return nearest;
}

void words_suggest(const struct words *words, struct span key, struct text *out)
{
    struct span nearest = words_nearest(words, key);

    if (nearest.len > 0) {
        text_put(out, "did you mean \"");
        text_put_span(out, nearest);
        text_put(out, "\"?");
        return;
    }
    text_put(out, "there are: ");
    for (size_t i = 0; i < words->count; i++) {
        text_put(out, i > 0 ? ", " : "");
        text_put_span(out, words->word[i]);
    }
}
