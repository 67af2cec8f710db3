"""Numbered blocks, so that none can be lost, doubled or swapped unseen. Also the prelude of caged snippets."""

import hashlib
import struct

BLOCK = 1 << 18


def blocks(total):
    data = bytearray(hashlib.shake_128(b"pattern").digest(BLOCK))
    for number in range((total + BLOCK - 1) // BLOCK):
        struct.pack_into("!Q", data, 0, number)
        yield memoryview(data)[:min(BLOCK, total - number * BLOCK)]


def digest_of(total):
    digest = hashlib.sha256()
    for block in blocks(total):
        digest.update(block)
    return digest.hexdigest()


def send_bulk(sock, total):
    for block in blocks(total):
        sock.sendall(block)


def read_bulk(sock, digest, on_bytes=lambda count: None):
    """Reads to the end; returns how much."""
    count, data = 0, bytearray(BLOCK)
    while length := sock.recv_into(data):
        digest.update(memoryview(data)[:length])
        count += length
        on_bytes(length)
    return count
