/*
 * The socket between supervisor and worker: whole messages with the descriptors that belong to
 * them (SEQPACKET, SCM_RIGHTS).
 */
#ifndef PROXY_CHANNEL_CHANNEL_H
#define PROXY_CHANNEL_CHANNEL_H

#include "proxy/core/message.h"

enum { CHANNEL_DESCRIPTORS_MAX = SOCKET_COUNT + MESSAGE_THREADS_MAX };

/* A pair of connected ends, close-on-exec; 0 or a negative errno. */
int channel_pair(int ends[2]);

/*
 * Sends a message and copies of exactly message_descriptors(message) descriptors. Does not wait:
 * -EAGAIN when the other end does not read.
 */
int channel_send(int fd, const struct message *message, const int *descriptors);

/*
 * Receives one message and its descriptors (close-on-exec, the caller's from then on; as many as
 * message_descriptors() says). Does not wait. 0; -EAGAIN when there is none; -EPIPE when the other
 * end is gone; -EBADMSG when it sent what is no message or has other descriptors than it should;
 * or another negative errno. Nothing is left open on failure.
 */
int channel_receive(int fd, struct message *out, int descriptors[CHANNEL_DESCRIPTORS_MAX]);

/*
 * For the end that is never sent descriptors. A socket that an untrusted end sends can make whoever
 * closes it last wait for as long as that end likes (SO_LINGER), so they are left where they are:
 * -EBADMSG, and the next call says so again.
 */
int channel_receive_plain(int fd, struct message *out);

/* Closes an end without waiting for what lies in it unread. Forks a process for a moment. */
void channel_close(int fd);

#endif
