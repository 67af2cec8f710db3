#include "proxy/core/dns_message.h"

enum { TTL_MIN_S = 1, TTL_MAX_S = 3600, ADDRESS_V4_LEN = 4, ADDRESS_V6_LEN = 16 };

struct header {
    uint16_t id;
    uint16_t flags;
    uint16_t questions;
    uint16_t answers;
    uint16_t authorities;
    uint16_t additionals;
};

/* A record with its name expanded; `rdata` is a window into the message. */
struct record {
    struct dns_name name;
    uint16_t type;
    uint16_t class;
    uint32_t ttl_s;
    struct reader rdata;
};

static bool read_header(struct reader *r, struct header *out)
{
    return reader_u16(r, &out->id) == READ_OK && reader_u16(r, &out->flags) == READ_OK &&
           reader_u16(r, &out->questions) == READ_OK && reader_u16(r, &out->answers) == READ_OK &&
           reader_u16(r, &out->authorities) == READ_OK &&
           reader_u16(r, &out->additionals) == READ_OK;
}

static uint8_t header_opcode(const struct header *header)
{
    return header->flags >> DNS_OPCODE_SHIFT & DNS_OPCODE_MASK;
}

/* RFC 1035 4.1.3. */
static bool read_record(struct reader *r, struct span message, struct record *out)
{
    return dns_name_read(r, message, &out->name) == READ_OK &&
           reader_u16(r, &out->type) == READ_OK && reader_u16(r, &out->class) == READ_OK &&
           reader_u32(r, &out->ttl_s) == READ_OK && reader_child16(r, &out->rdata) == READ_OK;
}

/*
 * RFC 2181 8: "Implementations should treat TTL values received with the most significant bit set
 * as if the entire value received was zero."
 */
static uint32_t sane_ttl(uint32_t ttl_s)
{
    return ttl_s > INT32_MAX ? 0 : ttl_s;
}

static uint32_t least_ttl(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* RFC 6891 6.1.2: code, length, data, as many as fill RDATA exactly. */
static bool edns_options_are_whole(struct reader options)
{
    while (!reader_at_end(&options)) {
        uint16_t code;
        struct reader value;
        if (reader_u16(&options, &code) != READ_OK || reader_child16(&options, &value) != READ_OK)
            return false;
    }
    return true;
}

/* RFC 6891 6.1.2: "NAME: MUST be 0 (root domain)". */
static bool is_edns(const struct record *record)
{
    return record->type == DNS_TYPE_OPT && record->name.len == 1;
}

/* The part behind the question: nothing, or one OPT. */
static enum dns_query_status parse_query_edns(struct reader *r, struct span message,
                                              const struct header *header, struct dns_query *query)
{
    struct record opt;

    if (header->additionals > 1)
        return DNS_QUERY_FORMERR;
    if (header->additionals == 1) {
        if (!read_record(r, message, &opt) || !is_edns(&opt) || !reader_at_end(r))
            return DNS_QUERY_FORMERR;
        query->has_edns = true;
        query->udp_size = opt.class;
        query->edns_version = opt.ttl_s >> 16 & 0xff;
        query->is_dnssec_ok = (opt.ttl_s & DNS_EDNS_DO) != 0;
        /*
         * RFC 6891 6.1.3: "If a responder does not implement the VERSION level of the request,
         * then it MUST respond with RCODE=BADVERS." What its options look like is unknown.
         */
        if (query->edns_version != 0)
            return DNS_QUERY_BADVERS;
        if (!edns_options_are_whole(opt.rdata))
            return DNS_QUERY_FORMERR;
    }
    return reader_at_end(r) ? DNS_QUERY_OK : DNS_QUERY_FORMERR;
}

/*
 * AA, RA, Z and RCODE mean nothing in a question (RFC 1035 4.1.1) and go no further; TC would say
 * that this is not all of it.
 */
static enum dns_query_status parse_query_body(struct reader *r, struct span message,
                                              const struct header *header, struct dns_query *query)
{
    if ((header->flags & (DNS_FLAG_QR | DNS_FLAG_TC)) != 0)
        return DNS_QUERY_FORMERR;
    /* Other operations have other formats. */
    if (query->opcode != 0)
        return DNS_QUERY_NOTIMP;
    if (header->questions != 1 || header->answers != 0 || header->authorities != 0)
        return DNS_QUERY_FORMERR;
    if (dns_name_read_plain(r, &query->name) != READ_OK || reader_u16(r, &query->type) != READ_OK ||
        reader_u16(r, &query->class) != READ_OK)
        return DNS_QUERY_FORMERR;
    query->has_question = true;

    enum dns_query_status status = parse_query_edns(r, message, header, query);
    if (status != DNS_QUERY_OK)
        return status;
    if (query->class != DNS_CLASS_IN)
        return DNS_QUERY_REFUSED;
    if (!dns_name_to_host(&query->name, &query->host))
        return DNS_QUERY_NAME_INVALID;
    return DNS_QUERY_OK;
}

enum dns_query_status dns_query_parse(struct span message, struct dns_query *out)
{
    struct reader r = reader_init_whole(message);
    struct dns_query query = {0};
    struct header header;

    if (message.len > DNS_MESSAGE_MAX || !read_header(&r, &header))
        return DNS_QUERY_DROP;
    query.id = header.id;
    query.opcode = header_opcode(&header);
    query.is_recursion_desired = (header.flags & DNS_FLAG_RD) != 0;
    query.is_checking_disabled = (header.flags & DNS_FLAG_CD) != 0;
    query.is_authentic_wanted = (header.flags & DNS_FLAG_AD) != 0;

    enum dns_query_status status = parse_query_body(&r, message, &header, &query);
    *out = query;
    return status;
}

/* RFC 1035 3.4.1, RFC 3596 2.2: an address is exactly as long as its type says. */
static bool read_address(const struct record *record, struct netaddr *out)
{
    struct reader rdata = record->rdata;
    bool is_v4 = record->type == DNS_TYPE_A;
    struct span bytes;

    if (reader_bytes(&rdata, is_v4 ? ADDRESS_V4_LEN : ADDRESS_V6_LEN, &bytes) != READ_OK ||
        !reader_at_end(&rdata))
        return false;
    *out = is_v4 ? netaddr_v4(bytes.data) : netaddr_v6(bytes.data);
    return true;
}

/* RFC 1035 3.3.1: one name and nothing behind it. */
static bool read_cname(const struct record *record, struct span message, struct dns_name *out)
{
    struct reader rdata = record->rdata;

    return dns_name_read(&rdata, message, out) == READ_OK && reader_at_end(&rdata);
}

/*
 * RFC 2308 5: "the TTL of this record is set from the minimum of the MINIMUM field of the SOA
 * record and the TTL of the SOA itself".
 */
static bool read_soa(const struct record *record, struct span message, uint32_t *negative_ttl_s)
{
    struct reader rdata = record->rdata;
    struct dns_name name;
    uint32_t number = 0;

    /* RFC 1035 3.3.13: MNAME, RNAME, SERIAL, REFRESH, RETRY, EXPIRE, MINIMUM. */
    for (int i = 0; i < 2; i++) {
        if (dns_name_read(&rdata, message, &name) != READ_OK)
            return false;
    }
    for (int i = 0; i < 5; i++) {
        if (reader_u32(&rdata, &number) != READ_OK)
            return false;
    }
    *negative_ttl_s = least_ttl(sane_ttl(record->ttl_s), sane_ttl(number));
    return reader_at_end(&rdata);
}

/* The records that are understood are well-formed, wherever they stand. */
static bool record_is_sound(const struct record *record, struct span message)
{
    struct netaddr addr;
    struct dns_name name;
    uint32_t ttl_s;

    if (record->type == DNS_TYPE_OPT)
        return is_edns(record) && edns_options_are_whole(record->rdata);
    if (record->class != DNS_CLASS_IN)
        return true;
    switch (record->type) {
    case DNS_TYPE_A:
    case DNS_TYPE_AAAA:
        return read_address(record, &addr);
    case DNS_TYPE_CNAME:
        return read_cname(record, message, &name);
    case DNS_TYPE_SOA:
        return read_soa(record, message, &ttl_s);
    default:
        /* RFC 3597 3: RDATA of other types is bytes without structure. */
        return true;
    }
}

/* The three sections behind the question, each found sound up to the message's last byte. */
struct sections {
    struct reader answers; /* `count` of them, and more behind */
    size_t answer_count;
    struct reader authorities;
    size_t authority_count;
    uint16_t rcode_high; /* from OPT, in place: bits 4 to 11 */
};

static bool read_section(struct reader *r, struct span message, size_t count)
{
    struct record record;

    for (size_t i = 0; i < count; i++) {
        if (!read_record(r, message, &record) || !record_is_sound(&record, message))
            return false;
        /* RFC 6891 6.1.1: OPT stands in the additional section. */
        if (record.type == DNS_TYPE_OPT)
            return false;
    }
    return true;
}

static bool read_additionals(struct reader *r, struct span message, size_t count,
                             uint16_t *rcode_high)
{
    struct record record;
    bool has_opt = false;

    *rcode_high = 0;
    for (size_t i = 0; i < count; i++) {
        if (!read_record(r, message, &record) || !record_is_sound(&record, message))
            return false;
        if (record.type != DNS_TYPE_OPT)
            continue;
        /*
         * RFC 6891 6.1.1: "If a query message with more than one OPT RR is received, a FORMERR
         * (RCODE=1) MUST be returned." An answer with two is no better.
         */
        if (has_opt)
            return false;
        has_opt = true;
        /* RFC 6891 6.1.3: the upper 8 bits of the extended 12-bit RCODE. */
        *rcode_high = (uint16_t)(record.ttl_s >> 24 << 4);
    }
    return true;
}

static bool read_sections(struct reader *r, struct span message, const struct header *header,
                          struct sections *out)
{
    if ((size_t)header->answers + header->authorities + header->additionals > DNS_RECORDS_MAX)
        return false;
    out->answers = *r;
    out->answer_count = header->answers;
    if (!read_section(r, message, header->answers))
        return false;
    out->authorities = *r;
    out->authority_count = header->authorities;
    return read_section(r, message, header->authorities) &&
           read_additionals(r, message, header->additionals, &out->rcode_high) && reader_at_end(r);
}

enum link_status { LINK_NONE, LINK_FOUND, LINK_BAD };

/* The CNAME of `owner`, if it has one, into *target. */
static enum link_status find_link(const struct sections *sections, struct span message,
                                  const struct dns_name *owner, struct dns_name *target,
                                  uint32_t *ttl_s)
{
    struct reader r = sections->answers;
    enum link_status status = LINK_NONE;
    struct record record;
    struct dns_name name;

    for (size_t i = 0; i < sections->answer_count; i++) {
        if (!read_record(&r, message, &record))
            return LINK_BAD;
        if (record.type != DNS_TYPE_CNAME || record.class != DNS_CLASS_IN ||
            !dns_name_equal(&record.name, owner))
            continue;
        if (!read_cname(&record, message, &name))
            return LINK_BAD;
        /* RFC 2181 10.1: "there may be only one such canonical name for any one alias." */
        if (status == LINK_FOUND && !dns_name_equal(&name, target))
            return LINK_BAD;
        *target = name;
        *ttl_s = least_ttl(*ttl_s, sane_ttl(record.ttl_s));
        status = LINK_FOUND;
    }
    return status;
}

/* Moves *name along the chain to its end. Each step is one pass, and their number is bounded. */
static bool follow_chain(const struct sections *sections, struct span message,
                         struct dns_name *name, struct dns_reply *reply)
{
    for (;;) {
        struct dns_name target;

        switch (find_link(sections, message, name, &target, &reply->ttl_s)) {
        case LINK_NONE:
            return true;
        case LINK_FOUND:
            if (++reply->chain_len > DNS_CHAIN_MAX)
                return false;
            *name = target;
            continue;
        case LINK_BAD:
            return false;
        }
        return false;
    }
}

static bool collect_addresses(const struct sections *sections, struct span message,
                              const struct dns_name *owner, uint16_t type, struct dns_reply *reply)
{
    struct reader r = sections->answers;
    struct record record;

    if (type != DNS_TYPE_A && type != DNS_TYPE_AAAA)
        return true;
    for (size_t i = 0; i < sections->answer_count && reply->count < DNS_ADDRESSES_MAX; i++) {
        if (!read_record(&r, message, &record))
            return false;
        if (record.type != type || record.class != DNS_CLASS_IN ||
            !dns_name_equal(&record.name, owner))
            continue;
        if (!read_address(&record, &reply->addresses[reply->count]))
            return false;
        reply->count++;
        reply->ttl_s = least_ttl(reply->ttl_s, sane_ttl(record.ttl_s));
    }
    return true;
}

/* The negative TTL from the SOA of a zone that holds `name`; of several, the least. */
static bool find_negative_ttl(const struct sections *sections, struct span message,
                              const struct dns_name *name, struct dns_reply *reply)
{
    struct reader r = sections->authorities;
    struct record record;
    uint32_t ttl_s;

    for (size_t i = 0; i < sections->authority_count; i++) {
        if (!read_record(&r, message, &record))
            return false;
        if (record.type != DNS_TYPE_SOA || record.class != DNS_CLASS_IN ||
            !dns_name_is_within(name, &record.name))
            continue;
        if (!read_soa(&record, message, &ttl_s))
            return false;
        reply->has_negative_ttl = true;
        reply->ttl_s = least_ttl(reply->ttl_s, ttl_s);
    }
    /* RFC 2308 5: "Negative responses without SOA records SHOULD NOT be cached". */
    if (!reply->has_negative_ttl)
        reply->ttl_s = 0;
    return true;
}

static bool parse_reply_body(struct reader *r, struct span message, const struct header *header,
                             uint16_t type, struct dns_name name, struct dns_reply *reply)
{
    struct sections sections;

    reply->ttl_s = UINT32_MAX;
    if (!read_sections(r, message, header, &sections))
        return false;
    reply->rcode |= sections.rcode_high;
    if (type != DNS_TYPE_CNAME && !follow_chain(&sections, message, &name, reply))
        return false;
    if (reply->rcode == DNS_RCODE_NOERROR &&
        !collect_addresses(&sections, message, &name, type, reply))
        return false;
    return reply->count > 0 || find_negative_ttl(&sections, message, &name, reply);
}

/* The header and question of an answer: BAD, OTHER, or OK with `r` behind the question. */
static enum dns_reply_status match_question(struct reader *r, const struct header *header,
                                            const struct dns_question *asked)
{
    struct dns_name name;
    uint16_t type;
    uint16_t class;

    if (header->id != asked->id || (header->flags & DNS_FLAG_QR) == 0 || header_opcode(header) != 0)
        return DNS_REPLY_OTHER;
    if (header->questions != 1 || dns_name_read_plain(r, &name) != READ_OK ||
        reader_u16(r, &type) != READ_OK || reader_u16(r, &class) != READ_OK)
        return DNS_REPLY_BAD;
    if (type != asked->type || class != DNS_CLASS_IN || !dns_name_equal(&name, &asked->name))
        return DNS_REPLY_OTHER;
    if (asked->is_case_exact && !span_equal(dns_name_span(&name), dns_name_span(&asked->name)))
        return DNS_REPLY_OTHER;
    return DNS_REPLY_OK;
}

enum dns_reply_status dns_reply_parse(struct span message, const struct dns_question *asked,
                                      struct dns_reply *out)
{
    struct reader r = reader_init_whole(message);
    struct dns_reply reply = {0};
    struct header header;

    if (message.len > DNS_MESSAGE_MAX || !read_header(&r, &header))
        return DNS_REPLY_BAD;
    enum dns_reply_status status = match_question(&r, &header, asked);
    if (status != DNS_REPLY_OK)
        return status;

    reply.rcode = header.flags & DNS_RCODE_MASK;
    reply.is_truncated = (header.flags & DNS_FLAG_TC) != 0;
    /*
     * RFC 2181 9: "When a DNS client receives a reply with TC set, it should ignore that response,
     * and query again, using a mechanism, such as a TCP connection, that will permit larger
     * replies." Some servers cut such a reply in the middle of a record.
     */
    if (!reply.is_truncated &&
        !parse_reply_body(&r, message, &header, asked->type, asked->name, &reply))
        return DNS_REPLY_BAD;
    *out = reply;
    return DNS_REPLY_OK;
}

uint32_t dns_ttl_clamp(uint32_t ttl_s)
{
    if (ttl_s < TTL_MIN_S)
        return TTL_MIN_S;
    return ttl_s > TTL_MAX_S ? TTL_MAX_S : ttl_s;
}
