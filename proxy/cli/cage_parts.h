/*
 * What the files of cage share; nobody else includes it.
 */
#ifndef PROXY_CLI_CAGE_PARTS_H
#define PROXY_CLI_CAGE_PARTS_H

#include <limits.h>

#include "proxy/cli/cage.h"

/* What the holder was born with. */
struct cage_plan {
    const struct cage_spec *spec;
    const struct cage_terminal *terminal;
    int control;
    int front_pidfd;
    sigset_t mask;      /* the caller's, for the command */
    char cwd[PATH_MAX]; /* empty when the caller has none */
};

enum cage_packet_kind {
    CAGE_PACKET_READY,   /* holder: the namespaces are made */
    CAGE_PACKET_FAILED,  /* holder: err, status and text say what and what to end with */
    CAGE_PACKET_PROBE,   /* front: carry out `probe`, number `index` */
    CAGE_PACKET_RESULT,  /* holder: what came of it */
    CAGE_PACKET_GO,      /* front */
    CAGE_PACKET_STARTED, /* holder: the command is executed */
    CAGE_PACKET_SIGNAL,  /* front: `signal` to the command, or to its process group */
    CAGE_PACKET_ENDED,   /* holder: `status` is the program's exit status */
};

/* One message of the control socket (SOCK_SEQPACKET). */
struct cage_packet {
    enum cage_packet_kind kind;
    int err;
    int status;
    int signal;
    bool is_group;
    size_t index;
    struct cage_probe probe;
    struct cage_probe_result result;
    char text[CAGE_MESSAGE_MAX];
};

/* Formats a message and returns -err. */
int cage_fail(char message[CAGE_MESSAGE_MAX], int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* 0 or a negative errno; -EPIPE when the other side is gone. */
int cage_packet_send(int fd, const struct cage_packet *packet);
int cage_packet_receive(int fd, struct cage_packet *packet);

/* The life of pid 1 of the cage. */
_Noreturn void cage_holder_run(const struct cage_plan *plan);

/* Builds the mount namespace that the caller is in; it must be new, and the caller its pid 1. */
int cage_mounts_make(const struct cage_spec *spec, char message[CAGE_MESSAGE_MAX]);

/*
 * Becomes the cage's user for good: groups, ids, no capability in any set, no_new_privs, Landlock,
 * the filter; then reads all of it back. For a process that will execute or end, not for the
 * holder.
 */
int cage_drop(const struct cage_account *account, char message[CAGE_MESSAGE_MAX]);

/* Gives up every capability but CAP_KILL: the holder's own end of privilege. */
int cage_drop_holder(char message[CAGE_MESSAGE_MAX]);

/* Loads the command's seccomp filter; no_new_privs must be set. */
int cage_filter_load(char message[CAGE_MESSAGE_MAX]);

/* The command's environment, on the heap in one piece to be freed with free(); NULL: no memory. */
char **cage_env_make(char *const *envp, const struct cage_account *account);

/* One probe, in the calling process. */
void cage_probe_run(const struct cage_probe *probe, struct cage_probe_result *result);

#endif
