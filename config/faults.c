#include "config/faults.h"

#include <stdlib.h>

void faults_init(struct faults *faults)
{
    memset(faults, 0, sizeof(*faults));
}

void faults_fini(struct faults *faults)
{
    for (size_t i = 0; i < faults->count; i++) {
        free(faults->list[i].file);
        free(faults->list[i].message);
    }
    faults_init(faults);
}

static char *copy_bytes(struct span bytes)
{
    char *copy = malloc(bytes.len + 1);

    if (copy == NULL)
        return NULL;
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    copy[bytes.len] = '\0';
    return copy;
}

static char *copy_message(struct span message)
{
    size_t len = message.len < FAULT_MESSAGE_MAX ? message.len : FAULT_MESSAGE_MAX - 1;
    char *copy = copy_bytes(span_first(message, len));

    if (copy == NULL)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (copy[i] < 0x20 || copy[i] > 0x7e)
            copy[i] = '?';
    }
    return copy;
}

void faults_add(struct faults *faults, const char *file, uint32_t line, struct span message)
{
    struct fault fault = {.line = line};

    if (faults->count == FAULTS_MAX) {
        faults->dropped++;
        return;
    }
    fault.message = copy_message(message);
    if (file != NULL)
        fault.file = copy_bytes(span_of_text(file));
    if (fault.message == NULL || (file != NULL && fault.file == NULL)) {
        free(fault.message);
        free(fault.file);
        faults->dropped++;
        return;
    }
    faults->list[faults->count++] = fault;
}

void faults_sort(struct faults *faults, size_t first)
{
    for (size_t i = first + 1; i < faults->count; i++) {
        struct fault fault = faults->list[i];
        size_t at = i;
        for (; at > first && faults->list[at - 1].line > fault.line; at--)
            faults->list[at] = faults->list[at - 1];
        faults->list[at] = fault;
    }
}

bool faults_any(const struct faults *faults)
{
    return faults->count > 0 || faults->dropped > 0;
}

void fault_print(const struct fault *fault, struct text *out)
{
    if (fault->file != NULL) {
        text_put(out, fault->file);
        if (fault->line > 0) {
            text_put_char(out, ':');
            text_put_number(out, fault->line);
        }
        text_put(out, ": ");
    }
    text_put(out, fault->message);
}
