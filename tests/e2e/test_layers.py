"""The layers do not need each other: with one of them killed, stopped or flushed, the others hold.

Everything forbidden carries MARKER and is tried in both families while a part is missing; a witness
on the only way out must see none of it. What is allowed must work again once the part is back.
"""

import json
import os
import signal
import threading
from contextlib import suppress

import pytest

from lib import clients, product
from lib.netns import (BLOCKED4, BLOCKED6, DNS4, DNS6, METADATA4, METADATA6, OTHER4, OTHER6, PRIVATE4, PRIVATE6,
                       PROXY_UID, SHARED4, SHARED6, STATIC4, STATIC6, wait_until)
from lib.origin import BANNER_PORT, ECHO_PORT, SINK_PORT
from lib.sniffer import TCP
from lib.wire import hello, request

MARKER = b"forbidden-marker"
FORBIDDEN_NAME = "blocked.example"
# Allowed by name, and their addresses are in the base layer: both layers refuse them, each by itself.
BASE_NAMES = ["private.example", "metadata.example"]
BASE = [*METADATA4, *PRIVATE4, *METADATA6, *PRIVATE6]
MODES = ["allowlist", "blocklist"]

PROBE = r'''
plan = json.loads(sys.argv[1])
def outcome(address, port, data):
    """What came back first: "open", "refused" by words of the cage, or the name of an error."""
    try:
        with stream(address, port) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            answer = s.recv(65536)
    except OSError as error:
        return name_of(error)
    is_refusal = answer == b"" or answer[:1] == b"\x15" or b"X-Cage-Reason" in answer
    return "refused" if is_refusal else "open"
for what, address, port, data in plan["tcp"]:
    tell(what=what, address=address, port=port, got=outcome(address, port, bytes.fromhex(data)))
for what, address, port, data in plan["udp"]:
    def ask():
        with datagram(address) as s:
            s.settimeout(2)
            s.connect((address, port))
            s.send(bytes.fromhex(data))
            return s.recv(4096)
    try:
        answer = ask()
        is_negative = port == 53 and (answer[3] & 15 or answer[6:8] == b"\0\0")
        got = "refused" if is_negative else "open"
    except OSError as error:
        got = name_of(error)
    tell(what=what, address=address, port=port, got=got)
'''


class Cage:
    """A running cage-proxy and what is tried in it."""

    def __init__(self, world, origin, mode):
        self.world = world
        self.origin = origin
        self.mode = mode
        self.unreached = [*BASE, BLOCKED4, BLOCKED6] + ([OTHER4, OTHER6] if mode == "allowlist" else [])
        self.text = product.config_text(
            mode,
            allow={"domains": ["good.example", *BASE_NAMES],
                   "ips": [f"{STATIC4}:{SINK_PORT}", f"[{STATIC6}]:{SINK_PORT}"]},
            block={"domains": [FORBIDDEN_NAME], "ips": [BLOCKED4, BLOCKED6]})
        self.start()

    def start(self):
        self.running = product.Product(self.world, product.write_config(self.world, self.text)).wait_ready()

    def signal_worker(self, number):
        for pid in self.running.worker_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def probe(self):
        """[{what, address, port, got}] of everything, forbidden or not."""
        bad = MARKER.decode()
        good_page = request("good.example").hex()
        bad_page = request(FORBIDDEN_NAME, "/" + bad).hex()
        bad_hello = hello(FORBIDDEN_NAME).hex()
        tcp, udp = [], []
        for shared, static, server, other in ((SHARED4, STATIC4, DNS4, OTHER4), (SHARED6, STATIC6, DNS6, OTHER6)):
            tcp += [("allowed", shared, 80, good_page), ("static", static, SINK_PORT, b"x".hex()),
                    ("forbidden", shared, 80, bad_page), ("forbidden", shared, 443, bad_hello),
                    ("forbidden", other, 80, bad_page)]
            tcp += [("forbidden", shared, 80, request(name, "/" + bad).hex()) for name in BASE_NAMES]
            for where in (server, other):
                udp.append(("forbidden-dns", where, 53, clients.dns_question(FORBIDDEN_NAME, "A").hex()))
            udp.append(("dns", server, 53, clients.dns_question("good.example", "A").hex()))
        for address in self.unreached:
            # An allowed name opens none of the base layer's; towards other addresses it is led to its own.
            page = good_page if address in BASE else bad_page
            for port, data in ((80, page), (443, bad_hello), (BANNER_PORT, MARKER.hex())):
                tcp.append(("forbidden", address, port, data))
            for port in (ECHO_PORT, 443):
                udp.append(("forbidden-udp", address, port, MARKER.hex()))
        return clients.python(self.world, PROBE, json.dumps({"tcp": tcp, "udp": udp}))

    def works(self):
        return all(one["got"] == "open" for one in self.probe() if one["what"] in ("allowed", "static", "dns"))

    def end(self):
        self.running.stop()
        product.assert_nothing_left(self.world)


@pytest.fixture(params=MODES)
def cage(world, origin, request):
    return Cage(world, origin, request.param)


def got(told, what):
    return {one["got"] for one in told if one["what"] == what}


def assert_held(cage, told, sniffer, what=("forbidden", "forbidden-dns", "forbidden-udp")):
    """Nothing forbidden came through, and nothing of it was on the wire."""
    assert not [one for one in told if one["what"] in what and one["got"] == "open"]
    if "forbidden-udp" in what:
        sniffer.assert_no_packet_to(*cage.unreached)
        sniffer.assert_no_bytes(MARKER)
    else:
        sniffer.assert_no_packet_to(*cage.unreached, proto=TCP)
        leaked = [packet for packet in sniffer.packets(proto=TCP, containing=MARKER)]
        assert not leaked, leaked
    sniffer.assert_no_bytes(FORBIDDEN_NAME.encode())
    sniffer.assert_no_bytes(b"\7blocked\7example")
    assert not cage.origin.resolver.queries(FORBIDDEN_NAME)


def test_with_all_parts_in_place(cage, sniffer):
    told = cage.probe()
    assert got(told, "allowed") == got(told, "static") == got(told, "dns") == {"open"}
    assert_held(cage, told, sniffer)
    assert got(told, "forbidden-dns") == {"refused"} and got(told, "forbidden-udp") == {"EPERM"}
    cage.end()


def test_the_worker_is_killed_whenever_it_comes_back(cage, sniffer):
    is_over = threading.Event()

    def kill_always():
        while not is_over.wait(0.05):
            cage.signal_worker(signal.SIGKILL)

    killer = threading.Thread(target=kill_always)
    killer.start()
    try:
        cage.running.wait_line(event="fault", what="worker", count=2)
        told = cage.probe()
    finally:
        is_over.set()
        killer.join()
    assert_held(cage, told, sniffer)
    assert got(told, "static") == {"open"}
    assert got(told, "allowed") <= {"ECONNREFUSED", "ECONNRESET", "refused"}
    wait_until(cage.works, "it works again")
    cage.end()


def test_the_worker_is_stopped(cage, sniffer):
    cage.signal_worker(signal.SIGSTOP)
    told = cage.probe()
    assert_held(cage, told, sniffer)
    assert got(told, "static") == {"open"} and "TIMEOUT" not in got(told, "allowed")
    assert cage.running.matching(event="fault", what="worker")
    wait_until(cage.works, "it works again")
    cage.end()


def test_the_supervisor_is_killed(cage, sniffer):
    os.kill(cage.running.pid, signal.SIGKILL)
    cage.running.process.wait()
    wait_until(lambda: not cage.world.c.pids(uid=PROXY_UID), "the worker is gone as well")
    told = cage.probe()
    assert_held(cage, told, sniffer)
    assert got(told, "allowed") == {"ECONNREFUSED"} and got(told, "static") == {"open"}
    assert "open" not in got(told, "dns")
    cage.start()
    assert cage.works()
    assert_held(cage, cage.probe(), sniffer)
    cage.end()


def flush(world, table):
    for command in ("iptables-legacy", "ip6tables-legacy"):
        world.c.run(command, "-w", "-t", table, "-F", check=True)


@pytest.mark.parametrize("is_dead", [False, True], ids=["alive", "worker-dead"])
def test_nat_is_flushed(cage, sniffer, is_dead):
    """Nothing is led to the proxy any more, so nothing but what an address entry opens gets out."""
    flush(cage.world, "nat")
    if is_dead:
        cage.signal_worker(signal.SIGKILL)
    told = cage.probe()
    assert_held(cage, told, sniffer)
    assert got(told, "static") == {"open"} and got(told, "allowed") == {"ECONNREFUSED"}
    assert got(told, "dns") == {"EPERM"}
    sniffer.assert_no_packet_to(SHARED4, SHARED6)
    if not is_dead:
        cage.running.reload()
        assert cage.works()
        assert_held(cage, cage.probe(), sniffer)
    cage.end()


@pytest.mark.parametrize("is_dead", [False, True], ids=["alive", "worker-dead"])
def test_filter_is_flushed(cage, sniffer, is_dead):
    """TCP and DNS are still led to the proxy, which refuses by itself what the kernel does no more."""
    flush(cage.world, "filter")
    if is_dead:
        cage.signal_worker(signal.SIGKILL)
        cage.running.wait_line(event="fault", what="worker")
    told = cage.probe()
    assert_held(cage, told, sniffer, what=("forbidden", "forbidden-dns"))
    if not is_dead:
        assert got(told, "allowed") == got(told, "dns") == {"open"}
        denied = {line["reason"] for line in cage.running.decisions(layer="proxy", verdict="deny")}
        assert {"private-address", "metadata-address"} <= denied
        cage.running.reload()
        told = cage.probe()
        assert got(told, "forbidden-udp") == {"EPERM"} and cage.works()
    cage.end()


@pytest.mark.parametrize("table", ["raw", "mangle"])
def test_raw_or_mangle_is_flushed(cage, sniffer, table):
    """They close what only an attacker of the other two would try."""
    flush(cage.world, table)
    told = cage.probe()
    assert_held(cage, told, sniffer)
    assert got(told, "allowed") == got(told, "static") == got(told, "dns") == {"open"}
    cage.running.reload()
    assert cage.works()
    cage.end()
