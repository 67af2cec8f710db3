#include "config/reason.h"

#include <assert.h>

struct reason_text {
    const char *token;
    const char *sentence;
};

static const struct reason_text reason_text[] = {
    [REASON_INTERNAL_ERROR] = {"internal-error", "the proxy failed, and a failure refuses"},
    [REASON_ALLOWED] = {"allowed", "the policy allows this destination"},
    [REASON_NOT_ALLOWED] = {"not-allowed", "no allow entry names this host on this port"},
    [REASON_BLOCKED] = {"blocked", "a block entry names this destination"},
    [REASON_METADATA_ADDRESS] = {"metadata-address",
                                 "the address belongs to a cloud metadata service"},
    [REASON_PRIVATE_ADDRESS] = {"private-address", "the address lies in a private range"},
    [REASON_LOOPBACK_ADDRESS] = {"loopback-address", "the address belongs to this machine itself"},
    [REASON_NO_NAME] = {"no-name", "nothing proves which host this address stands for"},
    [REASON_BAD_NAME] = {"bad-name", "the host name on the wire is malformed"},
    [REASON_BAD_REQUEST] = {"bad-request", "the HTTP request is malformed or ambiguous"},
    [REASON_BAD_HELLO] = {"bad-hello", "the TLS ClientHello is malformed"},
    [REASON_AMBIGUOUS_ADDRESS] = {"ambiguous-address",
                                  "the address is shared with a host that is not allowed"},
    [REASON_NAME_UNRESOLVABLE] = {"name-unresolvable", "the host name has no address"},
    [REASON_HOST_CHANGED] = {"host-changed",
                             "a later request on this connection names another host"},
    [REASON_ECH_REFUSED] = {"ech-refused", "the ClientHello hides its name and the policy says no"},
    [REASON_H2C_REFUSED] = {"h2c-refused", "HTTP/2 without TLS cannot be judged"},
    [REASON_QUIC_REFUSED] = {"quic-refused", "QUIC is refused so that clients use TCP"},
    [REASON_CONNECT_REFUSED] = {"connect-refused", "tunnels through another proxy are refused"},
    [REASON_SNIFF_TIMEOUT] = {"sniff-timeout", "the client did not finish its first message"},
    [REASON_TOO_LARGE] = {"too-large", "the first message is larger than the limit"},
    [REASON_NOT_REDIRECTED] = {"not-redirected", "the connection did not come by redirection"},
    [REASON_UPSTREAM_REFUSED] = {"upstream-refused", "the destination refused the connection"},
    [REASON_UPSTREAM_TIMEOUT] = {"upstream-timeout", "the destination did not answer in time"},
    [REASON_LIMIT_REACHED] = {"limit-reached", "a limit of the cage is reached"},
    [REASON_DNS_REFUSED] = {"dns-refused", "the DNS question cannot be answered here"},
};

static_assert(sizeof(reason_text) / sizeof(reason_text[0]) == REASON_COUNT,
              "every reason has its text");

const char *reason_token(enum reason reason)
{
    assert(reason < REASON_COUNT);
    return reason_text[reason].token;
}

const char *reason_sentence(enum reason reason)
{
    assert(reason < REASON_COUNT);
    return reason_text[reason].sentence;
}

bool reason_parse(struct span token, enum reason *out)
{
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        if (span_equal(token, span_of_text(reason_text[i].token))) {
            *out = (enum reason)i;
            return true;
        }
    }
    return false;
}
