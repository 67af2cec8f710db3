"""Starting, watching and stopping cage-proxy in C; writing the Lua files that it reads."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

from lib.netns import CAGE_USER, PROXY_UID, PROXY_USER, DEADLINE_S, Hang, kill_session, wait_until

PROG = os.environ.get("PROG", str(Path(__file__).resolve().parents[2] / "build/debug/cage-proxy"))
TCP_PORT, DNS_PORT = 15080, 15053

# A report that nobody reads proves nothing: both sanitizers end the process, and its exit is checked.
SANITIZERS = {"ASAN_OPTIONS": "exitcode=99:" + os.environ.get("ASAN_OPTIONS", ""),
              "UBSAN_OPTIONS": "print_stacktrace=1:" + os.environ.get("UBSAN_OPTIONS", ""),
              "TSAN_OPTIONS": "exitcode=99:" + os.environ.get("TSAN_OPTIONS", "")}
SANITIZER_REPORTS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")

_serial = itertools.count()


def lua(value):
    """A Python value as a Lua literal; a dict's string keys become fields."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else "".join(f"\\{b:03d}" for b in c.encode())
                             for c in value) + '"'
    if isinstance(value, dict):
        # An integer key is the positional part of an entry table: {0: "host:443", "private": True}.
        return "{ " + ", ".join(lua(v) if isinstance(k, int) else f"{k} = {lua(v)}" for k, v in value.items()) + " }"
    return "{ " + ", ".join(map(lua, value)) + " }"


def config_text(mode="allowlist", allow=None, block=None, proxy=None, user=CAGE_USER):
    """allow and block: dicts with domains, ips, networks. Both ports are written, so that tests know them."""
    settings = {"user": PROXY_USER, "ports": {"tcp": TCP_PORT, "dns": DNS_PORT}, **(proxy or {})}
    fields = {"networkMode": mode, "allow": allow or {}, "block": block or {}, "user": user, "proxy": settings}
    return "claude_cage " + lua(fields) + "\n"


def write_config(world, text):
    path = world.state / f"cage{next(_serial)}.lua"
    path.write_text(text)
    path.chmod(0o644)
    return path


def command(world, *arguments, **options):
    """One cage-proxy command as root in C, to its end: check, explain, rules, exec, …"""
    return world.c.run(PROG, *arguments, env={**SANITIZERS, **options.pop("env", {})}, **options)


def exec_cage(world, config, *argv, **options):
    """`cage-proxy exec -c FILE -- COMMAND…`; the exit status is the command's."""
    return command(world, "exec", "-c", config, "--", *argv, **options)


class Product:
    """`cage-proxy run -c FILE` in the foreground of C."""

    def __init__(self, world, config, *arguments):
        self.world = world
        self.config = config
        self.lines = []
        self.unreadable = []
        self._changed = threading.Condition()
        self._errors = world.state / f"run{next(_serial)}.err"
        with open(self._errors, "wb") as errors:
            self.process = world.c.popen(PROG, "run", "-c", config, *arguments, env=SANITIZERS,
                                         stdout=subprocess.PIPE, stderr=errors)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        world.at_close(self.kill)

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    self.unreadable.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def errors(self):
        return self._errors.read_text(errors="replace")

    @property
    def pid(self):
        """Of the supervisor: `ip netns exec` replaces itself by it."""
        return self.process.pid

    def wait_ready(self):
        self.wait_line(event="ready")
        return self

    def matching(self, **fields):
        return [line for line in list(self.lines) if all(line.get(key) == value for key, value in fields.items())]

    def wait_line(self, count=1, deadline_s=DEADLINE_S, **fields):
        """The count-th line with these fields, as soon as it is there."""

        def there():
            return len(self.matching(**fields)) >= count or not self._reader.is_alive()

        with self._changed:
            while not there():
                if not self._changed.wait(timeout=deadline_s):
                    break
        found = self.matching(**fields)
        if len(found) < count:
            ended = "" if self._reader.is_alive() else f"; it ended with {self.process.wait()}"
            raise Hang(f"no line {count} with {fields}{ended}\nlog: {self.lines[-20:]}\nstderr: {self.errors[-4000:]}")
        return found[count - 1]

    def decision(self, **fields):
        return self.wait_line(event="decision", **fields)

    def decisions(self, **fields):
        return self.matching(event="decision", **fields)

    def worker_pids(self):
        return self.world.c.pids(uid=PROXY_UID)

    def reload(self):
        before = len(self.matching(event="reload"))
        os.kill(self.pid, signal.SIGHUP)
        return self.wait_line(event="reload", count=before + 1)

    def stop(self, deadline_s=DEADLINE_S):
        """SIGTERM, a clean end, no report of a sanitizer, every line of the log readable."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Hang(f"cage-proxy did not end on SIGTERM\nlog: {self.lines[-20:]}\nstderr: {self.errors[-4000:]}")
        self._reader.join(DEADLINE_S)
        self.assert_sane()
        assert self.process.returncode == 0, f"exit {self.process.returncode}\n{self.errors[-4000:]}"

    def assert_sane(self):
        assert not any(report in self.errors for report in SANITIZER_REPORTS), self.errors[-6000:]
        assert not self.unreadable, f"not JSON: {self.unreadable[:5]}"

    def kill(self):
        """Everything at once and without a chance to clean up: it, and what it started."""
        kill_session(self.process)
        self.process.wait()
        for pid in self.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(DEADLINE_S)
        self.process.stdout.close()


def assert_nothing_left(world, rules_before=()):
    """No rule of ours, process of the proxy's user, or listener of ours is left in C."""
    assert world.c.rules() == list(rules_before)
    wait_until(lambda: not world.c.pids(uid=PROXY_UID), "the proxy's processes are gone")
    ours = [line for line in world.c.sockets() if f":{TCP_PORT} " in line or f":{DNS_PORT} " in line]
    assert not [line for line in ours if line.startswith("LISTEN")], ours
