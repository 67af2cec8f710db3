"""The kernel layers alone, on real packets: no proxy listens, or one that takes everything that is led to it."""

import re
import socket
import struct

import pytest

from lib import clients
from lib.firewall import DNS_PORT, TCP_PORT, Firewall, attempts, start_services, start_stand_in
from lib.netns import (BLOCKED4, BLOCKED6, CAGE_UID, DNS4, DNS6, HOST4, HOST6, METADATA4, METADATA6, OTHER4, OTHER6,
                       OTHER_UID, PRIVATE4, PRIVATE6, PROXY_UID, SHARED4, SHARED6, STATIC4, STATIC6, wait_until)
from lib.sniffer import ICMP, ICMP6, TCP, UDP

MODES = ["allowlist", "blocklist"]
LINK_LOCAL = "fe80::fe%c0"
BASE = [*METADATA4, *PRIVATE4, *METADATA6, *PRIVATE6]
REFUSED = {"tcp": "ECONNREFUSED", "udp": "EPERM", "udplite": "EPERM", "icmp": "EPERM"}
PORTS = [53, 80, 443, 853, 7777, 8000, 8002, 9000, 9001, 6667]


@pytest.fixture
def firewall(world):
    world.c.sysctl("net.ipv4.ping_group_range", "0 2147483647")
    start_services(world, PORTS)
    return Firewall(world)


def expect(world, rows, uid=CAGE_UID):
    """rows: (kind, address, port, answer)."""
    got = attempts(world, [row[:3] for row in rows], uid)
    wrong = [(row, answer) for row, answer in zip(rows, got) if row[3] != answer]
    assert not wrong, f"uid {uid}: " + "; ".join(f"{row} but {answer}" for row, answer in wrong)


def refusals(addresses, ports=(80, 443, 7777), kinds=("tcp", "udp")):
    return [(kind, address, port, REFUSED[kind]) for address in addresses for port in ports for kind in kinds]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("has_proxy", [False, True])
def test_the_base_layer_refuses_at_once(world, firewall, sniffer, mode, has_proxy):
    stand_in = start_stand_in(world) if has_proxy else None
    firewall.install(firewall.policy(mode))
    rows = refusals([*BASE, LINK_LOCAL])
    expect(world, rows)
    expect(world, rows, PROXY_UID)
    if stand_in:
        assert stand_in.lines() == []
    sniffer.assert_no_bytes(b"marker-")
    sniffer.assert_no_packet_to(*BASE)


def test_parts_of_the_base_layer_can_be_switched_off(world, firewall):
    start_stand_in(world)
    settings = {"metadata": [("proxy.base.metadata", "false")], "private": [("proxy.base.private", "false")]}
    rows = {}
    for part, setting in settings.items():
        firewall.install(firewall.policy("blocklist", settings=setting))
        for address in ("169.254.169.254", "100.100.100.200", "10.0.0.5", "fd12::5", "64:ff9b::a00:5"):
            rows[part, address] = attempts(world, [("udp", address, 7777), ("tcp", address, 80)])
    open_, closed = ["origin", "proxy"], ["EPERM", "ECONNREFUSED"]
    assert rows == {
        ("metadata", "169.254.169.254"): open_, ("private", "169.254.169.254"): closed,
        ("metadata", "100.100.100.200"): closed, ("private", "100.100.100.200"): closed,
        ("metadata", "10.0.0.5"): closed, ("private", "10.0.0.5"): open_,
        ("metadata", "fd12::5"): closed, ("private", "fd12::5"): open_,
        # What may hide a metadata address stays closed as long as those are.
        ("metadata", "64:ff9b::a00:5"): closed, ("private", "64:ff9b::a00:5"): closed,
    }


@pytest.mark.parametrize("mode", MODES)
def test_allow_entries_open_exactly_what_they_say(world, firewall, sniffer, mode):
    stand_in = start_stand_in(world)
    allow = [f"{STATIC4}:9000", f"[{STATIC6}]:9000", "10.0.0.5:80,8000-8001", "[fd12::5]:80,8000-8001", OTHER4, OTHER6,
             "169.254.169.254:80", f"{SHARED4}:53", f"[{SHARED6}]:53"]
    firewall.install(firewall.policy(mode, allow, [STATIC4, STATIC6, OTHER4]))
    other_udp = "EPERM" if mode == "allowlist" else "origin"
    rows = []
    for static, private, other, shared in ((STATIC4, "10.0.0.5", OTHER4, SHARED4), (STATIC6, "fd12::5", OTHER6, SHARED6)):
        for kind in ("tcp", "udp"):
            rows += [(kind, static, 9000, "origin"),
                     *((kind, private, port, "origin") for port in (80, 8000)),
                     *((kind, private, port, REFUSED[kind]) for port in (443, 8002)),
                     *((kind, other, port, "origin") for port in (80, 443, 9001)),
                     (kind, other, 53, "front"), (kind, shared, 53, "origin")]
        blocked = mode == "blocklist"
        rows += [("tcp", static, 9001, "ECONNREFUSED" if blocked else "proxy"),
                 ("udp", static, 9001, "EPERM"), ("udp", shared, 9001, other_udp)]
    rows += [("tcp", "169.254.169.254", 80, "origin"), ("tcp", "169.254.169.254", 443, "ECONNREFUSED")]
    expect(world, rows)
    assert all(where != [OTHER4, 80] for _, where in stand_in.lines())
    # The proxy's user: TCP on the same ports, no UDP.
    expect(world, [("tcp", "10.0.0.5", 80, "origin"), ("tcp", "fd12::5", 8000, "origin"),
                   ("tcp", "10.0.0.5", 443, "ECONNREFUSED"), ("tcp", "10.0.0.5", 53, "ECONNREFUSED"),
                   ("tcp", "169.254.169.254", 80, "origin"), ("udp", "10.0.0.5", 80, "EPERM"),
                   ("udp", STATIC4, 9000, "EPERM"), ("tcp", STATIC4, 9000, "origin")], PROXY_UID)
    assert not sniffer.packets(dst=[OTHER4, OTHER6], dport=53)


def test_block_entries(world, firewall, sniffer):
    stand_in = start_stand_in(world)
    block = [BLOCKED4, BLOCKED6, f"{OTHER4}:9000-9001", f"[{OTHER6}]:9000-9001", "0.0.0.0/0:6667", "::/0:6667"]
    firewall.install(firewall.policy("blocklist", (), block))
    rows = refusals([BLOCKED4, BLOCKED6]) + refusals([OTHER4, OTHER6], (9000, 9001)) + \
        refusals([SHARED4, SHARED6], (6667,))
    expect(world, [*rows, ("icmp", BLOCKED4, 0, "EPERM")])
    assert stand_in.lines() == []
    sniffer.assert_no_packet_to(BLOCKED4, BLOCKED6)
    # DNS is the front's, whichever server is asked.
    expect(world, [(kind, address, 53, "front") for address in (BLOCKED4, BLOCKED6) for kind in ("tcp", "udp")])
    expect(world, [("tcp", OTHER4, 80, "proxy"), ("tcp", OTHER6, 80, "proxy"), ("udp", OTHER4, 80, "origin"),
                   ("udp", OTHER6, 80, "origin"), ("icmp", OTHER4, 0, "answer")])
    expect(world, [row for row in rows if row[0] == "tcp"], PROXY_UID)
    expect(world, [("tcp", OTHER4, 80, "origin"), ("tcp", OTHER6, 80, "origin")], PROXY_UID)


def test_block_entries_change_nothing_in_allowlist_mode(world, firewall):
    start_stand_in(world)
    firewall.install(firewall.policy("allowlist", (), [BLOCKED4, BLOCKED6]))
    expect(world, [("tcp", BLOCKED4, 80, "proxy"), ("tcp", BLOCKED6, 80, "proxy")])


@pytest.mark.parametrize("mode", MODES)
def test_tcp_and_dns_are_led_to_the_proxy(world, firewall, sniffer, mode):
    stand_in = start_stand_in(world)
    firewall.install(firewall.policy(mode))
    rows = [("tcp", address, port, "proxy") for address in (SHARED4, SHARED6) for port in (80, 443, 7777)]
    expect(world, rows)
    assert stand_in.lines() == [["proxy", [address, port]] for _, address, port, _ in rows]
    servers = [DNS4, DNS6, OTHER4, OTHER6, "10.0.0.5", "169.254.169.254", "fd12::5", HOST4, HOST6, "127.0.0.1", "::1",
               "127.0.0.53"]
    expect(world, [(kind, server, 53, "front") for server in servers for kind in ("tcp", "udp")])
    expect(world, refusals([LINK_LOCAL], (53,)))
    sniffer.assert_no_bytes(b"marker-")


@pytest.mark.parametrize("mode", MODES)
def test_without_a_proxy_everything_is_refused_at_once(world, firewall, sniffer, mode):
    firewall.install(firewall.policy(mode))
    rows = [("tcp", address, port, "ECONNREFUSED") for address in (SHARED4, SHARED6, DNS4, DNS6) for port in (53, 80, 443)]
    rows += [("udp", address, 53, "ECONNREFUSED") for address in (DNS4, DNS6, OTHER4, OTHER6)]
    expect(world, rows)
    sniffer.assert_no_bytes(b"marker-")
    # With nat gone TCP and DNS have no way at all.
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        world.c.run(tool, "-t", "nat", "-F", check=True)
    expect(world, [(kind, address, port, REFUSED[kind]) for kind, address, port, _ in rows])
    sniffer.assert_no_bytes(b"marker-")


@pytest.mark.parametrize("mode", MODES)
def test_other_traffic(world, firewall, sniffer, mode):
    start_stand_in(world)
    firewall.install(firewall.policy(mode, [("name", "good.example:443")]))
    is_open = mode == "blocklist"
    rows = []
    for address in (SHARED4, SHARED6):
        rows += [("udp", address, 443, "EPERM"), ("udp", address, 7777, "origin" if is_open else "EPERM"),
                 ("udplite", address, 7777, "EPERM"), ("udplite", address, 53, "EPERM")]
    rows += [("icmp", SHARED4, 0, "answer" if is_open else "EPERM")]
    expect(world, rows)
    # send() of a refused echo request succeeds in IPv6; the refusal comes as an error of the connected socket.
    expect(world, [("icmp", SHARED6, 0, "answer" if is_open else "EACCES")])
    sniffer.assert_no_packet_to(SHARED4, SHARED6, proto=UDP, dport=443)
    assert bool(sniffer.packets(dst=[SHARED4], proto=ICMP)) == is_open
    assert bool([p for p in sniffer.packets(dst=[SHARED6], proto=ICMP6) if b"marker" in p.raw]) == is_open
    # QUIC is refused only while there is a name to judge.
    firewall.install(firewall.policy(mode))
    expect(world, [("udp", SHARED4, 443, "origin" if is_open else "EPERM")])


@pytest.mark.parametrize("mode", MODES)
def test_this_machine_itself(world, firewall, mode):
    stand_in = start_stand_in(world)
    start_services(world, [3000], world.c, uid=CAGE_UID, answer="cage")
    firewall.install(firewall.policy(mode))
    addresses = ["127.0.0.1", "127.0.0.2", "::1", HOST4, HOST6]
    if mode == "allowlist":
        expect(world, refusals(addresses, (3000,)))
        expect(world, [row for row in refusals(addresses, (3000,)) if row[0] == "tcp"], PROXY_UID)
        assert stand_in.lines() == []
    else:
        expect(world, [("tcp", address, 3000, "proxy") for address in addresses])
        expect(world, [("udp", address, 3000, "cage") for address in addresses])
        assert stand_in.lines() == [["proxy", [address, 3000]] for address in addresses]
        expect(world, [("tcp", address, 3000, "cage") for address in addresses], PROXY_UID)
    # A person of this machine reaches the cage's own server, nobody elsewhere does.
    expect(world, [("tcp", address, 3000, "cage") for address in addresses], OTHER_UID)
    for address in (HOST4, HOST6):
        outside = world.s.run("/usr/bin/python3", "-I", "-c", clients.CAGED + """
print(attempt(lambda: stream(sys.argv[1], 3000, 2).recv(10)))
""", address)
        assert outside.text == "TIMEOUT\n"


@pytest.mark.parametrize("mode", MODES)
def test_our_own_ports_are_reached_by_redirection_only(world, firewall, mode):
    stand_in = start_stand_in(world)
    firewall.install(firewall.policy(mode, ["127.0.0.0/8", f"{HOST4}", "::1", f"{HOST6}"]))
    rows = [("udp", address, port, "EPERM") for address in ("127.0.0.1", "127.0.0.2", "::1", HOST4, HOST6)
            for port in (TCP_PORT, DNS_PORT)]
    rows += [("tcp", address, port, "ECONNREFUSED") for address in ("127.0.0.1", "::1") for port in (TCP_PORT, DNS_PORT)]
    expect(world, rows)
    expect(world, rows, PROXY_UID)
    assert stand_in.lines() == []


@pytest.mark.parametrize("mode", MODES)
def test_the_proxys_user(world, firewall, sniffer, mode):
    firewall.install(firewall.policy(mode, servers=(DNS4, DNS6, "10.0.0.5")))
    rows = [(kind, server, 53, "origin") for server in (DNS4, DNS6, "10.0.0.5") for kind in ("tcp", "udp")]
    rows += [(kind, server, port, REFUSED[kind]) for server in (DNS4, DNS6, "10.0.0.5") for port in (80, 853)
             for kind in ("tcp", "udp")]
    rows += [("tcp", address, port, "origin") for address in (SHARED4, SHARED6) for port in (80, 443, 9000)]
    rows += [("udp", address, port, "EPERM") for address in (SHARED4, SHARED6) for port in (53, 443, 9000)]
    rows += [("icmp", SHARED4, 0, "EPERM")]
    expect(world, rows, PROXY_UID)
    assert not sniffer.packets(dst=[SHARED4, SHARED6], proto=UDP)


@pytest.mark.parametrize("mode", MODES)
def test_other_users_notice_nothing(world, firewall, mode):
    everything = [(kind, address, port) for address in (*BASE, SHARED4, SHARED6, BLOCKED4, BLOCKED6)
                  for kind, port in (("tcp", 53), ("udp", 53), ("udp", 443), ("tcp", 80))]
    everything += [("icmp", SHARED4, 0), ("icmp", SHARED6, 0), ("udplite", SHARED4, 7777)]
    before = attempts(world, everything, OTHER_UID)
    assert set(before) == {"origin", "answer"}
    firewall.install(firewall.policy(mode, (), [BLOCKED4, BLOCKED6]))
    assert attempts(world, everything, OTHER_UID) == before
    firewall.do("remove", CAGE_UID)
    rows = [row for row in everything if row[0] != "icmp"]
    assert attempts(world, rows, CAGE_UID) == ["origin"] * len(rows)


FLOWS = r"""
address, count = sys.argv[1], int(sys.argv[2])
results = []
for _ in range(count):
    with datagram(address) as s:
        s.connect((address, 7777))
        results.append(attempt(s.send, b"flow"))
tell(passed=results.count(""), refused=results.count("EPERM"), others=len(results) - results.count("") - results.count("EPERM"))
"""

ONE_FLOW = r"""
with datagram(sys.argv[1]) as s:
    s.connect((sys.argv[1], 7777))
    tell(results=[attempt(s.send, b"packet") for _ in range(200)])
"""


@pytest.mark.parametrize("address", [SHARED4, SHARED6])
def test_new_flows_are_bounded(world, firewall, sniffer, address):
    firewall.install(firewall.policy("blocklist", settings=[("proxy.limits.new_per_second", 10)]))
    told = clients.python(world, FLOWS, address, "300")[0]
    assert told["others"] == 0 and told["passed"] >= 10 and told["refused"] >= 100, told
    assert len(sniffer.packets(dst=address, proto=UDP, dport=7777)) == told["passed"]
    assert clients.python(world, FLOWS, address, "300", uid=OTHER_UID)[0]["passed"] == 300
    # Packets of one flow are no new flows, and refusals keep their reasons whatever the rate.
    firewall.install(firewall.policy("blocklist", settings=[("proxy.limits.new_per_second", 11)]))
    results = clients.python(world, ONE_FLOW, address)[0]["results"]
    assert results == [""] * 200


@pytest.mark.parametrize("server", [DNS4, DNS6])
def test_a_port_that_the_proxy_used_leads_nowhere_else(world, firewall, sniffer, server):
    """conntrack remembers the proxy's untranslated flow; the cage's packets of the same ports live in a zone."""
    stand_in = start_stand_in(world)
    firewall.install(firewall.policy("allowlist"))
    snippet = """
with datagram(sys.argv[1]) as s:
    s.bind(("", 5555))
    s.connect((sys.argv[1], 53))
    s.send(sys.argv[2].encode())
    tell(answer=s.recv(100))
"""
    assert clients.python(world, snippet, server, "marker-proxy", uid=PROXY_UID) == [{"answer": "origin"}]
    assert clients.python(world, snippet, server, "marker-cage") == [{"answer": "front"}]
    assert stand_in.lines() == [["front", None]]
    sniffer.assert_no_bytes(b"marker-cage")
    assert len(sniffer.packets(containing=b"marker-proxy")) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_source_that_is_not_ours_leaves_nothing(world, firewall, sniffer, mode):
    """A refusal would carry the refused bytes to the address that the cage chose as its source."""
    start_stand_in(world)
    firewall.install(firewall.policy(mode))
    told = clients.python(world, """
IPV6_FREEBIND = 78
for port in (53, 80, 443, 7777):
    with datagram(sys.argv[1]) as s:
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        s.bind((sys.argv[2], 0))
        tell(udp=attempt(s.sendto, b"marker-freebind" * 60, (sys.argv[1], port)))
with socket.socket(V6, socket.SOCK_STREAM) as s:
    s.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    s.settimeout(1)
    s.bind((sys.argv[2], 0))
    tell(tcp=attempt(s.connect, (sys.argv[1], 80)))
""", SHARED6, OTHER6)
    assert [list(t.values())[0] for t in told] == ["EPERM"] * 4 + ["TIMEOUT"]
    sniffer.assert_no_bytes(b"marker-freebind")
    sniffer.assert_no_packet_to(SHARED6, OTHER6)


def test_a_routing_header_leads_nowhere(world, firewall, sniffer):
    firewall.install(firewall.policy("allowlist", [f"[{STATIC6}]:7777"]))
    # seg6 header: next, length, type 4, segments left 1, last entry 1, flags, tag, two segments.
    header = struct.pack("!BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + socket.inet_pton(socket.AF_INET6, "fd12::5") + \
        socket.inet_pton(socket.AF_INET6, STATIC6)
    told = clients.python(world, """
with datagram(sys.argv[1]) as s:
    tell(option=attempt(s.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_RTHDR, bytes.fromhex(sys.argv[2])))
    tell(sent=attempt(s.sendto, b"marker-routed", (sys.argv[1], 7777)))
""", STATIC6, header.hex())
    assert told[0] == {"option": ""} and told[1] == {"sent": "EPERM"}
    sniffer.assert_no_bytes(b"marker-routed")


def test_closed_means_closed(world, firewall, sniffer):
    policy = firewall.policy("blocklist", [f"{STATIC4}:9000"])
    firewall.install(policy)
    firewall.do("close", policy)
    rows = refusals([SHARED4, SHARED6, STATIC4, "127.0.0.1", "::1", HOST4, *BASE], (53, 443, 9000))
    expect(world, [*rows, ("icmp", SHARED4, 0, "EPERM")])
    expect(world, [("tcp", SHARED4, 80, "ECONNREFUSED"), ("udp", DNS4, 53, "EPERM")], PROXY_UID)
    expect(world, [("tcp", SHARED4, 80, "origin"), ("udp", DNS4, 53, "origin")], OTHER_UID)
    sniffer.assert_no_packet_to(*BASE)


# --- What the kernel says about it

NFLOG_GROUP = CAGE_UID % 65535 + 1
NFNL_SUBSYS_ULOG = 4


class KernelLog:
    """What the rules log, as (prefix, destination address, destination port)."""

    def __init__(self, world):
        with world.c.entered():
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_NETFILTER
                                        if hasattr(socket, "NETLINK_NETFILTER") else 12)
        self.socket.bind((0, 0))
        self.socket.settimeout(5)
        # NFULNL_CFG_CMD_BIND, then copy 128 bytes of every packet.
        self._configure(1, struct.pack("!B", 1))
        self._configure(2, struct.pack("!IBB", 128, 2, 0))

    def _configure(self, attribute, data):
        body = struct.pack("!BBH", 0, 0, NFLOG_GROUP) + struct.pack("=HH", 4 + len(data), attribute) + data
        body += b"\0" * (-len(body) % 4)
        kind = NFNL_SUBSYS_ULOG << 8 | 1
        self.socket.send(struct.pack("=IHHII", 16 + len(body), kind, 1 | 4, 1, 0) + body)
        error = struct.unpack_from("=i", self.socket.recv(4096), 16)[0]
        assert error == 0, error

    def lines(self, count):
        """Waits for so many lines, and that no more come."""
        found = []
        while len(found) < count:
            found += parse_nflog(self.socket.recv(1 << 16))
        self.socket.settimeout(0.3)
        try:
            found += parse_nflog(self.socket.recv(1 << 16))
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(5)
        return found


def parse_nflog(data):
    found, at = [], 0
    while at < len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind == NFNL_SUBSYS_ULOG << 8:
            found.append(parse_nflog_packet(data[at + 20:at + length]))
        at += length + -length % 4
    return found


def parse_nflog_packet(data):
    prefix, packet, at = "", b"", 0
    while at + 4 <= len(data):
        length, attribute = struct.unpack_from("=HH", data, at)
        value = data[at + 4:at + length]
        if attribute == 10:
            prefix = value.rstrip(b"\0").decode()
        elif attribute == 9:
            packet = value
        at += length + -length % 4
    if packet[0] >> 4 == 4:
        return prefix, socket.inet_ntoa(packet[16:20]), struct.unpack_from("!H", packet, (packet[0] & 15) * 4 + 2)[0]
    return prefix, socket.inet_ntop(socket.AF_INET6, packet[24:40]), struct.unpack_from("!H", packet, 42)[0]


@pytest.mark.parametrize("mode", MODES)
def test_every_refusal_is_logged_once_with_what_was_dialled(world, firewall, mode):
    policy = firewall.policy(mode, [("name", "good.example")], [BLOCKED4, BLOCKED6])
    firewall.install(policy)
    log = KernelLog(world)
    default = "no-name" if mode == "allowlist" else None
    rows = [("169.254.169.254", 80, "metadata-address"), ("100.100.100.200", 80, "metadata-address"),
            ("192.0.0.192", 80, "metadata-address"), ("fd00:ec2::254", 80, "metadata-address"),
            ("10.0.0.5", 80, "private-address"), ("fd12::5", 80, "private-address"),
            ("64:ff9b::a00:5", 80, "private-address")]
    if mode == "allowlist":
        rows += [("127.0.0.1", 80, "loopback-address"), (HOST4, 80, "loopback-address"), (HOST6, 80, "loopback-address")]
    else:
        rows += [(BLOCKED4, 80, "blocked"), (BLOCKED6, 80, "blocked")]
    rules = numbered(firewall.printed(policy))
    for address, port, reason in rows:
        attempts(world, [("tcp", address, port), ("udp", address, port)])
        for prefix, where, at in expect_lines(log, 2):
            assert (where, at) == (address, port)
            check_prefix(rules, prefix, reason)
    singles = [("udp", SHARED4, 443, "quic-refused"), ("udp", SHARED6, 443, "quic-refused")]
    if default:
        singles += [("udp", SHARED4, 7777, default), ("udp", SHARED6, 7777, default)]
    for kind, address, port, reason in singles:
        attempts(world, [(kind, address, port)])
        (prefix, where, at), = expect_lines(log, 1)
        assert (where, at) == (address, port)
        check_prefix(rules, prefix, reason)


def expect_lines(log, count):
    lines = log.lines(count)
    assert len(lines) == count, lines
    return lines


def numbered(tables):
    """{number: line} of all printed rules."""
    found = {}
    for lines in tables.values():
        for line in lines:
            label = re.search(r'--comment "cage 4242 #(\d+) ', line)
            if label:
                assert label.group(1) not in found, "numbers are unique"
                found[label.group(1)] = line
    return found


def check_prefix(rules, prefix, reason):
    label = re.fullmatch(r"cage 4242 #(\d+) (\S+)", prefix)
    assert label and label.group(2) == reason, prefix
    assert f'--nflog-prefix "{prefix}"' in rules[label.group(1)]


# --- Sockets that no rule can end

HOLDER = r"""
peer = stream(sys.argv[1], int(sys.argv[3]))
listener = socket.socket(V6, socket.SOCK_STREAM)
listener.bind(("::1", 0)); listener.listen()
plain = datagram(sys.argv[2]); plain.connect((sys.argv[2], 7777))
tell(ready=True)
wait()
tell(peer=attempt(peer.recv, 1), udp=attempt(plain.send, b"x"))
wait()
"""


def test_sockets_of_the_cage_are_ended(world, firewall, origin_sink):
    held = clients.Caged(world, HOLDER, SHARED4, SHARED6, origin_sink)
    other = clients.Caged(world, HOLDER, SHARED4, SHARED6, origin_sink, uid=OTHER_UID)
    assert held.hear() and other.hear()
    assert firewall.do("sockets", CAGE_UID) == "some 0\n"
    orphan = clients.python(world, """
s = stream(sys.argv[1], int(sys.argv[2]))
s.setblocking(False)
sent = 0
try:
    while True:
        sent += s.send(b"x" * 65536)
except BlockingIOError:
    tell(sent=sent)
""", SHARED4, str(origin_sink))
    assert orphan[0]["sent"] > 0
    assert any("FIN-WAIT" in line for line in world.c.sockets(CAGE_UID))
    count = int(firewall.do("destroy", CAGE_UID).split()[0])
    assert count >= 4
    wait_until(lambda: not [line for line in world.c.sockets(CAGE_UID)], "the sockets' end")
    assert world.c.sockets(OTHER_UID)
    held.say()
    told = held.hear()
    assert told["peer"] == "ECONNABORTED" and told["udp"] in ("ECONNABORTED", "EDESTADDRREQ", "ENOTCONN")
    held.kill()
    assert firewall.do("sockets", CAGE_UID) == "none 0\n"
    assert firewall.do("sockets", OTHER_UID) == "some 0\n"
    assert firewall.do("destroy", 777) == "0 0\n"


@pytest.fixture
def origin_sink(world):
    """The port of a server in S that accepts and never reads."""
    listener = world.s.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("0.0.0.0", 0))
    listener.listen()
    yield listener.getsockname()[1]
    listener.close()
