/* What is read, prints to a form that reads back to the same: print(parse(print(parse(x)))). */
#include <stdlib.h>

#include "config/rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct span entry, enum rule_section section)
{
    char once_data[RULE_TEXT_MAX];
    char twice_data[RULE_TEXT_MAX];
    char fault_data[RULE_TEXT_MAX];
    struct text once = TEXT_OF(once_data);
    struct text twice = TEXT_OF(twice_data);
    struct text fault = TEXT_OF(fault_data);
    struct rule rule;
    struct rule again;

    if (!rule_parse(entry, section, &rule, &fault)) {
        if (fault.len == 0)
            abort();
        return;
    }
    rule_print(&rule, &once);
    if (once.is_cut || !rule_parse(text_span(&once), section, &again, &fault))
        abort();
    rule_print(&again, &twice);
    if (!span_equal(text_span(&once), text_span(&twice)) || rule.kind != again.kind ||
        rule.ports.count != again.ports.count)
        abort();
    for (uint8_t i = 0; i < rule.ports.count; i++) {
        if (rule.ports.ranges[i].first == 0 ||
            rule.ports.ranges[i].first > rule.ports.ranges[i].last)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(span_of(data, size), RULE_IN_DOMAINS);
    check(span_of(data, size), RULE_IN_ADDRESSES);
    return 0;
}
