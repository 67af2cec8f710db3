#include "proxy/core/dns_write.h"

#include <assert.h>

enum {
    EDNS_OPTION_EDE = 15, /* RFC 8914 2 */
    OPTION_HEADER_LEN = 4,
    OPT_LEN = 11,
    SOA_LEN_MAX = 96,
    SOA_SERIAL = 1,
    SOA_REFRESH_S = 3600,
    SOA_RETRY_S = 600,
    SOA_EXPIRE_S = 86400,
    /* RFC 1035 4.1.4: a pointer to the question's name, which stands right behind the header. */
    POINTER_TO_QUESTION = 0xc000 | DNS_HEADER_LEN,
};

/* A refusal is never cut: the smallest client can take the longest one. */
static_assert(DNS_HEADER_LEN + DNS_NAME_MAX + 4 + SOA_LEN_MAX + OPT_LEN + OPTION_HEADER_LEN + 2 +
                      DNS_EDE_TEXT_MAX <=
                  DNS_UDP_MIN,
              "a negative answer fits into 512 bytes");

/* The names of RFC 6761 6.4 never exist, so the SOA cannot be taken for somebody's. */
static const uint8_t soa_mname[] = "\x0a"
                                   "cage-proxy"
                                   "\x07"
                                   "invalid";
static const uint8_t soa_rname[] = "\x06"
                                   "nobody"
                                   "\x07"
                                   "invalid";

static_assert(12 + sizeof(soa_mname) + sizeof(soa_rname) + 20 <= SOA_LEN_MAX,
              "the SOA is as long as is reckoned with");

/* Once something did not fit, nothing more is written and the message is void. */
struct writer {
    uint8_t *data;
    size_t cap;
    size_t len;
    bool is_full;
};

static void put_bytes(struct writer *w, struct span bytes)
{
    if (w->is_full || w->cap - w->len < bytes.len) {
        w->is_full = true;
        return;
    }
    if (bytes.len > 0)
        memcpy(w->data + w->len, bytes.data, bytes.len);
    w->len += bytes.len;
}

static void put_u16(struct writer *w, uint16_t value)
{
    const uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};

    put_bytes(w, span_of(bytes, sizeof(bytes)));
}

static void put_u32(struct writer *w, uint32_t value)
{
    put_u16(w, (uint16_t)(value >> 16));
    put_u16(w, (uint16_t)value);
}

static void put_header(struct writer *w, uint16_t id, uint16_t flags, const uint16_t counts[4])
{
    put_u16(w, id);
    put_u16(w, flags);
    for (int i = 0; i < 4; i++)
        put_u16(w, counts[i]);
}

static void put_question(struct writer *w, const struct dns_name *name, uint16_t type,
                         uint16_t class)
{
    put_bytes(w, dns_name_span(name));
    put_u16(w, type);
    put_u16(w, class);
}

/* RFC 6891 6.1.2 and 6.1.3; `ede` may be NULL. */
static void put_opt(struct writer *w, uint16_t rcode, bool is_dnssec_ok, const struct dns_ede *ede)
{
    static const uint8_t root = 0;

    put_bytes(w, span_of(&root, 1));
    put_u16(w, DNS_TYPE_OPT);
    put_u16(w, DNS_UDP_MAX);
    put_u32(w, (uint32_t)rcode >> 4 << 24 | (is_dnssec_ok ? (uint32_t)DNS_EDNS_DO : 0u));
    if (ede == NULL) {
        put_u16(w, 0);
        return;
    }
    struct span text = ede->text;
    if (text.len > DNS_EDE_TEXT_MAX)
        text = span_first(text, DNS_EDE_TEXT_MAX);
    uint16_t option_len = (uint16_t)(2 + text.len);
    put_u16(w, (uint16_t)(OPTION_HEADER_LEN + option_len));
    put_u16(w, EDNS_OPTION_EDE);
    put_u16(w, option_len);
    put_u16(w, (uint16_t)ede->code);
    put_bytes(w, text);
}

size_t dns_query_write(const struct dns_question *asked, uint8_t *out, size_t cap)
{
    static const uint16_t counts[4] = {1, 0, 0, 1};
    struct writer w = {out, cap, 0, false};

    put_header(&w, asked->id, DNS_FLAG_RD, counts);
    put_question(&w, &asked->name, asked->type, DNS_CLASS_IN);
    put_opt(&w, DNS_RCODE_NOERROR, false, NULL);
    return w.is_full ? 0 : w.len;
}

static void put_record_head(struct writer *w, uint16_t type, uint32_t ttl_s, size_t rdata_len)
{
    put_u16(w, POINTER_TO_QUESTION);
    put_u16(w, type);
    put_u16(w, DNS_CLASS_IN);
    put_u32(w, ttl_s);
    put_u16(w, (uint16_t)rdata_len);
}

static void put_address(struct writer *w, const struct netaddr *addr, uint16_t type, uint32_t ttl_s)
{
    struct span bytes = type == DNS_TYPE_A ? span_of(netaddr_v4_bytes(addr), 4)
                                           : span_of(addr->bytes, sizeof(addr->bytes));

    put_record_head(w, type, ttl_s, bytes.len);
    put_bytes(w, bytes);
}

/* RFC 2308 3: negative answers are cached by the SOA's TTL and MINIMUM. */
static void put_soa(struct writer *w, uint32_t ttl_s)
{
    put_record_head(w, DNS_TYPE_SOA, ttl_s, sizeof(soa_mname) + sizeof(soa_rname) + 20);
    put_bytes(w, span_of(soa_mname, sizeof(soa_mname)));
    put_bytes(w, span_of(soa_rname, sizeof(soa_rname)));
    put_u32(w, SOA_SERIAL);
    put_u32(w, SOA_REFRESH_S);
    put_u32(w, SOA_RETRY_S);
    put_u32(w, SOA_EXPIRE_S);
    put_u32(w, ttl_s);
}

/* The answer is one to this query, and the message has a place for each part of it. */
static bool answer_can_be_said(const struct dns_query *query, const struct dns_answer *answer)
{
    bool has_records = answer->count > 0 || answer->has_soa;

    if (answer->rcode > 0xfff || (answer->rcode > DNS_RCODE_MASK && !query->has_edns))
        return false;
    if (has_records && (!query->has_question || query->class != DNS_CLASS_IN))
        return false;
    if (answer->count == 0)
        return true;
    if (answer->rcode != DNS_RCODE_NOERROR || answer->has_soa ||
        answer->count > DNS_ADDRESSES_MAX ||
        (query->type != DNS_TYPE_A && query->type != DNS_TYPE_AAAA))
        return false;
    for (size_t i = 0; i < answer->count; i++) {
        if (netaddr_is_v4(&answer->addresses[i]) != (query->type == DNS_TYPE_A))
            return false;
    }
    return true;
}

static uint16_t answer_flags(const struct dns_query *query, uint16_t rcode)
{
    unsigned flags = DNS_FLAG_QR | DNS_FLAG_RA;

    flags |= (unsigned)query->opcode << DNS_OPCODE_SHIFT;
    flags |= query->is_recursion_desired ? (unsigned)DNS_FLAG_RD : 0u;
    flags |= query->is_checking_disabled ? (unsigned)DNS_FLAG_CD : 0u;
    flags |= rcode & (unsigned)DNS_RCODE_MASK;
    return (uint16_t)flags;
}

/* The whole answer. */
static void put_answer(struct writer *w, const struct dns_query *query,
                       const struct dns_answer *answer)
{
    const uint16_t counts[4] = {query->has_question, (uint16_t)answer->count, answer->has_soa,
                                query->has_edns};

    put_header(w, query->id, answer_flags(query, answer->rcode), counts);
    if (query->has_question)
        put_question(w, &query->name, query->type, query->class);
    for (size_t i = 0; i < answer->count; i++)
        put_address(w, &answer->addresses[i], query->type, answer->ttl_s);
    if (answer->has_soa)
        put_soa(w, answer->ttl_s);
    /* RFC 3225 3: "The DO bit of the query MUST be copied in the response." */
    if (query->has_edns)
        put_opt(w, answer->rcode, query->is_dnssec_ok, answer->has_ede ? &answer->ede : NULL);
}

/*
 * The answer that says to ask over TCP. RFC 2181 9: "Where TC is set, the partial RRSet that would
 * not completely fit may be left in the response"; leaving out all of it can mislead nobody.
 */
static void put_truncated(struct writer *w, const struct dns_query *query, uint16_t rcode)
{
    const uint16_t counts[4] = {query->has_question, 0, 0, query->has_edns};

    put_header(w, query->id, answer_flags(query, rcode) | DNS_FLAG_TC, counts);
    if (query->has_question)
        put_question(w, &query->name, query->type, query->class);
    if (query->has_edns)
        put_opt(w, rcode, query->is_dnssec_ok, NULL);
}

static size_t client_limit(const struct dns_query *query, enum dns_transport transport)
{
    if (transport == DNS_TCP)
        return DNS_MESSAGE_MAX;
    /* RFC 6891 6.2.3: "Values lower than 512 MUST be treated as equal to 512." */
    if (!query->has_edns || query->udp_size < DNS_UDP_MIN)
        return DNS_UDP_MIN;
    return query->udp_size > DNS_UDP_MAX ? DNS_UDP_MAX : query->udp_size;
}

size_t dns_answer_write(const struct dns_query *query, const struct dns_answer *answer,
                        enum dns_transport transport, uint8_t *out, size_t cap)
{
    size_t limit = client_limit(query, transport);
    struct writer w = {out, cap < limit ? cap : limit, 0, false};

    if (!answer_can_be_said(query, answer))
        return 0;
    put_answer(&w, query, answer);
    if (!w.is_full)
        return w.len;
    w.len = 0;
    w.is_full = false;
    put_truncated(&w, query, answer->rcode);
    return w.is_full ? 0 : w.len;
}
