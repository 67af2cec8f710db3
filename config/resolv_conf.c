#include "config/resolv_conf.h"

#include "config/lines.h"

static bool has_server(const struct netaddr *servers, size_t count, const struct netaddr *server)
{
    for (size_t i = 0; i < count; i++)
        if (netaddr_equal(&servers[i], server))
            return true;
    return false;
}

size_t resolv_conf_parse(struct span text, struct netaddr *servers, size_t max)
{
    size_t count = 0;
    struct span line;

    while (count < max && lines_next(&text, &line)) {
        bool is_indented = line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t');
        struct span keyword = lines_word(&line);
        struct span address = lines_word(&line);
        struct netaddr server;
        if (is_indented || !span_equal(keyword, SPAN_LITERAL("nameserver")))
            continue;
        if (netaddr_parse(address, &server) && !has_server(servers, count, &server))
            servers[count++] = server;
    }
    return count;
}
