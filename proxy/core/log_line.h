/*
 * Log events as lines of JSON: one object, printable ASCII, no line feed, at most LOG_LINE_MAX - 1
 * bytes, so that a line with its feed is one atomic write to a pipe (PIPE_BUF).
 *
 * Bytes that somebody else chose (names, messages, rule texts, paths) come as spans. A quote and a
 * backslash are escaped, every byte outside of printable ASCII is written \u00XX, and what is too
 * long ends in "...": nothing in a line can end it, drive a terminal or be invalid UTF-8.
 */
#ifndef PROXY_CORE_LOG_LINE_H
#define PROXY_CORE_LOG_LINE_H

#include "config/matcher.h"

enum { LOG_LINE_MAX = 4096 };

enum log_layer { LOG_LAYER_PROXY, LOG_LAYER_DNS, LOG_LAYER_KERNEL };

enum log_kind {
    LOG_KIND_TLS,
    LOG_KIND_HTTP,
    LOG_KIND_CONNECT,
    LOG_KIND_DNS,
    LOG_KIND_OTHER,
    LOG_KIND_UDP,
};

/* Every ts_ms: milliseconds since 1970-01-01T00:00:00Z. */
struct log_decision {
    uint64_t ts_ms;
    uint64_t id; /* the same in the connection's close; 0: null */
    enum log_layer layer;
    enum log_kind kind;
    struct span name;              /* as read, canonical or not; empty: null */
    const struct netaddr *address; /* NULL: null */
    uint16_t port;                 /* 0: null */
    uint16_t qtype;                /* DNS question type, written only with LOG_KIND_DNS */
    struct verdict verdict;        /* a denial that is not enforced says "enforced":false */
};

struct log_close {
    uint64_t ts_ms;
    uint64_t id;
    const struct netaddr *upstream; /* NULL: never connected, null */
    uint16_t upstream_port;
    uint64_t bytes_up;
    uint64_t bytes_down;
    uint64_t requests;
    uint64_t duration_ms;
    const char *why; /* a word of ours: "end", "policy", a reason token, ... */
};

struct log_ready {
    uint64_t ts_ms;
    const char *version;
    struct span user;
    uint32_t uid;
    uint32_t proxy_uid;
    const char *mode; /* network_mode_text() */
    uint64_t rules;   /* entries of the policy */
    uint32_t generation;
    uint16_t tcp_port; /* on 127.0.0.1 and ::1, "listen":{"tcp":…,"dns":…} */
    uint16_t dns_port;
};

struct log_reload {
    uint64_t ts_ms;
    uint32_t generation; /* now in force */
    const char *mode;    /* network_mode_text() */
    uint64_t rules;
    uint64_t closed; /* connections that the new policy refuses */
};

struct log_fault {
    uint64_t ts_ms;
    const char *what; /* what failed: "reload", "worker", "log", "rules", ... */
    struct span message;
    uint32_t generation; /* what is in force; 0: nothing, everything is refused */
};

struct log_stop {
    uint64_t ts_ms;
    const char *why;  /* "SIGTERM", ... */
    const char *left; /* "nothing", "deny-all" */
};

/* Each appends its line to `out`, which holds LOG_LINE_MAX bytes and is empty. */
void log_line_decision(struct text *out, const struct log_decision *decision);
void log_line_close(struct text *out, const struct log_close *close);
void log_line_ready(struct text *out, const struct log_ready *ready);
void log_line_reload(struct text *out, const struct log_reload *reload);
void log_line_fault(struct text *out, const struct log_fault *fault);
void log_line_stop(struct text *out, const struct log_stop *stop);

/* The rule of a verdict and where it is written: "github.com:443 at cage.lua:7", or null. */
void log_line_rule(struct text *out, const struct matcher_rule *rule);

/* A JSON string with its quotes; at most `max` bytes (from 8) between them. */
void log_line_string(struct text *out, struct span bytes, size_t max);

const char *log_layer_text(enum log_layer layer);
const char *log_kind_text(enum log_kind kind);

#endif
