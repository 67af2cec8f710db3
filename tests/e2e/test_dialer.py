"""Dialling: every candidate in order, over both families, and what is said when none answers."""

import pytest

from lib import clients
from lib.netns import OTHER4, OTHER6, SHARED4, SHARED6
from lib.product import Product, config_text, write_config
from lib.sniffer import TCP

GOOD = "good.example"


@pytest.fixture
def cage(world, origin):
    text = config_text(allow={"domains": [f"{GOOD}:80,443,81"]}, proxy={"limits": {"dial_ms": 4000}})
    run = Product(world, write_config(world, text)).wait_ready()
    yield run
    run.stop()


def silence(world, address):
    """From here on the far side answers nothing that is sent to the address."""
    tool = "ip6tables-legacy" if ":" in address else "iptables-legacy"
    world.s.run(tool, "-I", "INPUT", "-d", address, "-p", "tcp", "-j", "DROP", check=True)


def dialled(sniffer):
    """The addresses that TCP went to, each once, in the order of their first packets."""
    return list(dict.fromkeys(p.dst for p in sniffer.packets(dst=(SHARED4, SHARED6, OTHER4, OTHER6), proto=TCP)))


def fetch(world, authority, address, port=80):
    return clients.curl(world, authority, "--resolve", f"{GOOD}:{port}:{address}", f"http://{GOOD}:{port}/")


@pytest.mark.parametrize("silent, alive", [(OTHER6, SHARED4), (OTHER4, SHARED6), (OTHER4, SHARED4), (OTHER6, SHARED6)])
def test_a_silent_candidate_does_not_stop_the_next(world, origin, authority, cage, sniffer, silent, alive):
    origin.resolver.set_names({GOOD: [silent, alive]})
    silence(world, silent)
    # Dialled by the client, so it is tried first.
    result = fetch(world, authority, silent)
    assert f"dst={alive}" in result.text and "[200]" in result.text
    assert dialled(sniffer) == [silent, alive]
    assert cage.wait_line(event="close", why="end")["upstream"].startswith(f"[{alive}]" if ":" in alive else alive)


def test_a_refusing_candidate_does_not_stop_the_next(world, origin, authority, cage):
    origin.resolver.set_names({GOOD: [OTHER4, SHARED4]})
    world.s.run("iptables-legacy", "-I", "INPUT", "-d", OTHER4, "-p", "tcp", "-j", "REJECT", "--reject-with",
                "tcp-reset", check=True)
    assert f"dst={SHARED4}" in fetch(world, authority, OTHER4).text


def test_none_that_listens_is_upstream_refused(world, origin, authority, cage):
    result = fetch(world, authority, SHARED4, 81)
    assert "[502]" in result.text and "upstream-refused" in result.text
    assert cage.decision(name=GOOD, reason="upstream-refused")["verdict"] == "deny"


def test_none_that_answers_is_upstream_timeout(world, origin, authority, cage):
    for address in (SHARED4, SHARED6):
        silence(world, address)
    result = fetch(world, authority, SHARED4)
    assert "[504]" in result.text and "upstream-timeout" in result.text
    cage.decision(name=GOOD, reason="upstream-timeout")


def test_a_name_that_has_no_address_is_unresolvable(world, origin, authority, cage):
    origin.resolver.set_names({})
    result = fetch(world, authority, SHARED4)
    assert "[502]" in result.text and "name-unresolvable" in result.text
