/* What parses is encoded as the same bytes, and every message that parses has its descriptors. */
#include <stdlib.h>

#include "proxy/core/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[MESSAGE_LEN_MAX];
    struct message message;

    if (!message_parse(span_of(data, size), &message))
        return 0;
    if (message_encode(&message, again) != size || memcmp(again, data, size) != 0)
        abort();
    if (message_descriptors(&message) > SOCKET_COUNT + MESSAGE_THREADS_MAX)
        abort();
    return 0;
}
