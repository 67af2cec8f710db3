"""Two network namespaces: the cage's host (C) and everything beyond its only wire (S).

    C: c0 203.0.113.1 / 2001:db8::1  ----veth----  s0 203.0.113.254 / 2001:db8::fe :S
                                                   + every address that a test dials, as an alias

Accounts, resolv.conf and hosts of a namespace are files below /etc/netns/NAME, which `ip netns exec`
mounts over those of the machine: nothing of the machine itself is changed. Every wait takes a
deadline that is a guard against hanging, never a measurement.
"""

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

CAGE_UID = 4242
CAGE_USER = "claude-cage"
PROXY_UID = 4243
PROXY_USER = "cage-proxy"
GIT_UID = 4300
OTHER_UID = 4400

HOST4, HOST6 = "203.0.113.1", "2001:db8::1"
GATE4, GATE6 = "203.0.113.254", "2001:db8::fe"
HOST_MAC, GATE_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
HOST_LINK_LOCAL, GATE_LINK_LOCAL = "fe80::1", "fe80::fe"
DNS4, DNS6 = "203.0.113.53", "2001:db8::53"
SHARED4, SHARED6 = "203.0.113.10", "2001:db8::10"
STATIC4, STATIC6 = "203.0.113.11", "2001:db8::11"
BLOCKED4, BLOCKED6 = "203.0.113.12", "2001:db8::12"
OTHER4, OTHER6 = "198.51.100.66", "2001:db8:2::66"

METADATA4 = ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192"]
METADATA6 = ["fd00:ec2::254"]
PRIVATE4 = ["10.0.0.5", "172.16.0.5", "192.168.0.5", "100.64.0.5", "198.18.0.5", "192.0.0.5"]
# The last four hide 10.0.0.5: NAT64 (both prefixes), 6to4 and Teredo.
PRIVATE6 = ["fd12::5", "fc00::5", "64:ff9b::a00:5", "64:ff9b:1::a00:5", "2002:a00:5::1", "2001:0:a00:5::1"]

ALIASES4 = [SHARED4, STATIC4, BLOCKED4, DNS4, OTHER4, *METADATA4, *PRIVATE4]
ALIASES6 = [SHARED6, STATIC6, BLOCKED6, DNS6, OTHER6, *METADATA6, *PRIVATE6]

STATE_ROOT = Path("/run")
DEADLINE_S = 60
CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000

_serial = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


class Hang(AssertionError):
    """Something that must end, or happen, did not within a generous deadline."""


def wait_until(holds, what, deadline_s=DEADLINE_S):
    """Returns the first true value of holds()."""
    end = time.monotonic() + deadline_s
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > end:
            raise Hang(f"{what}: not within {deadline_s} s")
        time.sleep(0.01)


@dataclass
class Result:
    rc: int
    out: bytes
    err: bytes

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def errors(self):
        return self.err.decode(errors="replace")


def passwd_text():
    users = [
        ("root", 0, "/root", "/bin/sh"),
        (CAGE_USER, CAGE_UID, "/nonexistent", "/bin/sh"),
        (PROXY_USER, PROXY_UID, "/nonexistent", "/usr/sbin/nologin"),
        ("git", GIT_UID, "/nonexistent", "/bin/sh"),
        ("other", OTHER_UID, "/nonexistent", "/bin/sh"),
        ("nobody", 65534, "/nonexistent", "/usr/sbin/nologin"),
    ]
    return "".join(f"{name}:*:{uid}:{uid}::{home}:{shell}\n" for name, uid, home, shell in users)


def group_text():
    names = [("root", 0), (CAGE_USER, CAGE_UID), (PROXY_USER, PROXY_UID), ("git", GIT_UID)]
    return "".join(f"{name}:*:{gid}:\n" for name, gid in [*names, ("other", OTHER_UID), ("nogroup", 65534)])


class Namespace:
    """One named network namespace, the files mounted over /etc in it, and what runs in it."""

    def __init__(self, name):
        self.name = name
        self.etc = Path("/etc/netns") / name
        self.etc.mkdir(parents=True)
        self.write_etc("passwd", passwd_text())
        self.write_etc("group", group_text())
        self.write_etc("hosts", "127.0.0.1 localhost\n::1 localhost\n")
        self.write_etc("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
        self.write_etc("resolv.conf", "")
        subprocess.run(["ip", "netns", "add", name], check=True)

    def write_etc(self, file, text):
        """Rewrites in place, so that processes already running in the namespace see it too."""
        (self.etc / file).write_text(text)

    def argv(self, argv, uid=None):
        enter = ["ip", "netns", "exec", self.name]
        if uid is not None:
            enter += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--"]
        return [*enter, *map(str, argv)]

    def popen(self, *argv, uid=None, env=None, **options):
        """A process of its own session; one that is still there at teardown is killed."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", **(env or {})}
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.argv(argv, uid), env=environment, start_new_session=True, **options)

    def run(self, *argv, uid=None, stdin=b"", env=None, deadline_s=DEADLINE_S, check=False):
        process = self.popen(*argv, uid=uid, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(stdin, timeout=deadline_s)
        except subprocess.TimeoutExpired:
            kill_session(process)
            out, err = process.communicate()
            raise Hang(f"{' '.join(map(str, argv))[:200]}: not within {deadline_s} s\n{out[-2000:]}\n{err[-2000:]}")
        result = Result(process.returncode, out, err)
        if check and result.rc != 0:
            raise AssertionError(f"{argv}: exit {result.rc}\n{result.text[-2000:]}\n{result.errors[-2000:]}")
        return result

    @contextlib.contextmanager
    def entered(self):
        """This thread is in the namespace meanwhile; a socket that it opens stays there for good."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            set_namespace(there)
            try:
                yield
            finally:
                set_namespace(home)
        finally:
            os.close(there)
            os.close(home)

    def socket(self, family, kind, protocol=0):
        with self.entered():
            return socket.socket(family, kind, protocol)

    def sysctl(self, key, value):
        with self.entered():
            Path("/proc/sys", *key.split(".")).write_text(str(value))

    def counter(self, file, group, name):
        """One number of /proc/net/snmp or netstat."""
        with self.entered():
            text = Path("/proc/thread-self/net", file).read_text()
        keys, values = (line.split()[1:] for line in text.splitlines() if line.startswith(group + ":"))
        return int(values[keys.index(name)])

    def pids(self, uid=None):
        return [pid for pid in pids_in(self.name) if uid is None or uid_of(pid) == uid]

    def sockets(self, uid=None):
        """Lines of ss: TCP sockets in any state, orphans included; TIME_WAIT has no owner."""
        lines = self.run("ss", "-Htanoe").text.splitlines()
        return [line for line in lines if uid is None or f"uid:{uid} " in line + " "]

    def rules(self):
        """What iptables-legacy-save prints for both families: every rule and every own chain."""
        lines = []
        for save in ("iptables-legacy-save", "ip6tables-legacy-save"):
            for line in self.run(save, check=True).text.splitlines():
                if line.startswith("-A") or re.match(r":\S+ - ", line):
                    lines.append(line)
        return lines

    def kill(self, uid=None):
        """Ends every process in the namespace, or those of one user, and waits until they are gone."""
        kill_all(lambda: self.pids(uid))

    def delete(self):
        delete_namespace(self.name)


class World:
    """Both namespaces, the wire between them and a directory that only root can write."""

    def __init__(self):
        serial = next(_serial)
        prefix = f"cage-{os.getpid()}-{serial}"
        self._closers = contextlib.ExitStack()
        self.state = self._closers.enter_context(state_directory(serial))
        self.home = self.state / "home"
        self.home.mkdir(mode=0o700)
        os.chown(self.home, CAGE_UID, CAGE_UID)
        try:
            self.c = self._namespace(prefix + "c")
            self.s = self._namespace(prefix + "s")
            self._wire()
        except BaseException:
            self.close()
            raise

    def _namespace(self, name):
        namespace = Namespace(name)
        self._closers.callback(namespace.delete)
        return namespace

    def _wire(self):
        for namespace in (self.c, self.s):
            for scope in ("all", "default"):
                namespace.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
                namespace.sysctl(f"net.ipv6.conf.{scope}.router_solicitations", 0)
            namespace.sysctl("net.ipv4.ip_local_port_range", "1024 65535")
        self.s.sysctl("net.ipv4.ip_unprivileged_port_start", 0)
        self.c.write_etc("resolv.conf", f"nameserver {DNS4}\nnameserver {DNS6}\n")
        ip_batch(self.c.name, [
            "link set lo up",
            f"link add c0 address {HOST_MAC} type veth peer name s0 address {GATE_MAC} netns {self.s.name}",
            f"addr add {HOST4}/24 dev c0", f"addr add {HOST6}/64 dev c0 nodad",
            f"addr add {HOST_LINK_LOCAL}/64 dev c0 nodad", "link set c0 up"])
        ip_batch(self.s.name, [
            "link set lo up", f"addr add {GATE4}/24 dev s0", f"addr add {GATE6}/64 dev s0 nodad",
            f"addr add {GATE_LINK_LOCAL}/64 dev s0 nodad",
            *(f"addr add {address}/32 dev s0" for address in ALIASES4),
            *(f"addr add {address}/128 dev s0 nodad" for address in ALIASES6), "link set s0 up",
            f"neigh add {HOST6} lladdr {HOST_MAC} dev s0 nud permanent"])
        # A solicitation in the first moments of a link is lost, and its retry comes a second later.
        on_link = [GATE6, *(address for address in ALIASES6 if ip_address(address) in ip_network(f"{HOST6}/64", False))]
        ip_batch(self.c.name, [
            f"route add default via {GATE4}", f"route add ::/0 via {GATE6}",
            *(f"neigh add {address} lladdr {GATE_MAC} dev c0 nud permanent" for address in on_link)])

    def at_close(self, callback, *args):
        """Runs at close, latest first, and before the namespaces go."""
        self._closers.callback(callback, *args)

    def as_cage(self, *argv, **options):
        """Runs a command as the cage's user would run one: no privilege to gain, no descriptor inherited."""
        options.setdefault("env", {})
        options["env"] = {"HOME": str(self.home), **options["env"]}
        return self.c.run(*argv, uid=CAGE_UID, **options)

    def close(self):
        self._closers.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def state_directory(name):
    """A directory that everybody may read and only root can write or replace, up to the root."""
    path = STATE_ROOT / f"cage-{os.getpid()}-{name}"
    path.mkdir(mode=0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def set_namespace(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def ip_batch(name, lines):
    subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def kill_session(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def pids_in(name):
    out = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
    return [pid for pid in map(int, out.split()) if pid != os.getpid()]


def kill_all(pids):
    """pids: a function, asked again until it finds none."""

    def none_left():
        found = pids()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    wait_until(none_left, "killed processes are gone")


def delete_namespace(name):
    kill_all(lambda: pids_in(name))
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


def uid_of(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(re.search(r"^Uid:\t(\d+)", status, re.M).group(1))


def enter_private_run():
    """An empty /run of our own for this process and all that it starts.

    What a program keeps there (namespaces, locks, sockets, the lock of xtables) is then neither the
    machine's nor another worker's, and is gone with the last process, however that ends.
    """
    resolv_conf = Path("/etc/resolv.conf").resolve()
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], check=True)
    # Where it is a link to a file below /run, `ip netns exec` still needs something to mount over.
    if not resolv_conf.exists():
        resolv_conf.parent.mkdir(parents=True)
        resolv_conf.touch()


def sweep_stale():
    """Removes what a killed test run left below /etc/netns: names carry the pid of the run that made them."""
    for path in Path("/etc/netns").glob("cage-*"):
        found = re.fullmatch(r"cage-(\d+)-\d+[cs]", path.name)
        if found and not Path("/proc", found.group(1)).exists():
            shutil.rmtree(path, ignore_errors=True)
