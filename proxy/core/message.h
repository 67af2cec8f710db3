/*
 * What supervisor and worker say to each other, one SEQPACKET message each.
 *
 * A message is a header of eight bytes (version, type, body length as u16, generation as u32; all
 * numbers big-endian) and a body whose shape the type fixes. Bulk and sockets travel as descriptors
 * beside the message, never in it. No message carries a path, a command, a uid or a log format.
 * Both ends treat a message that does not parse, or that is not legal now, as the end of the other.
 */
#ifndef PROXY_CORE_MESSAGE_H
#define PROXY_CORE_MESSAGE_H

#include "config/span.h"

enum {
    MESSAGE_VERSION = 1,
    MESSAGE_HEADER_LEN = 8,
    MESSAGE_FAULT_MAX = 400,
    MESSAGE_LEN_MAX = 512,
    MESSAGE_THREADS_MAX = 16,
    MESSAGE_POLICY_MAX = 256 << 20, /* bytes of canonical text */
};

enum message_type {
    /* To the worker. */
    MESSAGE_START =
        1,          /* descriptors: the sockets of `sockets` in bit order, a log pipe per thread */
    MESSAGE_POLICY, /* descriptor: a sealed memfd with the canonical text */
    MESSAGE_SWITCH, /* make this generation current */
    MESSAGE_PING,
    MESSAGE_ASK_STATS,
    MESSAGE_STOP,
    /* From the worker. */
    MESSAGE_HELLO,  /* isolated, ready to be started */
    MESSAGE_READY,  /* the generation is compiled and held aside */
    MESSAGE_FAULT,  /* it is not, and why; the current one stays */
    MESSAGE_ACTIVE, /* every thread has swapped and judged its connections again */
    MESSAGE_PONG,   /* every thread has answered */
    MESSAGE_STATS,
    MESSAGE_TYPE_END
};

/* The sockets that the supervisor may hand over; each is one bit of message_start.sockets. */
enum message_socket {
    SOCKET_TCP_V4, /* redirected TCP */
    SOCKET_TCP_V6,
    SOCKET_DNS_UDP_V4,
    SOCKET_DNS_UDP_V6,
    SOCKET_DNS_TCP_V4,
    SOCKET_DNS_TCP_V6,
    SOCKET_COUNT
};

enum message_counter {
    COUNTER_CONNECTIONS,      /* accepted since the worker started */
    COUNTER_CONNECTIONS_OPEN, /* now */
    COUNTER_ALLOWED,          /* decisions of every layer that the worker is */
    COUNTER_DENIED,
    COUNTER_BYTES_UP,
    COUNTER_BYTES_DOWN,
    COUNTER_QUESTIONS,  /* DNS */
    COUNTER_LINES_LOST, /* log lines that did not fit their pipe */
    COUNTER_COUNT
};

struct message_start {
    uint8_t sockets; /* mask of 1 << enum message_socket, never empty */
    uint8_t threads; /* 1..MESSAGE_THREADS_MAX */
    uint32_t epoch;  /* how many workers came before: makes connection ids unique */
};

struct message_policy {
    uint32_t len; /* 1..MESSAGE_POLICY_MAX, the memfd's exact size */
};

struct message_ping {
    uint32_t number; /* PING and PONG */
};

struct message_fault {
    uint16_t len; /* 1..MESSAGE_FAULT_MAX, all printable ASCII */
    char text[MESSAGE_FAULT_MAX];
};

struct message_active {
    uint32_t closed; /* connections that the new policy refuses */
};

struct message_stats {
    uint64_t counters[COUNTER_COUNT];
};

struct message {
    enum message_type type;
    uint32_t generation; /* from 1 in POLICY, SWITCH, READY, FAULT, ACTIVE; 0 in the others */
    union {
        struct message_start start;
        struct message_policy policy;
        struct message_ping ping; /* PING, PONG */
        struct message_fault fault;
        struct message_active active;
        struct message_stats stats;
    } body;
};

/* The length written; 0 when a field is out of its range, what stands in out is then void. */
size_t message_encode(const struct message *message, uint8_t out[MESSAGE_LEN_MAX]);

/*
 * Reads a whole message. Every bit counts: what parses is encoded again as the same bytes. False
 * leaves *out untouched.
 */
bool message_parse(struct span bytes, struct message *out);

/* How many descriptors travel with a message that parsed. */
size_t message_descriptors(const struct message *message);

/* A FAULT of that generation; bytes outside of printable ASCII become '?', the rest is cut. */
struct message message_fault_of(uint32_t generation, struct span text);

#endif
