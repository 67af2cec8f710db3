/*
 * What the files of the DNS front share: dns_front.c has the datagrams, dns_front_tcp.c the
 * connections, dns_front_ask.c the questions of both.
 */
#ifndef PROXY_WORKER_DNS_FRONT_PARTS_H
#define PROXY_WORKER_DNS_FRONT_PARTS_H

#include <sys/queue.h>
#include <sys/socket.h>

#include "proxy/core/dns_session.h"
#include "proxy/worker/thread.h"

enum {
    DNS_FRONT_FAMILIES = 2,
    DNS_FRONT_ASKS_MAX = 2048,   /* questions that wait for a resolver */
    DNS_FRONT_CLIENTS_MAX = 128, /* connections */
    DNS_FRONT_ANSWER_MAX = 2304, /* the longest answer: 64 IPv6 addresses for the longest name */
    DNS_FRONT_PAUSE_MS = 100,
};

struct dns_client;

/* Who is answered. */
struct dns_asker {
    enum dns_transport transport;
    struct dns_client *client; /* TCP */
    int fd;                    /* UDP: the socket that was asked, and by whom */
    struct sockaddr_storage peer;
    socklen_t peer_len;
};

/* One question that is not answered yet. */
struct dns_ask {
    LIST_ENTRY(dns_ask) in_front;
    LIST_ENTRY(dns_ask) in_client; /* TCP */
    struct dns_front *front;
    struct dns_asker asker;
    enum dns_query_status status;
    struct dns_query query;
    struct dns_session session;
    struct resolver_query *lookup;
};

LIST_HEAD(dns_ask_list, dns_ask);

struct dns_front {
    struct worker_thread *thread;
    struct event *udp[DNS_FRONT_FAMILIES];
    struct event *tcp[DNS_FRONT_FAMILIES];
    struct event *resume; /* of sockets that reported an error */
    struct dns_ask_list asks;
    size_t ask_count;
    LIST_HEAD(, dns_client) clients;
    size_t client_count;
    uint8_t datagram[DNS_MESSAGE_MAX];
};

/* Leaves the front's sockets alone for a while, so that an error that lasts does not spin. */
void dns_front_pause(struct dns_front *front);

/*
 * Takes a client's message to its answer, maybe inside the call. A question of a connection is in
 * `waiting` while it waits for a resolver. An answer goes to dns_client_answer() or out at once.
 */
void dns_ask_start(struct dns_front *front, const struct dns_asker *asker, struct span message,
                   struct dns_ask_list *waiting);

/* Forgets a question that waits. */
void dns_ask_cancel(struct dns_ask *ask);

/* Logs a denial that concerns no question. */
void dns_front_log_denial(struct dns_front *front, enum reason reason);

void dns_client_accept(evutil_socket_t fd, short what, void *front);

/* Takes an answer to be sent; there is room for it. */
void dns_client_answer(struct dns_client *client, struct span message);

/* After an answer that came later: `client` may be gone when this returns. */
void dns_client_settle(struct dns_client *client);
void dns_client_close(struct dns_client *client);

#endif
