"""A server that asks for a second ClientHello: the handshake works, and the name stays the same."""

import pytest

from lib import clients
from lib.netns import SHARED4, kill_session, wait_until
from lib.product import Product, config_text, write_config

PORT = 8443

# A hello without a key share, which every TLS 1.3 server answers with HelloRetryRequest; then another one.
HELLOS = r'''
def extension(number, body):
    return struct.pack("!HH", number, len(body)) + body

def hello(name, share):
    name = name.encode()
    server_name = struct.pack("!HBH", len(name) + 3, 0, len(name)) + name
    body = b"\x03\x03" + b"r" * 32 + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    extensions = extension(0, server_name) + extension(43, b"\x02\x03\x04") + extension(13, b"\x00\x02\x04\x03")
    extensions += extension(10, b"\x00\x02\x00\x17") + extension(51, struct.pack("!H", len(share)) + share)
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message

POINT = bytes.fromhex("04" "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                      "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
SHARE = struct.pack("!HH", 0x17, len(POINT)) + POINT
with stream(sys.argv[1], int(sys.argv[2])) as s:
    s.sendall(hello("good.example", b""))
    first = s.recv(65536)
    try:
        s.sendall(hello(sys.argv[3], SHARE))
        second = s.recv(65536)
    except OSError as error:
        second = b""
    tell(retried=bytes.fromhex("cf21ad74e59a6111") in first, answered=second[:1].hex())
'''


@pytest.fixture
def server(world, origin, authority):
    """Two sites of one address; its only group is one that clients send no share for."""
    process = world.s.popen("openssl", "s_server", "-accept", str(PORT), "-cert", authority.directory / "good.example.pem",
                            "-key", authority.directory / "good.example.key", "-servername", "other.example", "-cert2",
                            authority.directory / "other.example.pem", "-key2", authority.directory / "other.example.key",
                            "-groups", "P-521:P-256", "-www", "-quiet")
    world.at_close(kill_session, process)
    wait_until(lambda: f":{PORT} " in world.s.run("ss", "-ltnH").text, "openssl s_server")


@pytest.fixture
def cage(world, server):
    run = Product(world, write_config(world, config_text(allow={"domains": [f"good.example:{PORT}"]}))).wait_ready()
    yield run
    run.stop()


def test_a_handshake_with_a_second_hello_works(world, authority, cage):
    result = clients.curl(world, authority, "--curves", "X25519:P-521", f"https://good.example:{PORT}/")
    assert "[200]" in result.text, result.errors


def test_the_second_hello_may_repeat_the_name(world, cage):
    told, = clients.python(world, HELLOS, SHARED4, PORT, "good.example")
    assert told == {"retried": True, "answered": "16"}


@pytest.mark.parametrize("name", ["other.example", "third.example"])
def test_the_second_hello_may_not_name_another_host(world, cage, sniffer, name):
    told, = clients.python(world, HELLOS, SHARED4, PORT, name)
    assert told == {"retried": True, "answered": ""}
    assert cage.decision(reason="host-changed")["verdict"] == "deny"
    sniffer.assert_no_bytes(name.encode())
