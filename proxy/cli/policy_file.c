#include "proxy/cli/policy_file.h"

#include "proxy/cli/report.h"

bool policy_file_load(const struct load_request *request, struct policy *policy)
{
    static struct faults faults;

    faults_init(&faults);
    bool is_loaded = load_run(request, policy, &faults);
    report_faults(stderr, "", &faults);
    faults_fini(&faults);
    return is_loaded;
}
