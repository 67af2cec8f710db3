"""The ground that the other tests stand on: without a cage everything works and everything is seen."""

import hashlib
import json
import os

import pytest

from lib import clients
from lib.netns import (BLOCKED4, CAGE_UID, DNS4, DNS6, METADATA4, METADATA6, OTHER4, OTHER6, PRIVATE4, PRIVATE6,
                       SHARED4, SHARED6, STATIC4, STATIC6)
from lib.origin import BANNER, BANNER_PORT, ECHO_PORT, SINK_PORT, SOURCE_PORT, pattern
from lib.sniffer import TCP, UDP

FAMILIES = [(SHARED4, DNS4), (SHARED6, DNS6)]


@pytest.mark.parametrize("shared, server", FAMILIES)
def test_names_resolve_and_nginx_answers_by_sni(world, origin, sniffer, shared, server):
    for tcp in (False, True):
        answer = clients.dns(world, "good.example", "AAAA" if ":" in shared else "A", server=server, tcp=tcp)
        assert answer["rcode"] == "NOERROR" and answer["addresses"] == [shared]
    assert origin.resolver.queries("good.example")
    for name in ("good.example", "other.example"):
        family = "-6" if ":" in shared else "-4"
        got = clients.curl(world, origin.authority, family, f"https://{name}/x")
        assert got.text == f"dst={shared} sni={name} host={name} uri=/x\n\n[200]", got.errors
    assert sniffer.packets(dst=shared, proto=TCP, dport=443)
    assert sniffer.packets(dst=server, proto=UDP, dport=53)
    sniffer.assert_no_packet_to(BLOCKED4)
    with pytest.raises(AssertionError):
        sniffer.assert_no_packet_to(shared)
    with pytest.raises(AssertionError):
        sniffer.assert_no_bytes(b"good.example" if ":" not in shared else b"other.example")


def test_unknown_names_do_not_exist_and_names_can_change(world, origin):
    assert clients.dns(world, "nothing.example")["rcode"] == "NXDOMAIN"
    origin.resolver.set_names({"new.example": [STATIC4]})
    assert clients.dns(world, "new.example")["addresses"] == [STATIC4]
    assert clients.dns(world, "good.example")["rcode"] == "NXDOMAIN"
    assert [q[1] for q in origin.resolver.queries()] == ["nothing.example", "new.example", "good.example"]


@pytest.mark.parametrize("address", [STATIC4, STATIC6, OTHER4, OTHER6, *METADATA4, *METADATA6, *PRIVATE4, *PRIVATE6])
def test_every_address_is_there_to_be_reached(world, origin, sniffer, address):
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    assert "[200]" in clients.curl(world, origin.authority, url, "-H", "Host: good.example").text
    told = clients.python(world, """
with datagram(sys.argv[1]) as s:
    s.sendto(b"marker-udp", (sys.argv[1], int(sys.argv[2])))
    tell(data=s.recv(100))
""", address, str(ECHO_PORT))
    assert told == [{"data": "marker-udp"}]
    assert [p.dst for p in sniffer.packets(containing=b"marker-udp")] == [address]


@pytest.mark.parametrize("address", [STATIC4, STATIC6])
def test_the_plain_services(world, origin, address):
    told = clients.python(world, """
where = sys.argv[1]
with stream(where, int(sys.argv[2])) as s:
    reader = s.makefile("rb")
    tell(banner=reader.readline())
with stream(where, int(sys.argv[3])) as s:
    s.sendall(b"x" * 3000000)
    s.shutdown(socket.SHUT_WR)
    tell(sunk=s.makefile("rb").readline())
with stream(where, int(sys.argv[4])) as s:
    s.sendall(b"700001\\n")
    import hashlib
    tell(digest=hashlib.sha256(s.makefile("rb").read()).hexdigest())
""", address, str(BANNER_PORT), str(SINK_PORT), str(SOURCE_PORT))
    assert told[0]["banner"].encode() == BANNER
    assert told[1]["sunk"].split() == ["3000000", hashlib.sha256(b"x" * 3000000).hexdigest()]
    whole = pattern(1 << 18) * 3
    assert told[2]["digest"] == hashlib.sha256(whole[:700001]).hexdigest()
    assert origin.sink.transfers[0].local == (address, SINK_PORT)


def test_ssh_and_git(world, origin):
    key = origin.start_ssh()
    path = origin.start_git()
    got = clients.ssh(world, key, "git@ssh.example", "echo", "hello")
    assert (got.rc, got.text) == (0, "hello\n"), got.errors
    for number, url in enumerate([f"ssh://git@ssh.example{path}", "https://good.example/files/repo.git"]):
        got = clients.git(world, origin.authority, "clone", url, f"{world.home}/clone{number}", key=key)
        assert got.rc == 0, got.errors


def test_s_client_speaks_both_versions(world, origin):
    for version in ("-tls1_2", "-tls1_3"):
        got = clients.s_client(world, origin.authority, SHARED4, 443, "other.example", version,
                               stdin=b"GET / HTTP/1.0\r\nHost: other.example\r\n\r\n")
        assert f"dst={SHARED4} sni=other.example" in got.text, got.errors


def test_the_caged_user_has_no_privilege(world):
    status = world.as_cage("cat", "/proc/self/status").text
    assert f"Uid:\t{CAGE_UID}\t{CAGE_UID}" in status and "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status and "Groups:\t \n" in status
    assert world.as_cage("touch", world.state / "x").rc != 0


def test_a_snippet_can_be_paused(world):
    snippet = clients.Caged(world, "tell(ready=True); tell(heard=wait())")
    assert snippet.hear() == {"ready": True}
    snippet.say("go on")
    assert snippet.hear() == {"heard": "go on"}
    assert snippet.end() == 0


def test_nothing_of_the_machine_is_touched(world):
    assert world.c.rules() == []
    with open("/etc/resolv.conf", encoding="utf-8") as file:
        assert file.read() != world.as_cage("cat", "/etc/resolv.conf").text
    assert os.stat(world.state).st_mode & 0o022 == 0
    assert json.loads(world.c.run("ip", "-j", "addr", "show", "c0").text)[0]["ifname"] == "c0"
