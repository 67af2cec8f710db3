#include "proxy/worker/relay.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READS_AT_ONCE = 4 }; /* before others get their turn */

static enum side_index other_side(enum side_index index)
{
    return index == CLIENT ? UPSTREAM : CLIENT;
}

static enum relay_status broken(enum side_index index)
{
    return index == CLIENT ? RELAY_CLIENT_BROKEN : RELAY_UPSTREAM_BROKEN;
}

void relay_init(struct relay *relay, size_t buffer_cap)
{
    *relay = (struct relay){0};
    for (int i = 0; i < SIDES; i++) {
        relay->side[i].fd = -1;
        buffer_init(&relay->side[i].in, buffer_cap);
    }
}

bool relay_open(struct relay *relay, enum side_index index, int fd, struct event_base *base,
                event_callback_fn on_ready, void *arg)
{
    struct side *side = &relay->side[index];

    side->fd = fd;
    side->read = event_new(base, fd, EV_READ | EV_PERSIST, on_ready, arg);
    side->write = event_new(base, fd, EV_WRITE | EV_PERSIST, on_ready, arg);
    return side->read != NULL && side->write != NULL;
}

void relay_close(struct relay *relay, enum side_index index, bool is_reset)
{
    struct side *side = &relay->side[index];
    struct linger now = {1, 0};

    if (side->read != NULL)
        event_free(side->read);
    if (side->write != NULL)
        event_free(side->write);
    side->read = NULL;
    side->write = NULL;
    if (side->fd >= 0) {
        if (is_reset)
            setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        close(side->fd);
    }
    side->fd = -1;
    buffer_fini(&side->in);
}

static void note_end(struct side *side, bool is_broken)
{
    side->is_ended = true;
    side->is_broken = is_broken;
}

static bool read_bytes(struct side *side)
{
    bool is_new = false;

    for (int i = 0; i < READS_AT_ONCE && buffer_room(&side->in) > 0; i++) {
        switch (buffer_read(&side->in, side->fd)) {
        case BUFFER_SOME:
            is_new = true;
            break;
        case BUFFER_AGAIN:
            return is_new;
        case BUFFER_END:
            note_end(side, false);
            return true;
        case BUFFER_ERROR:
            note_end(side, true);
            return true;
        }
    }
    return is_new;
}

static bool discard_bytes(struct relay *relay, struct side *side)
{
    uint8_t waste[4096];

    for (int i = 0; i < READS_AT_ONCE; i++) {
        ssize_t got = recv(side->fd, waste, sizeof(waste), 0);
        if (got > 0) {
            relay->discarded += (size_t)got;
        } else if (got == 0) {
            note_end(side, false);
            return true;
        } else if (errno != EAGAIN && errno != EINTR) {
            note_end(side, true);
            return true;
        }
    }
    return false;
}

bool relay_read(struct relay *relay, enum side_index index)
{
    struct side *side = &relay->side[index];

    if (side->fd < 0 || side->is_ended)
        return false;
    return relay->is_discarding ? discard_bytes(relay, side) : read_bytes(side);
}

enum relay_status relay_flush(struct relay *relay, enum side_index to, size_t *moved)
{
    enum side_index from = other_side(to);
    struct buffer *b = &relay->side[from].in;
    size_t count;

    while (relay->side[to].fd >= 0 && b->movable > 0) {
        switch (buffer_write(b, relay->side[to].fd, &count)) {
        case BUFFER_SOME:
            relay->bytes[from] += count;
            *moved += count;
            break;
        case BUFFER_AGAIN:
            return RELAY_OK;
        case BUFFER_END:
        case BUFFER_ERROR:
            return broken(to);
        }
    }
    return RELAY_OK;
}

void relay_shut(struct relay *relay, enum side_index index)
{
    struct side *side = &relay->side[index];

    if (side->fd < 0 || side->is_write_shut)
        return;
    side->is_write_shut = true;
    shutdown(side->fd, SHUT_WR);
}

enum relay_status relay_pass_ends(struct relay *relay)
{
    for (int i = 0; i < SIDES; i++) {
        const struct side *source = &relay->side[i];
        if (!source->is_ended || source->in.len > 0)
            continue;
        if (source->is_broken)
            return broken((enum side_index)i);
        relay_shut(relay, other_side((enum side_index)i));
    }
    return relay->side[CLIENT].is_write_shut && relay->side[UPSTREAM].is_write_shut ? RELAY_DONE
                                                                                    : RELAY_OK;
}

struct relay_wants relay_wants(const struct relay *relay)
{
    struct relay_wants w = {0};

    for (int i = 0; i < SIDES; i++) {
        const struct side *side = &relay->side[i];
        const struct side *other = &relay->side[other_side((enum side_index)i)];
        if (side->fd < 0)
            continue;
        w.write[i] = other->in.movable > 0 && !side->is_write_shut;
        w.read[i] = !side->is_ended && (relay->is_discarding || buffer_room(&side->in) > 0);
    }
    return w;
}

static bool set_event(struct event *event, short what, bool is_wanted)
{
    if (event == NULL)
        return !is_wanted;
    bool is_pending = event_pending(event, what, NULL) != 0;
    if (is_pending == is_wanted)
        return true;
    return (is_wanted ? event_add(event, NULL) : event_del(event)) == 0;
}

bool relay_arm(struct relay *relay)
{
    struct relay_wants w = relay_wants(relay);

    for (int i = 0; i < SIDES; i++) {
        if (!set_event(relay->side[i].read, EV_READ, w.read[i]) ||
            !set_event(relay->side[i].write, EV_WRITE, w.write[i]))
            return false;
    }
    return true;
}
