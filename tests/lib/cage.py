"""The cage that the escape tests try to leave: the one place that says how it is made.

Both modes have the same lists, so that a case differs only in what its mode makes of them.
"""

import os
import signal
from contextlib import suppress

from lib import product
from lib.netns import (BLOCKED4, BLOCKED6, CAGE_UID, DNS4, DNS6, HOST4, HOST6, METADATA4, METADATA6, OTHER4, OTHER6,
                       PRIVATE4, PRIVATE6, SHARED4, SHARED6, STATIC4, STATIC6, wait_until)

ALLOWED_NAME = "good.example"
BLOCKED_NAME = "blocked.example"
STATIC_PORT = 9000


class Addresses:
    """The same roles in one family."""

    def __init__(self, family):
        v4 = family == 4
        self.family = family
        self.loopback = "127.0.0.1" if v4 else "::1"
        self.host = HOST4 if v4 else HOST6
        self.dns = DNS4 if v4 else DNS6
        self.named = SHARED4 if v4 else SHARED6
        self.static = STATIC4 if v4 else STATIC6
        self.blocked = BLOCKED4 if v4 else BLOCKED6
        self.other = OTHER4 if v4 else OTHER6
        self.base = [*METADATA4, *PRIVATE4] if v4 else [*METADATA6, *PRIVATE6]
        self.foreign = "198.51.100.77" if v4 else "2001:db8:2::77"
        self.qtype = "A" if v4 else "AAAA"


class Cage:
    """A user cage in C. end() is called once, started or not, and checks that nothing is left."""

    def __init__(self, world, mode):
        self.world = world
        self.mode = mode
        self._rules_before = world.c.rules()
        self._run = None
        # An orphan whose packets are dropped then gives up in seconds, and a test can wait for it.
        world.c.sysctl("net.ipv4.tcp_orphan_retries", 3)

    def forbidden(self, addresses):
        """Addresses that this mode refuses whatever is said to them."""
        return [*addresses.base, addresses.blocked] if self.mode == "blocklist" else \
            [*addresses.base, addresses.blocked, addresses.other]

    def start(self):
        text = product.config_text(
            self.mode,
            allow={"domains": [ALLOWED_NAME], "ips": [f"{STATIC4}:{STATIC_PORT}", f"[{STATIC6}]:{STATIC_PORT}"]},
            block={"domains": [BLOCKED_NAME], "ips": [BLOCKED4, BLOCKED6]})
        self._run = product.Product(self.world, product.write_config(self.world, text)).wait_ready()
        return self

    def worker_pids(self):
        return self._run.worker_pids()

    def freeze(self):
        """The proxy acts no more, while connections are still completed by the kernel."""
        # The supervisor first: it would refuse everything as soon as it saw a stopped worker.
        self._signal(signal.SIGSTOP, [self._run.pid])
        self._signal(signal.SIGSTOP, self.worker_pids())

    def thaw(self):
        self._signal(signal.SIGCONT, self.worker_pids())
        self._signal(signal.SIGCONT, [self._run.pid])

    @staticmethod
    def _signal(number, pids):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_no_sockets(self):
        """Until the caged user has no TCP socket left, orphans included."""
        wait_until(lambda: not self.world.c.sockets(CAGE_UID), "the caged user's sockets are gone", 180)

    def wait_orphan_tried(self):
        """Until a socket without a file has sent on its own: a retransmission or a probe of a closed window."""
        before = self._sent_by_timers()
        wait_until(lambda: self._sent_by_timers() > before or not self.world.c.sockets(CAGE_UID), "an orphan sends")

    def _sent_by_timers(self):
        return self.world.c.counter("netstat", "TcpExt", "TCPWinProbe") + \
            self.world.c.counter("snmp", "Tcp", "RetransSegs")

    def end(self):
        # The rules stay for as long as a process of the caged user does.
        self.world.c.kill(CAGE_UID)
        if self._run is not None:
            self._run.stop()
            product.assert_nothing_left(self.world, self._rules_before)
