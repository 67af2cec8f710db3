/*
 * The decision machine of one connection: facts and an event in, one action out.
 *
 * Theory of operation. The shell (worker/conn) owns sockets, buffers and timers and knows no
 * policy. It tells what happened and carries the answer out; every decision about a byte is made
 * here, so that it can be tried without a socket. Client bytes that the machine has not let through
 * are presented again with each event; it answers with how many of them may move.
 *
 * A verdict belongs to facts (name, original destination, protocol), never to a moment: the facts
 * are kept, and session_rejudge() asks a new policy about them.
 *
 *   state         legal events                 what may not happen in it
 *   SNIFF         client, silence              no byte moves in either direction
 *   NAMES         names                        likewise
 *   RESOLVE       addresses, limit, client     likewise
 *   DIAL          dialled, client              likewise
 *   SERVER_FIRST  client, names, server        no client byte moves; the server's do
 *   OPAQUE        client, server               in TLS, no second hello for another name
 *   HTTP          client, server               no byte behind a head that is not judged
 *   REFUSING      server                       no client byte moves; a last answer is waited for
 *   DENIED        none                         nothing moves
 *
 * The machine never allocates, reads no clock, and asks the matcher that each event brings along.
 */
#ifndef PROXY_CORE_SESSION_H
#define PROXY_CORE_SESSION_H

#include "config/matcher.h"
#include "proxy/core/http_reply.h"
#include "proxy/core/http_stream.h"
#include "proxy/core/log_line.h"
#include "proxy/core/sniff.h"
#include "proxy/core/tls_watch.h"

enum { SESSION_CANDIDATES_MAX = 16 };

enum session_state {
    SESSION_SNIFF,
    SESSION_NAMES,
    SESSION_RESOLVE,
    SESSION_DIAL,
    SESSION_SERVER_FIRST,
    SESSION_OPAQUE,
    SESSION_HTTP,
    SESSION_REFUSING,
    SESSION_DENIED,
    SESSION_STATE_COUNT
};

enum session_action_kind {
    SESSION_WAIT,          /* nothing until the next event */
    SESSION_ASK_NAMES,     /* call session_names() with the names of the original destination */
    SESSION_ASK_ADDRESSES, /* look session->name up, call session_addresses() */
    SESSION_CONNECT,       /* dial session->candidates in order, call session_dialled() */
    SESSION_MOVE,          /* `len` bytes at the front may move; then call again with the rest */
    SESSION_GO_ON,         /* call session_client() with what has not moved */
    SESSION_DENY,          /* refuse as session_refuse_with() says and close */
};

struct session_action {
    enum session_action_kind kind;
    size_t len;       /* MOVE: at least one */
    bool is_decision; /* session->verdict is new and is to be logged */
};

/* How a denial is told to the client. */
enum session_refusal {
    SESSION_REFUSE_RESET,
    SESSION_REFUSE_CLOSE, /* close in order, with nothing said */
    SESSION_REFUSE_HTTP,
    SESSION_REFUSE_ALERT,
    SESSION_REFUSE_H2,
};

/* Only the functions below write it. */
struct session {
    enum session_state state;
    struct netaddr address; /* the original destination */
    uint16_t port;
    size_t sniff_bytes_max;
    enum sniff_protocol protocol;
    bool has_name; /* proven on the wire */
    struct hostname name;
    bool has_ech;
    bool has_judged;        /* a verdict was given */
    struct verdict verdict; /* its rule lives as long as the matcher that gave it */
    size_t candidate_count;
    struct netaddr candidates[SESSION_CANDIDATES_MAX];
    struct netaddr upstream; /* where it is connected, from DIAL's end on */
    bool is_silent;          /* judged by address since the client said nothing */
    bool has_server_bytes;   /* the client has had bytes of the server */
    bool is_in_body;         /* a fault came where an answer of ours cannot be told from a body */
    bool wants_json;
    bool is_head;
    uint64_t requests;
    struct tls_watch watch; /* SNIFF_TLS, from the first hello on */
    struct http_stream stream;
    struct http_reply reply;
};

/* What the shell brings along with every event. */
struct session_facts {
    const struct matcher *matcher;
    struct tls_hello_scratch *scratch;
};

/*
 * `sniff_bytes_max` bounds a first message that is not HTTP, `head_bytes_max` every request head;
 * the shell must be able to hold session_bytes_max() client bytes that have not moved.
 */
void session_init(struct session *s, const struct netaddr *address, uint16_t port,
                  size_t sniff_bytes_max, size_t head_bytes_max);
size_t session_bytes_max(size_t sniff_bytes_max, size_t head_bytes_max);

/*
 * The client's bytes that have not moved yet, all of them; `is_end`: none will follow. To be called
 * when bytes or the end arrive and after each MOVE.
 */
struct session_action session_client(struct session *s, const struct session_facts *facts,
                                     struct span bytes, bool is_end);

/* The sniffing deadline passed; `bytes` as for session_client(). SNIFF only. */
struct session_action session_silence(struct session *s, const struct session_facts *facts,
                                      struct span bytes);

/* The names that stand behind the original destination; `count` as names_of_address() says. */
struct session_action session_names(struct session *s, const struct session_facts *facts,
                                    const struct hostname *names, size_t count, size_t max);

/* The addresses of session->name, none when it has none. RESOLVE only. */
struct session_action session_addresses(struct session *s, const struct session_facts *facts,
                                        const struct netaddr *addresses, size_t count);

/* session->name may not be looked up now: a limit is reached. RESOLVE only. */
struct session_action session_over_limit(struct session *s);

/* REASON_ALLOWED: connected to candidates[index]. DIAL only. */
struct session_action session_dialled(struct session *s, enum reason reason, size_t index);

/*
 * The server's bytes that have not moved yet. MOVE, WAIT (hold them until more come), or DENY when
 * a refusal waited for the end of the last answer.
 */
struct session_action session_server(struct session *s, struct span bytes, bool is_end);

/*
 * Asks a new policy about the same facts. False: the connection is to be closed, session->verdict
 * says why. `names` as for session_names(), looked up anew.
 */
bool session_rejudge(struct session *s, const struct matcher *matcher, const struct hostname *names,
                     size_t count, size_t max);

enum session_refusal session_refuse_with(const struct session *s);

/* For the log: what the connection turned out to be. */
enum log_kind session_log_kind(const struct session *s);

/*
 * The server is to be told that no request follows: a refusal waits for its last answer, whose end
 * can only be seen when it closes.
 */
static inline bool session_ends_upstream(const struct session *s)
{
    return s->state == SESSION_REFUSING && s->reply.state == HTTP_REPLY_IS_UNTRACKED;
}

/* Bytes of the server may be relayed. */
static inline bool session_is_relaying(const struct session *s)
{
    return s->state == SESSION_SERVER_FIRST || s->state == SESSION_OPAQUE ||
           s->state == SESSION_HTTP || s->state == SESSION_REFUSING;
}

#endif
