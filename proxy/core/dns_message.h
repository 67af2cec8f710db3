/*
 * Reading DNS messages: a client's question and a resolver's answer (RFC 1035 4, RFC 6891).
 *
 * A message is always whole here (a datagram, or what stands behind the length of RFC 7766 8), so
 * there is no "more": it is what it should be or it is not. Nothing of a message is ever passed on
 * as bytes; both sides get messages that dns_write made from the values below.
 */
#ifndef PROXY_CORE_DNS_MESSAGE_H
#define PROXY_CORE_DNS_MESSAGE_H

#include "proxy/core/dns_name.h"

enum {
    DNS_HEADER_LEN = 12,
    DNS_MESSAGE_MAX = 65535,
    DNS_UDP_MIN = 512,  /* RFC 1035 4.2.1: what every client can take */
    DNS_UDP_MAX = 1232, /* what we offer and send at most: fits the IPv6 minimum MTU unfragmented */
    DNS_ADDRESSES_MAX = 64,
    DNS_CHAIN_MAX = 16,
    /* Far more than any answer to A or AAAA; bounds the work of following a chain. */
    DNS_RECORDS_MAX = 512,
};

/* RFC 1035 3.2.2 and later; every other number is a type as well. */
enum {
    DNS_TYPE_A = 1,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_OPT = 41,
    DNS_TYPE_SVCB = 64,
    DNS_TYPE_HTTPS = 65,
    DNS_TYPE_ANY = 255,
};

enum { DNS_CLASS_IN = 1 };

/* RFC 1035 4.1.1; BADVERS is RFC 6891 6.1.3 and needs EDNS to be said. */
enum {
    DNS_RCODE_NOERROR = 0,
    DNS_RCODE_FORMERR = 1,
    DNS_RCODE_SERVFAIL = 2,
    DNS_RCODE_NXDOMAIN = 3,
    DNS_RCODE_NOTIMP = 4,
    DNS_RCODE_REFUSED = 5,
    DNS_RCODE_BADVERS = 16,
};

/* The first bits of the header, as a 16-bit number (RFC 1035 4.1.1, RFC 4035 3.2). */
enum {
    DNS_FLAG_QR = 0x8000,
    DNS_FLAG_TC = 0x0200,
    DNS_FLAG_RD = 0x0100,
    DNS_FLAG_RA = 0x0080,
    DNS_FLAG_AD = 0x0020,
    DNS_FLAG_CD = 0x0010,
    DNS_OPCODE_SHIFT = 11,
    DNS_OPCODE_MASK = 0xf,
    DNS_RCODE_MASK = 0xf,
    DNS_EDNS_DO = 0x8000, /* in the lower half of OPT's TTL (RFC 6891 6.1.4) */
};

/* A client's message, as far as an answer has to know it. */
struct dns_query {
    uint16_t id;
    uint8_t opcode;
    bool is_recursion_desired;
    bool is_checking_disabled;
    bool is_authentic_wanted; /* AD in a question (RFC 6840 5.7) */

    bool has_question;    /* name, type and class could be read and are to be repeated */
    struct dns_name name; /* as received */
    uint16_t type;
    uint16_t class;
    struct hostname host; /* the canonical name; only with DNS_QUERY_OK, else empty */

    bool has_edns;
    bool is_dnssec_ok;
    uint8_t edns_version;
    uint16_t udp_size; /* what the client says that it can take; 0 without EDNS */
};

/* What a client's message is, and so how it is to be answered. */
enum dns_query_status {
    DNS_QUERY_DROP = 0,     /* no header: there is nothing to answer */
    DNS_QUERY_FORMERR,      /* not one well-formed question */
    DNS_QUERY_NOTIMP,       /* an opcode other than QUERY */
    DNS_QUERY_BADVERS,      /* EDNS of another version than 0 */
    DNS_QUERY_REFUSED,      /* a class other than IN */
    DNS_QUERY_NAME_INVALID, /* a good question for a name that no host can have */
    DNS_QUERY_OK,
};

/*
 * Reads a client's message. Refused as malformed: QR or TC set, a number of questions other than
 * one, records in the answer or authority section, a compressed question, additional records other
 * than one OPT, malformed EDNS options, bytes behind the end. *out is untouched with
 * DNS_QUERY_DROP; else it holds what an answer echoes, has_question and has_edns telling how much.
 */
enum dns_query_status dns_query_parse(struct span message, struct dns_query *out);

/* A question of ours: what dns_query_write sends and what an answer is compared with. */
struct dns_question {
    uint16_t id;
    uint16_t type;
    struct dns_name name; /* in the case in which it is sent */
    bool is_case_exact;   /* the answer must repeat the name byte by byte */
};

/* What a resolver said. */
struct dns_reply {
    uint16_t rcode;    /* with the upper bits from OPT */
    bool is_truncated; /* TC: nothing but the rcode was taken; to be asked again over TCP */
    /* Zero unless rcode is NOERROR. The addresses of the asked type at the chain's end. */
    size_t count;
    struct netaddr addresses[DNS_ADDRESSES_MAX];
    size_t chain_len; /* CNAMEs between the question's name and the addresses */
    /* No addresses, and an SOA says for how long that holds (RFC 2308 5). */
    bool has_negative_ttl;
    /* The least of chain and addresses, or of chain and SOA; 0 when nothing limits it. Unclamped.
     */
    uint32_t ttl_s;
};

enum dns_reply_status {
    DNS_REPLY_BAD = 0, /* malformed */
    DNS_REPLY_OTHER,   /* well, but not the answer to this question: wait on (RFC 5452 9.1) */
    DNS_REPLY_OK,
};

/*
 * Reads a resolver's message as the answer to `asked`. The CNAME chain is followed from the asked
 * name in whatever order the records stand; records of other names are ignored; of more than
 * DNS_ADDRESSES_MAX addresses the first ones are taken. A chain over DNS_CHAIN_MAX (a circle too),
 * two different CNAMEs of one name, over DNS_RECORDS_MAX records, an address of another length than
 * its type has, and anything behind the last record are DNS_REPLY_BAD. *out is written only with
 * DNS_REPLY_OK.
 */
enum dns_reply_status dns_reply_parse(struct span message, const struct dns_question *asked,
                                      struct dns_reply *out);

/* TTLs that are given to clients: 1 s to 1 h. */
uint32_t dns_ttl_clamp(uint32_t ttl_s);

#endif
