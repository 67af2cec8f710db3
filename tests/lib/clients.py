"""What a caged user runs: each helper is one command in C as the cage's user.

Python snippets run under the machine's own interpreter with CAGED below as their prelude; what they
`tell` comes back as a list of dicts. A snippet that must pause while the test acts is a `Caged`.
"""

import json
import os
import select
import socket
import struct
import subprocess
import time

from lib.netns import CAGE_UID, DEADLINE_S, Hang, kill_session

CAGED = r'''
import errno, json, os, select, socket, struct, sys, time
V6 = socket.AF_INET6
SNIPPET_SECONDS_MAX = 30
def tell(**fields):
    print(json.dumps({k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in fields.items()}), flush=True)
def wait():
    """Until the test says go on; what it says is returned."""
    return sys.stdin.readline().strip()
def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET
def name_of(error):
    return "TIMEOUT" if isinstance(error, TimeoutError) and error.errno is None else errno.errorcode.get(error.errno, str(error))
def stream(address, port, seconds=SNIPPET_SECONDS_MAX, **options):
    s = socket.socket(family(address), socket.SOCK_STREAM)
    s.settimeout(seconds)
    s.connect((address, port))
    return s
def datagram(address):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.settimeout(SNIPPET_SECONDS_MAX)
    return s
def attempt(action, *arguments):
    """"" when it worked, else the name of its errno."""
    try:
        action(*arguments)
        return ""
    except OSError as error:
        return name_of(error)
def fetch(address, port, data, seconds=SNIPPET_SECONDS_MAX):
    """Everything that the other side answers to data until it closes."""
    with stream(address, port, seconds) as s:
        s.sendall(data)
        answer = b""
        while part := s.recv(65536):
            answer += part
        return answer
'''


def python(world, source, *arguments, uid=CAGE_UID, **options):
    """Runs the snippet to its end; returns what it told."""
    result = world.c.run("/usr/bin/python3", "-I", "-c", CAGED + source, *arguments, uid=uid,
                         env={"HOME": str(world.home)}, **options)
    if result.rc != 0:
        raise AssertionError(f"the caged snippet failed: {result.errors[-3000:]}\n{result.text[-2000:]}")
    return [json.loads(line) for line in result.text.splitlines()]


class Conversation:
    """A process beside the test that speaks in JSON lines. `hear` reads one, `say` wakes its `wait`."""

    def __init__(self, world, process):
        self._buffer = b""
        self.process = process
        world.at_close(self.kill)

    def hear(self, deadline_s=DEADLINE_S):
        end = time.monotonic() + deadline_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise Hang(f"the snippet said nothing within {deadline_s} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise AssertionError(f"the snippet ended with {self.process.wait()} and no answer")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def say(self, text="go"):
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def kill(self):
        kill_session(self.process)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def end(self, deadline_s=DEADLINE_S):
        self.process.stdin.close()
        return self.process.wait(deadline_s)


class Caged(Conversation):
    """A snippet that runs beside the test."""

    def __init__(self, world, source, *arguments, uid=CAGE_UID):
        super().__init__(world, world.c.popen("/usr/bin/python3", "-I", "-c", CAGED + source, *map(str, arguments),
                                              uid=uid, stdin=subprocess.PIPE, stdout=subprocess.PIPE))


def curl(world, authority, *arguments, **options):
    """Status code last in .text, as '\\n[CODE]'; .rc is curl's exit status."""
    return world.as_cage("curl", "-sS", "--noproxy", "*", "--max-time", "50", "--cacert", authority.ca, "-w",
                         "\n[%{http_code}]", *arguments, **options)


def s_client(world, authority, address, port=443, name=None, *arguments, stdin=b"", **options):
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    sni = ["-servername", name] if name else ["-noservername"]
    return world.as_cage("openssl", "s_client", "-connect", where, "-CAfile", authority.ca, "-verify_quiet",
                         "-ign_eof", *sni, *arguments, stdin=stdin, **options)


def git(world, authority, *arguments, key=None, **options):
    ssh_command = "ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    if key:
        ssh_command += f" -i {key}"
    environment = {"GIT_SSL_CAINFO": str(authority.ca), "GIT_SSH_COMMAND": ssh_command, "GIT_TERMINAL_PROMPT": "0",
                   "GIT_CONFIG_NOSYSTEM": "1"}
    return world.as_cage("git", *arguments, env=environment, **options)


def ssh(world, key, destination, *command, **options):
    return world.as_cage("ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                         "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-i", key, destination, *command, **options)


DNS_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33,
             "SVCB": 64, "HTTPS": 65, "ANY": 255, "CAA": 257}
DNS_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def dns_question(name, qtype="A", ident=0x1234, edns_bytes=None):
    """The bytes of one query with recursion desired; labels are taken as they are."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".") if label)
    additional = struct.pack("!BHHIH", 0, 41, edns_bytes, 0, 0) if edns_bytes else b""
    return struct.pack("!6H", ident, 0x0100, 1, 0, 0, 1 if additional else 0) + labels + b"\0" + \
        struct.pack("!2H", DNS_TYPES.get(qtype, qtype), 1) + additional


def dns_skip_name(message, at):
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += message[at] + 1
    return at + 1


def dns_answer(message):
    """{rcode, ttls, addresses, soa, truncated, ede} of a reply; A and AAAA as text."""
    ident, flags, questions, answers, authority, additional = struct.unpack_from("!6H", message)
    at = 12
    for _ in range(questions):
        at = dns_skip_name(message, at) + 4
    parsed = {"id": ident, "rcode": DNS_RCODES.get(flags & 15, flags & 15), "truncated": bool(flags & 0x0200),
              "addresses": [], "ttls": [], "soa": False, "ede": None}
    for index in range(answers + authority + additional):
        at = dns_skip_name(message, at)
        rtype, _, ttl, length = struct.unpack_from("!2HIH", message, at)
        data = message[at + 10:at + 10 + length]
        at += 10 + length
        if index < answers and rtype in (1, 28):
            parsed["addresses"].append(socket.inet_ntop(socket.AF_INET if rtype == 1 else socket.AF_INET6, data))
            parsed["ttls"].append(ttl)
        elif rtype == 6:
            parsed["soa"] = True
        elif rtype == 41:
            parsed["ede"] = dns_extended_error(data)
    return parsed


def dns_extended_error(options):
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from("!2H", options, at)
        if code == 15 and length >= 2:
            value = options[at + 4:at + 4 + length]
            return struct.unpack_from("!H", value)[0], value[2:].decode(errors="replace")
        at += 4 + length
    return None


DNS_SNIPPET = r'''
server, port, message, tcp = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), sys.argv[4] == "tcp"
try:
    if tcp:
        with stream(server, port) as s:
            s.sendall(struct.pack("!H", len(message)) + message)
            reader = s.makefile("rb")
            head = reader.read(2)
            answer = reader.read(struct.unpack("!H", head)[0]) if len(head) == 2 else b""
    else:
        with datagram(server) as s:
            s.connect((server, port))
            s.send(message)
            answer = s.recv(65535)
    tell(answer=answer.hex())
except OSError as error:
    tell(error=name_of(error))
'''


def dns(world, name, qtype="A", server="203.0.113.53", port=53, tcp=False, edns_bytes=1232):
    """One question of the caged user; a dict as dns_answer gives it, or {'error': errno name}."""
    message = dns_question(name, qtype, edns_bytes=edns_bytes)
    told = python(world, DNS_SNIPPET, server, str(port), message.hex(), "tcp" if tcp else "udp")[0]
    if "error" in told:
        return told
    answer = bytes.fromhex(told["answer"])
    return dns_answer(answer) if len(answer) >= 12 else {"error": "SHORT"}
