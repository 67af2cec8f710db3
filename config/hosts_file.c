#include "config/hosts_file.h"

#include "config/lines.h"

static bool add_names(struct span words, const struct netaddr *address, struct policy *policy)
{
    struct host_line host = {.address = *address};

    for (;;) {
        struct span word = lines_word(&words);
        if (span_is_empty(word) || policy->host_count >= HOSTS_FILE_MAX)
            return true;
        if (hostname_parse(word, &host.name) != HOSTNAME_OK)
            continue;
        if (!policy_add_host(policy, &host))
            return false;
    }
}

bool hosts_file_parse(struct span text, struct policy *policy)
{
    struct span line;

    while (lines_next(&text, &line)) {
        struct span words = span_first(line, span_find(line, '#'));
        struct netaddr address;
        if (netaddr_parse(lines_word(&words), &address) && !add_names(words, &address, policy))
            return false;
    }
    return true;
}
