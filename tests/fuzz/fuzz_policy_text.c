/* A text that is read prints to a text that reads back and prints the same. */
#include <stdlib.h>

#include "config/policy_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *print_of(struct span text, size_t *len)
{
    char fault_data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(fault_data);
    struct policy policy;

    if (!policy_text_parse(text, &policy, &fault)) {
        if (fault.len == 0)
            abort();
        return NULL;
    }
    char *print = policy_text_print(&policy, len);
    policy_fini(&policy);
    if (print == NULL)
        abort();
    return print;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t once_len = 0;
    size_t twice_len = 0;
    char *once = print_of(span_of(data, size), &once_len);

    if (once == NULL)
        return 0;
    char *twice = print_of(span_of(once, once_len), &twice_len);
    if (twice == NULL || once_len != twice_len || memcmp(once, twice, once_len) != 0)
        abort();
    free(once);
    free(twice);
    return 0;
}
