"""Every byte, once and in order: a gigabyte both ways, slow readers, half-closed ends, broken connections.

RELAY_BYTES sets how much one direction of the large transfer carries.
"""

import hashlib
import json
import os
import random
import socket
import struct
import threading
from pathlib import Path

import pytest

from lib import bulk, clients
from lib.bulk import blocks, digest_of, read_bulk, send_bulk
from lib.clients import curl
from lib.netns import CAGE_UID, wait_until
from lib.stage import V4, V6, Stage, site
from lib.wire import hello, request

BYTES = int(os.environ.get("RELAY_BYTES", 1 << 30))
SMALL = 48 << 20
DUPLEX_PORT, LATE_PORT, EARLY_PORT, STALL_PORT, ABORT_PORT = 9101, 9102, 9103, 9104, 9105
NAMES = {"bulk.example": site(10), "good.example": site(11)}

PRELUDE = Path(bulk.__file__).read_text() + "\nimport threading\n"


def serve_duplex(connection, transfer):
    """Sends BYTES and reads to the end, at the same time."""
    def send():
        send_bulk(connection, BYTES)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    transfer.count = read_bulk(connection, transfer.digest)
    sender.join()


def serve_late(connection, transfer):
    """Reads to the end first, then sends."""
    transfer.count = read_bulk(connection, transfer.digest)
    send_bulk(connection, SMALL)


def serve_early(connection, transfer):
    """Sends and ends its direction, then reads to the end."""
    send_bulk(connection, SMALL)
    connection.shutdown(socket.SHUT_WR)
    transfer.count = read_bulk(connection, transfer.digest)


def serve_stall(connection, transfer):
    """Reads what the client begins with, then sends; count says how far it came."""
    connection.recv(100)
    for block in blocks(4 * SMALL):
        connection.sendall(block)
        transfer.count += len(block)


@pytest.fixture(scope="module")
def stage(authority):
    # The bytes of each frame are not what is looked at here.
    made = Stage(authority, "allowlist", NAMES, allow={"domains": ["bulk.example", "good.example"]},
                 proxy={"limits": {"sniff_ms": 200}}, frame_bytes=96)
    try:
        made.services = {port: made.origin.listen(port, serve) for port, serve in (
            (DUPLEX_PORT, serve_duplex), (LATE_PORT, serve_late), (EARLY_PORT, serve_early),
            (STALL_PORT, serve_stall), (ABORT_PORT, serve_abort))}
        for family in (V4, V6):
            made.look_up(family, "bulk.example")
        yield made
    finally:
        made.close()


@pytest.fixture(params=[V4, V6], ids=repr)
def family(request):
    return request.param


def caged(stage, source, *arguments, deadline_s=600):
    return clients.python(stage.world, PRELUDE + source, *map(str, arguments), deadline_s=deadline_s)


def last(stage, port):
    """The latest transfer of a service, when it has ended."""
    transfer = stage.services[port].transfers[-1]
    wait_until(lambda: transfer.ended, "the service ended", 120)
    assert transfer.failed is None
    return transfer


DUPLEX = r'''
address, port, total = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with stream(address, port, 300) as s:
    s.sendall(next(blocks(total))[:1])
    def send():
        first = True
        for block in blocks(total):
            s.sendall(block[1:] if first else block)
            first = False
        s.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    digest = hashlib.sha256()
    tell(count=read_bulk(s, digest), digest=digest.hexdigest())
    sender.join()
'''


def test_a_gigabyte_both_ways_at_once(stage):
    log = stage.since()
    told = caged(stage, DUPLEX, site(10)[0], DUPLEX_PORT, BYTES)
    whole = digest_of(BYTES)
    assert told == [{"count": BYTES, "digest": whole}]
    transfer = last(stage, DUPLEX_PORT)
    assert (transfer.count, transfer.digest.hexdigest()) == (BYTES, whole)
    closed = log.close_of(log.wait(port=DUPLEX_PORT))
    assert (closed["bytes_up"], closed["bytes_down"], closed["why"]) == (BYTES, BYTES, "end")


def test_the_client_ends_first(stage, family):
    told = caged(stage, r'''
with stream(sys.argv[1], int(sys.argv[2])) as s:
    send_bulk(s, int(sys.argv[3]))
    s.shutdown(socket.SHUT_WR)
    digest = hashlib.sha256()
    tell(count=read_bulk(s, digest), digest=digest.hexdigest())
''', family.site(10), LATE_PORT, SMALL)
    whole = digest_of(SMALL)
    assert told == [{"count": SMALL, "digest": whole}]
    transfer = last(stage, LATE_PORT)
    assert (transfer.count, transfer.digest.hexdigest()) == (SMALL, whole)


def test_the_server_ends_first(stage, family):
    told = caged(stage, r'''
with stream(sys.argv[1], int(sys.argv[2])) as s:
    digest = hashlib.sha256()
    tell(count=read_bulk(s, digest), digest=digest.hexdigest())
    send_bulk(s, int(sys.argv[3]))
''', family.site(10), EARLY_PORT, SMALL)
    whole = digest_of(SMALL)
    assert told == [{"count": SMALL, "digest": whole}]
    transfer = last(stage, EARLY_PORT)
    assert (transfer.count, transfer.digest.hexdigest()) == (SMALL, whole)


STALLED = r'''
s = socket.socket(family(sys.argv[1]), socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
s.settimeout(300)
s.connect((sys.argv[1], int(sys.argv[2])))
s.sendall(b"x\0")
tell(connected=True)
wait()
digest, count = hashlib.sha256(), 0
while count < 1 << 20:
    data = s.recv(4096)
    time.sleep(0.001)
    digest.update(data)
    count += len(data)
count += read_bulk(s, digest)
tell(count=count, digest=digest.hexdigest())
'''


def test_a_slow_reader_holds_the_sender_back(stage, family):
    """What lies between them is bounded by buffers, and all of it arrives when the reader goes on."""
    reader = clients.Caged(stage.world, PRELUDE + STALLED, family.site(10), STALL_PORT)
    assert reader.hear() == {"connected": True}
    seen = [-1]

    def is_stalled():
        now = stage.services[STALL_PORT].transfers[-1].count if stage.services[STALL_PORT].transfers else 0
        # Unchanged over fifty looks, half a second.
        seen.append(now)
        return now > 0 and len(seen) > 50 and len(set(seen[-50:])) == 1

    wait_until(is_stalled, "the sender is held back")
    assert seen[-1] < 3 * SMALL
    reader.say()
    assert reader.hear(300) == {"count": 4 * SMALL, "digest": digest_of(4 * SMALL)}
    assert last(stage, STALL_PORT).count == 4 * SMALL
    assert reader.end() == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_uploads_and_downloads_through_a_web_server(stage, family, scheme):
    source = stage.world.home / f"upload-{family}-{scheme}"
    with open(source, "wb") as file:
        for block in blocks(SMALL):
            file.write(block)
    source.chmod(0o644)
    published = stage.origin.directory / "files/bulk"
    if not published.exists():
        os.link(source, published)
    url = f"{scheme}://good.example"
    for headers in ((), ("-H", "Transfer-Encoding: chunked")):
        got = curl(stage.world, stage.authority, family.flag, *headers, "-H", "Expect:", "--data-binary",
                   f"@{source}", f"{url}/post")
        length = "" if headers and scheme == "http" else SMALL
        assert got.text.endswith("[200]") and f"length={length}" in got.text, got.errors
    target = stage.world.home / f"download-{family}-{scheme}"
    got = curl(stage.world, stage.authority, family.flag, "-o", target, "--limit-rate", "40M", f"{url}/files/bulk")
    assert got.rc == 0 and hashlib.sha256(target.read_bytes()).hexdigest() == digest_of(SMALL), got.errors
    source.unlink()
    target.unlink()


def serve_abort(connection, transfer):
    """One line: how many bytes to read, how many to send, and whether to break the connection then."""
    reader = connection.makefile("rb")
    to_read, to_send, is_broken = map(int, reader.readline().split())
    left = to_read
    while left and (data := reader.read(min(left, 65536))):
        left -= len(data)
        transfer.count += len(data)
    connection.sendall(bytes(to_send))
    if is_broken:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reader.close()


# Each: address, port, bytes, how many to send of them (null: all), how many to read then (null: all), reset or close.
MANY = r'''
plan = json.load(open(sys.argv[1]))
gate = threading.Barrier(len(plan))
results = [None] * len(plan)
def one(index, address, port, data, to_send, to_read, is_reset):
    gate.wait()
    got = 0
    try:
        with stream(address, port) as s:
            s.sendall(bytes.fromhex(data)[:to_send])
            while (to_read is None or got < to_read) and (part := s.recv(65536)):
                got += len(part)
            if is_reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        results[index] = got
    except OSError as error:
        results[index] = name_of(error)
threads = [threading.Thread(target=one, args=(i, *each)) for i, each in enumerate(plan)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
tell(results=results)
'''

# The nameless ones say what the service is to do: read so many bytes, send so many, break the connection or not.
REPLY_BYTES = 200000


def one_connection(rng, is_aborted, is_v6):
    kind = rng.choice(["http", "tls", "other", "broken"] if is_aborted else ["http", "other"])
    address = site(11 if kind in ("http", "tls") else 10)[is_v6]
    if kind == "http":
        data, port = request("good.example", "/post", method="POST", body=bytes(rng.randrange(1, 1 << 18))), 80
    elif kind == "tls":
        data, port = hello("good.example"), 443
    else:
        body = bytes(rng.randrange(1 << 18))
        data, port = f"{len(body)} {REPLY_BYTES} {int(kind == 'broken')}\n".encode() + body, ABORT_PORT
    to_send = to_read = None
    is_reset = False
    if is_aborted and kind != "broken":
        is_reset = rng.random() < 0.7
        if rng.random() < 0.5:
            to_send, to_read = rng.randrange(len(data)), 0
        else:
            to_read = rng.randrange(1, REPLY_BYTES) if kind == "other" else 1
    return [address, port, data.hex(), to_send, to_read, is_reset]


def worker_fds(stage):
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in stage.product.worker_pids())


def test_200_connections_of_which_half_are_aborted_leak_nothing(stage):
    """Descriptors are counted here; memory by LeakSanitizer, when the stage ends the program."""
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    for name in NAMES:
        for each in (V4, V6):
            stage.look_up(each, name)
    wait_until(lambda: not stage.world.c.sockets(CAGE_UID), "the sockets of earlier tests are gone")
    log, pids, before = stage.since(), stage.product.worker_pids(), worker_fds(stage)
    plan = [one_connection(rng, index % 2 == 1, index % 4 < 2) for index in range(200)]
    with open(stage.world.home / "plan", "w", encoding="ascii") as file:
        json.dump(plan, file)
    results = caged(stage, MANY, stage.world.home / "plan")[0]["results"]
    whole = [result for index, result in enumerate(results) if index % 2 == 0]
    assert all(isinstance(result, int) and result > 0 for result in whole), whole
    assert all(result == REPLY_BYTES for one, result in zip(plan[::2], whole) if one[1] == ABORT_PORT)
    wait_until(lambda: worker_fds(stage) == before, "the worker has as many descriptors as before")
    opened = {line["id"] for line in log.all(layer="proxy")}
    wait_until(lambda: opened <= {line["id"] for line in log.all(event="close")}, "all are closed in the log")
    assert stage.product.worker_pids() == pids
