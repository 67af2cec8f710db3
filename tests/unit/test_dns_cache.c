#include "proxy/worker/dns_cache.h"
#include "tests/lib/unit.h"

static const struct hash_key key = {{1, 2}};

static struct hostname name_of(unsigned number)
{
    struct hostname name = {0};

    name.len = (uint8_t)snprintf(name.text, sizeof(name.text), "n%u.example", number);
    return name;
}

static struct dns_reply positive(uint8_t last, uint32_t ttl_s)
{
    struct dns_reply reply = {.count = 2, .chain_len = 1, .ttl_s = ttl_s};

    reply.addresses[0] = netaddr_v4((uint8_t[]){203, 0, 113, last});
    reply.addresses[1] = netaddr_v4((uint8_t[]){203, 0, 114, last});
    return reply;
}

static void put(struct dns_cache *cache, unsigned name, uint16_t type, struct dns_reply reply,
                uint64_t now_ms)
{
    struct hostname host = name_of(name);

    dns_cache_put(cache, &host, type, &reply, now_ms);
}

/* The TTL that is left, 0 when it is not there. */
static uint32_t left(struct dns_cache *cache, unsigned name, uint16_t type, uint64_t now_ms)
{
    struct hostname host = name_of(name);
    struct dns_reply reply;

    return dns_cache_get(cache, &host, type, now_ms, &reply) ? reply.ttl_s : 0;
}

static void what_was_put_comes_back(void **state)
{
    struct dns_cache *cache = dns_cache_new(10, key);
    struct hostname host = name_of(1);
    struct dns_reply wanted = positive(7, 30);
    struct dns_reply got;

    (void)state;
    put(cache, 1, DNS_TYPE_A, wanted, 1000);
    assert_true(dns_cache_get(cache, &host, DNS_TYPE_A, 1000, &got));
    assert_memory_equal(&got, &wanted, sizeof(got));
    assert_int_equal(left(cache, 1, DNS_TYPE_AAAA, 1000), 0);
    assert_int_equal(left(cache, 2, DNS_TYPE_A, 1000), 0);
    /* The latest counts. */
    put(cache, 1, DNS_TYPE_A, positive(8, 20), 1000);
    assert_true(dns_cache_get(cache, &host, DNS_TYPE_A, 1000, &got));
    assert_int_equal(netaddr_v4_bytes(&got.addresses[0])[3], 8);
    assert_int_equal(got.ttl_s, 20);
    dns_cache_free(cache);
    dns_cache_free(NULL);
}

static void ttl_runs_down_and_is_clamped(void **state)
{
    struct dns_cache *cache = dns_cache_new(10, key);

    (void)state;
    put(cache, 1, DNS_TYPE_A, positive(1, 30), 500);
    assert_int_equal(left(cache, 1, DNS_TYPE_A, 1499), 30);
    assert_int_equal(left(cache, 1, DNS_TYPE_A, 1500), 29);
    assert_int_equal(left(cache, 1, DNS_TYPE_A, 30499), 1);
    assert_int_equal(left(cache, 1, DNS_TYPE_A, 30500), 0);
    assert_int_equal(left(cache, 1, DNS_TYPE_A, 500), 0); /* it was forgotten */
    put(cache, 2, DNS_TYPE_A, positive(1, 0), 0);
    assert_int_equal(left(cache, 2, DNS_TYPE_A, 999), 1);
    assert_int_equal(left(cache, 2, DNS_TYPE_A, 1000), 0);
    put(cache, 3, DNS_TYPE_A, positive(1, 86400), 0);
    assert_int_equal(left(cache, 3, DNS_TYPE_A, 0), 3600);
    assert_int_equal(left(cache, 3, DNS_TYPE_A, 3600000), 0);
    dns_cache_free(cache);
}

static void what_is_kept(void **state)
{
    static const struct {
        struct dns_reply reply;
        bool is_kept;
    } rows[] = {
        {{.rcode = DNS_RCODE_NXDOMAIN, .has_negative_ttl = true, .ttl_s = 9}, true},
        {{.rcode = DNS_RCODE_NOERROR, .has_negative_ttl = true, .ttl_s = 9}, true},
        {{.rcode = DNS_RCODE_NXDOMAIN, .ttl_s = 9}, false},
        {{.rcode = DNS_RCODE_NOERROR, .ttl_s = 9}, false},
        {{.rcode = DNS_RCODE_SERVFAIL, .has_negative_ttl = true, .ttl_s = 9}, false},
        {{.rcode = DNS_RCODE_REFUSED, .has_negative_ttl = true, .ttl_s = 9}, false},
        {{.rcode = DNS_RCODE_NOERROR, .count = 1, .ttl_s = 9, .is_truncated = true}, false},
        {{.rcode = DNS_RCODE_NOERROR, .count = 1, .ttl_s = 9}, true},
    };
    struct dns_cache *cache = dns_cache_new(10, key);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put(cache, 1, DNS_TYPE_A, positive(1, 50), 0);
        put(cache, 1, DNS_TYPE_A, rows[i].reply, 0);
        if (left(cache, 1, DNS_TYPE_A, 0) != (rows[i].is_kept ? 9 : 0))
            fail_msg("row %zu", i);
    }
    dns_cache_free(cache);
}

static void drops_what_was_not_asked_for(void **state)
{
    struct dns_cache *cache = dns_cache_new(3, key);
    struct dns_cache *none = dns_cache_new(0, key);

    (void)state;
    for (unsigned i = 1; i <= 3; i++)
        put(cache, i, DNS_TYPE_A, positive(1, 50), 0);
    assert_int_equal(left(cache, 1, DNS_TYPE_A, 0), 50);
    put(cache, 4, DNS_TYPE_A, positive(1, 50), 0);
    assert_int_equal(left(cache, 2, DNS_TYPE_A, 0), 0);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(left(cache, i, DNS_TYPE_A, 0), i == 2 ? 0 : 50);
    put(none, 1, DNS_TYPE_A, positive(1, 50), 0);
    assert_int_equal(left(none, 1, DNS_TYPE_A, 0), 0);
    dns_cache_free(cache);
    dns_cache_free(none);
}

/* Against a model that forgets nothing: what the cache says is what was put last and still holds.
 */
static void never_says_what_was_not_put(void **state)
{
    enum { NAMES = 40, MAX = 16 };
    struct dns_cache *cache = dns_cache_new(MAX, key);
    uint64_t ends_ms[NAMES] = {0};
    uint8_t last[NAMES] = {0};
    uint64_t seed = test_seed();
    uint64_t now_ms = 0;
    size_t hits = 0;

    (void)state;
    for (int i = 0; i < 50000; i++) {
        unsigned number = (unsigned)(test_random(&seed) % NAMES);
        struct hostname host = name_of(number);
        struct dns_reply reply;
        now_ms += test_random(&seed) % 500;
        if (dns_cache_get(cache, &host, DNS_TYPE_A, now_ms, &reply)) {
            hits++;
            assert_true(now_ms < ends_ms[number]);
            assert_int_equal(reply.ttl_s, (ends_ms[number] - now_ms + 999) / 1000);
            assert_int_equal(netaddr_v4_bytes(&reply.addresses[1])[3], last[number]);
        } else {
            uint32_t ttl_s = 1 + (uint32_t)(test_random(&seed) % 30);
            last[number] = (uint8_t)test_random(&seed);
            ends_ms[number] = now_ms + ttl_s * 1000;
            put(cache, number, DNS_TYPE_A, positive(last[number], ttl_s), now_ms);
        }
    }
    assert_true(hits > 1000);
    dns_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_comes_back),
        cmocka_unit_test(ttl_runs_down_and_is_clamped),
        cmocka_unit_test(what_is_kept),
        cmocka_unit_test(drops_what_was_not_asked_for),
        cmocka_unit_test(never_says_what_was_not_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
