#include "proxy/worker/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

void buffer_init(struct buffer *b, size_t cap)
{
    *b = (struct buffer){.cap = cap};
}

void buffer_discard(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){.cap = b->cap};
}

void buffer_fini(struct buffer *b)
{
    buffer_discard(b);
}

/* Memory with the free room in one piece behind the bytes. */
static bool make_room(struct buffer *b)
{
    if (b->data == NULL) {
        b->data = malloc(b->cap);
        return b->data != NULL;
    }
    if (b->start > 0 && b->start + b->len == b->cap) {
        memmove(b->data, b->data + b->start, b->len);
        b->start = 0;
    }
    return true;
}

enum buffer_io buffer_read(struct buffer *b, int fd)
{
    assert(buffer_room(b) > 0);
    if (!make_room(b))
        return BUFFER_ERROR;
    size_t at = b->start + b->len;
    ssize_t got = recv(fd, b->data + at, b->cap - at, 0);

    if (got > 0) {
        b->len += (size_t)got;
        return BUFFER_SOME;
    }
    int error = errno;
    if (b->len == 0)
        buffer_discard(b);
    if (got == 0)
        return BUFFER_END;
    return error == EAGAIN || error == EINTR ? BUFFER_AGAIN : BUFFER_ERROR;
}

enum buffer_io buffer_write(struct buffer *b, int fd, size_t *moved)
{
    assert(b->movable > 0);
    ssize_t put = send(fd, b->data + b->start, b->movable, MSG_NOSIGNAL);

    *moved = 0;
    if (put < 0)
        return errno == EAGAIN || errno == EINTR ? BUFFER_AGAIN : BUFFER_ERROR;
    *moved = (size_t)put;
    b->start += *moved;
    b->len -= *moved;
    b->movable -= *moved;
    if (b->len == 0)
        buffer_discard(b);
    return BUFFER_SOME;
}

bool buffer_append(struct buffer *b, struct span bytes)
{
    if (b->movable != b->len || buffer_room(b) < bytes.len || !make_room(b))
        return false;
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, b->len);
        b->start = 0;
    }
    memcpy(b->data + b->len, bytes.data, bytes.len);
    b->len += bytes.len;
    b->movable = b->len;
    return true;
}

bool buffer_replace(struct buffer *b, struct span bytes)
{
    buffer_discard(b);
    return buffer_append(b, bytes);
}
