"""What happens to each kind of traffic: every row of the policy's table, both modes, both families.

The far side answers on every address, so a refusal is always the cage's doing; what its logs and the
witness on the wire do not show did not leave.
"""

import json
import re

import pytest

from lib import clients, product
from lib.clients import Caged, curl, s_client
from lib.netns import (HOST4, HOST6, METADATA4, METADATA6, OTHER4, PRIVATE4, PRIVATE6, STATIC4, STATIC6, BLOCKED4,
                       BLOCKED6, World, wait_until)
from lib.origin import BANNER, BANNER_PORT, ECHO_PORT, SINK_PORT, Origin, TcpService, serve_banner
from lib.sniffer import Sniffer
from lib.stage import V4, V6, Stage, entry, host_of, site
from lib.wire import (ALERT_ACCESS_DENIED, ALERT_UNRECOGNIZED_NAME, H2_PREFACE, hello, is_server_hello, request,
                      responses)

WEBSOCKET_PORT, NOBODY_PORT, LOCAL_PORT, OTHER_ECHO_PORT = 8081, 81, 8088, 7778

NAMES = {
    "good.example": site(10), "other.example": site(10),
    "third.example": site(11),
    **{name: site(12) for name in ("a.wild.example", "a.b.wild.example", "free.wild.example", "wild.example",
                                   "awild.example", "apex.example", "a.apex.example", "aapex.example")},
    "ports.example": site(13), "ssh.example": site(14), "banner.example": site(15), "web.example": site(16),
    "refused.example": site(17),
    "mixed-a.example": site(18), "mixed-b.example": site(18),
    "quiet.example": site(19), "quiet-other.example": site(19), "quiet-third.example": site(20),
    "plain.example": site(21),
    "private.example": ["10.0.0.5", "fd12::5"], "metadata.example": ["169.254.169.254", "fd00:ec2::254"],
    "loopback.example": ["127.0.0.1", "::1"],
}

STATIC_ENTRIES = {"ips": [entry(STATIC4, f"{SINK_PORT},{ECHO_PORT}"), entry(STATIC6, f"{SINK_PORT},{ECHO_PORT}")],
                  "networks": [f"192.0.2.192/26:{SINK_PORT}", f"2001:db8:5::c0/122:{SINK_PORT}"]}

POLICIES = {
    "allowlist": {"allow": {**STATIC_ENTRIES, "domains": [
        "good.example:80,443", "third.example", "*.wild.example:80", "**.apex.example:80", "ports.example:80",
        "ssh.example:22", f"banner.example:{BANNER_PORT}", f"web.example:{WEBSOCKET_PORT}", "refused.example",
        "gone.example", "private.example", "metadata.example", "loopback.example", f"mixed-a.example:{BANNER_PORT}",
        "mixed-b.example:80", "quiet.example:443", "quiet-third.example:443", "plain.example:443"]}},
    "blocklist": {"allow": {**STATIC_ENTRIES, "domains": ["free.wild.example"]},
                  "block": {"domains": ["other.example", "*.wild.example", "**.apex.example", "ports.example:443",
                                        f"mixed-b.example:{BANNER_PORT}", "quiet-other.example"],
                            "ips": [BLOCKED4, BLOCKED6], "networks": ["192.0.2.128/26", "2001:db8:5::80/122"]}},
}
LIMITS = {"sniff_ms": 1500}

# Why a name that the mode does not let through is refused, and what that is called in the answer.
REFUSED = {"allowlist": "not-allowed", "blocklist": "blocked"}
PROXY_ERROR = {"allowlist": "blocked-by-allowlist", "blocklist": "blocked-by-denylist"}


def serve_websocket(connection, transfer):
    """Answers 101 to one request head, then echoes."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        if not data:
            return
        head += data
    transfer.take(head)
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while data := connection.recv(65536):
        transfer.take(data)
        connection.sendall(data)


@pytest.fixture(scope="module", params=["allowlist", "blocklist"])
def stage(request, authority):
    made = Stage(authority, request.param, NAMES, **POLICIES[request.param], proxy={"limits": LIMITS})
    try:
        made.origin.listen(WEBSOCKET_PORT, serve_websocket)
        made.origin.echo_on(OTHER_ECHO_PORT)
        made.world.c.sysctl("net.ipv4.ping_group_range", "0 2147483647")
        yield made
    finally:
        made.close()


@pytest.fixture(params=[V4, V6], ids=repr)
def family(request):
    return request.param


def dst_of(body):
    return re.search(rb"dst=(\S*)", body).group(1).decode()


def get(stage, address, host, *headers, uri="/", port=80, **options):
    """The one answer to one request."""
    answer, error = stage.talk(address, port, request(host, uri, *headers, **options))
    assert answer, error
    return responses(answer)[0]


def requests_with(stage, uri):
    return [line for line in stage.origin.requests() if line.endswith(uri)]


# A name that is allowed, and the others


@pytest.mark.parametrize("scheme, kind", [("http", "http"), ("https", "tls")])
def test_curl_reaches_an_allowed_name(stage, family, scheme, kind):
    log = stage.since()
    got = curl(stage.world, stage.authority, family.flag, f"{scheme}://good.example/x")
    sni = "good.example" if kind == "tls" else ""
    assert got.text == f"dst={family.site(10)} sni={sni} host=good.example uri=/x\n\n[200]", got.errors
    decision = log.wait(kind=kind, name="good.example")
    assert (decision["verdict"], decision["reason"], decision["layer"]) == ("allow", "allowed", "proxy")
    assert (decision["address"], decision["port"]) == (family.site(10), 443 if kind == "tls" else 80)
    if stage.is_allowlist:
        assert decision["rule"].startswith("good.example:80,443 at ")
    else:
        assert decision["rule"] is None
    closed = log.close_of(decision)
    assert closed["bytes_up"] > 0 and closed["bytes_down"] > 0
    assert closed["upstream"] == f"{host_of(family.site(10))}:{decision['port']}"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_reaches_an_allowed_name_and_is_refused_another(stage, family, version):
    address = family.site(10)
    got = s_client(stage.world, stage.authority, address, 443, "good.example", version,
                   stdin=b"GET / HTTP/1.0\r\nHost: good.example\r\n\r\n")
    assert f"dst={address} sni=good.example" in got.text, got.errors
    log = stage.since()
    got = s_client(stage.world, stage.authority, address, 443, "other.example", version)
    assert got.rc != 0 and "unrecognized name" in got.errors and "alert number 112" in got.errors, got.errors
    decision = log.wait(kind="tls", name="other.example")
    assert (decision["verdict"], decision["reason"]) == ("deny", REFUSED[stage.mode])
    assert log.close_of(decision)["upstream"] is None


@pytest.mark.parametrize("ending", ["", "."], ids=["plain", "dot"])
def test_another_name_on_the_address_is_an_alert_for_curl(stage, family, ending):
    got = curl(stage.world, stage.authority, "--resolve", f"other.example:443:{family.site(10)}",
               "--connect-to", f"other.example.:443:{host_of(family.site(10))}:443", f"https://other.example{ending}/")
    assert got.rc == 35 and "unrecognized name" in got.errors, got.errors
    stage.sniffer.assert_no_bytes(b"other.example")


def test_another_name_on_the_address_is_a_403_that_says_what_to_add(stage, family):
    log = stage.since()
    got = get(stage, family.site(10), "OTHER.example", uri="/secret")
    assert got.status == 403 and got.reason == REFUSED[stage.mode]
    assert got.headers["x-proxy-error"] == PROXY_ERROR[stage.mode]
    assert got.headers["content-type"].startswith("text/plain")
    text = got.body.decode()
    assert REFUSED[stage.mode] in text and "not an answer of the origin" in text and "Do not retry" in text
    assert 'allow = { domains = { "other.example:80" } }' in text
    decision = log.wait(kind="http", name="other.example")
    assert (decision["verdict"], decision["reason"]) == ("deny", REFUSED[stage.mode])
    if not stage.is_allowlist:
        assert decision["rule"].startswith("other.example at ")

    got = get(stage, family.site(10), "other.example", "Accept: application/json", uri="/secret")
    body = json.loads(got.body)
    assert got.headers["content-type"] == "application/json"
    assert set(body) == {"error", "reason", "name", "port", "rule", "add"}
    assert (body["reason"], body["name"], body["port"]) == (REFUSED[stage.mode], "other.example", 80)
    assert body["rule"] == (None if stage.is_allowlist else "other.example")
    assert body["add"] == 'allow = { domains = { "other.example:80" } }'

    answer, _ = stage.talk(family.site(10), 80, request("other.example", "/secret", method="HEAD"))
    assert answer.startswith(b"HTTP/1.1 403 ") and answer.endswith(b"\r\n\r\n")
    assert not requests_with(stage, "/secret")
    stage.sniffer.assert_no_bytes(b"/secret")


@pytest.mark.parametrize("name, matches", [
    ("a.wild.example", True), ("a.b.wild.example", True), ("wild.example", False), ("awild.example", False),
    ("apex.example", True), ("a.apex.example", True), ("aapex.example", False),
])
def test_wildcards(stage, family, name, matches):
    got = get(stage, family.site(12), name)
    assert (got.status == 200) == (matches == stage.is_allowlist)
    assert got.status == 200 or got.reason == REFUSED[stage.mode]


def test_an_exception_beats_a_wildcard_block(stage, family):
    log = stage.since()
    assert get(stage, family.site(12), "free.wild.example").status == 200
    rule = log.wait(name="free.wild.example")["rule"]
    assert rule.startswith("*.wild.example:80 at " if stage.is_allowlist else "free.wild.example at ")


def test_ports_of_a_name(stage, family):
    """Allowed on 80 only, blocked on 443 only: the same for the client."""
    assert get(stage, family.site(13), "ports.example").status == 200
    assert stage.talk(family.site(13), 443, hello("ports.example")) == (ALERT_UNRECOGNIZED_NAME, "")


# Requests on one connection


def test_many_requests_for_one_host(stage, family):
    page = b"uri=/same-"
    answer, error = stage.talk(family.site(10), 80,
                               (request("good.example", "/same-1", is_last=False), page + b"1\n"),
                               (request("GOOD.example.", "/same-2", is_last=False), page + b"2\n"),
                               request("good.example:80", "/same-3"))
    assert not error and [r.status for r in responses(answer)] == [200] * 3


def test_a_second_request_for_another_host_is_421(stage, family):
    log = stage.since()
    first, second = f"/first-{family}", f"/second-{family}"
    answer, error = stage.talk(family.site(10), 80,
                               (request("good.example", first, is_last=False), f"uri={first}\n".encode()),
                               request("other.example", second))
    got = responses(answer)
    assert not error and [r.status for r in got] == [200, 421] and got[1].reason == "host-changed"
    decision = log.wait(verdict="deny", reason="host-changed")
    assert log.close_of(decision)["requests"] == 1
    assert requests_with(stage, first) and not requests_with(stage, second)
    stage.sniffer.assert_no_bytes(second.encode())


@pytest.mark.parametrize("first", [
    request("good.example", "/pipelined", is_last=False),
    request("good.example", "/pipelined", method="HEAD", is_last=False),
    request("good.example", "/post", method="POST", body=b"x" * 1000, is_last=False),
    request("good.example", "/post", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n",
            is_last=False),
], ids=["get", "head", "length", "chunked"])
def test_a_forbidden_request_behind_an_allowed_one_never_leaves(stage, family, first):
    forbidden = request("other.example", f"/behind-{family}")
    answer, error = stage.talk(family.site(10), 80, first + forbidden)
    assert not error and answer.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 421 " in answer, answer
    assert b"X-Cage-Reason: host-changed" in answer
    assert not requests_with(stage, f"/behind-{family}")
    stage.sniffer.assert_no_bytes(b"/behind-")


# A name does not vouch for an address


def test_a_name_that_lies_about_the_address_reaches_the_name(stage, family):
    got = curl(stage.world, stage.authority, "--connect-to", f"good.example:443:{host_of(family.attacker)}:443",
               "https://good.example/lie")
    assert got.text.endswith("[200]") and dst_of(got.out) in site(10), got.errors
    got = get(stage, family.attacker, "good.example", uri="/lie")
    assert got.status == 200 and dst_of(got.body) in site(10)
    stage.sniffer.assert_no_packet_to(family.attacker)


@pytest.mark.parametrize("name, reason", [("private.example", "private-address"),
                                          ("metadata.example", "metadata-address"),
                                          ("loopback.example", "loopback-address")])
def test_an_allowed_name_opens_no_address_of_the_base_layer(stage, family, name, reason):
    if reason == "loopback-address" and not stage.is_allowlist:
        assert get(stage, family.attacker, name).reason == "upstream-refused"  # open, and nobody listens
        return
    log = stage.since()
    got = get(stage, family.attacker, name)
    assert (got.status, got.reason) == (403, reason)
    assert stage.talk(family.attacker, 443, hello(name)) == (ALERT_ACCESS_DENIED, "")
    assert {line["reason"] for line in log.all(name=name, verdict="deny")} == {reason}
    answer = clients.dns(stage.world, name, family.qtype, server=family.dns)
    assert answer["rcode"] == "NOERROR" and answer["addresses"] == [] and reason in str(answer["ede"])
    stage.sniffer.assert_no_packet_to(family.attacker)
    stage.sniffer.assert_no_packet_to(*NAMES[name])


# Without a name


def test_tls_without_a_name_is_judged_by_what_dns_gave_out(stage, family):
    where = family.site(21)
    answer, _ = stage.talk(where, 443, hello(None), marker=b"\x0b")
    if stage.is_allowlist:
        assert answer == ALERT_UNRECOGNIZED_NAME
        assert stage.product.decisions(address=where, kind="tls", reason="no-name")
    else:
        assert is_server_hello(answer)
    stage.look_up(family, "plain.example")
    log = stage.since()
    answer, _ = stage.talk(where, 443, hello(None), marker=b"\x0b")
    assert is_server_hello(answer)
    assert log.wait(address=where, kind="tls")["verdict"] == "allow"


def test_a_shared_address_without_a_name(stage, family):
    where = family.site(18)
    stage.look_up(family, "mixed-a.example")
    answer, error = stage.talk(where, BANNER_PORT, b"hello\0", marker=b"hello\0")
    assert (answer, error) == (BANNER + b"hello\0", "")
    stage.look_up(family, "mixed-b.example")
    log = stage.since()
    answer, error = stage.talk(where, BANNER_PORT, b"hello\0", marker=b"hello\0")
    assert (answer, error) == (b"", "ECONNRESET")
    reason = "ambiguous-address" if stage.is_allowlist else "blocked"
    assert log.wait(address=where)["reason"] == reason


def test_http_without_host_and_with_an_address(stage, family):
    """Neither is a name: judged as any nameless connection."""
    where = family.attacker
    for host, version in ((None, "1.0"), (host_of(where), "1.1")):
        got = get(stage, where, host, version=version)
        assert (got.status, got.reason) == ((403, "no-name") if stage.is_allowlist else (200, None))
    wrong = "203.0.113.99" if family is V4 else "[2001:db8::99]"
    got = get(stage, where, wrong)
    assert (got.status, got.reason) == (403, "bad-name")
    stage.sniffer.assert_no_bytes(wrong.encode())


def test_a_server_that_speaks_first(stage, family):
    """The client hears the banner after its silence, and what it says then is judged and passes."""
    where = stage.look_up(family, "banner.example")[0]
    told = stage.agent.run("""
with stream(sys.argv[1], int(sys.argv[2])) as s:
    reader = s.makefile("rb")
    tell(banner=reader.readline())
    s.sendall(b"EHLO cage\\r\\n")
    tell(echo=reader.readline())
""", where, BANNER_PORT)
    assert told == [{"banner": BANNER.decode()}, {"echo": "EHLO cage\r\n"}]


SILENT = r'''
address, port, lines = sys.argv[1], int(sys.argv[2]), [bytes.fromhex(a) for a in sys.argv[3:]]
opened = [stream(address, port) for _ in lines]
tell(connected=len(opened))
wait()
for s, line in zip(opened, lines):
    s.sendall(line)
for s in opened:
    answer = b""
    try:
        while len(answer) < 7 and (part := s.recv(65536)):
            answer += part
    except OSError as error:
        answer = b"" if not answer else answer
    tell(answer=answer.hex())
'''


def test_silence_proves_nothing(stage, family):
    """Silent until the deadline, then a name: another site of the address is refused, and not a byte leaves."""
    where = stage.look_up(family, "quiet.example")[0]
    log = stage.since()
    asked = [hello("quiet.example"), hello("quiet-other.example"), hello("quiet-third.example"),
             request("quiet-other.example", "/after-silence")]
    silent = Caged(stage.world, SILENT, where, 443, *(data.hex() for data in asked))
    assert silent.hear() == {"connected": 4}
    wait_until(lambda: len(log.all(address=where, kind="other", verdict="allow")) == 4, "four judged by silence")
    silent.say()
    own, other, third, http = (bytes.fromhex(silent.hear()["answer"]) for _ in asked)
    silent.end()
    assert is_server_hello(own)
    assert other == ALERT_UNRECOGNIZED_NAME
    assert third == ALERT_UNRECOGNIZED_NAME
    assert http.startswith(b"HTTP/1")
    assert log.wait(verdict="deny", kind="tls", name="quiet-other.example")["reason"] == REFUSED[stage.mode]
    assert log.wait(verdict="deny", kind="tls", name="quiet-third.example")["reason"] == "ambiguous-address"
    denied = log.all(verdict="deny", address=where)
    assert len(denied) == 3 and [log.close_of(line)["bytes_up"] for line in denied] == [0, 0, 0]
    for marker in (b"quiet-other", b"quiet-third", b"/after-silence"):
        stage.sniffer.assert_no_bytes(marker)


def test_git_and_ssh(stage, family):
    if not hasattr(stage, "git"):
        stage.git = stage.origin.start_ssh(), stage.origin.start_git()
    key, path = stage.git
    got = clients.ssh(stage.world, key, "git@ssh.example", "echo", "hello")
    assert (got.rc, got.text) == (0, "hello\n"), got.errors
    for number, url in enumerate([f"ssh://git@ssh.example{path}", "https://good.example/files/repo.git"]):
        got = clients.git(stage.world, stage.authority, "clone", "-" + str(family.number), url,
                          f"{stage.world.home}/clone-{family}-{number}", key=key)
        assert got.rc == 0, got.errors
    got = clients.git(stage.world, stage.authority, "clone", "https://other.example/files/repo.git",
                      f"{stage.world.home}/refused-{family}")
    assert got.rc != 0
    where = f"ssh://git@{host_of(family.attacker)}{path}"
    got = clients.git(stage.world, stage.authority, "clone", where, f"{stage.world.home}/nameless-{family}", key=key)
    assert (got.rc != 0) == stage.is_allowlist, got.errors


# What is not relayed whatever it is for


@pytest.mark.parametrize("data, status, reason", [
    (H2_PREFACE, None, "h2c-refused"),
    (request("good.example", "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
     403, "h2c-refused"),
    (request("good.example:443", "good.example:443", method="CONNECT"), 403, "connect-refused"),
    (b"\x05\x01\x00", None, "connect-refused"),
    (b"\x04\x01\x01\xbb\x00\x00\x00\x01user\0good.example\0", None, "connect-refused"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + request("good.example"), None, "connect-refused"),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + request("good.example"), None, "connect-refused"),
], ids=["h2-preface", "upgrade-h2c", "connect", "socks5", "socks4a", "proxy1", "proxy2"])
def test_what_hides_its_destination_is_refused(stage, family, data, status, reason):
    log = stage.since()
    answer, error = stage.talk(family.site(10), 80, data)
    if status:
        got = responses(answer)[0]
        assert (got.status, got.reason) == (status, reason)
    elif data == H2_PREFACE:
        assert not error and answer.endswith(b"h2c-refused") and answer[12] == 7
    else:
        assert (answer, error) == (b"", "ECONNRESET")
    denied = log.wait(verdict="deny", reason=reason)
    assert not log.all(id=denied["id"], verdict="allow") and log.close_of(denied)["upstream"] is None


@pytest.mark.parametrize("options", [("--http2-prior-knowledge",), ("--http2",)])
def test_curl_without_tls_falls_short_of_http2(stage, family, options):
    got = curl(stage.world, stage.authority, family.flag, *options, "-D", "-", "http://good.example/")
    assert got.rc != 0 or "[403]" in got.text and "h2c-refused" in got.text


@pytest.mark.parametrize("proxy", ["http", "socks5", "socks4a"])
def test_curl_through_a_proxy_elsewhere(stage, family, proxy):
    got = curl(stage.world, stage.authority, "-p", "-x", f"{proxy}://{host_of(family.site(10))}:80",
               "http://good.example/tunnel", "--noproxy", "")
    assert got.rc != 0 and not requests_with(stage, "/tunnel")


def test_a_websocket_works_and_is_opaque(stage, family):
    upgrade = request("web.example", "/chat", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", is_last=False)
    frame = bytes([0x82, 0xFE]) + bytes(range(256)) + b"end-of-frame"
    log = stage.since()
    answer, error = stage.talk(family.site(16), WEBSOCKET_PORT, (upgrade, b"\r\n\r\n"), frame, marker=b"end-of-frame")
    assert not error and answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(frame)
    assert log.wait(name="web.example")["verdict"] == "allow"


# Failures that are nobody's policy


def test_an_upstream_that_refuses_is_a_502(stage, family):
    log = stage.since()
    got = get(stage, family.site(17), "refused.example", port=NOBODY_PORT)
    assert (got.status, got.reason) == (502, "upstream-refused") and "x-proxy-error" not in got.headers
    assert b"The policy allows it" in got.body
    assert log.wait(name="refused.example", verdict="deny")["reason"] == "upstream-refused"
    assert stage.talk(family.site(17), NOBODY_PORT, hello("refused.example")) == (b"", "ECONNRESET")


def test_a_name_without_an_address_is_a_502(stage, family):
    log = stage.since()
    got = get(stage, family.site(10), "gone.example")
    assert (got.status, got.reason) == (502, "name-unresolvable")
    assert log.wait(name="gone.example", verdict="deny")["reason"] == "name-unresolvable"
    assert stage.talk(family.site(10), 443, hello("gone.example")) == (ALERT_UNRECOGNIZED_NAME, "")


# What the kernel decides alone

STRAIGHT = r'''
address, tcp, udp = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with stream(address, tcp) as s:
    tell(tcp=s.getsockname()[1])
    s.sendall(b"straight")
    s.shutdown(socket.SHUT_WR)
    tell(answer=s.makefile("rb").read())
if udp:
    with datagram(address) as s:
        s.connect((address, udp))
        tell(udp=s.getsockname()[1])
        s.send(b"straight")
        tell(answer=s.recv(100))
'''


def test_an_allowed_address_is_reached_without_the_proxy(stage, family):
    log = stage.since()
    told = stage.agent.run(STRAIGHT, family.static, SINK_PORT, ECHO_PORT)
    assert told[1]["answer"].startswith("8 ") and told[3]["answer"] == "straight"
    assert [t.peer[1] for t in stage.origin.sink.transfers if t.local[0] == family.static][-1] == told[0]["tcp"]
    assert [peer[1] for where, peer, _ in stage.origin.echo.datagrams if where == family.static][-1] == told[2]["udp"]
    told = stage.agent.run(STRAIGHT, family.site(200), SINK_PORT, 0)
    assert [t.peer[1] for t in stage.origin.sink.transfers if t.local[0] == family.site(200)] == [told[0]["tcp"]]
    assert not log.all(address=family.static) and not log.all(address=family.site(200))


ATTEMPTS = r'''
import itertools
addresses, tcp_ports, udp_ports = (json.loads(a) for a in sys.argv[1:4])
for address, port in itertools.product(addresses, tcp_ports):
    tell(address=address, port=port, error=attempt(lambda: stream(address, port).close()))
for address, port in itertools.product(addresses, udp_ports):
    def send():
        with datagram(address) as s:
            s.connect((address, port))
            s.send(b"forbidden-datagram")
            s.recv(100)
    tell(address=address, udp=port, error=attempt(send))
'''


def attempts(stage, addresses, tcp_ports, udp_ports):
    return stage.agent.run(ATTEMPTS, json.dumps(addresses), json.dumps(tcp_ports), json.dumps(udp_ports))


def test_the_base_layer_refuses_at_once(stage, family):
    addresses = [*METADATA4, *PRIVATE4] if family is V4 else [*METADATA6, *PRIVATE6]
    for told in attempts(stage, addresses, [80, 443, 8080], [ECHO_PORT, 443]):
        assert told["error"] == ("EPERM" if "udp" in told else "ECONNREFUSED"), told
    stage.sniffer.assert_no_packet_to(*addresses)
    stage.sniffer.assert_no_bytes(b"forbidden-datagram")


def test_blocked_addresses(stage, family):
    addresses = [family.blocked, family.site(130)]
    told = attempts(stage, addresses, [80, BANNER_PORT], [])
    told += attempts(stage, [family.blocked], [], [ECHO_PORT])
    if stage.is_allowlist:
        assert all(one["error"] == "EPERM" for one in told if "udp" in one)
    else:
        assert all(one["error"] == ("EPERM" if "udp" in one else "ECONNREFUSED") for one in told), told
    stage.sniffer.assert_no_packet_to(*addresses)


def test_a_name_with_a_blocked_address(stage, family):
    """The address's own denial is the answer, though the name has no entry or is allowed."""
    names = {**NAMES, "third.example": [BLOCKED4, BLOCKED6]}
    stage.origin.resolver.set_names(names)
    try:
        got = get(stage, family.attacker, "third.example")
        if stage.is_allowlist:
            assert got.status == 200 and dst_of(got.body) in (BLOCKED4, BLOCKED6)
        else:
            assert (got.status, got.reason) == (403, "blocked")
            stage.sniffer.assert_no_packet_to(BLOCKED4, BLOCKED6)
    finally:
        stage.origin.resolver.set_names(NAMES)


def test_ports_beside_those_of_an_address_entry(stage, family):
    told = attempts(stage, [family.static], [], [OTHER_ECHO_PORT])
    assert told[0]["error"] == ("EPERM" if stage.is_allowlist else "")
    answer, error = stage.talk(family.static, BANNER_PORT, b"x\0", marker=b"x\0")
    assert (answer, error) == ((b"", "ECONNRESET") if stage.is_allowlist else (BANNER + b"x\0", ""))


def test_quic_is_refused_and_other_udp_by_mode(stage, family):
    assert attempts(stage, [family.attacker, family.site(10)], [], [443])[0]["error"] == "EPERM"
    told = attempts(stage, [family.attacker], [], [ECHO_PORT])
    assert told[0]["error"] == ("EPERM" if stage.is_allowlist else "")
    if stage.is_allowlist:
        stage.sniffer.assert_no_bytes(b"forbidden-datagram")


PING = r'''
address = sys.argv[1]
v4 = family(address) == socket.AF_INET
s = socket.socket(family(address), socket.SOCK_DGRAM, socket.IPPROTO_ICMP if v4 else socket.IPPROTO_ICMPV6)
s.settimeout(float(sys.argv[2]))
packet = struct.pack("!BBHHH", 8 if v4 else 128, 0, 0, 1, 1) + b"ping-marker"
def ping():
    s.sendto(packet, (address, 0))
    s.recv(100)
tell(error=attempt(ping))
'''


def test_icmp_by_mode(stage, family):
    told = stage.agent.run(PING, family.attacker, 1 if stage.is_allowlist else 30)
    if stage.is_allowlist:
        assert told[0]["error"] in ("EPERM", "TIMEOUT", "EACCES")
        stage.sniffer.assert_no_bytes(b"ping-marker")
    else:
        assert told[0]["error"] == ""


def test_udplite_is_refused(stage, family):
    told = stage.agent.run("""
with socket.socket(family(sys.argv[1]), socket.SOCK_DGRAM, 136) as s:
    tell(error=attempt(s.sendto, b"lite-marker", (sys.argv[1], int(sys.argv[2]))))
""", family.attacker, 53)
    assert told[0]["error"] == "EPERM"
    stage.sniffer.assert_no_bytes(b"lite-marker")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dns_to_any_server_is_answered_here(stage, family, tcp):
    """Also by servers that the base layer refuses; a refused name never leaves the machine."""
    for server in [family.dns, family.attacker, *(["10.0.0.5", "127.0.0.1"] if family is V4 else ["fd12::5", "::1"])]:
        answer = clients.dns(stage.world, "good.example", family.qtype, server=server, tcp=tcp)
        assert answer["rcode"] == "NOERROR" and answer["addresses"] == [family.site(10)], (server, answer)
        log = stage.since()
        answer = clients.dns(stage.world, "other.example", family.qtype, server=server, tcp=tcp)
        assert answer["rcode"] == "NXDOMAIN" and answer["soa"], (server, answer)
        assert answer["ede"] == (15, REFUSED[stage.mode])
        assert log.wait(layer="dns", name="other.example")["reason"] == REFUSED[stage.mode]
    assert not stage.origin.resolver.queries("other.example")


def test_this_machine_itself(stage, family):
    """Loopback and the machine's own addresses: closed in allowlist mode, open through the proxy in the other."""
    service = TcpService(stage.world.c, LOCAL_PORT, serve_banner)
    own = ["127.0.0.1", HOST4] if family is V4 else ["::1", HOST6]
    try:
        for address in own:
            answer, error = stage.talk(address, LOCAL_PORT, b"x\0", marker=b"x\0")
            expected = (b"", "ECONNREFUSED") if stage.is_allowlist else (BANNER + b"x\0", "")
            assert (answer, error) == expected, address
    finally:
        service.close()
    for port in (product.TCP_PORT, product.DNS_PORT):
        told = attempts(stage, own[:1], [port], [])
        assert told[0]["error"] in ("ECONNREFUSED", "") and (stage.is_allowlist <= (told[0]["error"] != "")), told
        answer, error = stage.talk(own[0], port, request("good.example"))
        assert b"200 OK" not in answer


# What no stage above can show


def test_quic_is_open_where_no_name_is_judged(authority):
    with World() as world:
        origin = Origin(world, authority)
        origin.echo_on(443)
        text = product.config_text("blocklist", block={"ips": [BLOCKED4]})
        running = product.Product(world, product.write_config(world, text)).wait_ready()
        with Sniffer(world) as sniffer:
            told = clients.python(world, ATTEMPTS, json.dumps([OTHER4, BLOCKED4]), "[]", "[443]")
            assert [one["error"] for one in told] == ["", "EPERM"]
            sniffer.assert_no_packet_to(BLOCKED4)
        running.stop()
        product.assert_nothing_left(world)
