/*
 * Writing DNS messages into a caller's buffer: our question to a resolver, our answer to a client.
 *
 * Writers return the length of the message, or 0 when it does not fit or cannot be said; they
 * never write behind the capacity.
 */
#ifndef PROXY_CORE_DNS_WRITE_H
#define PROXY_CORE_DNS_WRITE_H

#include "proxy/core/dns_message.h"

enum {
    /* Long enough to spare questions, short enough for a changed policy to be noticed. */
    DNS_NEGATIVE_TTL_S = 60,
    DNS_EDE_TEXT_MAX = 64,
    /* The longest question with OPT. */
    DNS_QUERY_LEN_MAX = DNS_HEADER_LEN + DNS_NAME_MAX + 4 + 11,
};

/* RFC 8914 4, the info-codes that are used here. */
enum dns_ede_code {
    DNS_EDE_OTHER = 0,
    DNS_EDE_BLOCKED = 15,
    DNS_EDE_NOT_SUPPORTED = 21,
    DNS_EDE_NO_REACHABLE_AUTHORITY = 22,
    DNS_EDE_NETWORK_ERROR = 23,
};

/* An Extended DNS Error. `text` is UTF-8 and is cut behind DNS_EDE_TEXT_MAX bytes. */
struct dns_ede {
    enum dns_ede_code code;
    struct span text;
};

/* What a query is answered. */
struct dns_answer {
    uint16_t rcode;
    /* Of the query's own type, A or AAAA; borrowed. Only with NOERROR. */
    const struct netaddr *addresses;
    size_t count;
    /* No addresses: an SOA at the queried name, so that the negative answer is cached. */
    bool has_soa;
    uint32_t ttl_s; /* of the addresses, or the SOA's TTL and MINIMUM */
    bool has_ede;   /* said only to a client that speaks EDNS */
    struct dns_ede ede;
};

enum dns_transport { DNS_UDP, DNS_TCP };

/* The question of `asked` with RD and an OPT that offers DNS_UDP_MAX. */
size_t dns_query_write(const struct dns_question *asked, uint8_t *out, size_t cap);

/*
 * The answer to `query`: its id, opcode, RD, CD and question as received, QR and RA, and an OPT
 * exactly when the query had one. What does not fit the client (DNS_UDP: the size that it named, at
 * least DNS_UDP_MIN and at most DNS_UDP_MAX) or the buffer is replaced by an empty answer with TC.
 * 0 also for an answer that is no answer to this query: addresses of another family than was asked
 * for, records without a question, an rcode over 15 without EDNS.
 */
size_t dns_answer_write(const struct dns_query *query, const struct dns_answer *answer,
                        enum dns_transport transport, uint8_t *out, size_t cap);

#endif
