"""A world, its far side and one running cage-proxy, shared by the tests of a module.

Tests that share a stage keep apart by addresses: `site(n)` is a pair of addresses of the far side,
which answers on all of them, and each name below has a site of its own unless sharing is the point.
"""

import json

from lib import product
from lib.agent import Agent
from lib.clients import dns
from lib.netns import BLOCKED4, BLOCKED6, CAGE_UID, DNS4, DNS6, OTHER4, OTHER6, STATIC4, STATIC6, World, ip_batch
from lib.origin import Origin
from lib.sniffer import FRAME_BYTES_MAX, Sniffer

SITES4, SITES6 = "192.0.2.0/24", "2001:db8:5::/64"


def site(number):
    return [f"192.0.2.{number}", f"2001:db8:5::{number:x}"]


class Family:
    """The roles of the addresses in one family."""

    def __init__(self, number):
        self.number = number
        is_v4 = number == 4
        self.qtype = "A" if is_v4 else "AAAA"
        self.flag = "-4" if is_v4 else "-6"
        self.dns = DNS4 if is_v4 else DNS6
        self.static = STATIC4 if is_v4 else STATIC6
        self.blocked = BLOCKED4 if is_v4 else BLOCKED6
        self.attacker = OTHER4 if is_v4 else OTHER6

    def site(self, number):
        return site(number)[0 if self.number == 4 else 1]

    def __repr__(self):
        return f"v{self.number}"


V4, V6 = Family(4), Family(6)


def host_of(address):
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def entry(address, ports):
    return f"{host_of(address)}:{ports}"


class Since:
    """The log from here on."""

    def __init__(self, running):
        self._running = running
        self._start = len(running.lines)

    def all(self, event="decision", **fields):
        fields["event"] = event
        lines = list(self._running.lines)[self._start:]
        return [line for line in lines if all(line.get(key) == value for key, value in fields.items())]

    def wait(self, event="decision", **fields):
        fields["event"] = event
        before = sum(all(line.get(key) == value for key, value in fields.items())
                     for line in self._running.lines[:self._start])
        return self._running.wait_line(count=before + 1, **fields)

    def close_of(self, decision):
        return self.wait(event="close", id=decision["id"])


class Stage:
    def __init__(self, authority, mode, names, allow=None, block=None, proxy=None,
                 frame_bytes=FRAME_BYTES_MAX):
        self.mode = mode
        self.is_allowlist = mode == "allowlist"
        self.authority = authority
        self.world = World()
        try:
            ip_batch(self.world.s.name, [f"route add local {SITES4} dev lo", f"route add local {SITES6} dev lo"])
            self.origin = Origin(self.world, authority, names)
            self.agent = Agent(self.world)
            self.sniffer = Sniffer(self.world, frame_bytes=frame_bytes).__enter__()
            self.world.at_close(self.sniffer.__exit__, None, None, None)
            self.config = product.write_config(self.world, product.config_text(mode, allow, block, proxy))
            self.product = product.Product(self.world, self.config).wait_ready()
        except BaseException:
            self.world.close()
            raise

    def since(self):
        return Since(self.product)

    def look_up(self, family, name):
        """The caged user asks for the name, so that its address stands for it."""
        answer = dns(self.world, name, family.qtype, server=family.dns)
        assert answer["rcode"] == "NOERROR" and answer["addresses"], answer
        return answer["addresses"]

    def talk(self, *arguments, **options):
        return self.agent.talk(*arguments, **options)

    def explain(self, *arguments):
        """{verdict, reason, rule, layer} of one destination."""
        result = product.command(self.world, "explain", "--json", "-c", self.config, *arguments)
        assert result.rc in (0, 1), result.errors
        answer = json.loads(result.text)
        assert (answer["verdict"] == "allow") == (result.rc == 0)
        return answer

    def close(self):
        """Ends the product in order; the world goes in any case."""
        try:
            # The rules stay for as long as a process of the caged user does.
            self.world.c.kill(CAGE_UID)
            self.product.stop()
            product.assert_nothing_left(self.world)
        finally:
            self.world.close()
