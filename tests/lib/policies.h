/* Policies for tests, written as entries with a '!' before a private one. */
#ifndef TESTS_LIB_POLICIES_H
#define TESTS_LIB_POLICIES_H

#include "config/policy.h"

/*
 * A policy of one mode; entries are NULL-terminated, each goes to the domains or the addresses by
 * its looks. The machine: cage 4242, proxy 4243, ports 15080 and 15053, resolver 203.0.113.53,
 * own addresses 203.0.113.1, 10.99.0.1 and 2001:db8::1. A faulty entry fails the test.
 */
void policy_for_test(struct policy *policy, enum network_mode mode, const char *const *allow,
                     const char *const *block);

#endif
