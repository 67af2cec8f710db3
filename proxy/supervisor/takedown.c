#include "proxy/supervisor/takedown.h"

#include <time.h>

#include "proxy/supervisor/layers.h"
#include "proxy/supervisor/residents.h"

enum { RESIDENTS_TRIES = 25, RESIDENTS_PAUSE_MS = 20 };

/* Those of a command that was interrupted together with us may still be on their way out. */
static bool has_residents(const struct policy *policy)
{
    const struct timespec pause = {0, RESIDENTS_PAUSE_MS * 1000000L};

    for (int i = 0; residents_count(policy->cage_uid) > 0 || layers_hold_sockets(policy); i++) {
        if (i == RESIDENTS_TRIES)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

enum takedown takedown_rules(const struct policy *policy, bool must_hold, struct text *fault)
{
    enum takedown left = TAKEDOWN_AS_IT_WAS;

    if (must_hold) {
        if (!layers_close(policy, fault))
            return left;
        left = TAKEDOWN_CLOSED;
        if (!layers_end_sockets(policy, fault) || has_residents(policy))
            return left;
    }
    return layers_remove(policy, fault) ? TAKEDOWN_NOTHING : left;
}

const char *takedown_advice(enum takedown left)
{
    switch (left) {
    case TAKEDOWN_NOTHING:
        return NULL;
    case TAKEDOWN_CLOSED:
        return "processes of the cage's user are still there: everything that they send is refused "
               "from now on. When they are gone, start and end this cage once more to remove that";
    case TAKEDOWN_AS_IT_WAS:
        break;
    }
    return "the kernel rules of the cage are still there and refuse; the log says why";
}
