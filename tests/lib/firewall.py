"""The kernel layers without a proxy: rules put into C by tests/unit/firewall_tool, and who stands in for the proxy."""

import json
import os
import re
import subprocess
from pathlib import Path

from lib import clients
from lib.netns import CAGE_UID, DNS4, DNS6, HOST4, HOST6, PROXY_UID, kill_session, wait_until

TOOL = Path(os.environ.get("FIREWALL_TOOL",
                           Path(__file__).resolve().parents[2] / "build/debug/tests/unit/firewall_tool"))
TABLES = ["filter", "raw", "mangle", "nat"]
TCP_PORT, DNS_PORT = 15080, 15053


class Firewall:
    """What the tool does in C, with a lock of its own."""

    def __init__(self, world):
        self.world = world
        self.lock = world.state / "xtables.lock"
        self._serial = 0

    def policy(self, mode, allow=(), block=(), settings=(), cage=CAGE_UID, proxy=PROXY_UID, servers=(DNS4, DNS6)):
        """A canonical policy text; allow and block: entries, or (kind, entry) where they are no addresses."""
        lines = ["policy 1", f"mode {mode}", *(f"set {key} {value}" for key, value in settings),
                 f"uid cage {cage}", f"uid proxy {proxy}", "file 0 /etc/cage.lua",
                 *(f"server {endpoint(server)}" for server in servers), f"local {HOST4}", f"local {HOST6}"]
        for verdict, entries in (("allow", allow), ("block", block)):
            for number, entry in enumerate(entries):
                kind, text = entry if isinstance(entry, tuple) else ("address", entry)
                lines.append(f"{verdict} {kind} {text} @0:{number + 1}")
        self._serial += 1
        path = self.world.state / f"policy{self._serial}.txt"
        path.write_text("\n".join([*lines, "end", ""]))
        return path

    def run(self, command, subject, *failures, namespace=None):
        argv = [TOOL, self.lock, command, subject, *failures]
        return (namespace or self.world.c).run(*argv, env={"ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": ""})

    def do(self, command, subject):
        done = self.run(command, subject)
        assert done.rc == 0, done.errors
        return done.text

    def install(self, policy):
        self.do("install", policy)

    def is_installed(self, policy):
        return self.do("check", policy) == "installed\n"

    def printed(self, policy, command="print"):
        """{(family, table): lines} of what the rules should read back as."""
        tables, family, table = {}, None, None
        for line in self.do(command, policy).splitlines():
            if line.startswith("####"):
                family = "4" if "IPv4" in line else "6"
            elif line.startswith("*"):
                table = tables.setdefault((family, line[1:]), [])
            elif line != "COMMIT":
                table.append(re.sub(r"^-I (\S+) \d+ ", r"-A \1 ", line))
        return tables

    def saved(self, only=None):
        """
        {(family, table): lines} as iptables-legacy-save has them, without the kernel's chains that accept; `only`:
        the lines that name this cage's chains.
        """
        script = "iptables-legacy-save && echo '#### 6' && ip6tables-legacy-save"
        tables = {(family, table): [] for family in "46" for table in TABLES}
        family = "4"
        for line in self.world.c.run("sh", "-c", script, check=True).text.splitlines():
            if line == "#### 6":
                family = "6"
            elif line.startswith("*"):
                table = tables[family, line[1:]]
            elif line.startswith((":", "-A")) and " ACCEPT [" not in line and \
                    (only is None or f"CAGE-{only}-" in line):
                table.append(re.sub(r"\[\d+:\d+\]$", "[0:0]", line))
        return tables


def endpoint(address):
    return f"[{address}]:53" if ":" in address else f"{address}:53"


TRY = r'''
import struct
def ping(address):
    v6 = ":" in address
    with socket.socket(family(address), socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP) as s:
        s.settimeout(2)
        s.connect(socket.getaddrinfo(address, 1)[0][4])
        s.send(struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 1, 1) + b"marker-icmp")
        s.recv(1000)
    return "answer"
def tcp(address, port):
    with socket.socket(family(address), socket.SOCK_STREAM) as s:
        s.settimeout(5)
        s.connect(socket.getaddrinfo(address, port)[0][4])
        s.sendall(b"marker-tcp")
        return s.recv(100).decode()
def udp(address, port, protocol=0):
    with socket.socket(family(address), socket.SOCK_DGRAM, protocol) as s:
        s.settimeout(2)
        s.connect(socket.getaddrinfo(address, port)[0][4])
        s.send(b"marker-udp")
        return s.recv(100).decode()
kinds = {"tcp": tcp, "udp": udp, "udplite": lambda a, p: udp(a, p, 136), "icmp": lambda a, p: ping(a)}
answers = []
for kind, address, port in json.loads(sys.argv[1]):
    try:
        answers.append(kinds[kind](address, port))
    except OSError as error:
        answers.append(name_of(error))
tell(answers=answers)
'''


def attempts(world, rows, uid=CAGE_UID):
    """[(kind, address, port)] tried by this user; what was answered, or the errno's name, for each."""
    told = clients.python(world, TRY, json.dumps(rows), uid=uid)
    return told[0]["answers"]


SERVICE = r'''
import json, select, socket, sys
ports, answer = json.loads(sys.argv[1]), sys.argv[2].encode()
listeners, datagrams = [], []
for port in ports:
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", port)); s.listen(64); listeners.append(s)
    for protocol in (0, 136):
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, protocol)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        s.bind(("::", port)); datagrams.append(s)
print("ready", flush=True)
while True:
    for s in select.select(listeners + datagrams, [], [])[0]:
        try:
            if s in listeners:
                c, _ = s.accept()
                c.sendall(answer); c.close()
            else:
                _, ancillary, _, peer = s.recvmsg(2000, 100)
                # From the address that was asked, which is not always the one that routing would choose.
                s.sendmsg([answer], ancillary, 0, peer)
        except OSError as error:
            print(error, flush=True)
'''

STAND_IN = r'''
import json, select, socket, struct, sys
tcp_port, dns_port = 15080, 15053
listeners, datagrams = [], []
for address in ("127.0.0.1", "::1"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in (tcp_port, dns_port):
        s = socket.socket(family, socket.SOCK_STREAM)
        s.bind((address, port)); s.listen(256); listeners.append(s)
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, dns_port)); datagrams.append(s)
def original(c):
    try:
        if c.family == socket.AF_INET6:
            data = c.getsockopt(41, 80, 28)
            return [socket.inet_ntop(socket.AF_INET6, data[8:24]), struct.unpack("!H", data[2:4])[0]]
        data = c.getsockopt(0, 80, 16)
        return [socket.inet_ntoa(data[4:8]), struct.unpack("!H", data[2:4])[0]]
    except OSError:
        return None
print("ready", flush=True)
while True:
    for s in select.select(listeners + datagrams, [], [])[0]:
        try:
            if s in listeners:
                c, _ = s.accept()
                answer = b"front" if s.getsockname()[1] == dns_port else b"proxy"
                print(json.dumps([answer.decode(), original(c)]), flush=True)
                c.sendall(answer); c.close()
            else:
                _, peer = s.recvfrom(2000)
                print(json.dumps(["front", None]), flush=True)
                s.sendto(b"front", peer)
        except OSError:
            pass
'''


class Helper:
    """A Python server beside the test, ready when made."""

    def __init__(self, world, namespace, source, *arguments, uid=None):
        self.path = world.state / f"helper{id(self)}.out"
        self._output = open(self.path, "wb")
        self.process = namespace.popen("/usr/bin/python3", "-I", "-c", source, *arguments, uid=uid,
                                       stdout=self._output, stderr=subprocess.STDOUT)
        world.at_close(self.close)
        wait_until(lambda: "ready" in self.path.read_text() or self.process.poll() is not None, "a helper's start")
        assert self.process.poll() is None, self.path.read_text()

    def lines(self):
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.startswith("[")]

    def close(self):
        if self.process.poll() is None:
            kill_session(self.process)
        self.process.wait()
        self._output.close()


def start_services(world, ports, namespace=None, uid=None, answer="origin"):
    """Answers on these ports of every address of S, or of another namespace: TCP, UDP and UDP-Lite."""
    return Helper(world, namespace or world.s, SERVICE, json.dumps(list(ports)), answer, uid=uid)


def start_stand_in(world, uid=PROXY_UID):
    """Answers "proxy" and "front" where the proxy would listen; lines(): who answered, original destination."""
    return Helper(world, world.c, STAND_IN, uid=uid)
