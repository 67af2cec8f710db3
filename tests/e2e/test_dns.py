"""The cage's DNS: what is asked, what is answered, and what never leaves the machine."""

import contextlib
import json
import random
import socket
import struct
import threading

import pytest

from lib import clients
from lib.clients import dns, dns_answer, dns_question, dns_skip_name
from lib.netns import (DNS4, DNS6, GATE4, HOST4, HOST6, METADATA4, OTHER_UID, SHARED4, SHARED6, STATIC4, wait_until)
from lib.origin import BANNER_PORT, NAMES, Resolver, TcpService, serve_banner
from lib.product import DNS_PORT, Product, assert_nothing_left, config_text, write_config
from lib.sniffer import UDP

# Whatever a resolv.conf may name: there or not, public or not, loopback, the host itself.
SERVERS = [DNS4, DNS6, "203.0.113.99", "8.8.8.8", "10.0.0.2", "169.254.169.253", "127.0.0.1", "127.0.0.53", "::1", HOST4,
           HOST6, "2001:db8::99", "2620:fe::fe"]

# Each question: [server, "udp" or "tcp", message in hexadecimal]; each answer the same, or an error.
ASK = r'''
for server, transport, message in json.loads(sys.stdin.readline()):
    message = bytes.fromhex(message)
    try:
        if transport == "tcp":
            with stream(server, 53) as s:
                s.sendall(struct.pack("!H", len(message)) + message)
                reader = s.makefile("rb")
                answer = reader.read(struct.unpack("!H", reader.read(2))[0])
        else:
            with datagram(server) as s:
                s.connect((server, 53))
                s.send(message)
                answer = s.recv(65535)
        tell(answer=answer.hex())
    except OSError as error:
        tell(error=name_of(error))
'''


def ask(world, questions):
    """Many questions of one caged process; an answer as dns_answer gives it for each."""
    told = clients.python(world, ASK, stdin=(json.dumps([[s, t, m.hex()] for s, t, m in questions]) + "\n").encode())
    return [dns_answer(bytes.fromhex(one["answer"])) if "answer" in one else one for one in told]


@pytest.fixture
def resolver(world):
    directory = world.state / "resolver"
    directory.mkdir()
    return Resolver(world, directory, {**NAMES, "mixed.example": ["10.0.0.5", SHARED4, "169.254.169.254", "fd12::5",
                                                                  SHARED6]})


@contextlib.contextmanager
def caged(world, **fields):
    """A cage whose end is clean: no report of a sanitizer, nothing left."""
    run = Product(world, write_config(world, config_text(**fields))).wait_ready()
    yield run
    run.stop()
    assert_nothing_left(world)


class FakeResolver:
    """A resolver in S on an address of its own that answers as `reply(message, is_tcp)` says, or not."""

    def __init__(self, world, reply, address=GATE4):
        self.asked = []
        self._reply = reply
        self._udp = world.s.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._udp.bind((address, 53))
        self._tcp = world.s.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((address, 53))
        self._tcp.listen(64)
        world.at_close(self.close)
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _answer(self, message, transport):
        self.asked.append((transport, message))
        return self._reply(message, transport == "tcp")

    def _serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                message, peer = self._udp.recvfrom(4096)
                if not message:
                    return
                answer = self._answer(message, "udp")
                if answer:
                    self._udp.sendto(answer, peer)

    def _serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._tcp.accept()
                with client, contextlib.suppress(OSError):
                    message = client.recv(4096)[2:]
                    answer = self._answer(message, "tcp")
                    if answer:
                        client.sendall(struct.pack("!H", len(answer)) + answer)

    def close(self):
        for one in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()


def question_of(message):
    end = dns_skip_name(message, 12) + 4
    return message[12:end]


def reply(message, addresses=(), rcode=0, flags=0x8180, question=None, ttl_s=60):
    """An answer to an A question."""
    records = b"".join(struct.pack("!HHHIH", 0xC00C, 1, 1, ttl_s, 4) + socket.inet_aton(a) for a in addresses)
    head = message[:2] + struct.pack("!5H", flags | rcode, 1, len(addresses), 0, 0)
    return head + (question or question_of(message)) + records


def silent(message, is_tcp):
    return None


ALLOW = {"domains": ["good.example", "only4.example", "*.wild.example"]}


@pytest.mark.parametrize("mode", ["allowlist", "blocklist"])
def test_any_server_answers_over_both_transports(world, resolver, sniffer, mode):
    asked = [(server, transport, name, qtype) for server in SERVERS for transport in ("udp", "tcp")
             for name, qtype in (("good.example", "A"), ("good.example", "AAAA"), ("blocked.example", "A"))]
    with caged(world, mode=mode, allow=ALLOW, block={"domains": ["blocked.example"]}) as run:
        answers = ask(world, [(s, t, dns_question(n, q, edns_bytes=1232)) for s, t, n, q in asked])
        for (server, transport, name, qtype), answer in zip(asked, answers, strict=True):
            where = f"{name} {qtype} of {server} over {transport}: {answer}"
            assert "error" not in answer and answer["id"] == 0x1234, where
            if name == "good.example":
                assert answer["addresses"] == [SHARED4 if qtype == "A" else SHARED6], where
                assert 0 < answer["ttls"][0] <= 60, where
            else:
                assert answer["rcode"] == "NXDOMAIN" and answer["soa"], where
                assert answer["ede"] == (15, "blocked" if mode == "blocklist" else "not-allowed"), where
        allowed = run.decision(layer="dns", kind="dns", name="good.example", qtype="AAAA")
        assert (allowed["verdict"], allowed["reason"]) == ("allow", "allowed")
        denied = run.decision(name="blocked.example", qtype="A")
        assert (denied["layer"], denied["verdict"]) == ("dns", "deny")
        assert denied["reason"] == ("blocked" if mode == "blocklist" else "not-allowed")
        assert (denied["rule"] is None) == (mode == "allowlist")
    assert resolver.queries("good.example") and not resolver.queries("blocked.example")
    sniffer.assert_no_packet_to(*[s for s in SERVERS if s not in (DNS4, DNS6)])


def test_what_is_denied_never_leaves(world, resolver, sniffer):
    names = ["other.example", "notgood.example", "sub.good.example", "good.example.evil.example", "wild.example",
             "_srv._tcp.other.example"]
    with caged(world, allow=ALLOW) as run:
        asked = [(name, qtype) for name in names for qtype in ("A", "AAAA", "TXT", "HTTPS", "ANY", "NS", 99)]
        answers = ask(world, [(DNS4, "udp", dns_question(n, q, edns_bytes=1232)) for n, q in asked])
        for question, answer in zip(asked, answers, strict=True):
            assert (answer["rcode"], answer["soa"], answer["ede"]) == ("NXDOMAIN", True, (15, "not-allowed")), question
        assert dns(world, names[0], edns_bytes=None)["ede"] is None
        for name in names:
            assert run.decision(name=name, verdict="deny")["reason"] == "not-allowed"
        # What is no host's name is denied as such, and is no way to fool whoever reads the log.
        odd = dns_question("a", "A").replace(b"\x01a\0", b'\x08a"\n\x1b[2J.\x00')
        assert ask(world, [(DNS4, "udp", odd)])[0]["rcode"] == "NXDOMAIN"
        assert run.decision(reason="bad-name")["name"] == 'a"\n\x1b[2J.'
    assert resolver.queries() == []
    assert not [p for p in sniffer.packets(dport=53) if p.dst in (DNS4, DNS6)]


def test_types_of_an_allowed_name(world, resolver):
    with caged(world, allow=ALLOW):
        for qtype in ("HTTPS", "SVCB"):
            answer = dns(world, "good.example", qtype)
            assert (answer["rcode"], answer["soa"], answer["addresses"]) == ("NOERROR", True, [])
        for qtype in ("ANY", 99, 252):
            assert dns(world, "good.example", qtype)["rcode"] == "NOTIMP"
        answer = dns(world, "only4.example", "AAAA")
        assert (answer["rcode"], answer["addresses"]) == ("NOERROR", [])
        assert dns(world, "no.wild.example")["rcode"] == "NXDOMAIN"
    assert {q[0] for q in resolver.queries()} == {"A", "AAAA"}


@pytest.mark.parametrize("mode", ["allowlist", "blocklist"])
def test_addresses_of_the_base_layer_are_not_given_out(world, resolver, mode):
    names = {"private.example": "private-address", "metadata.example": "metadata-address",
             "loopback.example": "loopback-address"}
    with caged(world, mode=mode, allow={"domains": [*names, "mixed.example"]}) as run:
        for name, reason in names.items():
            if mode == "blocklist" and reason == "loopback-address":
                assert dns(world, name)["addresses"] == ["127.0.0.1"]
                continue
            for qtype in ("A", "AAAA"):
                answer = dns(world, name, qtype)
                assert (answer["rcode"], answer["addresses"], answer["ede"]) == ("NOERROR", [], (15, reason))
                assert run.decision(name=name, qtype=qtype)["reason"] == reason
        assert dns(world, "mixed.example", "A")["addresses"] == [SHARED4]
        assert dns(world, "mixed.example", "AAAA")["addresses"] == [SHARED6]


def test_an_address_entry_lets_its_address_be_given_out(world, resolver):
    with caged(world, allow={"domains": ["private.example", "mixed.example"], "networks": ["10.0.0.0/24:22"]}):
        assert dns(world, "private.example")["addresses"] == ["10.0.0.5"]
        assert sorted(dns(world, "mixed.example")["addresses"]) == ["10.0.0.5", SHARED4]
        assert dns(world, "private.example", "AAAA")["addresses"] == []


def test_getent_and_dig(world, resolver):
    world.c.write_etc("hosts", "127.0.0.1 localhost\n::1 localhost\n203.0.113.77 build.example\n")
    with caged(world, allow={"domains": ["good.example", "build.example"]}):
        found = world.as_cage("getent", "ahosts", "good.example")
        assert {line.split()[0] for line in found.text.splitlines()} == {SHARED4, SHARED6}
        assert world.as_cage("getent", "ahosts", "other.example").rc == 2
        for extra in ([], ["+tcp"], ["+noedns"], ["+cookie"], ["+bufsize=4096", "+dnssec"]):
            got = world.as_cage("dig", f"@{DNS4}", "good.example", "A", "+short", *extra)
            assert got.text == f"{SHARED4}\n", got.text + got.errors
        shown = world.as_cage("dig", f"@{DNS6}", "other.example").text
        assert "NXDOMAIN" in shown and "EDE: 15 (Blocked): (not-allowed)" in shown
        # The machine's own names are answered from its own file.
        assert dns(world, "build.example")["addresses"] == ["203.0.113.77"]
    assert not resolver.queries("build.example")


def test_case_of_letters(world, resolver):
    with caged(world, allow=ALLOW):
        message = dns_question("gOOd.exAMPLE", edns_bytes=1232)
        answer = bytes.fromhex(clients.python(world, clients.DNS_SNIPPET, DNS4, "53", message.hex(), "udp")[0]["answer"])
        assert question_of(answer) == question_of(message)
        asked = [f"a{i}.wild.example" for i in range(12)]
        ask(world, [(DNS4, "udp", dns_question(name)) for name in asked])
    seen = [q[1] for q in resolver.queries() if q[1].lower() in asked]
    assert len([name for name in seen if name != name.lower() and name != name.upper()]) >= 10


def test_a_resolver_that_folds_names_and_one_that_is_forged(world):
    def folding(message, is_tcp):
        return reply(message, [SHARED4], question=question_of(message).lower())

    def lying(message, is_tcp):
        return reply(message, [SHARED4], question=question_of(message).lower() if not is_tcp else
                     question_of(message).replace(b"good", b"evil"))

    with contextlib.closing(FakeResolver(world, folding)) as fake:
        with caged(world, allow=ALLOW, proxy={"dns": {"servers": [GATE4]}}):
            assert dns(world, "good.example")["addresses"] == [SHARED4]
        # Not taken as it came, but asked for again where nobody can forge it.
        assert [transport for transport, _ in fake.asked] == ["udp", "tcp"]
    with contextlib.closing(FakeResolver(world, lying)):
        with caged(world, allow=ALLOW, proxy={"dns": {"servers": [GATE4]}}) as run:
            assert dns(world, "good.example")["rcode"] == "SERVFAIL"
            assert run.decision(name="good.example")["verdict"] == "deny"


def test_resolver_that_truncates_refuses_or_talks_junk(world):
    def behaviour(message, is_tcp):
        name = question_of(message).lower()
        if b"long" in name:
            return reply(message, [f"203.0.113.{i}" for i in range(100, 150)]) if is_tcp else \
                reply(message, flags=0x8380)
        if b"fail" in name:
            return reply(message, rcode=2)
        if b"refuse" in name:
            return reply(message, rcode=5)
        if b"junk" in name:
            return reply(message, [SHARED4]) + b"x"
        return reply(message, [SHARED4])

    FakeResolver(world, behaviour)
    with caged(world, allow=ALLOW, proxy={"dns": {"servers": [GATE4]}}):
        for name in ("fail", "refuse", "junk"):
            answer = dns(world, f"{name}.wild.example")
            assert (answer["rcode"], answer["ede"][1]) == ("SERVFAIL", "name-unresolvable"), name
        # 50 addresses: too many for 512 bytes, and for this client no more than that.
        short = dns(world, "long.wild.example", edns_bytes=None)
        assert short["truncated"] and short["addresses"] == []
        assert len(dns(world, "long.wild.example", edns_bytes=None, tcp=True)["addresses"]) == 50
        assert len(dns(world, "long.wild.example", edns_bytes=1232)["addresses"]) == 50


@pytest.mark.parametrize("is_there", [True, False])
def test_a_dead_resolver_is_an_answer(world, is_there):
    if is_there:
        FakeResolver(world, silent)
    with caged(world, allow=ALLOW, proxy={"dns": {"servers": [GATE4]}}) as run:
        answer = dns(world, "good.example")
        assert answer["rcode"] == "SERVFAIL"
        assert answer["ede"][1] == ("upstream-timeout" if is_there else "name-unresolvable")
        assert run.decision(name="good.example")["reason"] == answer["ede"][1]


# From many sockets: the answers to all come at once, and one socket's buffer does not hold them.
BURST = r'''
count, last, server = int(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3]
sockets = [datagram(server) for _ in range(20)]
for i in range(count):
    label = b"n%d" % i
    sockets[i % 20].sendto(struct.pack("!6H", i, 0x100, 1, 0, 0, 0) + bytes([len(label)]) + label +
                           b"\4wild\7example\0\0\1\0\1", (server, 53))
    time.sleep(0.0005)
start = time.monotonic()
with datagram(server) as s:
    s.sendto(last, (server, 53))
    s.recv(65535)
tell(denied_s=time.monotonic() - start)
rcodes, end = {}, time.monotonic() + SNIPPET_SECONDS_MAX
while sum(rcodes.values()) < count and time.monotonic() < end:
    for s in select.select(sockets, [], [], 1)[0]:
        rcode = s.recv(65535)[3] & 15
        rcodes[rcode] = rcodes.get(rcode, 0) + 1
tell(rcodes=rcodes)
'''


def test_a_thousand_questions_to_a_silent_resolver(world):
    FakeResolver(world, silent)
    with caged(world, allow=ALLOW, proxy={"dns": {"servers": [GATE4], "new_names_per_minute": 5000}}):
        last = dns_question("other.example", ident=0xFFFF).hex()
        told = clients.python(world, BURST, "1000", last, DNS4)
        # Who is denied does not wait behind those who wait.
        assert told[0]["denied_s"] < 2
        assert told[1]["rcodes"] == {"2": 1000}


def test_ending_with_questions_in_flight_leaks_nothing(world):
    fake = FakeResolver(world, silent)
    with caged(world, allow=ALLOW, proxy={"dns": {"servers": [GATE4]}}):
        snippet = clients.Caged(world, r'''
s = datagram(sys.argv[1])
for i in range(100):
    s.sendto(bytes.fromhex(sys.argv[2]).replace(b"n0", b"%02d" % i), (sys.argv[1], 53))
t = stream(sys.argv[1], 53)
question = bytes.fromhex(sys.argv[2])
t.sendall((struct.pack("!H", len(question)) + question) * 5)
tell(sent=True)
wait()
''', DNS4, dns_question("n0.wild.example").hex())
        snippet.hear()
        wait_until(lambda: len(fake.asked) >= 80, "the questions")
        snippet.say()


def test_junk_is_survived_and_answered_as_such(world, resolver):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    good = dns_question("good.example", edns_bytes=1232)
    junk = [b"", b"x", good[:11], good[:-1], good + b"x", good[:2] + b"\x81\x80" + good[4:], b"\0" * 12, b"\xff" * 500]
    junk += [source.randbytes(source.randrange(1, 600)) for _ in range(200)]
    for _ in range(200):
        changed = bytearray(good)
        changed[source.randrange(len(good))] ^= 1 << source.randrange(8)
        junk.append(bytes(changed))
    with caged(world, allow=ALLOW) as run:
        told = clients.python(world, r'''
with datagram(sys.argv[1]) as s:
    for line in sys.stdin:
        s.sendto(bytes.fromhex(line), (sys.argv[1], 53))
''', DNS4, stdin="".join(one.hex() + "\n" for one in junk).encode())
        assert told == []
        answers = ask(world, [(DNS4, "udp", good[:-1]), (DNS4, "udp", good + b"x"), (DNS4, "tcp", good[:-1]),
                              (DNS4, "udp", good[:2] + b"\x11\0" + good[4:]), (DNS4, "udp", good)])
        assert [a["rcode"] for a in answers] == ["FORMERR", "FORMERR", "FORMERR", "NOTIMP", "NOERROR"]
        assert run.decisions(reason="dns-refused")
        assert len(run.worker_pids()) == 1 and not run.matching(event="fault")
    assert {q[1].lower() for q in resolver.queries()} == {"good.example"}


TCP = r'''
server, good, denied = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
def frame(message, ident):
    message = struct.pack("!H", ident) + message[2:]
    return struct.pack("!H", len(message)) + message
def answers(s, count):
    reader, seen = s.makefile("rb"), {}
    for _ in range(count):
        answer = reader.read(struct.unpack("!H", reader.read(2))[0])
        seen[struct.unpack("!H", answer[:2])[0]] = answer[3] & 15
    return seen
def ends(s):
    """How the other side ends it, and after how long."""
    start = time.monotonic()
    try:
        while s.recv(65536):
            pass
        how = "end"
    except OSError as error:
        how = name_of(error)
    return how, time.monotonic() - start
'''


def tcp(world, source):
    return clients.python(world, TCP + source, DNS4, dns_question("good.example").hex(),
                          dns_question("other.example").hex())


def test_tcp_many_at_once_and_piece_by_piece(world, resolver):
    with caged(world, allow=ALLOW):
        told = tcp(world, r'''
with stream(server, 53) as s:
    s.sendall(b"".join(frame(denied if i % 3 == 0 else good, i) for i in range(300)))
    s.shutdown(socket.SHUT_WR)
    seen = answers(s, 300)
    tell(right=seen == {i: 3 if i % 3 == 0 else 0 for i in range(300)}, rest=s.recv(100))
with stream(server, 53) as s:
    for byte in frame(good, 7) + frame(denied, 8):
        s.sendall(bytes([byte]))
        time.sleep(0.002)
    tell(seen=answers(s, 2))
    s.sendall(frame(good, 9))
    tell(seen=answers(s, 1))
''')
        assert told == [{"right": True, "rest": ""}, {"seen": {"7": 0, "8": 3}}, {"seen": {"9": 0}}]


def test_tcp_clients_that_do_nothing_are_let_go(world, resolver):
    with caged(world, allow=ALLOW):
        told = tcp(world, r'''
import threading
def run(what, s):
    how, seconds = ends(s)
    tell(what=what, how=how, seconds=seconds)
silent, half, asked, junk, long = (stream(server, 53) for _ in range(5))
half.sendall(frame(good, 1)[:-1])
asked.sendall(frame(good, 1))
junk.sendall(b"\0\3abc")
long.sendall(b"\xff\xff" + b"x" * 5000)
deaf = socket.socket(family(server), socket.SOCK_STREAM)
deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
deaf.settimeout(25)
deaf.connect((server, 53))
def shout():
    start = time.monotonic()
    try:
        while True:
            deaf.sendall(frame(denied, 1) * 100)
    except OSError as error:
        tell(what="deaf", how=name_of(error), seconds=time.monotonic() - start)
threads = [threading.Thread(target=run, args=a) for a in
           (("silent", silent), ("half", half), ("asked", asked), ("junk", junk), ("long", long))]
threads.append(threading.Thread(target=shout))
for t in threads: t.start()
for t in threads: t.join()
''')
        ended = {one["what"]: one for one in told}
        for what in ("silent", "half", "asked"):
            assert ended[what]["how"] == "end" and 8 < ended[what]["seconds"] < 20, ended
        assert 8 < ended["deaf"]["seconds"] < 24 and ended["deaf"]["how"] in ("ECONNRESET", "EPIPE"), ended
        for what in ("junk", "long"):
            assert ended[what]["how"] in ("end", "ECONNRESET") and ended[what]["seconds"] < 5, ended


def test_tcp_clients_are_bounded_and_must_be_redirected(world, resolver):
    with caged(world, allow=ALLOW, proxy={"workers": 1}) as run:
        told = tcp(world, r'''
clients = [stream(server, 53) for _ in range(140)]
refused = 0
for s in clients:
    try:
        s.sendall(frame(good, 1))
        answers(s, 1)
    except (OSError, struct.error):
        refused += 1
tell(refused=refused)
''')
        assert told == [{"refused": 12}]
        assert len([d for d in run.decisions(layer="dns", reason="limit-reached") if d["name"] is None]) == 12
        # The kernel keeps the cage from the port; who is not caged is not answered either.
        direct = clients.python(world, f"""
try:
    with stream("127.0.0.1", {DNS_PORT}) as s:
        s.settimeout(5)
        tell(got=s.recv(10))
except OSError as error:
    tell(error=name_of(error))
""", uid=OTHER_UID)
        assert direct in ([{"error": "ECONNRESET"}], [{"error": "ECONNREFUSED"}])
        assert clients.python(world, f"tell(error=attempt(stream, '127.0.0.1', {DNS_PORT}))") == \
            [{"error": "ECONNREFUSED"}]
        if direct[0]["error"] == "ECONNRESET":
            run.decision(layer="dns", reason="not-redirected")


@pytest.mark.parametrize("mode", ["allowlist", "blocklist"])
def test_limits_of_names(world, resolver, mode):
    settings = {"dns": {"new_names_per_minute": 4, "label_max": 10}}
    with caged(world, mode=mode, allow={"domains": ["*.wild.example"]}, proxy=settings) as run:
        names = [f"n{i}.wild.example" for i in range(8)]
        answers = ask(world, [(DNS4, "udp", dns_question(name, edns_bytes=1232)) for name in names])
        assert [a["rcode"] for a in answers] == ["NXDOMAIN"] * 4 + ["REFUSED"] * 4
        assert answers[4]["ede"] == (0, "limit-reached")
        assert run.decision(name=names[4])["reason"] == "limit-reached"
        # Those that were let through stay so, whatever is asked of them.
        assert dns(world, names[0], "AAAA")["rcode"] == "NXDOMAIN"
        assert dns(world, "longerlabel.wild.example")["rcode"] == "REFUSED"
    assert {q[1].lower() for q in resolver.queries()} == set(names[:4])


def test_limits_hold_for_names_that_a_connection_brings(world, resolver):
    settings = {"dns": {"new_names_per_minute": 4, "label_max": 10}}
    with caged(world, mode="blocklist", proxy=settings) as run:
        names = [f"n{i}.wild.example" for i in range(8)] + ["longerlabel.wild.example"]
        told = clients.python(world, r'''
for name in sys.argv[2:]:
    tell(answer=fetch(sys.argv[1], 80, b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n"))
''', SHARED4, *names)
        for name, one in zip(names, told, strict=True):
            reason = "name-unresolvable" if name in names[:4] else "limit-reached"
            assert f"X-Cage-Reason: {reason}\r\n" in one["answer"], (name, one)
            assert run.decisions(layer="proxy", name=name, verdict="deny")[-1]["reason"] == reason
    assert {q[1].lower() for q in resolver.queries()} == set(names[:4])


def test_after_a_reload_the_new_policy_judges(world, resolver):
    with caged(world, allow=ALLOW) as run:
        assert dns(world, "good.example")["addresses"] == [SHARED4]
        assert dns(world, "other.example")["rcode"] == "NXDOMAIN"
        run.config.write_text(config_text(allow={"domains": ["other.example"]}))
        run.reload()
        assert dns(world, "good.example")["rcode"] == "NXDOMAIN"
        assert dns(world, "other.example")["addresses"] == [SHARED4]
        FakeResolver(world, lambda message, is_tcp: reply(message, [STATIC4]))
        run.config.write_text(config_text(allow={"domains": ["other.example"]}, proxy={"dns": {"servers": [GATE4]}}))
        run.reload()
        assert dns(world, "other.example")["addresses"] == [STATIC4]


def test_audit_lets_through_and_says_so(world, resolver):
    with caged(world, allow=ALLOW, proxy={"audit": True}) as run:
        assert dns(world, "other.example")["addresses"] == [SHARED4]
        line = run.decision(name="other.example")
        assert (line["verdict"], line["reason"], line["enforced"]) == ("deny", "not-allowed", False)
        assert dns(world, "metadata.example")["addresses"] == []


def test_an_address_is_known_by_the_name_under_which_it_was_given_out(world, resolver):
    service = TcpService(world.s, BANNER_PORT, serve_banner)
    world.at_close(service.close)
    source = """
try:
    with stream(sys.argv[1], int(sys.argv[2])) as s:
        tell(got=s.recv(100))
except OSError as error:
    tell(error=name_of(error))
"""
    with caged(world, allow={"domains": ["third.example"]}, proxy={"limits": {"sniff_ms": 300}}) as run:
        told = clients.python(world, source, STATIC4, str(BANNER_PORT))
        assert told[0].get("got", "") == "" and run.decision(port=BANNER_PORT)["reason"] == "no-name"
        assert dns(world, "third.example")["addresses"] == [STATIC4]
        assert clients.python(world, source, STATIC4, str(BANNER_PORT))[0]["got"].startswith("220 ")


def test_questions_leave_from_many_ports(world, resolver, sniffer):
    with caged(world, allow=ALLOW):
        ask(world, [(DNS4, "udp", dns_question(f"p{i}.wild.example")) for i in range(30)])
        sent = sniffer.packets(dst=DNS4, proto=UDP, dport=53)
        assert len(sent) >= 30
        assert len({p.sport for p in sent}) > 20
        assert len({p.payload[:2] for p in sent}) > 25
    sniffer.assert_no_packet_to(*METADATA4)
