#include "config/faults.h"
#include "tests/lib/unit.h"

static void printed(void **state)
{
    struct faults faults;
    char line[200];

    (void)state;
    faults_init(&faults);
    assert_false(faults_any(&faults));
    faults_add(&faults, "cage.lua", 7, SPAN_LITERAL("port 99999 is above 65535"));
    faults_add(&faults, "cage.lua", 0, SPAN_LITERAL("a\nb\x1b[31m\xc3\xbc"));
    faults_add(&faults, NULL, 9, SPAN_LITERAL("no such user"));
    assert_true(faults_any(&faults));

    static const char *const texts[] = {"cage.lua:7: port 99999 is above 65535",
                                        "cage.lua: a?b?[31m??", "no such user"};
    for (size_t i = 0; i < 3; i++) {
        struct text text = TEXT_OF(line);
        fault_print(&faults.list[i], &text);
        assert_string_equal(line, texts[i]);
    }
    faults_fini(&faults);
    assert_false(faults_any(&faults));
}

static void bounded(void **state)
{
    static char huge[5000];
    struct faults faults;

    (void)state;
    memset(huge, 'x', sizeof(huge));
    faults_init(&faults);
    for (size_t i = 0; i < FAULTS_MAX + 7; i++)
        faults_add(&faults, "f", 1, span_of(huge, sizeof(huge)));
    assert_int_equal(faults.count, FAULTS_MAX);
    assert_int_equal(faults.dropped, 7);
    assert_int_equal(strlen(faults.list[0].message), FAULT_MESSAGE_MAX - 1);
    faults_fini(&faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printed),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
