/* Opening configurations: component by component, no link followed, each step's facts kept. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "config/load.h"

#define SYSTEM_FILE  "/etc/claude-cage/config"
#define USER_FILE    "/.config/claude-cage/config"
#define PROJECT_FILE "./claude-cage.config"
#define ACL_NAME     "system.posix_acl_access"

enum { FD_PATH_MAX = 40 };

struct walk {
    struct load_file *file;
    struct faults *faults;
    bool is_optional;    /* a default place: absence is no fault */
    char path[PATH_MAX]; /* so far */
    size_t path_len;
    int fd; /* O_PATH, what `path` names */
};

/* What is open as `fd`, by a name that works for O_PATH descriptors too. */
static void print_fd_path(int fd, char out[FD_PATH_MAX])
{
    struct text text = text_init(out, FD_PATH_MAX);

    text_put(&text, "/proc/self/fd/");
    text_put_number(&text, (uint64_t)fd);
}

static int complain(const struct walk *walk, const char *what)
{
    char message[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(message);

    if (walk->path_len > 0) {
        text_put(&text, walk->path);
        text_put_char(&text, ' ');
    }
    text_put(&text, what);
    faults_add(walk->faults, walk->file->name, 0, text_span(&text));
    return -EINVAL;
}

static int complain_errno(const struct walk *walk, const char *what, int error)
{
    char message[200];
    struct text text = TEXT_OF(message);

    text_put(&text, what);
    text_put(&text, ": ");
    text_put(&text, strerror(error));
    return complain(walk, message);
}

/* The ACL of what is open, from malloc; NULL where there is none or the file system has none. */
static int read_acl(const struct walk *walk, uint8_t **acl, size_t *acl_len)
{
    char name[FD_PATH_MAX];

    print_fd_path(walk->fd, name);
    ssize_t len = getxattr(name, ACL_NAME, NULL, 0);
    if (len < 0 && errno != ENODATA && errno != ENOTSUP)
        return complain_errno(walk, "has an ACL that cannot be read", errno);
    if (len <= 0)
        return 0;
    *acl = malloc((size_t)len);
    if (*acl == NULL || getxattr(name, ACL_NAME, *acl, (size_t)len) != len)
        return complain(walk, "has an ACL that cannot be read");
    *acl_len = (size_t)len;
    return 0;
}

static void step_fini(struct load_step *step)
{
    free(step->path);
    free(step->acl);
}

static int add_step(const struct walk *walk, const struct stat *st)
{
    struct load_file *file = walk->file;
    struct load_step step = {.path = strdup(walk->path)};
    struct load_step *steps = reallocarray(file->steps, file->step_count + 1, sizeof(*steps));
    size_t acl_len = 0;
    int status = -ENOMEM;

    if (steps != NULL)
        file->steps = steps;
    if (steps == NULL || step.path == NULL)
        complain(walk, "cannot be noted: no memory");
    else
        status = read_acl(walk, &step.acl, &acl_len);
    if (status < 0) {
        step_fini(&step);
        return status;
    }
    step.facts =
        (struct access_facts){st->st_uid, st->st_gid, st->st_mode, span_of(step.acl, acl_len)};
    file->steps[file->step_count++] = step;
    return 0;
}

/* Judges what `walk->fd` is; the last step is the file, every other a directory. */
static int check_step(const struct walk *walk, bool is_last)
{
    struct stat st;

    if (fstat(walk->fd, &st) < 0)
        return complain_errno(walk, "cannot be looked at", errno);
    if (S_ISLNK(st.st_mode))
        return complain(walk, "is a symbolic link, which could be made to lead elsewhere; name "
                              "the file by its real path");
    if (is_last && !S_ISREG(st.st_mode))
        return complain(walk, "is not a regular file");
    if (!is_last && !S_ISDIR(st.st_mode))
        return walk->is_optional ? -ENOENT : complain(walk, "is not a directory");
    return add_step(walk, &st);
}

static int open_step(struct walk *walk, const char *name, size_t len, bool is_last)
{
    char component[NAME_MAX + 1];

    if (len > NAME_MAX || walk->path_len + len + 2 > sizeof(walk->path))
        return complain(walk, "leads to a name that is too long");
    memcpy(component, name, len);
    component[len] = '\0';
    int fd = openat(walk->fd, component, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;

    if (walk->path[walk->path_len - 1] != '/')
        walk->path[walk->path_len++] = '/';
    memcpy(walk->path + walk->path_len, component, len + 1);
    walk->path_len += len;
    if (fd < 0) {
        if (walk->is_optional && (error == ENOENT || error == ENOTDIR))
            return -ENOENT;
        return complain_errno(walk, "cannot be opened", error);
    }
    close(walk->fd);
    walk->fd = fd;
    return check_step(walk, is_last);
}

/* From "/" to the end of an absolute path; walk->fd is then the file. */
static int walk_path(struct walk *walk, const char *path)
{
    walk->fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (walk->fd < 0)
        return complain_errno(walk, "the root directory cannot be opened", errno);
    walk->path[walk->path_len++] = '/';
    walk->path[walk->path_len] = '\0';
    const char *at = path + strspn(path, "/");
    int status = check_step(walk, *at == '\0');

    while (status == 0 && *at != '\0') {
        size_t len = strcspn(at, "/");
        const char *next = at + len + strspn(at + len, "/");
        bool is_here = len == 1 && at[0] == '.';
        if (!is_here || *next == '\0')
            status = open_step(walk, at, len, *next == '\0');
        at = next;
    }
    return status;
}

/* Reads from a descriptor of the very file that was judged. */
static int read_file(struct walk *walk)
{
    struct load_file *file = walk->file;
    char name[FD_PATH_MAX];
    size_t cap = 4096;
    int status = 0;

    print_fd_path(walk->fd, name);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return complain_errno(walk, "cannot be opened", errno);
    for (;;) {
        char *text =
            file->len + 1 < cap && file->text != NULL ? file->text : realloc(file->text, cap *= 2);
        if (text == NULL) {
            status = complain(walk, "cannot be read: no memory");
            break;
        }
        file->text = text;
        ssize_t got = read(fd, text + file->len, cap - file->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = complain_errno(walk, "cannot be read", errno);
        if (got <= 0)
            break;
        file->len += (size_t)got;
        if (file->len > LOAD_FILE_MAX) {
            status = complain(walk, "is larger than 16 MiB");
            break;
        }
    }
    close(fd);
    return status;
}

static void file_fini(struct load_file *file)
{
    for (size_t i = 0; i < file->step_count; i++)
        step_fini(&file->steps[i]);
    free(file->steps);
    free(file->name);
    free(file->text);
    *file = (struct load_file){0};
}

/*
 * Goes up from a directory for each "../" that a relative name begins with. The directory is what
 * getcwd() says, free of links, so that its parent is the one that its path names; the directory
 * that was left need not be trusted, since it is not on the way.
 */
static const char *climb(char *directory, const char *name)
{
    for (;;) {
        bool is_up = strncmp(name, "../", 3) == 0;
        if (!is_up && strncmp(name, "./", 2) != 0)
            return name;
        char *last = strrchr(directory, '/');
        if (is_up && last != NULL)
            *last = '\0';
        name += is_up ? 3 : 2;
    }
}

static bool make_absolute(const struct walk *walk, const char *name, char out[PATH_MAX])
{
    struct text text = text_init(out, PATH_MAX);

    if (name[0] != '/') {
        char here[PATH_MAX];
        /* A directory that is not below the root is not named by an absolute path. */
        if (getcwd(here, sizeof(here)) == NULL || here[0] != '/') {
            complain(walk, "cannot be found: the current directory has no path");
            return false;
        }
        name = climb(here, name);
        text_put(&text, here);
        text_put_char(&text, '/');
    }
    text_put(&text, name);
    if (text.is_cut || name[0] == '\0')
        complain(walk, name[0] == '\0' ? "no file is named" : "the path is too long");
    return !text.is_cut && name[0] != '\0';
}

/* 0, -ENOENT when an optional file is not there, or another negative errno after a fault. */
static int open_file(struct load *load, const char *name, bool is_optional, struct faults *faults)
{
    struct load_file file = {.name = strdup(name)};
    struct walk walk = {.file = &file, .faults = faults, .is_optional = is_optional, .fd = -1};
    char path[PATH_MAX];
    int status = -EINVAL;

    if (file.name != NULL && make_absolute(&walk, name, path))
        status = walk_path(&walk, path);
    if (status == 0)
        status = read_file(&walk);
    if (walk.fd >= 0)
        close(walk.fd);
    struct load_file *files =
        status == 0 ? reallocarray(load->files, load->file_count + 1, sizeof(*files)) : NULL;
    if (files == NULL) {
        if (status == 0 || file.name == NULL)
            faults_add(faults, name, 0, SPAN_LITERAL("no memory to read the file"));
        file_fini(&file);
        return status == 0 ? -ENOMEM : status;
    }
    load->files = files;
    load->files[load->file_count++] = file;
    return 0;
}

/* The home directory of the person who started this: with sudo, of the one who called it. */
static const char *home_directory(void)
{
    const char *sudo_user = getenv("SUDO_USER");
    const char *home = getenv("HOME");
    const struct passwd *entry;

    if (geteuid() != 0 && home != NULL && home[0] == '/')
        return home;
    entry = geteuid() == 0 && sudo_user != NULL ? getpwnam(sudo_user) : getpwuid(getuid());
    return entry == NULL || entry->pw_dir[0] != '/' ? NULL : entry->pw_dir;
}

static void open_defaults(struct load *load, struct faults *faults)
{
    const char *home = home_directory();
    char user_file[PATH_MAX] = "";
    char message[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(user_file);
    const char *places[] = {SYSTEM_FILE, user_file, PROJECT_FILE};
    bool is_any = false;

    if (home != NULL) {
        text_put(&text, home);
        text_put(&text, USER_FILE);
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (places[i][0] != '\0' && open_file(load, places[i], true, faults) != -ENOENT)
            is_any = true;
    }
    if (is_any)
        return;
    text = TEXT_OF(message);
    text_put(&text, "no configuration: none of ");
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        text_put(&text, i > 0 && places[i][0] != '\0' ? ", " : "");
        text_put(&text, places[i]);
    }
    text_put(&text, " exists; write one, or name one with -c FILE");
    faults_add(faults, NULL, 0, text_span(&text));
}

void load_open(const struct load_request *request, struct load *load, struct faults *faults)
{
    *load = (struct load){0};
    for (size_t i = 0; i < request->file_count; i++)
        open_file(load, request->files[i], false, faults);
    if (request->file_count == 0)
        open_defaults(load, faults);
}

void load_fini(struct load *load)
{
    for (size_t i = 0; i < load->file_count; i++)
        file_fini(&load->files[i]);
    free(load->files);
    *load = (struct load){0};
}
