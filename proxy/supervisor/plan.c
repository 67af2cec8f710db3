#include "proxy/supervisor/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/policy_text.h"
#include "proxy/core/message.h"

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        bytes += written;
        len -= (size_t)written;
    }
    return 0;
}

/* Memory that nobody can change any more, the supervisor included; a negative errno otherwise. */
static int seal(const char *bytes, size_t len)
{
    int fd = memfd_create("policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int status;

    if (fd < 0)
        return -errno;
    status = write_all(fd, bytes, len);
    if (status == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        status = -errno;
    if (status == 0)
        return fd;
    close(fd);
    return status;
}

struct plan *plan_new(struct policy *policy, uint32_t generation, struct text *fault)
{
    struct plan *plan = calloc(1, sizeof(*plan));
    size_t len = 0;
    char *bytes = policy_text_print(policy, &len);
    int memfd = -ENOMEM;

    if (bytes && len > MESSAGE_POLICY_MAX)
        memfd = -EFBIG;
    else if (bytes)
        memfd = seal(bytes, len);
    free(bytes);
    if (!plan || memfd < 0) {
        text_put(fault, "the policy cannot be held in memory: ");
        text_put(fault, strerror(memfd < 0 ? -memfd : ENOMEM));
        if (memfd >= 0)
            close(memfd);
        free(plan);
        return NULL;
    }
    plan->generation = generation;
    plan->memfd = memfd;
    plan->len = (uint32_t)len;
    plan->policy = *policy;
    return plan;
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    close(plan->memfd);
    policy_fini(&plan->policy);
    free(plan);
}
