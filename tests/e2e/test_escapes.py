"""Ways out of a cage that were found, each tried with a witness on the only way out.

Two things are demanded of every case: not one forbidden byte on the wire, and no byte lost of a
transfer that is allowed. Forbidden data carries MARKER, so that it is found wherever it lies, the
quotation in an ICMP error included; where even a bare packet would be an escape, none may leave from
the caged socket's port or to the address. Many cases freeze the proxy first: what leaves then is not
the proxy's doing.
"""

import json
import socket
import time

import pytest

from lib import clients, product
from lib.cage import ALLOWED_NAME, BLOCKED_NAME, STATIC_PORT, Addresses
from lib.netns import (CAGE_UID, DNS4, DNS6, GATE_LINK_LOCAL, OTHER4, OTHER6, OTHER_UID, PROXY_UID, STATIC4, STATIC6,
                       wait_until)
from lib.origin import BANNER, ECHO_PORT, SINK_PORT, TcpService, serve_banner
from lib.product import DNS_PORT, TCP_PORT
from lib.sniffer import ICMP, ICMP6, ROUTING, TCP, Sniffer

MARKER = b"<forbidden-bytes>"

# What the snippets below share.
TOOLS = f"MARKER = {MARKER!r}\n" + r'''
IPPROTO_MPTCP, IP_FREEBIND, IPV6_FREEBIND, IPV6_RTHDR = 262, 15, 78, 57
def fill(s):
    """Sends until the kernel takes no more; returns how much it took."""
    s.setblocking(False)
    block, taken, stuck = MARKER * 4096, 0, 0
    while stuck < 15:
        try:
            taken += s.send(block)
            stuck = 0
        except BlockingIOError:
            stuck += 1
            time.sleep(0.02)
        except OSError:
            break
    return taken
def freebind(s, source):
    s.setsockopt(*((socket.IPPROTO_IPV6, IPV6_FREEBIND) if ":" in source else (socket.IPPROTO_IP, IP_FREEBIND)), 1)
    s.bind((source, 0))
def bind_to(device):
    return lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
def try_stream(address, port, data=MARKER, seconds=20, prepare=lambda s: None, protocol=0, domain=None):
    """Connects, sends and reads to the end: [what came back, name of the first error]."""
    answer = b""
    with socket.socket(domain or family(address), socket.SOCK_STREAM, protocol) as s:
        s.settimeout(seconds)
        try:
            prepare(s)
            s.connect((address, port))
            s.sendall(data)
            while part := s.recv(4096):
                answer += part
        except OSError as error:
            return [answer.decode("latin-1"), name_of(error)]
    return [answer.decode("latin-1"), ""]
def try_datagram(address, port, data=MARKER, prepare=lambda s: None, protocol=0, domain=None):
    """Sends one datagram; the name of the error, empty when there was none."""
    with socket.socket(domain or family(address), socket.SOCK_DGRAM, protocol) as s:
        s.settimeout(20)
        return attempt(lambda: (prepare(s), s.sendto(data, (address, port))))
def kind_exists(domain, kind, protocol):
    return not attempt(lambda: socket.socket(domain, kind, protocol).close())
targets = json.loads(sys.argv[1])
'''


def caged(world, source, targets=(), uid=CAGE_UID):
    """What the snippet tells; targets is its list of addresses, or whatever it needs."""
    return clients.python(world, TOOLS + source, json.dumps(targets), uid=uid)


def caged_beside(world, source, targets=(), uid=CAGE_UID):
    return clients.Caged(world, TOOLS + source, json.dumps(targets), uid=uid)


@pytest.fixture
def addresses(family):
    return Addresses(family)


@pytest.fixture
def v4():
    return Addresses(4)


@pytest.fixture
def v6():
    return Addresses(6)


def learn(world, addresses):
    """The caged user asks for the allowed name, so that its address may be dialled without one."""
    answer = clients.dns(world, ALLOWED_NAME, addresses.qtype, server=addresses.dns)
    assert answer["addresses"] == [addresses.named]


def assert_none_from_port(sniffer, port):
    found = [packet for packet in sniffer.packets() if packet.sport == port]
    assert not found, f"{len(found)} packets left from the caged port {port}: " + "; ".join(map(str, found[:8]))


# Packets of a socket that no file owns any more carry no owner: no owner match sees them.

CONNECT_AND_FILL = """
wait()
s = stream(targets[0], targets[1])
tell(port=s.getsockname()[1])
wait()
tell(taken=fill(s))
"""


def connect_and_fill(client):
    """The client's port, and how many bytes the kernel took from it."""
    client.say()
    port = client.hear()["port"]
    client.say()
    taken = client.hear()["taken"]
    assert taken > 0
    return port, taken


@pytest.mark.parametrize("way", ["static", "named"])
def test_what_was_sent_before_exit_arrives(world, origin, cage, addresses, sniffer, way):
    """The receiver reads only after the sender is gone: every byte in the buffers still arrives."""
    if way == "named":
        learn(world, addresses)
    target = addresses.static if way == "static" else addresses.named
    origin.sink.gate.clear()
    client = caged_beside(world, CONNECT_AND_FILL, [target, SINK_PORT])
    _, taken = connect_and_fill(client)
    assert client.end() == 0
    origin.sink.gate.set()
    wait_until(lambda: origin.sink.transfers and origin.sink.transfers[0].ended, "the sink's end of stream")
    transfer, = origin.sink.transfers
    assert (transfer.count, transfer.failed) == (taken, None)
    assert {packet.sport for packet in sniffer.packets(dst=target, proto=TCP)} == {transfer.peer[1]}


@pytest.mark.parametrize("entry", ["kept", "lost"])
def test_an_orphan_reaches_nothing(world, cage, addresses, sniffer, entry):
    """The proxy's window is full when the client exits, and the machine may forget the connection."""
    client = caged_beside(world, CONNECT_AND_FILL, [addresses.other, 80])
    cage.freeze()
    port, _ = connect_and_fill(client)
    assert client.end() == 0
    if entry == "lost":
        world.c.run("conntrack", "-F", check=True)
    cage.wait_orphan_tried()
    cage.thaw()
    cage.wait_no_sockets()
    assert_none_from_port(sniffer, port)
    if cage.mode == "allowlist":
        sniffer.assert_no_packet_to(addresses.other)


def serve_beyond_the_end(connection, transfer):
    """Waits for the other side's end of stream, then sends until something breaks."""
    while data := connection.recv(65536):
        transfer.take(data)
    while True:
        connection.sendall(bytes(1000))
        time.sleep(0.01)


def test_data_for_a_client_that_is_gone(world, origin, cage, addresses, sniffer):
    """The kernel's resets go to the proxy, so that it lets go of the origin, and not to the origin."""
    service = origin.listen(9100, serve_beyond_the_end)
    learn(world, addresses)
    client = caged_beside(world, """
s = stream(targets[0], targets[1])
s.sendall(b"\\0hello")
tell(port=s.getsockname()[1])
wait()
""", [addresses.named, service.port])
    port = client.hear()["port"]
    wait_until(lambda: service.transfers and service.transfers[0].count == 6, "the origin has the greeting")
    client.kill()
    wait_until(lambda: service.transfers[0].ended, "the proxy lets go of the origin")
    cage.wait_no_sockets()
    assert_none_from_port(sniffer, port)


@pytest.mark.parametrize("entry", ["kept", "lost"])
def test_the_orphan_of_another_user_drains(world, origin, cage, addresses, entry):
    """What stops the cage's orphans does not cost anybody else a byte."""
    origin.sink.gate.clear()
    client = caged_beside(world, CONNECT_AND_FILL, [addresses.other, SINK_PORT], uid=OTHER_UID)
    _, taken = connect_and_fill(client)
    assert client.end() == 0
    if entry == "lost":
        world.c.run("conntrack", "-F", check=True)
    origin.sink.gate.set()
    wait_until(lambda: origin.sink.transfers[0].ended, "the sink's end of stream")
    assert origin.sink.transfers[0].count == taken


def test_a_stream_survives_a_flush_of_conntrack(world, origin, cage, addresses, sniffer):
    """The next data is picked up and redirected again; a bare FIN could not be, so none follows a flush."""
    learn(world, addresses)
    client = caged_beside(world, """
s = stream(targets[0], targets[1])
tell(port=s.getsockname()[1])
while wait():
    s.sendall(MARKER * 10000)
s.shutdown(socket.SHUT_WR)
tell(answer=s.makefile("rb").readline())
""", [addresses.named, SINK_PORT])
    port = client.hear()["port"]
    burst = 10000 * len(MARKER)
    for count in range(1, 5):
        world.c.run("conntrack", "-F", check=True)
        client.say()
        wait_until(lambda: origin.sink.transfers and origin.sink.transfers[0].count == count * burst,
                   "the sink has all so far")
    client.say("")
    assert client.hear()["answer"].split()[0] == str(4 * burst)
    assert_none_from_port(sniffer, port)


def test_binding_to_the_device_after_connect(world, cage, addresses, sniffer):
    """Redirected packets then take the wire, with a loopback destination; the orphan's too."""
    client = caged_beside(world, """
wait()
s = stream(targets[0], targets[1])
bind_to(b"c0")(s)
tell(port=s.getsockname()[1])
wait()
tell(taken=fill(s))
""", [addresses.other, 80])
    cage.freeze()
    port, _ = connect_and_fill(client)
    assert client.end() == 0
    cage.wait_orphan_tried()
    cage.thaw()
    cage.wait_no_sockets()
    assert_none_from_port(sniffer, port)
    sniffer.assert_no_packet_to("127.0.0.1", "::1")


def test_binding_to_the_device_before_connect(world, cage, addresses, sniffer):
    told = caged(world, """
tell(results=[try_stream(address, port, prepare=bind_to(b"c0"), seconds=1) for address in targets for port in (80, 9)])
""", [addresses.other, addresses.blocked, addresses.base[0], addresses.loopback])
    assert {answer for answer, _ in told[0]["results"]} == {""}
    sniffer.assert_no_bytes(MARKER)
    sniffer.assert_no_packet_to(addresses.loopback, *cage.forbidden(addresses))


# Connections that are older than the cage.

@pytest.fixture
def conntrack_runs(world):
    """Somebody else's rule: without one, conntrack knows nothing of what happened before the cage."""
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        world.c.run(tool, "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "ACCEPT", check=True)


@pytest.mark.parametrize("left", ["open", "orphan"])
def test_connections_older_than_the_cage_end(world, origin, conntrack_runs, unstarted_cage, addresses, left):
    """Established without redirection: an open one is reset, an orphan drains nothing more."""
    origin.sink.gate.clear()
    client = caged_beside(world, CONNECT_AND_FILL + """
if wait() == "send":
    s.setblocking(True)
    tell(error=attempt(s.sendall, MARKER * 100000))
""", [addresses.other, SINK_PORT])
    connect_and_fill(client)
    if left == "orphan":
        client.kill()
    unstarted_cage.start()
    with Sniffer(world) as since:
        origin.sink.gate.set()
        if left == "open":
            client.say("send")
            assert client.hear()["error"]
            client.kill()
        unstarted_cage.wait_no_sockets()
        since.assert_no_bytes(MARKER)


# The source address: a refusal must not carry the refused bytes to where the cage pleases.

def test_a_foreign_source_address(world, cage, addresses, sniffer):
    told = caged(world, """
source, targets = targets[0], targets[1:]
bind = lambda s: freebind(s, source)
tell(datagrams=[try_datagram(a, p, MARKER * 60, bind) for a in targets for p in (9, 53, 443)])
tell(streams=[try_stream(a, 80, prepare=bind, seconds=1)[0] for a in targets[:3]])
""", [addresses.foreign, addresses.other, addresses.blocked, *addresses.base, addresses.static])
    assert set(told[1]["streams"]) == {""}
    sniffer.assert_no_bytes(MARKER)
    sniffer.assert_no_packet_to(addresses.foreign)
    assert not [packet for packet in sniffer.packets(src=addresses.foreign)]


def test_a_foreign_source_in_ancillary_data(world, cage, v6, sniffer):
    told = caged(world, """
source, targets = targets[0], targets[1:]
info = socket.inet_pton(V6, source) + struct.pack("I", 0)
def send(address):
    with datagram(address) as s:
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        return attempt(lambda: s.sendmsg([MARKER * 60], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)], 0, (address, 9)))
tell(errors=[send(address) for address in targets])
""", [v6.foreign, v6.other, v6.blocked, *v6.base])
    assert told
    sniffer.assert_no_bytes(MARKER)
    sniffer.assert_no_packet_to(v6.foreign)


def test_the_loopback_address_as_source(world, cage, addresses, sniffer):
    caged(world, """
bind = lambda s: s.bind((targets[0], 0))
tell(datagrams=[try_datagram(address, 9, MARKER, bind) for address in targets[1:]])
tell(streams=[try_stream(address, 9, MARKER, 1, bind)[0] for address in targets[1:]])
""", [addresses.loopback, addresses.other, addresses.blocked, addresses.base[0], addresses.static])
    sniffer.assert_no_bytes(MARKER)
    assert not sniffer.packets(src=addresses.loopback)


def test_an_answer_to_whoever_asks_first(world, origin, cage, addresses, sniffer):
    """In the reply direction the original destination is the machine's own address."""
    client = caged_beside(world, """
s = socket.socket(family(targets), socket.SOCK_DGRAM)
s.bind(("::" if ":" in targets else "0.0.0.0", 5555))
tell(ready=True)
while True:
    data, peer = s.recvfrom(100)
    tell(error=attempt(s.sendto, MARKER, peer))
""", addresses.host)
    client.hear()
    for asker in cage.forbidden(addresses):
        with world.s.socket(socket.AF_INET6 if ":" in asker else socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((asker, 6666))
            one.sendto(b"?", (addresses.host, 5555))
            assert client.hear()["error"] == "EPERM", asker
    sniffer.assert_no_bytes(MARKER)
    sniffer.assert_no_packet_to(*cage.forbidden(addresses))


# The 4-tuple: conntrack knows connections of the proxy's user that no redirection touches.

def test_a_port_that_the_proxys_user_asked_dns_from(world, cage, addresses, sniffer):
    clients.python(world, """
with datagram(sys.argv[1]) as s:
    s.bind(("", 31000))
    s.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 53))
    s.recv(4096)
""", addresses.dns, clients.dns_question(ALLOWED_NAME).hex(), uid=PROXY_UID)
    told = caged(world, """
tell(error=try_datagram(targets, 53, MARKER, lambda s: s.bind(("", 31000))))
""", addresses.dns)
    assert told == [{"error": ""}], "it goes to the front like any other"
    learn(world, addresses)
    sniffer.assert_no_bytes(MARKER)


@pytest.mark.parametrize("entry", ["established", "closed"])
def test_a_port_that_the_proxys_user_dialled_from(world, origin, cage, addresses, entry):
    told = clients.python(world, """
os.seteuid(4243)
s = socket.socket(family(sys.argv[1]), socket.SOCK_STREAM)
s.bind(("", 31001))
s.connect((sys.argv[1], 80))
os.seteuid(0)
if sys.argv[2] == "established":
    TCP_REPAIR = 19
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
else:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
tell(done=True)
""", addresses.other, entry, uid=0)
    assert told
    with Sniffer(world) as since:
        told = caged(world, """
tell(result=try_stream(targets, 80, prepare=lambda s: s.bind(("", 31001)), seconds=5))
""", addresses.other)
        assert_none_from_port(since, 31001)
        if cage.mode == "allowlist":
            assert told[0]["result"][0] == ""
            since.assert_no_packet_to(addresses.other)


# Options and protocols that go round a rule about ports.

SOURCE_ROUTED = """
final, first = targets
def route(s):
    segments = socket.inet_pton(V6, "::") + socket.inet_pton(V6, first)
    s.setsockopt(socket.IPPROTO_IPV6, IPV6_RTHDR, struct.pack("BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + segments)
tell(set=attempt(lambda: route(socket.socket(V6, socket.SOCK_DGRAM))))
tell(datagram=try_datagram(final, 9000, MARKER, route))
tell(stream=try_stream(final, 9000, MARKER, 2, route))
"""


def test_a_route_through_an_allowed_address(world, cage, v6, sniffer):
    """Every rule sees the first hop, which is allowed; the last one stands in the header."""
    told = caged(world, SOURCE_ROUTED, [v6.other, v6.static])
    assert told[0]["set"] == "", "without the option the case proves nothing"
    assert told[1]["datagram"] == "EPERM"
    sniffer.assert_no_bytes(MARKER)
    assert not [packet for packet in sniffer.packets() if ROUTING in packet.extensions]


def test_other_extension_headers_are_not_the_cages_to_send(world, cage, v6, sniffer):
    told = caged(world, """
def option(number, value):
    return lambda s: s.setsockopt(socket.IPPROTO_IPV6, number, value)
IPV6_HOPOPTS, IPV6_DSTOPTS = 54, 59
padding = struct.pack("BBBB", 0, 0, 1, 4) + bytes(4)
for number, value in ((IPV6_HOPOPTS, padding), (IPV6_DSTOPTS, padding),
                      (IPV6_RTHDR, struct.pack("BBBBI", 0, 2, 0, 1, 0) + socket.inet_pton(V6, targets)),
                      (IPV6_RTHDR, struct.pack("BBBBI", 0, 2, 2, 1, 0) + socket.inet_pton(V6, targets))):
    tell(error=try_datagram(targets, 9000, MARKER, option(number, value)))
""", v6.static)
    assert {line["error"] for line in told} <= {"EPERM", "EINVAL", "ENOPROTOOPT"}
    sniffer.assert_no_bytes(MARKER)


def test_ipv4_options_are_refused(world, cage, v4, sniffer):
    told = caged(world, """
for options in (b"\\x07\\x0b\\x04" + bytes(9), b"\\x44\\x0c\\x05\\x00" + bytes(8)):
    tell(error=try_datagram(targets, 9000, MARKER, lambda s: s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)))
tell(error=try_datagram(targets, 9000, MARKER, lambda s: s.setsockopt(
    socket.IPPROTO_IP, socket.IP_OPTIONS, b"\\x83\\x07\\x04" + socket.inet_aton(targets) + b"\\0")))
""", v4.static)
    assert [line["error"] for line in told] == ["EPERM"] * 3
    sniffer.assert_no_bytes(MARKER)


def test_protocols_beside_tcp_and_udp(world, cage, addresses, sniffer):
    """UDP-Lite, SCTP and DCCP have ports too; which of them exist is the kernel's choice."""
    caged(world, """
SOCK_DCCP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP = 6, 136, 132, 33
for address in targets:
    for port in (53, 443, 9, 9000):
        if kind_exists(family(address), socket.SOCK_DGRAM, IPPROTO_UDPLITE):
            tell(udplite=try_datagram(address, port, protocol=IPPROTO_UDPLITE))
        if kind_exists(family(address), socket.SOCK_STREAM, IPPROTO_SCTP):
            tell(sctp=try_stream(address, port, seconds=1, protocol=IPPROTO_SCTP))
        if kind_exists(family(address), SOCK_DCCP, IPPROTO_DCCP):
            with socket.socket(family(address), SOCK_DCCP, IPPROTO_DCCP) as s:
                s.settimeout(1)
                tell(dccp=attempt(s.connect, (address, port)))
""", [addresses.dns, addresses.other, addresses.blocked, addresses.static, addresses.base[0]])
    sniffer.assert_no_bytes(MARKER)
    assert not [packet for packet in sniffer.packets() if packet.proto in (136, 132, 33)]


def test_privileged_sockets_are_not_to_be_had(world, cage):
    told = caged(world, """
SOL_IPV6, IPV6_TRANSPARENT, IP_TRANSPARENT, SO_MARK = 41, 75, 19, 36
def option(domain, level, name):
    with socket.socket(domain, socket.SOCK_DGRAM) as s:
        return attempt(s.setsockopt, level, name, 1)
tell(errors=[option(socket.AF_INET, socket.IPPROTO_IP, IP_TRANSPARENT), option(V6, SOL_IPV6, IPV6_TRANSPARENT),
             option(socket.AF_INET, socket.SOL_SOCKET, SO_MARK),
             attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
             attempt(socket.socket, V6, socket.SOCK_RAW, socket.IPPROTO_RAW),
             attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)])
""")
    assert told[0]["errors"] == ["EPERM"] * 6


# Addresses.

def test_tcp_to_forbidden_addresses(world, cage, addresses, sniffer):
    targets = cage.forbidden(addresses)
    told = caged(world, """
for address in targets:
    for port in (22, 80, 443, 9000):
        tell(address=address, port=port, plain=try_stream(address, port),
             on_lo=try_stream(address, port, prepare=bind_to(b"lo"), seconds=1)[0] if port == 80 else "",
             multipath=try_stream(address, port, protocol=IPPROTO_MPTCP))
""", targets)
    assert len(told) == 4 * len(targets)
    for line in told:
        assert line["plain"][0] == line["on_lo"] == line["multipath"][0] == "", line
        if line["address"] in addresses.base:
            assert line["plain"][1] == line["multipath"][1] == "ECONNREFUSED", line
    sniffer.assert_no_packet_to(*targets)
    sniffer.assert_no_bytes(MARKER)


def test_tcp_fast_open(world, cage, addresses, sniffer):
    """Data in the first packet. Twice, since the second one has a cookie."""
    for namespace in (world.c, world.s):
        namespace.sysctl("net.ipv4.tcp_fastopen", 3)
    targets = cage.forbidden(addresses)
    caged(world, """
for address in targets * 2:
    with socket.socket(family(address), socket.SOCK_STREAM) as s:
        s.settimeout(5)
        tell(error=attempt(lambda: (s.sendto(MARKER, socket.MSG_FASTOPEN, (address, 80)), s.recv(1))))
""", targets)
    sniffer.assert_no_packet_to(*targets)


def test_udp_to_forbidden_addresses(world, cage, addresses, sniffer):
    targets = [[address, port] for address in cage.forbidden(addresses) for port in (1, 443, ECHO_PORT)]
    targets += [[addresses.named, 443], [addresses.other, 443]]
    if cage.mode == "allowlist":
        targets += [[addresses.named, ECHO_PORT], [addresses.static, STATIC_PORT + 1], [addresses.dns, 5353]]
    told = caged(world, """
for address, port in targets:
    tell(where=[address, port], errors=[try_datagram(address, port), try_datagram(address, port, MARKER * 3500)])
""", targets)
    for line in told:
        assert line["errors"] == ["EPERM", "EPERM"], line
    sniffer.assert_no_bytes(MARKER)
    sniffer.assert_no_packet_to(*cage.forbidden(addresses))


def test_what_is_allowed_passes(world, origin, cage, addresses):
    """Otherwise an empty wire would prove nothing."""
    origin.echo_on(STATIC_PORT)
    learn(world, addresses)
    targets = [[addresses.static, STATIC_PORT]]
    if cage.mode == "blocklist":
        targets += [[addresses.other, ECHO_PORT], [addresses.named, ECHO_PORT]]
    told = caged(world, """
for address, port in targets:
    with datagram(address) as s:
        s.sendto(b"to be echoed", (address, port))
        tell(data=s.recv(100))
""", targets)
    assert [line["data"] for line in told] == ["to be echoed"] * len(targets)
    targets = [[addresses.static, SINK_PORT], [addresses.named, SINK_PORT]]
    if cage.mode == "blocklist":
        targets += [[addresses.other, SINK_PORT]]
    told = caged(world, """
for address, port in targets:
    with stream(address, port) as s:
        s.sendall(b"x" * 1000)
        s.shutdown(socket.SHUT_WR)
        tell(answer=s.makefile("rb").readline())
""", targets)
    assert [line["answer"].split()[0] for line in told] == ["1000"] * len(targets)


def test_ipv4_inside_ipv6_sockets(world, cage, v4, sniffer):
    """A mapped address goes through the IPv4 tables, which must say the same."""
    targets = cage.forbidden(v4)
    told = caged(world, """
for address in targets:
    mapped = "::ffff:" + address
    tell(address=address, stream=try_stream(mapped, 80)[0], datagram=try_datagram(mapped, 9))
""", targets)
    for line in told:
        assert (line["stream"], line["datagram"]) == ("", "EPERM"), line
    sniffer.assert_no_packet_to(*targets)
    sniffer.assert_no_bytes(MARKER)


def test_one_to_many_and_the_link(world, cage, sniffer):
    """Multicast, broadcast and link-local: refused at once; a question on port 53 goes nowhere else."""
    index = world.c.run("cat", "/sys/class/net/c0/ifindex").text.strip()
    told = caged(world, """
broadcast = lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for address in ("224.0.0.251", "239.1.2.3", "255.255.255.255", "203.0.113.255"):
    for port in (53, 5353, 9):
        tell(where=[address, port], error=try_datagram(address, port, prepare=broadcast))
for address in ("fe80::fe", "ff02::fb", "ff02::1"):
    for port in (53, 5353, 9):
        with socket.socket(V6, socket.SOCK_DGRAM) as s:
            tell(where=[address, port], error=attempt(s.sendto, MARKER, (address, port, 0, int(targets))))
with socket.socket(V6, socket.SOCK_STREAM) as s:
    s.settimeout(5)
    tell(where=["stream", 80], error=attempt(s.connect, ("fe80::fe", 80, 0, int(targets))))
""", index)
    for line in told[:-1]:
        if line["where"][1] != 53 or ":" in line["where"][0]:
            assert line["error"] == "EPERM", line
    assert told[-1]["error"]
    sniffer.assert_no_bytes(MARKER)
    sniffer.assert_no_packet_to("224.0.0.251", "239.1.2.3", "255.255.255.255", "203.0.113.255", "ff02::fb", "ff02::1",
                                GATE_LINK_LOCAL)


def test_ping(world, cage, addresses, sniffer):
    world.c.sysctl("net.ipv4.ping_group_range", "0\t2147483647")
    caged(world, """
for address in targets:
    v6 = ":" in address
    with socket.socket(family(address), socket.SOCK_DGRAM, 58 if v6 else 1) as s:
        s.settimeout(0.2)
        tell(error=attempt(lambda: (s.sendto(struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 1, 1) + MARKER, (address, 0)))))
""", [*cage.forbidden(addresses), addresses.other])
    sniffer.assert_no_packet_to(*cage.forbidden(addresses))
    sent = [packet for packet in sniffer.packets(dst=addresses.other) if packet.proto in (ICMP, ICMP6)]
    assert bool(sent) == (cage.mode == "blocklist")


# The machine itself.

def test_the_proxys_own_ports(world, cage, addresses, sniffer):
    """Only a redirected connection is served; the DNS front answers nobody who asks it directly."""
    question = clients.dns_question(ALLOWED_NAME)
    own = [addresses.loopback, addresses.host] + (["127.0.0.2", "0.0.0.0"] if addresses.family == 4 else ["::"])
    told = caged(world, """
own, question, tcp_port, dns_port = targets
question = bytes.fromhex(question)
for address in own:
    tell(address=address, front=try_stream(address, dns_port, struct.pack("!H", len(question)) + question),
         proxy=try_stream(address, tcp_port), datagram=try_datagram(address, dns_port, question))
""", [own, question.hex(), TCP_PORT, DNS_PORT])
    for line in told:
        assert line["front"][0] == line["proxy"][0] == "", line
        assert line["datagram"] == "EPERM", line
    sniffer.assert_no_bytes(MARKER)


def test_services_of_the_machine(world, cage, addresses):
    """On loopback: denied in allowlist mode, reached through the proxy in blocklist mode."""
    service = TcpService(world.c, 8080, serve_banner)
    world.at_close(service.close)
    told = caged(world, """
for address in targets:
    with socket.socket(family(address), socket.SOCK_STREAM) as s:
        s.settimeout(20)
        error = attempt(s.connect, (address, 8080))
        try:
            tell(error=error, banner=s.recv(100))
        except OSError as failure:
            tell(error=name_of(failure), banner="")
""", [addresses.loopback] if cage.mode == "blocklist" else [addresses.loopback, addresses.host])
    if cage.mode == "blocklist":
        assert [line["banner"] for line in told] == [BANNER.decode()]
    else:
        assert {line["banner"] for line in told} == {""}
        assert not service.transfers


CAGED_SERVER = """
s = socket.socket(family(targets), socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::" if ":" in targets else "0.0.0.0", 8000))
s.listen(5)
tell(ready=True)
while True:
    c, _ = s.accept()
    c.sendall(MARKER)
    c.close()
"""


def test_a_caged_server_answers_on_loopback_only(world, cage, addresses, sniffer):
    caged_beside(world, CAGED_SERVER, addresses.host).hear()
    told = clients.python(world, "tell(answer=fetch(sys.argv[1], 8000, b''))", addresses.loopback, uid=OTHER_UID)
    assert told == [{"answer": MARKER.decode()}]
    if cage.mode == "blocklist":
        told = clients.python(world, "tell(answer=fetch(sys.argv[1], 8000, b''))", addresses.loopback)
        assert told == [{"answer": MARKER.decode()}]
    with world.s.socket(socket.AF_INET6 if ":" in addresses.host else socket.AF_INET, socket.SOCK_STREAM) as outsider:
        outsider.settimeout(1)
        with pytest.raises(OSError):
            outsider.connect((addresses.host, 8000))
    sniffer.assert_no_bytes(MARKER)
    assert not [packet for packet in sniffer.packets(proto=TCP) if packet.sport == 8000]


def test_the_proxys_user_has_its_own_base_layer(world, cage, addresses, sniffer):
    """What the proxy could be talked into, the kernel refuses again."""
    targets = addresses.base + ([addresses.blocked] if cage.mode == "blocklist" else [])
    told = caged(world, """
targets, loopback, other, tcp_port, dns_port = targets
for address in targets:
    tell(errors=[try_stream(address, 80)[1], try_datagram(address, 9)])
tell(errors=[try_datagram(other, port) for port in (9, 53, 443)])
tell(errors=[try_stream(loopback, port)[1] for port in (tcp_port, dns_port)])
""", [targets, addresses.loopback, addresses.other, TCP_PORT, DNS_PORT], uid=PROXY_UID)
    for line in told[:-2]:
        assert line["errors"] == ["ECONNREFUSED", "EPERM"]
    assert told[-2]["errors"] == ["EPERM"] * 3 and told[-1]["errors"] == ["ECONNREFUSED"] * 2
    sniffer.assert_no_bytes(MARKER)
    sniffer.assert_no_packet_to(*targets)


# DNS.

@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dns_goes_to_the_front_whichever_server_is_asked(world, origin, cage, addresses, sniffer, tcp):
    denied = "marker.example" if cage.mode == "allowlist" else BLOCKED_NAME
    servers = [addresses.dns, addresses.other, addresses.blocked, addresses.loopback, addresses.host, *addresses.base]
    for server in servers:
        answer = clients.dns(world, denied, addresses.qtype, server=server, tcp=tcp)
        assert (answer["rcode"], answer["addresses"]) == ("NXDOMAIN", []), server
    for server in servers[1:5]:
        answer = clients.dns(world, ALLOWED_NAME, addresses.qtype, server=server, tcp=tcp)
        assert (answer["rcode"], answer["addresses"]) == ("NOERROR", [addresses.named]), server
    if cage.mode == "allowlist":
        assert not origin.resolver.queries(denied)
    assert {packet.dst for packet in sniffer.packets(dport=53)} <= {DNS4, DNS6}


def test_an_answer_that_nobody_waits_for(world, cage, addresses, sniffer):
    """The kernel tells the sender that the port is closed, and quotes the question that was repeated.

    The sender seems to be whatever server was asked, and the packet has no owner and, since the zone
    is found by owner, no connection.
    """
    question = clients.dns_question(f"{MARKER.decode()}.example", edns_bytes=1232)
    servers = [addresses.other, addresses.foreign, addresses.blocked, addresses.base[0]]
    caged(world, """
question, servers = bytes.fromhex(targets[0]), targets[1]
for server in servers * 3:
    tell(error=try_datagram(server, 53, question))
""", [question.hex(), servers])
    for server in servers:
        # Answered after those before it, which no socket waited for.
        assert "error" not in clients.dns(world, BLOCKED_NAME, server=server)
    sniffer.assert_no_packet_to(*servers)
    if cage.mode == "allowlist":
        sniffer.assert_no_bytes(MARKER)


# Sockets that the cage did not make.

@pytest.mark.parametrize("address", [OTHER4, OTHER6, STATIC4, STATIC6])
def test_exec_hands_no_socket_to_the_command(world, origin, sniffer, address):
    """A socket of root's talks as root does: the command gets none, or does not run."""
    config = product.write_config(world, product.config_text())
    with world.c.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as inherited:
        inherited.connect((address, SINK_PORT))
        process = world.c.popen(product.PROG, "exec", "-c", config, "--", "/bin/sh", "-c", f"echo '{MARKER.decode()}' >&0",
                                stdin=inherited, env=product.SANITIZERS)
        process.wait(60)
    sniffer.assert_no_bytes(MARKER)
    product.assert_nothing_left(world)
