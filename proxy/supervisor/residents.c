#include "proxy/supervisor/residents.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATUS_MAX = 4096, PATH_ROOM = 300 };

static bool is_number(const char *name)
{
    return name[0] >= '1' && name[0] <= '9';
}

/* The text of a status file; false when the task is gone. */
static bool read_status(int directory, const char *task, char text[STATUS_MAX])
{
    char path[PATH_ROOM];
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), "%s/status", task);
    fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    len = read(fd, text, STATUS_MAX - 1);
    close(fd);
    if (len < 0)
        return false;
    text[len] = '\0';
    return true;
}

/* "Uid:" real, effective, saved, file system; "State:" Z or X is a process that has ended. */
static bool has_uid(const char *status, uid_t uid)
{
    const char *state = strstr(status, "\nState:\t");
    const char *line = strstr(status, "\nUid:\t");
    unsigned ids[4];

    if (state && (state[8] == 'Z' || state[8] == 'X'))
        return false;
    if (!line || sscanf(line, "\nUid:\t%u\t%u\t%u\t%u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
        return true;
    return ids[0] == uid || ids[1] == uid || ids[2] == uid || ids[3] == uid;
}

static bool thread_has_uid(int proc, const char *pid, uid_t uid)
{
    char path[PATH_ROOM];
    char status[STATUS_MAX];
    bool is_found = false;
    DIR *tasks;
    int fd;

    snprintf(path, sizeof(path), "%s/task", pid);
    fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT;
    tasks = fdopendir(fd);
    if (!tasks) {
        close(fd);
        return true;
    }
    for (struct dirent *at = readdir(tasks); at && !is_found; at = readdir(tasks))
        is_found = is_number(at->d_name) && read_status(dirfd(tasks), at->d_name, status) &&
                   has_uid(status, uid);
    closedir(tasks);
    return is_found;
}

static bool is_in_namespace(int proc, const char *pid, const struct stat *ours)
{
    char path[PATH_ROOM];
    struct stat theirs;

    snprintf(path, sizeof(path), "%s/ns/net", pid);
    if (fstatat(proc, path, &theirs, 0) < 0)
        return errno != ENOENT;
    return theirs.st_ino == ours->st_ino && theirs.st_dev == ours->st_dev;
}

size_t residents_count(uid_t uid)
{
    DIR *proc = opendir("/proc");
    struct stat ours;
    size_t count = 0;

    if (!proc)
        return SIZE_MAX;
    if (stat("/proc/self/ns/net", &ours) < 0) {
        closedir(proc);
        return SIZE_MAX;
    }
    for (struct dirent *at = readdir(proc); at; at = readdir(proc))
        if (is_number(at->d_name) && thread_has_uid(dirfd(proc), at->d_name, uid) &&
            is_in_namespace(dirfd(proc), at->d_name, &ours))
            count++;
    closedir(proc);
    return count;
}
