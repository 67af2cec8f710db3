"""A witness on the only way out: every frame that leaves C's c0, both families, whole.

Frames are recorded where the driver takes them, behind every hook of netfilter. `settle` is a
barrier: what was sent before it has been recorded when it returns.
"""

import contextlib
import os
import select
import socket
import struct
import threading
from dataclasses import dataclass

from lib.netns import GATE4, Hang, wait_until

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER_BYTES = 256 << 20
FRAME_BYTES_MAX = 1 << 17

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
BARRIER = b"sniffer-barrier-"


@dataclass(frozen=True)
class Packet:
    """One frame; the fields of a layer that it does not have are None."""

    raw: bytes
    src: str = None
    dst: str = None
    proto: int = None
    sport: int = None
    dport: int = None
    flags: int = None
    payload: bytes = b""
    extensions: tuple = ()

    def __str__(self):
        what = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmp6"}.get(self.proto, self.proto)
        flags = "" if self.flags is None else f" flags {self.flags:#x}"
        return f"{what} {self.src}:{self.sport} > {self.dst}:{self.dport}{flags} {self.payload[:48]!r}"


def parse(frame):
    ethertype = struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 14 else 0
    if ethertype == 0x0800 and len(frame) >= 34:
        header = (frame[14] & 15) * 4
        end = 14 + (struct.unpack_from("!H", frame, 16)[0] or len(frame) - 14)
        src, dst = (socket.inet_ntop(socket.AF_INET, frame[at:at + 4]) for at in (26, 30))
        extensions = ("options",) if header > 20 else ()
        return parse_transport(frame, 14 + header, end, src, dst, frame[23], extensions)
    if ethertype == 0x86DD and len(frame) >= 54:
        end = 54 + (struct.unpack_from("!H", frame, 18)[0] or len(frame) - 54)
        src, dst = (socket.inet_ntop(socket.AF_INET6, frame[at:at + 16]) for at in (22, 38))
        proto, at, extensions = frame[20], 54, []
        while proto in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION) and at + 8 <= len(frame):
            extensions.append(proto)
            size = 8 if proto == FRAGMENT else (frame[at + 1] + 1) * 8
            proto, at = frame[at], at + size
        return parse_transport(frame, at, end, src, dst, proto, tuple(extensions))
    return Packet(frame)


def parse_transport(frame, at, end, src, dst, proto, extensions):
    sport = dport = flags = None
    payload = frame[at:end]
    if proto == TCP and len(payload) >= 20:
        sport, dport = struct.unpack_from("!HH", payload)
        flags = payload[13]
        payload = payload[(payload[12] >> 4) * 4:]
    elif proto in (UDP, 136) and len(payload) >= 8:
        sport, dport = struct.unpack_from("!HH", payload)
        payload = payload[8:]
    return Packet(frame, src, dst, proto, sport, dport, flags, payload, extensions)


class Sniffer:
    """Context manager; records from __enter__ on.

    frame_bytes: how much of each frame is kept; lower it where a test moves hundreds of megabytes.
    """

    def __init__(self, world, interface="c0", frame_bytes=FRAME_BYTES_MAX):
        self.world = world
        self.interface = interface
        self.frame_bytes = frame_bytes
        self._frames = []
        self._drops = 0
        self._stop_read, self._stop_write = os.pipe()

    def __enter__(self):
        self._socket = self.world.c.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        with self.world.c.entered():
            self._socket.bind((self.interface, ETH_P_ALL))
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._stop_write, b"x")
        self._thread.join()
        self._socket.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _record(self):
        self._socket.setblocking(False)
        while True:
            ready, _, _ = select.select([self._socket, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, address = self._socket.recvfrom(self.frame_bytes)
                    if address[2] == PACKET_OUTGOING:
                        self._frames.append(frame)

    def settle(self):
        """Returns when everything sent before the call is recorded; fails if the kernel dropped any."""
        token = BARRIER + os.urandom(8).hex().encode()
        with self.world.c.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(token, (GATE4, 9))
        wait_until(lambda: any(token in frame for frame in reversed(self._frames[-4096:])), "the sniffer's barrier")
        _, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._drops += dropped
        if self._drops:
            raise Hang(f"the sniffer missed {self._drops} frames: it can prove nothing")

    def packets(self, dst=None, src=None, proto=None, dport=None, containing=None):
        """Every IP packet recorded so far that matches; dst and src may be one address or several."""
        self.settle()
        found = []
        for frame in list(self._frames):
            if containing is not None and containing not in frame:
                continue
            packet = parse(frame)
            if packet.dst is None or packet.payload.startswith(BARRIER):
                continue
            if matches(packet.dst, dst) and matches(packet.src, src) and proto in (None, packet.proto) \
                    and dport in (None, packet.dport):
                found.append(packet)
        return found

    def assert_no_packet_to(self, *addresses, proto=None, dport=None):
        found = self.packets(dst=addresses, proto=proto, dport=dport)
        assert not found, f"{len(found)} packets left to {addresses}: " + listing(found)

    def assert_no_bytes(self, marker, except_to=()):
        """Not one packet holds the marker, in any header or quotation, but those to except_to."""
        found = [p for p in self.packets(containing=marker) if p.dst not in except_to]
        assert not found, f"{len(found)} packets carry {marker!r}: " + listing(found)

    def assert_only_to(self, *addresses, ignore_icmp6=True):
        """Nothing left but to these; neighbour discovery and MLD are the kernel's own."""
        found = [p for p in self.packets() if p.dst not in addresses and not (ignore_icmp6 and p.proto == ICMP6)]
        assert not found, f"{len(found)} packets left elsewhere: " + listing(found)


def matches(value, wanted):
    return wanted is None or (value == wanted if isinstance(wanted, str) else value in wanted)


def listing(packets):
    return "; ".join(str(packet) for packet in packets[:8])
