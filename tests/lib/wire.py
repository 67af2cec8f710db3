"""Bytes of the protocols that the proxy reads, whole or with one thing wrong."""

import struct
from dataclasses import dataclass

ALERT_UNRECOGNIZED_NAME = bytes([21, 3, 3, 0, 2, 2, 112])
ALERT_ACCESS_DENIED = bytes([21, 3, 3, 0, 2, 2, 49])

TLS_HANDSHAKE, CLIENT_HELLO = 22, 1
EXT_SERVER_NAME, EXT_ECH = 0, 0xFE0D

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def request(host, uri="/", *headers, method="GET", version="1.1", body=b"", is_last=True):
    """One HTTP request; host None: without Host; is_last: the connection is to end behind it."""
    lines = [f"{method} {uri} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += headers
    if body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    if is_last:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass
class Response:
    status: int
    headers: dict
    body: bytes

    @property
    def reason(self):
        return self.headers.get("x-cage-reason")


def responses(data):
    """The answers that stand one behind the other in data; a body has a length or goes to the end."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", len(rest)))
        assert len(rest) >= length, f"a short body: {data[:2000]!r}"
        found.append(Response(int(status.split()[1]), headers, rest[:length]))
        data = rest[length:]
    return found


def extension(number, data):
    return struct.pack("!HH", number, len(data)) + data


def server_name(*names, kind=0):
    """The body of a server_name extension."""
    listed = b"".join(struct.pack("!BH", kind, len(name)) + name for name in names)
    return struct.pack("!H", len(listed)) + listed


BASE_EXTENSIONS = [
    extension(10, bytes.fromhex("0004001d0017")),              # groups: x25519, secp256r1
    extension(11, bytes.fromhex("0100")),                      # point formats
    extension(13, bytes.fromhex("000804030804 05030401")),     # signature algorithms
]


def hello_body(name=None, *more, sni=None):
    """A TLS 1.2 ClientHello that a server answers; sni: the extension's body in place of a name."""
    extensions = []
    if sni is None and name is not None:
        sni = server_name(name if isinstance(name, bytes) else name.encode())
    if sni is not None:
        extensions.append(extension(EXT_SERVER_NAME, sni))
    extensions += [*BASE_EXTENSIONS, *more]
    joined = b"".join(extensions)
    ciphers = bytes.fromhex("c02bc02cc009c00a")
    body = b"\3\3" + bytes(range(32)) + b"\0" + struct.pack("!H", len(ciphers)) + ciphers + b"\1\0" + \
        struct.pack("!H", len(joined)) + joined
    return bytes([CLIENT_HELLO]) + struct.pack("!I", len(body))[1:] + body


def record(data, version=0x0301):
    return struct.pack("!BHH", TLS_HANDSHAKE, version, len(data)) + data


def hello(name=None, *more, sni=None):
    return record(hello_body(name, *more, sni=sni))


def is_server_hello(answer):
    return answer[:2] == bytes([TLS_HANDSHAKE, 3]) and answer[5:6] == b"\2"
