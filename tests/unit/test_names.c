#include "proxy/worker/names.h"

#include <pthread.h>

#include "tests/lib/unit.h"

static struct hostname name_of(unsigned number)
{
    struct hostname name = {0};

    name.len = (uint8_t)snprintf(name.text, sizeof(name.text), "n%u.example", number);
    return name;
}

static struct netaddr address_of(unsigned number)
{
    const uint8_t v4[4] = {203, 0, (uint8_t)(number >> 8), (uint8_t)number};
    const uint8_t v6[16] = {0x20, 1, [14] = (uint8_t)(number >> 8), [15] = (uint8_t)number};

    return number % 2 ? netaddr_v4(v4) : netaddr_v6(v6);
}

static bool learn(struct names *names, unsigned name, unsigned address, uint32_t ttl_s,
                  uint64_t now_ms)
{
    struct hostname host = name_of(name);
    struct netaddr addr = address_of(address);

    return names_learn(names, &host, &addr, 1, ttl_s, now_ms);
}

static bool has(struct names *names, unsigned name, unsigned address, uint64_t now_ms)
{
    struct netaddr found[NAMES_ADDRESSES_MAX];
    struct hostname host = name_of(name);
    struct netaddr addr = address_of(address);
    size_t count = names_addresses(names, &host, now_ms, found, NAMES_ADDRESSES_MAX);

    for (size_t i = 0; i < count; i++) {
        if (netaddr_equal(&found[i], &addr))
            return true;
    }
    return false;
}

static void both_directions(void **state)
{
    struct names *names = names_new(100);
    struct hostname found[4];
    struct netaddr shared = address_of(1);

    (void)state;
    assert_true(learn(names, 1, 1, 10, 1000));
    assert_true(learn(names, 2, 1, 10, 1000));
    assert_true(learn(names, 2, 2, 10, 1000));
    assert_true(has(names, 1, 1, 1000));
    assert_false(has(names, 1, 2, 1000));
    assert_true(has(names, 2, 2, 1000));
    assert_false(has(names, 3, 1, 1000));
    assert_int_equal(names_of_address(names, &shared, 1000, found, 4), 2);
    /* More than there is room for is told, and that much written. */
    found[1].len = 99;
    assert_int_equal(names_of_address(names, &shared, 1000, found, 1), 2);
    assert_int_equal(found[1].len, 99);
    assert_int_equal(names_of_address(names, &shared, 1000, NULL, 0), 1);
    names_free(names);
    names_free(NULL);
}

static void lives_for_ttl_and_grace(void **state)
{
    struct names *names = names_new(100);
    uint64_t end_ms = 1000 + 10 * 1000 + NAMES_GRACE_MS;
    struct netaddr address = address_of(1);
    struct hostname found;

    (void)state;
    assert_true(learn(names, 1, 1, 10, 1000));
    assert_true(has(names, 1, 1, end_ms - 1));
    assert_int_equal(names_of_address(names, &address, end_ms - 1, &found, 1), 1);
    assert_string_equal(found.text, "n1.example");
    assert_false(has(names, 1, 1, end_ms));
    assert_int_equal(names_of_address(names, &address, end_ms, &found, 1), 0);
    /* Learned again it lives longer, but a shorter TTL does not cut what was promised. */
    assert_true(learn(names, 1, 1, 10, 2000));
    assert_true(learn(names, 1, 1, 1, 2000));
    assert_true(has(names, 1, 1, end_ms + 999));
    assert_false(has(names, 1, 1, end_ms + 1000));
    names_free(names);
}

static void a_full_table_refuses_and_keeps(void **state)
{
    struct names *names = names_new(3);
    struct hostname host = name_of(9);
    struct netaddr pair[3] = {address_of(7), address_of(8), address_of(7)};
    uint64_t end_ms = 1000 + NAMES_GRACE_MS;

    (void)state;
    assert_true(learn(names, 1, 1, 1, 0));
    assert_true(learn(names, 2, 2, 1, 0));
    /* All or nothing. */
    assert_false(names_learn(names, &host, pair, 2, 1, 0));
    assert_false(has(names, 9, 7, 0));
    assert_true(learn(names, 3, 3, 1, 0));
    assert_false(learn(names, 4, 4, 1, 0));
    assert_true(learn(names, 2, 2, 100, 0)); /* no new pair */
    for (unsigned i = 1; i <= 3; i++)
        assert_true(has(names, i, i, end_ms - 1));
    assert_false(learn(names, 4, 4, 1, end_ms - 1));
    /* Dead ones make room; an address that is said twice takes it once. */
    assert_true(names_learn(names, &host, pair, 3, 1, end_ms));
    assert_true(has(names, 2, 2, end_ms));
    assert_false(learn(names, 4, 4, 1, end_ms));
    names_free(names);
}

static void the_latest_come_first(void **state)
{
    struct names *names = names_new(1000);
    struct hostname host = name_of(1);
    struct netaddr found[2];
    struct netaddr wanted[2] = {address_of(5), address_of(200)};

    (void)state;
    for (unsigned i = 1; i <= 200; i++)
        assert_true(learn(names, 1, i, 1, 0));
    assert_true(learn(names, 1, 5, 1, 0));
    assert_int_equal(names_addresses(names, &host, 0, found, 2), 2);
    assert_memory_equal(found, wanted, sizeof(found));
    names_free(names);
}

enum { MODEL_NAMES = 12, MODEL_ADDRESSES = 12, MODEL_PAIRS_MAX = 40 };

static uint64_t model[MODEL_NAMES][MODEL_ADDRESSES]; /* when it ends */

static size_t model_living(uint64_t now_ms)
{
    size_t count = 0;

    for (size_t i = 0; i < MODEL_NAMES * MODEL_ADDRESSES; i++)
        count += now_ms < model[i / MODEL_ADDRESSES][i % MODEL_ADDRESSES];
    return count;
}

static bool model_learn(unsigned name, const unsigned *addresses, size_t count, uint32_t ttl_s,
                        uint64_t now_ms)
{
    uint64_t end_ms = now_ms + ttl_s * 1000 + NAMES_GRACE_MS;
    bool is_new[MODEL_ADDRESSES] = {false};
    size_t missing = 0;

    for (size_t i = 0; i < count; i++) {
        if (now_ms >= model[name][addresses[i]] && !is_new[addresses[i]])
            missing++;
        is_new[addresses[i]] = true;
    }
    if (model_living(now_ms) + missing > MODEL_PAIRS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (end_ms > model[name][addresses[i]])
            model[name][addresses[i]] = end_ms;
    }
    return true;
}

static void compare(struct names *names, unsigned number, uint64_t now_ms)
{
    struct hostname host = name_of(number);
    struct netaddr address = address_of(number);
    struct netaddr addresses[NAMES_ADDRESSES_MAX];
    struct hostname hosts[NAMES_PER_ADDRESS_MAX];
    size_t by_name = 0;
    size_t by_address = 0;

    for (unsigned i = 0; i < MODEL_ADDRESSES; i++) {
        by_name += now_ms < model[number][i];
        by_address += now_ms < model[i][number];
        assert_int_equal(has(names, number, i, now_ms), now_ms < model[number][i]);
    }
    assert_int_equal(names_addresses(names, &host, now_ms, addresses, NAMES_ADDRESSES_MAX),
                     by_name);
    assert_int_equal(names_of_address(names, &address, now_ms, hosts, NAMES_PER_ADDRESS_MAX),
                     by_address);
}

static void agrees_with_a_naive_model(void **state)
{
    struct names *names = names_new(MODEL_PAIRS_MAX);
    uint64_t seed = test_seed();
    uint64_t now_ms = 1;
    size_t refused = 0;

    (void)state;
    for (int step = 0; step < 20000; step++) {
        unsigned name = (unsigned)(test_random(&seed) % MODEL_NAMES);
        struct hostname host = name_of(name);
        unsigned numbers[4];
        struct netaddr addresses[4];
        size_t count = test_random(&seed) % 5;
        uint32_t ttl_s = (uint32_t)(test_random(&seed) % 200);
        for (size_t i = 0; i < count; i++) {
            numbers[i] = (unsigned)(test_random(&seed) % MODEL_ADDRESSES);
            addresses[i] = address_of(numbers[i]);
        }
        bool wanted = model_learn(name, numbers, count, ttl_s, now_ms);
        if (names_learn(names, &host, addresses, count, ttl_s, now_ms) != wanted)
            fail_msg("step %d: learned %d", step, !wanted);
        refused += !wanted;
        compare(names, name, now_ms);
        now_ms += test_random(&seed) % 8000;
    }
    assert_true(refused > 100);
    names_free(names);
}

struct rounds {
    struct names *names;
    uint64_t seed;
};

static void *learn_and_look(void *arg)
{
    struct rounds *rounds = arg;

    for (int i = 0; i < 20000; i++) {
        uint64_t random = test_random(&rounds->seed);
        unsigned name = (unsigned)(random % 50);
        unsigned address = (unsigned)(random >> 16) % 50;
        struct netaddr addr = address_of(address);
        struct hostname found[NAMES_PER_ADDRESS_MAX];
        uint64_t now_ms = (uint64_t)i * 10;
        if (learn(rounds->names, name, address, 1000, now_ms) &&
            !has(rounds->names, name, address, now_ms))
            return rounds;
        size_t count = names_of_address(rounds->names, &addr, now_ms, found, NAMES_PER_ADDRESS_MAX);
        for (size_t j = 0; j < count && j < NAMES_PER_ADDRESS_MAX; j++) {
            if (found[j].text[0] != 'n' || strlen(found[j].text) != found[j].len)
                return rounds;
        }
        if (count > 0)
            names_admit(rounds->names, &found[0], 10, now_ms);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    enum { THREADS = 4 };
    struct names *names = names_new(500);
    struct rounds rounds[THREADS];
    pthread_t ids[THREADS];
    uint64_t seed = test_seed();

    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        rounds[i] = (struct rounds){names, test_random(&seed)};
        assert_int_equal(pthread_create(&ids[i], NULL, learn_and_look, &rounds[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(ids[i], &failed), 0);
        assert_null(failed);
    }
    names_free(names);
}

static void the_limit_is_one_for_all(void **state)
{
    struct names *names = names_new(10);
    struct hostname host[3] = {name_of(1), name_of(2), name_of(3)};

    (void)state;
    assert_true(names_admit(names, &host[0], 2, 5));
    assert_true(names_admit(names, &host[1], 2, 5));
    assert_false(names_admit(names, &host[2], 2, 5));
    assert_true(names_admit(names, &host[0], 2, 5));
    names_free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_directions),
        cmocka_unit_test(lives_for_ttl_and_grace),
        cmocka_unit_test(a_full_table_refuses_and_keeps),
        cmocka_unit_test(the_latest_come_first),
        cmocka_unit_test(agrees_with_a_naive_model),
        cmocka_unit_test(threads_share_it),
        cmocka_unit_test(the_limit_is_one_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
