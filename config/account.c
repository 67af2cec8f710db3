#include "config/account.h"

static bool is_word(uint8_t c)
{
    uint8_t lower = ascii_lower(c);

    return (lower >= 'a' && lower <= 'z') || ascii_is_digit(c) || c == '_';
}

static bool is_digits(struct span account)
{
    for (size_t i = 0; i < account.len; i++) {
        if (!ascii_is_digit(account.data[i]))
            return false;
    }
    return account.len > 0;
}

bool account_is_uid(struct span account, uint32_t *uid)
{
    uint64_t value;

    /* The last number means "no uid" to every system call that takes one. */
    if (!span_parse_number(account, 0, UINT32_MAX - 1, &value))
        return false;
    *uid = (uint32_t)value;
    return true;
}

static bool is_account_name(struct span account)
{
    for (size_t i = 0; i < account.len; i++) {
        uint8_t c = account.data[i];
        bool is_inner = i > 0 && (c == '-' || c == '.');
        bool is_last = i > 0 && i == account.len - 1 && c == '$';
        if (!is_word(c) && !is_inner && !is_last)
            return false;
    }
    return account.len > 0;
}

bool account_check(struct span account, struct text *fault)
{
    uint32_t uid = 0;

    if (!is_account_name(account)) {
        text_put(fault, account.len == 0 ? "no user is named"
                                         : "this is neither an account name nor a uid");
        return false;
    }
    if (is_digits(account) && !account_is_uid(account, &uid)) {
        text_put(fault, "a uid is a number up to 4294967294 without leading zeros");
        return false;
    }
    if (span_equal(account, SPAN_LITERAL("root")) || (is_digits(account) && uid == 0)) {
        text_put(fault, "root cannot be confined; name another account");
        return false;
    }
    return true;
}
