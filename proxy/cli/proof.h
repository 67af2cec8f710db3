/*
 * Which probes prove that a cage holds before the command in it runs.
 */
#ifndef PROXY_CLI_PROOF_H
#define PROXY_CLI_PROOF_H

#include "config/matcher.h"
#include "proxy/cli/cage.h"

/*
 * Chooses, of a fixed list of names and addresses that no machine has (RFC 5737, RFC 3849,
 * RFC 6761) and of the policy's own blocks, those that this policy denies: a name that must not be
 * looked up, addresses that the proxy must refuse, private and metadata addresses that the kernel
 * must refuse, in both families. Returns how many; 0 when the policy denies nothing of it.
 */
size_t proof_choose(const struct policy *policy, const struct matcher *matcher,
                    struct cage_probe out[CAGE_PROBE_MAX]);

/* "metadata address 169.254.169.254 port 80", for messages. */
void proof_print(const struct cage_probe *probe, struct text *out);

#endif
