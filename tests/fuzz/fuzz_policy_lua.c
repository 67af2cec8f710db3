/*
 * Any bytes are a configuration or have a fault. Lines exist in the text, and the policy of a text
 * without a fault goes through the canonical text and back unchanged.
 */
#include <stdlib.h>

#include "config/policy_lua.h"
#include "config/policy_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_lines(struct span text)
{
    size_t lines = 1;

    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n' || text.data[i] == '\r';
    return lines;
}

static void check_lines(const struct rule_list *list, size_t lines)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->rules[i].source.line == 0 || list->rules[i].source.line > lines)
            abort();
    }
}

static void check_round_trip(const struct policy *policy)
{
    char bytes[300];
    struct text fault = TEXT_OF(bytes);
    struct policy again;
    size_t len;
    size_t again_len;
    char *text = policy_text_print(policy, &len);

    if (text == NULL || !policy_text_parse(span_of(text, len), &again, &fault))
        abort();
    char *again_text = policy_text_print(&again, &again_len);
    if (again_text == NULL || !span_equal(span_of(text, len), span_of(again_text, again_len)))
        abort();
    policy_fini(&again);
    free(again_text);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of(data, size);
    struct policy policy;
    struct faults faults;
    struct policy_lua reader;

    policy_init(&policy);
    faults_init(&faults);
    policy_lua_init(&reader, &policy, &faults);
    policy_lua_read(&reader, "f", text);
    policy_lua_finish(&reader);
    for (size_t i = 0; i < faults.count; i++) {
        if (faults.list[i].line > count_lines(text) || faults.list[i].message[0] == '\0')
            abort();
    }
    check_lines(&policy.allow, count_lines(text));
    check_lines(&policy.block, count_lines(text));
    if (!faults_any(&faults))
        check_round_trip(&policy);
    policy_fini(&policy);
    faults_fini(&faults);
    return 0;
}
