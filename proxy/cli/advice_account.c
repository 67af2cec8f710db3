#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/cli/advice.h"

/* Whose account is looked at, and where what is said goes. */
struct inquiry {
    const char *name;
    const struct account_ids *ids;
    const char *root;
    struct faults *warnings;
};

static void warn(const struct inquiry *inquiry, const char *what, const char *where)
{
    char bytes[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(bytes);

    text_put(&text, "the cage's user ");
    text_put(&text, inquiry->name);
    text_put_char(&text, ' ');
    text_put(&text, what);
    text_put_char(&text, ' ');
    text_put(&text, where);
    faults_add(inquiry->warnings, NULL, 0, text_span(&text));
}

static void print_path(const struct inquiry *inquiry, const char *directory, const char *name,
                       char out[PATH_MAX])
{
    struct text text = text_init(out, PATH_MAX);

    text_put(&text, inquiry->root);
    text_put(&text, directory);
    text_put(&text, name);
}

static const char *group_name(uint32_t gid)
{
    const struct group *group = getgrgid(gid);

    return group == NULL ? "" : group->gr_name;
}

/* Groups whose members can become root, or have a service that is root do their work. */
static void advise_groups(const struct inquiry *inquiry)
{
    static const char *const groups[] = {
        "root", "sudo",  "wheel", "admin",       "adm",     "docker", "podman",
        "lxd",  "incus", "disk",  "incus-admin", "libvirt", "kmem",   "shadow",
    };

    for (size_t i = 0; i < inquiry->ids->gid_count; i++) {
        const char *name = group_name(inquiry->ids->gids[i]);
        for (size_t j = 0; j < sizeof(groups) / sizeof(groups[0]); j++) {
            if (strcmp(name, groups[j]) == 0)
                warn(inquiry, "can act as somebody else: it is in the group", name);
        }
    }
}

/* The user part of a sudoers line names this account: by name, uid, group, gid, or as ALL. */
static bool sudoers_names(const struct inquiry *inquiry, struct span who)
{
    char bytes[64];
    struct text text = TEXT_OF(bytes);

    if (span_equal(who, SPAN_LITERAL("ALL")) || span_equal(who, span_of_text(inquiry->name)))
        return true;
    text_put_char(&text, '#');
    text_put_number(&text, inquiry->ids->uid);
    if (span_equal(who, text_span(&text)))
        return true;
    for (size_t i = 0; who.len > 1 && who.data[0] == '%' && i < inquiry->ids->gid_count; i++) {
        text = TEXT_OF(bytes);
        text_put(&text, "%#");
        text_put_number(&text, inquiry->ids->gids[i]);
        if (span_equal(who, text_span(&text)) ||
            span_equal(span_from(who, 1), span_of_text(group_name(inquiry->ids->gids[i]))))
            return true;
    }
    return false;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* The words of a line, parted by blanks, commas and '='; false at the end. */
static bool next_word(struct span *line, struct span *word)
{
    size_t at = 0;

    while (at < line->len &&
           (is_blank(line->data[at]) || line->data[at] == ',' || line->data[at] == '='))
        at++;
    *line = span_from(*line, at);
    for (at = 0; at < line->len && !is_blank(line->data[at]) && line->data[at] != ',' &&
                 line->data[at] != '=';)
        at++;
    *word = span_first(*line, at);
    *line = span_from(*line, at);
    return word->len > 0;
}

/* A rule for this account, or an alias that holds it: the aliases are not followed. */
static bool is_sudoers_line(const struct inquiry *inquiry, struct span line)
{
    struct span word;

    if (!next_word(&line, &word))
        return false;
    if (!span_equal(word, SPAN_LITERAL("User_Alias")))
        return sudoers_names(inquiry, word);
    while (next_word(&line, &word)) {
        if (sudoers_names(inquiry, word))
            return true;
    }
    return false;
}

/* The line starts with this account, or its uid, and a colon: /etc/subuid. */
static bool is_subid_line(const struct inquiry *inquiry, struct span line)
{
    uint64_t uid;
    struct span who = span_first(line, span_find(line, ':'));

    return span_equal(who, span_of_text(inquiry->name)) ||
           (span_parse_number(who, 0, UINT32_MAX, &uid) && uid == inquiry->ids->uid);
}

static void advise_file(const struct inquiry *inquiry, const char *path, const char *what,
                        bool (*is_about)(const struct inquiry *, struct span))
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        if (errno == EACCES)
            warn(inquiry, "may have rights that cannot be seen from here; as root look into", path);
        return;
    }
    while ((len = getline(&line, &cap, file)) >= 0) {
        if (is_about(inquiry, span_of(line, (size_t)len))) {
            warn(inquiry, what, path);
            break;
        }
    }
    free(line);
    fclose(file);
}

static void advise_sudoers(const struct inquiry *inquiry)
{
    static const char what[] = "may run commands as somebody else, by";
    char path[PATH_MAX];
    const struct dirent *entry;

    print_path(inquiry, "/etc/sudoers", "", path);
    advise_file(inquiry, path, what, is_sudoers_line);
    print_path(inquiry, "/etc/sudoers.d", "", path);
    DIR *directory = opendir(path);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        /* sudo skips these, editors' backups and ".." among them. */
        if (strchr(entry->d_name, '.') != NULL || strchr(entry->d_name, '~') != NULL)
            continue;
        print_path(inquiry, "/etc/sudoers.d/", entry->d_name, path);
        advise_file(inquiry, path, what, is_sudoers_line);
    }
    if (directory != NULL)
        closedir(directory);
}

static void advise_presence(const struct inquiry *inquiry, const char *directory, const char *what)
{
    char path[PATH_MAX];

    print_path(inquiry, directory, inquiry->name, path);
    if (access(path, F_OK) == 0)
        warn(inquiry, what, path);
}

void advice_account(const char *name, const struct account_ids *ids, const char *root,
                    struct faults *warnings)
{
    static const char owns_ids[] = "has subordinate ids, which no rule of its uid binds, by";
    static const char has_crontab[] = "can have commands run outside its cage, by the crontab";
    struct inquiry inquiry = {name, ids, root, warnings};
    char path[PATH_MAX];

    advise_groups(&inquiry);
    advise_sudoers(&inquiry);
    print_path(&inquiry, "/etc/subuid", "", path);
    advise_file(&inquiry, path, owns_ids, is_subid_line);
    print_path(&inquiry, "/etc/subgid", "", path);
    advise_file(&inquiry, path, owns_ids, is_subid_line);
    advise_presence(&inquiry, "/var/lib/systemd/linger/",
                    "keeps services running while nobody is logged in, by");
    advise_presence(&inquiry, "/var/spool/cron/crontabs/", has_crontab);
    advise_presence(&inquiry, "/var/spool/cron/", has_crontab);
}
