"""`cage-proxy exec` beside a test: its processes, its terminal, and what must be gone after it."""

import contextlib
import fcntl
import itertools
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from lib.clients import CAGED, Conversation
from lib.netns import CAGE_UID, DEADLINE_S, PROXY_UID, Hang, wait_until
from lib.product import DNS_PORT, PROG, SANITIZER_REPORTS, SANITIZERS, TCP_PORT

LOCKS = Path("/run/cage-proxy")
MARK = "CAGE_TEST_MARK"

_serial = itertools.count()


def snippet(source, *arguments):
    """The command that runs a caged Python snippet."""
    return ["/usr/bin/python3", "-I", "-c", CAGED + source, *map(str, arguments)]


def mark():
    """An environment variable by which every process of one exec can be found."""
    return {MARK: f"{os.getpid()}-{next(_serial)}"}


def marked_pids(environment):
    """Processes with that mark, whatever their namespaces; one that has ended has no environment."""
    wanted = f"{MARK}={environment[MARK]}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def children(pid):
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def comm(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def has_terminal(pid):
    """It runs in the foreground of its terminal."""
    state, _, group, _, _, foreground, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return state != "T" and group == foreground


def locks(world):
    inode = os.stat(f"/run/netns/{world.c.name}").st_ino
    return list(LOCKS.glob(f"lock-{inode}-*"))


def left_over(world, rules_before=()):
    """What an ended exec has left in C, by kind; empty when it is nothing."""
    sockets = world.c.run("ss", "-Htuanoe", check=True).text.splitlines()
    found = {
        "rules": [rule for rule in world.c.rules() if rule not in rules_before],
        "processes": world.c.pids(uid=CAGE_UID) + world.c.pids(uid=PROXY_UID),
        "sockets": [line for line in sockets if f"uid:{CAGE_UID} " in line + " "
                    or (line.split()[1] in ("LISTEN", "UNCONN") and
                        (f":{TCP_PORT} " in line or f":{DNS_PORT} " in line))],
        "locks": locks(world),
    }
    return {kind: things for kind, things in found.items() if things}


def assert_nothing_left(world, environment=None, rules_before=()):
    left = left_over(world, rules_before)
    assert not left, left
    gone = [rule for rule in rules_before if rule not in world.c.rules()]
    assert not gone, gone
    if environment is not None:
        living = [(pid, comm(pid)) for pid in marked_pids(environment)]
        assert not living, living


class Exec(Conversation):
    """One exec that runs beside the test; its command may speak as a caged snippet does."""

    def __init__(self, world, config, *argv, options=(), **popen):
        self.world = world
        self.environment = mark()
        self._errors = world.state / f"exec{next(_serial)}.err"
        popen = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **popen}
        with open(self._errors, "wb") as errors:
            popen.setdefault("stderr", errors)
            super().__init__(world, world.c.popen(PROG, "exec", "-c", config, *options, "--", *argv,
                                                  env={**SANITIZERS, **self.environment}, **popen))

    def hear(self, deadline_s=DEADLINE_S):
        try:
            return super().hear(deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.errors[-4000:]}") from None

    @property
    def errors(self):
        text = self._errors.read_text(errors="replace")
        assert not any(report in text for report in SANITIZER_REPORTS), text[-6000:]
        return text

    @property
    def front(self):
        """`ip netns exec` replaces itself by it."""
        return self.process.pid

    @property
    def holder(self):
        return next(pid for pid in children(self.front) if comm(pid) == "cage-holder")

    @property
    def supervisor(self):
        return self.find_supervisor()

    def find_supervisor(self):
        """None while there is none; the first child is the holder, whatever it is called yet."""
        return next((pid for pid in children(self.front)[1:] if comm(pid) != "cage-holder"), None)

    @property
    def command(self):
        return children(self.holder)[0]

    def wait(self, deadline_s=DEADLINE_S):
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise Hang(f"exec did not end within {deadline_s} s: {self.errors[-2000:]}") from None

    def kill(self):
        super().kill()
        for pid in marked_pids(self.environment):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Terminal:
    """A person at a terminal: `type`s, sees what is on the `screen`. A process started with
    `options` has it as its controlling terminal."""

    def __init__(self, world, rows=31, columns=97):
        self.master, self.slave = pty.openpty()
        self.name = os.ttyname(self.slave)
        self.screen = b""
        self.resize(rows, columns)
        world.at_close(self.close)

    @property
    def options(self):
        return {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave, "preexec_fn": self._take}

    def _take(self):
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self):
        return termios.tcgetattr(self.slave)

    def type(self, data):
        os.write(self.master, data)

    def see(self, wanted, deadline_s=DEADLINE_S):
        """Everything up to and including `wanted`, which is then off the screen."""
        end = time.monotonic() + deadline_s
        while wanted not in self.screen:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise Hang(f"no {wanted!r} on the screen: {self.screen[-2000:]!r}")
            self.screen += os.read(self.master, 65536)
        seen, _, self.screen = self.screen.partition(wanted)
        return seen + wanted

    def close(self):
        os.close(self.master)
        os.close(self.slave)


def wait_worker(world, other_than=()):
    """The pid of a worker that accepts connections, and is none of those."""

    def there():
        pids = [pid for pid in world.c.pids(uid=PROXY_UID) if pid not in other_than]
        accepts = any(line.startswith("LISTEN") and f":{TCP_PORT} " in line for line in world.c.sockets())
        return accepts and pids

    return wait_until(there, "a worker accepts connections")[0]
