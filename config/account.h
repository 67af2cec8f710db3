/*
 * How a user is named in a configuration and on a command line: an account name, or a uid in
 * digits that needs no account.
 */
#ifndef CONFIG_ACCOUNT_H
#define CONFIG_ACCOUNT_H

#include "config/text.h"

/*
 * Letters, digits, '_', '-', '.' and a last '$', starting with a letter, a digit or '_': an account
 * becomes the name of a directory. False with a complaint in `fault`, also for "root" and "0".
 */
bool account_check(struct span account, struct text *fault);

/* The account is a uid in digits; *uid is written only then. */
bool account_is_uid(struct span account, uint32_t *uid);

#endif
