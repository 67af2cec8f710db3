#include "proxy/core/dns_limit.h"
#include "tests/lib/unit.h"

static struct dns_limit limit;

static int setup(void **state)
{
    (void)state;
    limit = (struct dns_limit){0};
    return 0;
}

static void as_many_new_names_as_the_limit_says(void **state)
{
    (void)state;
    for (uint64_t name = 1; name <= 5; name++)
        assert_true(dns_limit_admit(&limit, name, 5, 1000));
    assert_false(dns_limit_admit(&limit, 6, 5, 1000));
    /* Those that were admitted cost nothing, for a minute. */
    for (uint64_t name = 1; name <= 5; name++)
        assert_true(dns_limit_admit(&limit, name, 5, 1000));
    /* A fifth of a minute is worth one name. */
    assert_false(dns_limit_admit(&limit, 6, 5, 12999));
    assert_true(dns_limit_admit(&limit, 6, 5, 13000));
    assert_false(dns_limit_admit(&limit, 7, 5, 13000));
}

static void a_known_name_is_new_again_after_a_minute(void **state)
{
    (void)state;
    assert_true(dns_limit_admit(&limit, 1, 1, 0));
    assert_true(dns_limit_admit(&limit, 1, 1, 59999));
    assert_false(dns_limit_admit(&limit, 2, 1, 59999));
    /* Asking again did not make it live longer; it and the other now compete. */
    assert_true(dns_limit_admit(&limit, 2, 1, 60000));
    assert_false(dns_limit_admit(&limit, 1, 1, 60000));
}

static void a_long_rest_is_worth_one_minute(void **state)
{
    (void)state;
    assert_true(dns_limit_admit(&limit, 1, 2, 0));
    assert_true(dns_limit_admit(&limit, 2, 2, 10000000));
    assert_true(dns_limit_admit(&limit, 3, 2, 10000000));
    assert_false(dns_limit_admit(&limit, 4, 2, 10000000));
}

static void the_limit_may_change(void **state)
{
    (void)state;
    for (uint64_t name = 1; name <= 100; name++)
        assert_true(dns_limit_admit(&limit, name, 1000, 0));
    assert_true(dns_limit_admit(&limit, 101, 1, 0));
    assert_false(dns_limit_admit(&limit, 102, 1, 0));
    assert_false(dns_limit_admit(&limit, 103, 1000, 0));
    assert_true(dns_limit_admit(&limit, 103, 1000, 60));
}

/* In no minute more names than twice the limit (a full one at its start and what flows in). */
static void no_minute_has_more(void **state)
{
    enum { LIMIT = 50, STEPS = 20000 };
    static uint64_t admitted_ms[STEPS];
    uint64_t seed = test_seed();
    uint64_t now_ms = 5;
    size_t count = 0;

    (void)state;
    for (uint64_t i = 0; i < STEPS; i++) {
        now_ms += test_random(&seed) % 100;
        if (dns_limit_admit(&limit, i + 1, LIMIT, now_ms))
            admitted_ms[count++] = now_ms;
        if (count > 2 * LIMIT)
            assert_true(admitted_ms[count - 1] - admitted_ms[count - 1 - 2 * LIMIT] >=
                        DNS_LIMIT_WINDOW_MS);
    }
    assert_true(count > 10 * LIMIT);
}

/* A table that is full of living names forgets some and takes them for new, never the reverse. */
static void a_full_table_makes_names_new(void **state)
{
    enum { MANY = DNS_LIMIT_SETS * DNS_LIMIT_WAYS * 2 };

    (void)state;
    for (uint64_t name = 1; name <= MANY; name++)
        assert_true(dns_limit_admit(&limit, name, MANY, 0));
    assert_false(dns_limit_admit(&limit, 1, MANY, 0));
    assert_true(dns_limit_admit(&limit, MANY, MANY, 0));
}

static void long_labels(void **state)
{
    static const struct {
        const char *name;
        size_t longest;
    } rows[] = {{"a", 1}, {"www.example.com", 7}, {"abcdefgh.b.cde", 8}, {"a.bc.defg", 4}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hostname name;
        assert_int_equal(hostname_parse(span_of_text(rows[i].name), &name), HOSTNAME_OK);
        assert_false(dns_limit_has_long_label(&name, rows[i].longest));
        assert_true(dns_limit_has_long_label(&name, rows[i].longest - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(as_many_new_names_as_the_limit_says, setup),
        cmocka_unit_test_setup(a_known_name_is_new_again_after_a_minute, setup),
        cmocka_unit_test_setup(a_long_rest_is_worth_one_minute, setup),
        cmocka_unit_test_setup(the_limit_may_change, setup),
        cmocka_unit_test_setup(no_minute_has_more, setup),
        cmocka_unit_test_setup(a_full_table_makes_names_new, setup),
        cmocka_unit_test(long_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
