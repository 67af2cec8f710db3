#include "proxy/supervisor/child.h"
#include "tests/lib/unit.h"

static void backoff(void **state)
{
    static const uint64_t expected_ms[] = {100, 100, 200, 400, 800, 1600, 3200, 5000, 5000};

    (void)state;
    for (unsigned i = 0; i < sizeof(expected_ms) / sizeof(expected_ms[0]); i++)
        assert_int_equal(child_backoff_ms(i), expected_ms[i]);
    assert_int_equal(child_backoff_ms(UINT32_MAX), CHILD_BACKOFF_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backoff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
