#include "proxy/supervisor/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_directory(void)
{
    struct stat st;

    if (mkdir(LOCK_DIRECTORY, 0755) < 0 && errno != EEXIST)
        return -errno;
    if (lstat(LOCK_DIRECTORY, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return -EACCES;
    return 0;
}

/* The file may have been removed by its last holder between open and flock. */
static bool is_in_place(const struct lock *lock)
{
    struct stat held;
    struct stat named;

    return fstat(lock->fd, &held) == 0 && lstat(lock->path, &named) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

int lock_take(struct lock *lock, uid_t uid)
{
    struct stat ns;
    int status = make_directory();

    lock->fd = -1;
    if (status < 0)
        return status;
    if (stat("/proc/self/ns/net", &ns) < 0)
        return -errno;
    snprintf(lock->path, sizeof(lock->path), LOCK_DIRECTORY "/lock-%lu-uid-%u",
             (unsigned long)ns.st_ino, (unsigned)uid);
    for (;;) {
        lock->fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (lock->fd < 0)
            return -errno;
        if (flock(lock->fd, LOCK_EX | LOCK_NB) < 0) {
            status = -errno;
            break;
        }
        if (is_in_place(lock))
            return 0;
        close(lock->fd);
    }
    close(lock->fd);
    lock->fd = -1;
    return status;
}

void lock_release(struct lock *lock)
{
    if (lock->fd < 0)
        return;
    unlink(lock->path);
    close(lock->fd);
    lock->fd = -1;
}
