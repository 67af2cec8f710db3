"""Holes that other proxies had, each tried here: the exact refusal, and nothing of it on the wire.

Where a case is one malformed thing, the same bytes made well go through, so that it is refused for
what is wrong with them.
"""

import json

import pytest

from lib import clients, product
from lib.netns import OTHER4, OTHER6, SHARED4, SHARED6, World
from lib.origin import BANNER_PORT, ECHO_PORT, Origin
from lib.sniffer import Sniffer
from lib.stage import V4, V6, Stage, host_of, site
from lib.wire import (ALERT_UNRECOGNIZED_NAME, EXT_SERVER_NAME, extension, hello, hello_body, is_server_hello, record,
                      request, responses, server_name)

# IPv4 inside IPv6: mapped, compatible, NAT64 of both kinds, 6to4, Teredo.
HIDDEN = {
    "private-address": ["::ffff:10.0.0.5", "::10.0.0.5", "64:ff9b::a00:5", "64:ff9b:1::a00:5", "2002:a00:5::1",
                        "2001:0:a00:5::1"],
    "metadata-address": ["::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
                         "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1"],
}
HIDING_NAMES = {f"hidden{number}.{reason}.example": (reason, address) for reason, addresses in HIDDEN.items()
                for number, address in enumerate(addresses)}

NAMES = {name: site(10) for name in ("good.example", "evil-good.example", "good.example.evil.example",
                                     "notgood.example", "a.wild.example", "awild.example", "other.example")}
NAMES |= {name: [address] for name, (_, address) in HIDING_NAMES.items()}

POLICIES = {
    "allowlist": {"allow": {"domains": ["good.example:80,443", "*.wild.example:80,443",
                                        "*.private-address.example", "*.metadata-address.example"]}},
    "blocklist": {"block": {"domains": ["evil-good.example", "good.example.evil.example", "other.example",
                                        "*.example.evil.example"]}},
}


@pytest.fixture(scope="module", params=["allowlist", "blocklist"])
def stage(request, authority):
    made = Stage(authority, request.param, NAMES, **POLICIES[request.param])
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=[V4, V6], ids=repr)
def family(request):
    return request.param


def refused(stage, address, data, reason, status=None, by_lookup=False):
    """Refused for this reason, and never connected anywhere; by_lookup: after the name was allowed."""
    log = stage.since()
    answer, error = stage.talk(address, 443 if status is None else 80, data)
    decision = log.wait(layer="proxy", verdict="deny")
    assert decision["reason"] == reason and len(log.all(id=decision["id"], verdict="allow")) == by_lookup, decision
    assert log.close_of(decision)["upstream"] is None
    if status is None:
        assert (answer, error) == (ALERT_UNRECOGNIZED_NAME, "")
    else:
        got = responses(answer)[0]
        assert (got.status, got.reason) == (status, reason)


def taken(stage, address, data):
    answer, error = stage.talk(address, 443, data, marker=b"\x0b")
    assert is_server_hello(answer), (answer, error)


# sniproxy


@pytest.mark.parametrize("name", [b"good.example\0.evil.example", b"good.example\0", b"\0good.example",
                                  b"good\0example"], ids=repr)
def test_a_nul_inside_an_sni(stage, family, name):
    refused(stage, family.site(10), hello(name), "bad-name")
    taken(stage, family.site(10), hello(b"good.example"))


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 40, 60, 64, 70, 90])
def test_a_hello_in_two_records_is_read_as_a_whole(stage, family, cut):
    def in_two(name):
        body = hello_body(name)
        return record(body[:cut]) + record(body[cut:])

    taken(stage, family.site(10), in_two("good.example"))
    reason = "not-allowed" if stage.is_allowlist else "blocked"
    refused(stage, family.site(10), in_two("other.example"), reason)


def test_a_hello_byte_by_byte_in_records(stage, family):
    data = b"".join(record(bytes([one])) for one in hello_body("good.example"))
    taken(stage, family.site(10), data)


@pytest.mark.parametrize("first, second", [(b"good.example", b"other.example"), (b"other.example", b"good.example"),
                                           (b"good.example", b"good.example")])
def test_a_second_sni(stage, family, first, second):
    twice = hello(first, extension(EXT_SERVER_NAME, server_name(second)))
    refused(stage, family.site(10), twice, "bad-name")
    refused(stage, family.site(10), hello(sni=server_name(first, second)), "bad-name")
    taken(stage, family.site(10), hello(sni=server_name(b"good.example")))


@pytest.mark.parametrize("name", [b"192.0.2.10", b"2001:db8:5::a", b"[2001:db8:5::a]", b"", b"good.example..", b".",
                                  b".good.example", b"good..example", b"a" * 64 + b".example", b"user@good.example",
                                  b"good.example:443", b"good example", b"*.wild.example", b"x" * 255], ids=repr)
def test_an_sni_that_is_no_name(stage, family, name):
    refused(stage, family.site(10), hello(name), "bad-name")


def test_a_trailing_dot_in_an_sni_is_the_same_name(stage, family):
    taken(stage, family.site(10), hello(b"good.example."))
    refused(stage, family.site(10), hello(b"other.example."), "not-allowed" if stage.is_allowlist else "blocked")


# tinyproxy: matching


@pytest.mark.parametrize("name, is_allowed, is_blocked", [
    ("good.example", True, False), ("evil-good.example", False, True), ("good.example.evil.example", False, True),
    ("notgood.example", False, False), ("a.wild.example", True, False), ("awild.example", False, False),
])
def test_a_suffix_is_no_match(stage, family, name, is_allowed, is_blocked):
    passes = is_allowed if stage.is_allowlist else not is_blocked
    if passes:
        taken(stage, family.site(10), hello(name))
    else:
        refused(stage, family.site(10), hello(name), "not-allowed" if stage.is_allowlist else "blocked")


# tinyproxy: framing

SMUGGLED = request("other.example", "/smuggled")


@pytest.mark.parametrize("headers", [
    ("Content-Length: 5", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ("Content-Length: -1",), ("Content-Length: +5",), ("Content-Length: 0x5",), ("Content-Length: 5 5",),
    ("Content-Length: 5", "Content-Length: 6"), ("Content-Length: 5, 6",),
    ("Content-Length: 99999999999999999999",), ("Content-Length: 18446744073709551621",), ("Content-Length:",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked, chunked",),
    ("Transfer-Encoding: xchunked",), ("Transfer-Encoding: chunked, identity",), ("Transfer-Encoding: gzip",),
    ("Transfer-Encoding : chunked",), ("Transfer-Encoding: \x0bchunked",), ("Transfer-Encoding:\n chunked",),
    ("X: y\r\n Transfer-Encoding: chunked",), ("X: y\rTransfer-Encoding: chunked",), ("Host: other.example",),
    ("X: a\0b",),
], ids=lambda headers: repr(", ".join(headers)))
def test_lengths_that_two_readers_could_read_in_two_ways(stage, family, headers):
    data = request("good.example", "/ambiguous", *headers, method="POST", is_last=False) + b"0\r\n\r\n" + SMUGGLED
    refused(stage, family.site(10), data, "bad-request", 400)
    stage.sniffer.assert_no_bytes(b"/ambiguous")
    stage.sniffer.assert_no_bytes(b"/smuggled")


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", "chunkeD"])
def test_chunked_in_any_case_frames_the_body(stage, family, coding):
    """What looks like a request inside of the body is body; what stands behind it is judged."""
    inside = request("other.example", "/inside-body", is_last=False)
    body = f"{len(inside):X}\r\n".encode() + inside + b"\r\n0\r\n\r\n"
    data = request("good.example", "/post", f"Transfer-Encoding: {coding}", method="POST", body=body, is_last=False)
    answer, error = stage.talk(family.site(10), 80, data + SMUGGLED)
    got = responses(answer)
    assert not error and [one.status for one in got] == [200, 421] and got[1].reason == "host-changed"
    assert not [line for line in stage.origin.requests() if "/inside-body" in line or "/smuggled" in line]
    stage.sniffer.assert_no_bytes(b"/smuggled")


# OpenShell


@pytest.mark.parametrize("behind", [b"GARBAGE\r\n\r\n", b"\0\0\0\0", hello("other.example"),
                                    b"GET /no-host HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
                         ids=["garbage", "nul", "hello", "no-host", "h2"])
def test_bytes_behind_an_allowed_request_are_judged(stage, family, behind):
    log = stage.since()
    answer, _ = stage.talk(family.site(10), 80, request("good.example", "/front", is_last=False) + behind + b"-behind",
                           is_shut=True)
    assert answer.startswith(b"HTTP/1.1 200 ")
    denied = log.wait(layer="proxy", verdict="deny")
    assert denied["reason"] in ("bad-request", "h2c-refused") and log.close_of(denied)["requests"] == 1
    stage.sniffer.assert_no_bytes(b"-behind")


# Smokescreen


@pytest.mark.parametrize("host, status, reason", [
    ("good.example..", 403, "bad-name"), (".", 403, "bad-name"), (".good.example", 403, "bad-name"),
    ("[good.example]", 403, "bad-name"), ("[good.example", 400, "bad-request"), ("good.example]", 400, "bad-request"),
    ("user@good.example", 400, "bad-request"), ("good.example@other.example", 400, "bad-request"),
    ("good.example:80:80", 400, "bad-request"), ("good.example:", 400, "bad-request"),
    ("good.example:99999", 400, "bad-request"), ("good.example/", 400, "bad-request"),
    ("good.example#other.example", 400, "bad-request"), ("good.example\\other.example", 400, "bad-request"),
    ("good.example,other.example", 400, "bad-request"), ("good.example other.example", 400, "bad-request"),
    ("good%2eexample", 403, "bad-name"), ("go\xf6d.example", 400, "bad-request"), ("", 400, "bad-request"),
    ("2130706433", 403, "bad-name"), ("0x7f.1", 403, "bad-name"), ("127.1", 403, "bad-name"),
])
def test_a_host_that_is_no_name(stage, family, host, status, reason):
    refused(stage, family.site(10), request(host, "/odd-host"), reason, status)
    stage.sniffer.assert_no_bytes(b"/odd-host")


@pytest.mark.parametrize("uri, host, reason", [
    ("http://good.example@other.example/abs", "good.example", "bad-request"),
    ("http://other.example/abs", "good.example", "bad-request"),
    ("http://good.example/abs", "other.example", "bad-request"),
    ("http://good.example:81/abs", "good.example", "bad-request"),
])
def test_an_absolute_uri_that_says_something_else(stage, family, uri, host, reason):
    refused(stage, family.site(10), request(host, uri), reason, 400)
    stage.sniffer.assert_no_bytes(b"/abs")


def test_a_trailing_dot_and_an_absolute_uri_that_agree(stage, family):
    for uri, host in (("/fine", "good.example."), ("http://good.example/fine", "good.example")):
        answer, error = stage.talk(family.site(10), 80, request(host, uri))
        assert responses(answer)[0].status == 200, error


# IPv4 hidden in IPv6

CONNECT = r'''
for address in sys.argv[1:]:
    tell(address=address, error=attempt(lambda: stream(address, 80).close()))
'''


@pytest.mark.parametrize("reason", HIDDEN)
def test_ipv4_hidden_in_ipv6_is_refused_by_the_kernel(stage, reason):
    told = stage.agent.run(CONNECT, *HIDDEN[reason])
    assert [one["error"] for one in told] == ["ECONNREFUSED"] * len(HIDDEN[reason]), told
    stage.sniffer.assert_no_packet_to(*HIDDEN[reason], "10.0.0.5", "169.254.169.254")


@pytest.mark.parametrize("name", HIDING_NAMES)
def test_ipv4_hidden_in_the_address_of_an_allowed_name(stage, name):
    reason, address = HIDING_NAMES[name]
    refused(stage, site(10)[0], request(name, "/hidden"), reason, 403, by_lookup=True)
    log = stage.since()
    answer = clients.dns(stage.world, name, "AAAA")
    assert log.wait(layer="dns", name=name)["reason"] == reason
    assert answer["addresses"] == [] and reason in str(answer["ede"]), answer
    stage.sniffer.assert_no_packet_to(address, "10.0.0.5", "169.254.169.254")


@pytest.mark.parametrize("address", [address for addresses in HIDDEN.values() for address in addresses])
def test_ipv4_hidden_in_a_host_header(stage, address):
    refused(stage, site(10)[1], request(host_of(address), "/hidden-host"), "bad-name", 403)


# sandbox-runtime

ANYTHING = r'''
for address in json.loads(sys.argv[1]):
    for port in (80, 443, int(sys.argv[2]), 22):
        for data in (b"", bytes.fromhex(sys.argv[4]), bytes.fromhex(sys.argv[5])):
            try:
                with stream(address, port) as s:
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                    tell(answer=s.recv(4096))
            except OSError as error:
                tell(error=name_of(error))
    def send():
        with datagram(address) as s:
            s.connect((address, int(sys.argv[3])))
            s.send(b"anything")
            s.recv(10)
    tell(udp=attempt(send))
'''


@pytest.mark.parametrize("allow", [None, {}, {"domains": []}, {"domains": [], "ips": [], "networks": []}], ids=repr)
def test_an_empty_allowlist_lets_nothing_through(authority, allow):
    with World() as world:
        origin = Origin(world, authority)
        text = product.config_text("allowlist", allow=allow)
        running = product.Product(world, product.write_config(world, text)).wait_ready()
        with Sniffer(world) as sniffer:
            for name, qtype in (("good.example", "A"), ("good.example", "AAAA"), ("example", "A")):
                assert clients.dns(world, name, qtype)["rcode"] == "NXDOMAIN"
            addresses = [SHARED4, SHARED6, OTHER4, OTHER6]
            told = clients.python(world, ANYTHING, json.dumps(addresses), str(BANNER_PORT), str(ECHO_PORT),
                                  hello("good.example").hex(), request("good.example").hex())
            for one in told:
                if "udp" in one:
                    assert one["udp"] == "EPERM"
                elif "answer" in one:
                    answer = one["answer"].encode("latin-1")
                    assert answer == ALERT_UNRECOGNIZED_NAME or answer.startswith(b"HTTP/1.1 403 "), one
                else:
                    assert one["error"] == "ECONNRESET", one
            sniffer.assert_only_to()
        assert not origin.requests() and not origin.resolver.queries() and not origin.banner.transfers
        running.stop()
        product.assert_nothing_left(world)
