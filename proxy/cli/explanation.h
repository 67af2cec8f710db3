/*
 * What `explain` answers: the verdict on a destination, and which layer would carry it out.
 */
#ifndef PROXY_CLI_EXPLANATION_H
#define PROXY_CLI_EXPLANATION_H

#include "config/matcher.h"

enum explain_layer { EXPLAIN_KERNEL, EXPLAIN_DNS, EXPLAIN_PROXY };

/* What is asked, as it was written. */
struct explain_question {
    bool has_name; /* the destination is a name, or --name gave one */
    bool has_address;
    bool has_port; /* written, or the URL's */
    struct hostname name;
    struct netaddr address;
    uint16_t port; /* 443 unless has_port */
    enum protocol protocol;
};

struct explanation {
    struct verdict verdict;
    enum explain_layer layer;
    const char *step; /* which step of the order of judgement decided; static storage */
};

/*
 * Reads "host[:port]", "address[:port]", "[v6]:port" or a URL. False with a complaint in `fault`;
 * *out is then untouched.
 */
bool explain_parse(struct span text, struct explain_question *out, struct text *fault);

/* The verdict of the policy that the matcher holds. */
struct explanation explain_judge(const struct matcher *matcher,
                                 const struct explain_question *question);

const char *explain_layer_text(enum explain_layer layer);

#endif
