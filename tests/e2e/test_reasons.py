"""Each reason token that this version can give: the same one in the log, in the answer and in `explain`.

`explain` judges from the files alone, so it knows the tokens of the policy; `sniff` knows those of
bytes. Where neither can know, only log and answer are compared. What the kernel refuses is told by
the comment of the rule that counted it.
"""

import json
import re
import socket
from pathlib import Path

import pytest

from lib import clients, product
from lib.netns import BLOCKED4, BLOCKED6, OTHER4, OTHER6, World
from lib.origin import ECHO_PORT, Origin
from lib.product import TCP_PORT
from lib.stage import V4, V6, Stage, host_of, site
from lib.wire import (ALERT_ACCESS_DENIED, ALERT_UNRECOGNIZED_NAME, EXT_ECH, H2_PREFACE, extension, hello, request,
                      responses)

NAMES = {
    "good.example": site(10), "other.example": site(10),
    "refused.example": site(11),
    "slow.example": ["198.51.100.200", "2001:db8:2::200"],  # nobody has these
    "mixed-a.example": site(12), "mixed-b.example": site(12),
    "private.example": ["10.0.0.5", "fd12::5"], "metadata.example": ["169.254.169.254", "fd00:ec2::254"],
    "loopback.example": ["127.0.0.1", "::1"],
    "a-label-that-is-longer-than-thirty-bytes.example": site(10),
}
POLICIES = {
    "allowlist": {"allow": {"domains": [
        "good.example:80,443", "refused.example", "slow.example", "mixed-a.example:80", "mixed-b.example:443",
        "private.example", "metadata.example", "loopback.example", "gone.example",
        "a-label-that-is-longer-than-thirty-bytes.example"]}},
    "blocklist": {"block": {"domains": ["other.example"], "ips": [BLOCKED4, BLOCKED6]}},
}
SETTINGS = {"ech": "deny", "dns": {"label_max": 30},
            "limits": {"sniff_ms": 1000, "sniff_bytes": 1024, "header_bytes": 2048, "dial_ms": 1500}}

TOKENS = re.findall(r'\[REASON_\w+\] = \{"([a-z0-9-]+)"', (Path(__file__).parents[2] / "config/reason.c").read_text())
# A failure of the proxy itself: nothing that a test could do from outside.
NEVER = {"internal-error"}
_seen = set()


@pytest.fixture(scope="module", params=["allowlist", "blocklist"])
def stage(request, authority):
    made = Stage(authority, request.param, NAMES, **POLICIES[request.param], proxy=SETTINGS)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=[V4, V6], ids=repr)
def family(request):
    return request.param


def check_http(stage, log, address, port, data, reason, status):
    answer, error = stage.talk(address, port, data)
    assert answer, error
    got = responses(answer)[-1]
    assert (got.status, got.reason) == (status, reason)
    assert not got.body or reason in got.body.decode()
    logged(log, reason, layer="proxy")


def check_alert(stage, log, address, data, reason, alert):
    assert stage.talk(address, 443, data) == (alert, "")
    logged(log, reason, layer="proxy", kind="tls")


def logged(log, reason, verdict="deny", **fields):
    line = log.wait(reason=reason, **fields)
    assert line["verdict"] == verdict
    _seen.add(reason)
    return line


def explained(stage, reason, *arguments, verdict="deny"):
    answer = stage.explain(*arguments)
    assert (answer["verdict"], answer["reason"]) == (verdict, reason), (arguments, answer)


def sniffed(stage, data, reason):
    """The same for every cage, so once is enough."""
    if not stage.is_allowlist:
        return
    result = product.command(stage.world, "sniff", stdin=data)
    assert json.loads(result.text)["reason"] == reason, (result.text, result.errors)


def counted(stage, family, reason):
    """Packets that rules with this token in their comment have counted."""
    save = "iptables-legacy-save" if family is V4 else "ip6tables-legacy-save"
    lines = stage.world.c.run(save, "-c", check=True).text.splitlines()
    return sum(int(re.match(r"\[(\d+):", line).group(1)) for line in lines if
               re.search(rf'--comment "cage \d+ #\d+ {reason}"', line))


DATAGRAM = r'''
with datagram(sys.argv[1]) as s:
    tell(error=attempt(s.sendto, b"datagram", (sys.argv[1], int(sys.argv[2]))))
'''


def test_allowed(stage, family):
    log = stage.since()
    answer, error = stage.talk(family.site(10), 80, request("good.example"))
    assert responses(answer)[0].status == 200 and responses(answer)[0].reason is None, error
    logged(log, "allowed", verdict="allow", name="good.example", layer="proxy")
    assert clients.dns(stage.world, "good.example", family.qtype, server=family.dns)["ede"] is None
    logged(log, "allowed", verdict="allow", name="good.example", layer="dns")
    explained(stage, "allowed", "good.example:80", verdict="allow")
    explained(stage, "allowed", "--name", "good.example", f"{host_of(family.site(10))}:80", verdict="allow")


def test_a_refused_name(stage, family):
    reason = "not-allowed" if stage.is_allowlist else "blocked"
    check_http(stage, stage.since(), family.site(10), 80, request("other.example"), reason, 403)
    check_alert(stage, stage.since(), family.site(10), hello("other.example"), reason, ALERT_UNRECOGNIZED_NAME)
    log = stage.since()
    answer = clients.dns(stage.world, "other.example", family.qtype, server=family.dns)
    assert (answer["rcode"], answer["ede"]) == ("NXDOMAIN", (15, reason))
    logged(log, reason, layer="dns")
    explained(stage, reason, "other.example:80")
    explained(stage, reason, "https://other.example/")
    explained(stage, reason, "--name", "other.example", f"{host_of(family.site(10))}:443")


def test_a_blocked_address(stage, family):
    if stage.is_allowlist:
        return
    before = counted(stage, family, "blocked")
    assert stage.talk(family.blocked, 80, b"x") == (b"", "ECONNREFUSED")
    assert counted(stage, family, "blocked") > before
    explained(stage, "blocked", f"{host_of(family.blocked)}:80")


def test_no_name(stage, family):
    if not stage.is_allowlist:
        explained(stage, "allowed", f"{host_of(family.attacker)}:80", verdict="allow")
        return
    check_http(stage, stage.since(), family.attacker, 80, request(None, version="1.0"), "no-name", 403)
    check_alert(stage, stage.since(), family.attacker, hello(None), "no-name", ALERT_UNRECOGNIZED_NAME)
    log = stage.since()
    assert stage.talk(family.attacker, 22, b"SSH-2.0-x\r\n") == (b"", "ECONNRESET")
    logged(log, "no-name", kind="other")
    explained(stage, "no-name", f"{host_of(family.attacker)}:80")
    before = counted(stage, family, "no-name")
    assert stage.agent.run(DATAGRAM, family.attacker, ECHO_PORT) == [{"error": "EPERM"}]
    assert counted(stage, family, "no-name") > before
    explained(stage, "no-name", "--udp", f"{host_of(family.attacker)}:{ECHO_PORT}")


@pytest.mark.parametrize("name, reason", [("private.example", "private-address"),
                                          ("metadata.example", "metadata-address"),
                                          ("loopback.example", "loopback-address")])
def test_addresses_of_the_base_layer(stage, family, name, reason):
    address = NAMES[name][0 if family is V4 else 1]
    is_open = reason == "loopback-address" and not stage.is_allowlist
    if is_open:
        explained(stage, "allowed", f"{host_of(address)}:80", verdict="allow")
        return
    before = counted(stage, family, reason)
    assert stage.talk(address, 80, b"x") == (b"", "ECONNREFUSED")
    assert counted(stage, family, reason) > before
    explained(stage, reason, f"{host_of(address)}:80")
    explained(stage, reason, "--name", name, f"{host_of(address)}:443")
    check_http(stage, stage.since(), family.attacker, 80, request(name), reason, 403)
    check_alert(stage, stage.since(), family.attacker, hello(name), reason, ALERT_ACCESS_DENIED)
    answer = clients.dns(stage.world, name, family.qtype, server=family.dns)
    assert answer["rcode"] == "NOERROR" and answer["addresses"] == [] and answer["ede"][1] == reason


def test_ambiguous_address(stage, family):
    if not stage.is_allowlist:
        return
    stage.look_up(family, "mixed-a.example")
    stage.look_up(family, "mixed-b.example")
    check_http(stage, stage.since(), family.site(12), 80, request(None, version="1.0"), "ambiguous-address", 403)
    check_alert(stage, stage.since(), family.site(12), hello(None), "ambiguous-address", ALERT_UNRECOGNIZED_NAME)


def test_what_is_wrong_with_the_bytes(stage, family):
    where = family.site(10)
    for data, reason, status in (
            (request("good..example"), "bad-name", 403),
            (request("good.example", "/", "Host: good.example"), "bad-request", 400),
            (request("good.example:443", "good.example:443", method="CONNECT"), "connect-refused", 403),
            (request("good.example", "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                     "HTTP2-Settings: AAMAAABk"), "h2c-refused", 403)):
        check_http(stage, stage.since(), where, 80, data, reason, status)
        if reason != "connect-refused":  # what a CONNECT asks for is read, and that it is one is said
            sniffed(stage, data, reason)
    bad_hello = bytearray(hello("good.example"))
    bad_hello[11] ^= 0xFF  # random: not looked at
    bad_hello[43] = 77  # a session id of 77 bytes
    for data, reason, alert in ((hello(b"good\0.example"), "bad-name", ALERT_UNRECOGNIZED_NAME),
                                (bytes(bad_hello), "bad-hello", ALERT_ACCESS_DENIED)):
        check_alert(stage, stage.since(), where, data, reason, alert)
        sniffed(stage, data, reason)
    log = stage.since()
    answer, error = stage.talk(where, 80, H2_PREFACE)
    assert answer.endswith(b"h2c-refused"), error
    logged(log, "h2c-refused")
    sniffed(stage, H2_PREFACE, "h2c-refused")
    log = stage.since()
    assert stage.talk(where, 80, b"\x05\x01\0") == (b"", "ECONNRESET")
    logged(log, "connect-refused", kind="connect")
    sniffed(stage, b"\x05\x01\0", "connect-refused")
    check_alert(stage, stage.since(), where, hello("good.example", extension(EXT_ECH, bytes(32))), "ech-refused",
                ALERT_ACCESS_DENIED)


def test_too_large(stage, family):
    check_http(stage, stage.since(), family.site(10), 80, request("good.example", "/" + "x" * 2100), "too-large", 431)
    log = stage.since()
    # An extension of the private range, as long as a hello may not be here.
    answer, error = stage.talk(family.site(10), 443, hello("good.example", extension(0xFF77, bytes(3000))))
    assert answer == ALERT_ACCESS_DENIED and not error
    logged(log, "too-large", kind="tls")


def test_sniff_timeout(stage, family):
    check_http(stage, stage.since(), family.site(10), 80, b"GET /begun HTTP/1.1\r\nHost: good.exam", "sniff-timeout",
               408)
    log = stage.since()
    assert stage.talk(family.site(10), 443, hello("good.example")[:60]) == (b"", "")
    logged(log, "sniff-timeout", kind="tls")
    stage.sniffer.assert_no_bytes(b"/begun")


def test_host_changed(stage, family):
    data = request("good.example", is_last=False) + request("third.example")
    check_http(stage, stage.since(), family.site(10), 80, data, "host-changed", 421)


def test_failures_of_the_far_side(stage, family):
    check_http(stage, stage.since(), family.site(10), 80, request("gone.example"), "name-unresolvable", 502)
    check_alert(stage, stage.since(), family.site(10), hello("gone.example"), "name-unresolvable",
                ALERT_UNRECOGNIZED_NAME)
    check_http(stage, stage.since(), family.site(11), 81, request("refused.example:81"), "upstream-refused", 502)
    check_http(stage, stage.since(), family.attacker, 80, request("slow.example"), "upstream-timeout", 504)


def test_quic_refused(stage, family):
    before = counted(stage, family, "quic-refused")
    assert stage.agent.run(DATAGRAM, family.site(10), 443) == [{"error": "EPERM"}]
    assert counted(stage, family, "quic-refused") > before
    explained(stage, "quic-refused", "--udp", f"{host_of(family.site(10))}:443")
    _seen.add("quic-refused")


def test_not_redirected(stage, family):
    """A process that no rule leads here connects to the proxy's own port."""
    log = stage.since()
    kind = socket.AF_INET if family is V4 else socket.AF_INET6
    with stage.world.c.socket(kind, socket.SOCK_STREAM) as direct:
        direct.settimeout(30)
        with pytest.raises(ConnectionResetError):
            direct.connect(("127.0.0.1" if family is V4 else "::1", TCP_PORT))
            direct.recv(1)
    logged(log, "not-redirected", layer="proxy")


def test_dns_refused_and_limits_of_names(stage, family):
    log = stage.since()
    answer = clients.dns(stage.world, "good.example", "TXT", server=family.dns)
    assert answer["rcode"] == "NOTIMP" and answer["ede"][1] == "dns-refused", answer
    logged(log, "dns-refused", layer="dns")
    log = stage.since()
    answer = clients.dns(stage.world, "a-label-that-is-longer-than-thirty-bytes.example", family.qtype,
                         server=family.dns)
    assert answer["rcode"] == "REFUSED" and answer["ede"][1] == "limit-reached", answer
    logged(log, "limit-reached", layer="dns")


LIMITED = r'''
address = sys.argv[1]
held = [stream(address, 80) for _ in range(2)]
for s in held:
    s.sendall(b"GET /held HTTP/1.1\r\nHost: good.example\r\n\r\n")
    tell(held=s.recv(4096)[:12])
with stream(address, 80) as s:
    tell(third=attempt(lambda: s.recv(1)))
'''

BURST = r'''
address, errors = sys.argv[1], []
for _ in range(60):
    s = socket.socket(family(address), socket.SOCK_STREAM)
    errors.append(attempt(s.connect, (address, 80)))
    s.close()
tell(errors=sorted(set(errors)))
'''


def test_limits_of_connections(authority, family):
    with World() as world:
        origin = Origin(world, authority)
        allow = {"domains": ["good.example:80"]}
        text = product.config_text("allowlist", allow=allow,
                                   proxy={"limits": {"connections": 2, "new_per_second": 20}})
        running = product.Product(world, product.write_config(world, text)).wait_ready()
        where = OTHER4 if family is V4 else OTHER6
        told = clients.python(world, LIMITED, where)
        assert told == [{"held": "HTTP/1.1 200"}] * 2 + [{"third": "ECONNRESET"}]
        assert running.decision(reason="limit-reached")["layer"] == "proxy"
        assert len(origin.requests()) == 2
        assert clients.python(world, BURST, where)[0]["errors"][-1] == "ECONNREFUSED"
        save = "iptables-legacy-save" if family is V4 else "ip6tables-legacy-save"
        assert [line for line in world.c.run(save, "-c").text.splitlines()
                if "limit-reached" in line and not line.startswith("[0:")]
        running.stop()
        product.assert_nothing_left(world)


def test_every_token_was_seen(request):
    """The last one: what the tests above have found in a log or in the kernel, together."""
    ran = {item.originalname for item in request.session.items if item.path == request.path}
    if ran == {name for name in globals() if name.startswith("test_")}:
        assert set(TOKENS) - NEVER == _seen
    assert _seen <= set(TOKENS) - NEVER
