"""Rules going into the kernel and out of it: what is there is what was printed, and nobody else's rule is touched."""

import errno
import fcntl
import os
import threading

import pytest

from lib.firewall import TABLES, TOOL, Firewall
from lib.netns import BLOCKED4, BLOCKED6, OTHER4, STATIC4, STATIC6

ALLOW = [f"{STATIC4}:9000", f"[{STATIC6}]:9000", "10.1.0.0/16:53,80,443,8000-8100", "198.18.0.0/15:53", OTHER4,
         "2001:db8:9::/48", "2001:db8:a::/48:1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33-40,50-60",
         ("name", "good.example:443")]
BLOCK = [BLOCKED4, BLOCKED6, "203.0.113.64/26:25,6000-6010", "0.0.0.0/0:6667", "::/0:6667"]
RATE = [("proxy.limits.new_per_second", 700)]

FOREIGN4 = ["-A OUTPUT -p tcp --dport 25 -j DROP", "-A OUTPUT -d 192.0.2.1 -j ACCEPT", "-N SOMEBODY",
            "-A SOMEBODY -j LOG --log-prefix x", "-A FORWARD -j SOMEBODY", "-P FORWARD DROP",
            "-t nat -A OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 82",
            "-t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE", "-t mangle -A POSTROUTING -p tcp -j TTL --ttl-set 60",
            "-t raw -A OUTPUT -p udp --dport 4 -j NOTRACK", "-N CAGEX", "-A CAGEX -j RETURN"]
FOREIGN6 = ["-A OUTPUT -p tcp --dport 25 -j DROP", "-N SOMEBODY", "-A OUTPUT -j SOMEBODY",
            "-t nat -A OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 82"]


@pytest.fixture
def firewall(world):
    for tool, rules in (("iptables-legacy", FOREIGN4), ("ip6tables-legacy", FOREIGN6)):
        for rule in rules:
            world.c.run(tool, *rule.split(), check=True)
    return Firewall(world)


def foreign(tables):
    """Everything but ours, in order."""
    return {where: [line for line in lines if "CAGE-" not in line] for where, lines in tables.items()}


def ours(firewall, uid=4242):
    return {where: lines for where, lines in firewall.saved(only=uid).items() if lines}


def chains_first(tables):
    return {where: sorted(lines, key=lambda line: not line.startswith(":")) for where, lines in tables.items()}


@pytest.mark.parametrize("mode", ["allowlist", "blocklist"])
def test_the_kernel_holds_what_is_printed(firewall, mode):
    before = firewall.saved()
    policy = firewall.policy(mode, ALLOW, BLOCK, RATE)
    assert not firewall.is_installed(policy)
    firewall.install(policy)
    assert chains_first(ours(firewall)) == firewall.printed(policy)
    assert foreign(firewall.saved()) == before
    assert firewall.is_installed(policy)
    for (_, table), lines in firewall.saved().items():
        jumps = [line for line in lines if line.startswith(("-A OUTPUT", "-A POSTROUTING"))]
        assert "CAGE-4242-" in jumps[0], table
    firewall.do("remove", 4242)
    assert firewall.saved() == before


def test_the_closed_ruleset(firewall):
    before = firewall.saved()
    policy = firewall.policy("blocklist", ALLOW, BLOCK)
    firewall.install(policy)
    firewall.do("close", policy)
    assert chains_first(ours(firewall)) == firewall.printed(policy, "print-closed")
    assert foreign(firewall.saved()) == before
    firewall.do("remove", 4242)
    assert firewall.saved() == before


def test_a_reload_replaces_and_an_equal_one_changes_nothing(world, firewall):
    first = firewall.policy("allowlist", ALLOW, BLOCK)
    second = firewall.policy("blocklist", ALLOW[:2], BLOCK, RATE)
    firewall.install(first)
    world.c.run("ping", "-c", "1", "-w", "5", "127.0.0.1")
    counters = world.c.run("iptables-legacy-save", "-c", "-t", "mangle").text
    firewall.install(first)
    firewall.install(second)
    assert chains_first(ours(firewall)) == firewall.printed(second)
    assert firewall.is_installed(second) and not firewall.is_installed(first)
    lines = [line for line in counters.splitlines() if not line.startswith("#")]
    now = world.c.run("iptables-legacy-save", "-c", "-t", "mangle").text
    assert lines == [line for line in now.splitlines() if not line.startswith("#")]


def test_a_changed_rate_is_in_force(world, firewall):
    for rate in (700, 5, 10000, 1500):
        firewall.install(firewall.policy("blocklist", settings=[("proxy.limits.new_per_second", rate)]))
        text = world.c.run("iptables-legacy-save", "-t", "filter").text
        assert f"--hashlimit-name cage-4242-{rate} " in text and f"--hashlimit-burst {rate} " in text


def test_two_cages_stand_side_by_side(firewall):
    before = firewall.saved()
    one = firewall.policy("allowlist", ALLOW)
    two = firewall.policy("blocklist", ALLOW, BLOCK, cage=4_000_000_001, proxy=4_000_000_002)
    firewall.install(one)
    firewall.install(two)
    both = firewall.saved()
    assert firewall.is_installed(one) and firewall.is_installed(two)
    assert chains_first(ours(firewall, 4_000_000_001)) == firewall.printed(two)
    firewall.install(firewall.policy("blocklist", ALLOW))
    assert ours(firewall, 4_000_000_001) == chains_of(both, 4_000_000_001)
    firewall.do("remove", 4242)
    assert ours(firewall, 4_000_000_001) == chains_of(both, 4_000_000_001)
    assert firewall.is_installed(two)
    firewall.do("remove", 4_000_000_001)
    assert firewall.saved() == before


def chains_of(tables, uid):
    kept = {where: [line for line in lines if f"CAGE-{uid}-" in line] for where, lines in tables.items()}
    return {where: lines for where, lines in kept.items() if lines}


DISTURBANCES = ["-F OUTPUT", "-D OUTPUT 2", "-I OUTPUT 1 -j ACCEPT", "-F CAGE-4242-BASE", "-D CAGE-4242-BASE 9",
                "-A CAGE-4242-BASE -j ACCEPT", "-R CAGE-4242-REFUSE 1 -j ACCEPT", "-t nat -F", "-t raw -F",
                "-t mangle -F POSTROUTING", "-t nat -N CAGE-4242-STRAY"]


@pytest.mark.parametrize("number, disturbance", enumerate(DISTURBANCES))
def test_what_somebody_else_changed_is_seen_and_put_back(world, firewall, number, disturbance):
    tool = ("iptables-legacy", "ip6tables-legacy")[number % 2]
    policy = firewall.policy("allowlist", ALLOW)
    firewall.install(policy)
    world.c.run(tool, *disturbance.split(), check=True)
    others = foreign(firewall.saved())
    assert not firewall.is_installed(policy)
    firewall.install(policy)
    assert firewall.is_installed(policy)
    assert chains_first(ours(firewall)) == firewall.printed(policy)
    assert foreign(firewall.saved()) == others


def test_what_an_earlier_process_left_is_taken_over(world, firewall):
    before = firewall.saved()
    for rule in ("-N CAGE-4242-OLD", "-A CAGE-4242-OLD -j ACCEPT", "-N CAGE-4242-BASE", "-A CAGE-4242-BASE -j CAGE-4242-OLD",
                 "-A OUTPUT -j CAGE-4242-BASE", "-I OUTPUT -m owner --uid-owner 4242 -j CAGE-4242-OLD", "-t nat -N CAGE-4242-NAT"):
        world.c.run("iptables-legacy", *rule.split(), check=True)
    policy = firewall.policy("allowlist", ALLOW)
    firewall.install(policy)
    assert chains_first(ours(firewall)) == firewall.printed(policy)
    firewall.do("remove", 4242)
    assert firewall.saved() == before


FAILURES = [*(f"{family}:{table}:commit:{errno.EINVAL}:0:99" for family in (4, 6) for table in TABLES),
            *(f"{where}:init:{errno.ENOENT}:0:99" for where in ("4:filter", "6:raw", "6:nat"))]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_step_leaves_the_old_state_whole(firewall, failure):
    first = firewall.policy("allowlist", ALLOW)
    second = firewall.policy("blocklist", ALLOW, BLOCK, RATE, proxy=4299, servers=())
    nothing = firewall.saved()
    failed = firewall.run("install", first, failure)
    assert failed.rc == 1
    family, table, call = failure.split(":")[:3]
    assert failed.errors.startswith(f"{table} table, IPv{family}: {'reading' if call == 'init' else 'committing'}: ")
    assert failed.errors.count(";") == 1 and failed.errors.count("\n") == 1
    assert firewall.saved() == nothing
    firewall.install(first)
    old = firewall.saved()
    if not (call == "commit" and table in ("mangle",)):
        # mangle is the same for every policy and is left alone.
        assert firewall.run("install", second, failure).rc == 1
    assert firewall.saved() == old and firewall.is_installed(first)
    if call == "commit":
        assert firewall.run("remove", 4242, failure).rc == 1
        assert firewall.saved() == old and firewall.is_installed(first)


def test_a_step_is_tried_again_when_somebody_was_faster(firewall):
    policy = firewall.policy("allowlist", ALLOW)
    assert firewall.run("install", policy, f"6:nat:commit:{errno.EAGAIN}:0:3").rc == 0
    assert firewall.is_installed(policy)
    assert firewall.run("install", firewall.policy("blocklist"), f"4:filter:commit:{errno.EAGAIN}:0:99").rc == 1
    assert firewall.is_installed(policy)


def test_everything_is_refused_when_the_old_rules_cannot_be_put_back(firewall):
    first = firewall.policy("allowlist", ALLOW)
    second = firewall.policy("blocklist", ALLOW, BLOCK)
    firewall.install(first)
    others = foreign(firewall.saved())
    failed = firewall.run("install", second, f"6:nat:commit:{errno.EIO}:0:1", f"4:filter:commit:{errno.EIO}:1:1")
    assert failed.rc == 1 and "everything of the cage is refused" in failed.errors
    assert chains_first(ours(firewall)) == firewall.printed(second, "print-closed")
    assert foreign(firewall.saved()) == others
    failed = firewall.run("install", second, f"4:nat:commit:{errno.EIO}:0:99", f"4:filter:commit:{errno.EIO}:1:99")
    assert failed.rc == 1 and "incomplete" in failed.errors


def test_a_rule_that_leads_into_our_chain_is_not_touched(world, firewall):
    policy = firewall.policy("allowlist", ALLOW)
    firewall.install(policy)
    world.c.run("ip6tables-legacy", "-t", "nat", "-N", "SOMEBODY", check=True)
    world.c.run("ip6tables-legacy", "-t", "nat", "-A", "SOMEBODY", "-j", "CAGE-4242-NAT", check=True)
    old = firewall.saved()
    failed = firewall.run("remove", 4242)
    assert failed.rc == 1 and "nat table, IPv6: changing the chains" in failed.errors
    assert firewall.saved() == old


def test_the_lock_is_waited_for_but_not_for_ever(firewall):
    policy = firewall.policy("allowlist", ALLOW)
    nothing = firewall.saved()
    descriptor = os.open(firewall.lock, os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    failed = firewall.run("install", policy)
    assert failed.rc == 1 and failed.errors.startswith("taking the xtables lock: ")
    assert firewall.saved() == nothing
    timer = threading.Timer(0.3, os.close, [descriptor])
    timer.start()
    firewall.install(policy)
    timer.join()
    assert firewall.is_installed(policy)


def test_a_uid_that_is_not_mapped(world, firewall):
    """In a user namespace of its own only uid 0 exists: the first table refuses, nothing is left."""
    policy = firewall.policy("allowlist", ALLOW)
    script = f'"{TOOL}" "$1/lock" install "{policy}"; echo "exit $?"; iptables-legacy-save; ip6tables-legacy-save'
    directory = world.state / "unshared"
    directory.mkdir()
    done = world.c.run("unshare", "-Urn", "sh", "-c", script, "sh", directory,
                       env={"XTABLES_LOCKFILE": str(directory / "x"), "ASAN_OPTIONS": "detect_leaks=0"})
    assert "exit 1\n" in done.text and "CAGE-" not in done.text
    assert done.errors.startswith("filter table, IPv4: committing: Invalid argument; see that both uids exist")


def test_without_privilege(world, firewall):
    policy = firewall.policy("allowlist", ALLOW)
    lock = world.home / "lock"
    done = world.as_cage(TOOL, lock, "install", policy)
    assert done.rc == 1 and "run it as root" in done.errors
