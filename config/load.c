#include "config/load.h"

#include <errno.h>

#include "config/account.h"
#include "config/policy_lua.h"
#include "config/policy_option.h"

static struct rule_source option_source(const struct policy_lua *reader, const char *path)
{
    size_t count;
    const struct option_def *option = policy_option_find(span_of_text(path));

    return reader->option_source[option - policy_options(&count)];
}

void load_evaluate(const struct load *load, struct policy *policy, struct load_sources *sources,
                   struct faults *faults)
{
    struct policy_lua reader;

    policy_lua_init(&reader, policy, faults);
    for (size_t i = 0; i < load->file_count; i++)
        policy_lua_read(&reader, load->files[i].name,
                        span_of(load->files[i].text, load->files[i].len));
    policy_lua_finish(&reader);
    sources->user = option_source(&reader, "user");
    sources->proxy_user = option_source(&reader, "proxy.user");
}

/* A fault of one of the two users, where it was written. */
static void complain_user(const struct policy *policy, struct rule_source source, const char *key,
                          const char *account, const char *complaint, struct faults *faults)
{
    char message[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(message);
    bool is_written = source.line > 0 && source.file < policy->file_count;

    text_put(&text, key);
    text_put(&text, " \"");
    text_put_escaped(&text, span_of_text(account), POLICY_ACCOUNT_MAX);
    text_put(&text, "\": ");
    text_put(&text, complaint);
    faults_add(faults, is_written ? policy->files[source.file] : NULL, source.line,
               text_span(&text));
}

/* The user of the command line stands in for the configured one. */
static void override_user(struct policy *policy, const char *user, struct faults *faults)
{
    struct rule_source nowhere = {0};
    char bytes[300];
    struct text fault = TEXT_OF(bytes);
    const struct option_def *option = policy_option_find(SPAN_LITERAL("user"));

    if (!account_check(span_of_text(user), &fault) ||
        !policy_option_set_text(&policy->settings, option, span_of_text(user), &fault))
        complain_user(policy, nowhere, "--user", user, bytes, faults);
}

/* One of the two users: its uid, and that it could not have written the configuration. */
struct subject {
    const char *key;
    const char *role;
    const char *account;
    struct rule_source source;
};

static void resolve(const struct load *load, const struct policy *policy,
                    const struct subject *subject, uint32_t *uid, struct faults *faults)
{
    struct account_ids ids;
    int status = account_lookup(subject->account, &ids);

    *uid = POLICY_UID_NONE;
    if (status == -ENOENT)
        return;
    if (status < 0) {
        complain_user(policy, subject->source, subject->key, subject->account, strerror(-status),
                      faults);
        return;
    }
    *uid = ids.uid;
    if (ids.uid == 0)
        complain_user(policy, subject->source, subject->key, subject->account,
                      "this account is root, which cannot be confined; name another account",
                      faults);
    else
        load_judge(load, &ids, subject->role, faults);
    account_ids_fini(&ids);
}

static void resolve_users(const struct load *load, struct policy *policy,
                          const struct load_sources *sources, struct faults *faults)
{
    const struct policy_settings *s = &policy->settings;
    struct subject cage = {"user", "the cage's user", s->user, sources->user};
    struct subject proxy = {"proxy.user", "the proxy's user", s->proxy_user, sources->proxy_user};

    resolve(load, policy, &cage, &policy->cage_uid, faults);
    resolve(load, policy, &proxy, &policy->proxy_uid, faults);
    bool is_same = policy->cage_uid == policy->proxy_uid
                       ? policy->cage_uid != POLICY_UID_NONE || strcmp(s->user, s->proxy_user) == 0
                       : false;
    if (is_same && policy->cage_uid != 0)
        complain_user(policy, sources->proxy_user, "proxy.user", s->proxy_user,
                      "the proxy needs an account of its own, not the cage's", faults);
}

bool load_run(const struct load_request *request, struct policy *policy, struct faults *faults)
{
    struct load load;
    struct load_sources sources;
    bool is_loaded = false;

    load_open(request, &load, faults);
    /* Also after a fault: the readable files have faults of their own to report. */
    if (load.file_count > 0 && load_evaluate_apart(&load, policy, &sources, faults)) {
        if (request->user != NULL)
            override_user(policy, request->user, faults);
        if (!faults_any(faults))
            resolve_users(&load, policy, &sources, faults);
        is_loaded = !faults_any(faults);
        if (!is_loaded)
            policy_fini(policy);
    }
    load_fini(&load);
    return is_loaded;
}
