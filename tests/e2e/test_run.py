"""`run`: what it needs, what it leaves behind, and what holds while a part of it is dead."""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from lib import clients, product
from lib.netns import (CAGE_UID, CAGE_USER, HOST4, HOST6, OTHER4, OTHER6, PROXY_UID, SHARED4, SHARED6, STATIC4,
                       kill_session, wait_until)
from lib.product import DNS_PORT, PROG, TCP_PORT, Product, assert_nothing_left, config_text, write_config

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_PIDFD_GETFD, IP_PKTINFO = 438, 8

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
LOCKS = Path("/run/cage-proxy")

CONNECT = """
for address in sys.argv[1:]:
    try:
        stream(address, 80, 2).close()
        tell(result="connected")
    except OSError as error:
        tell(result=name_of(error))
"""


def connects(world, *addresses):
    """What connect() says for each, as the cage's user."""
    return [told["result"] for told in clients.python(world, CONNECT, *addresses)]


def start(world, **fields):
    return Product(world, write_config(world, config_text(**fields))).wait_ready()


def locks(world):
    inode = os.stat(f"/run/netns/{world.c.name}").st_ino
    return list(LOCKS.glob(f"lock-{inode}-*"))


def attempt_lock(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def run_to_its_end(world, config):
    return product.command(world, "run", "-c", config)


def named(world, address):
    """The rules that name an address."""
    return [rule for rule in world.c.rules() if f" {address}/32 " in rule]


def listening(world):
    return [line for line in world.c.sockets() if line.startswith("LISTEN") and f":{TCP_PORT} " in line]


def test_ready_says_what_is_in_force_and_a_clean_end_leaves_nothing(world):
    cage = start(world, allow={"domains": ["good.example:443"], "ips": [f"{STATIC4}:80"]})
    ready = cage.matching(event="ready")[0]
    assert (ready["user"], ready["uid"], ready["proxy_uid"]) == (CAGE_USER, CAGE_UID, PROXY_UID)
    assert (ready["mode"], ready["rules"], ready["generation"]) == ("allowlist", 2, 1)
    assert ready["listen"] == {"tcp": TCP_PORT, "dns": DNS_PORT}
    assert world.c.rules() and len(locks(world)) == 2
    cage.stop()
    assert cage.lines[-1]["event"] == "stop" and cage.lines[-1]["left"] == "nothing"
    assert_nothing_left(world)
    assert not locks(world)


def test_sigint_is_a_clean_end_as_well(world):
    cage = start(world)
    os.kill(cage.pid, signal.SIGINT)
    assert cage.process.wait(30) == 0
    assert cage.wait_line(event="stop")["why"] == "SIGINT"
    assert_nothing_left(world)


def test_the_worker_has_nothing(world):
    cage = start(world)
    pid, = cage.worker_pids()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == [str(PROXY_UID)] * 4 and status["Gid"].split() == [str(PROXY_UID)] * 4
    assert status["Groups"].split() == [] and status["NoNewPrivs"] == "1"
    assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    kinds = {os.readlink(fd).split(":")[0] for fd in Path(f"/proc/{pid}/fd").iterdir()}
    assert kinds <= {"/dev/null", "socket", "pipe", "anon_inode"}
    assert all("SAN_OPTIONS" in entry for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry)
    cage.stop()


def taken_sockets(pid):
    """What a worker under an attacker's control has in its hands: its sockets, shared with this process."""
    process = os.pidfd_open(pid)
    try:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(fd).startswith("socket:"):
                yield socket.socket(fileno=LIBC.syscall(SYS_PIDFD_GETFD, process, int(fd.name), 0))
    finally:
        os.close(process)


def test_the_rules_of_the_proxy_hold_for_the_sockets_that_it_was_handed(world, sniffer):
    cage = start(world)
    pid, = cage.worker_pids()
    address4 = struct.pack("=i4s4s", 0, socket.inet_aton(HOST4), bytes(4))
    address6 = socket.inet_pton(socket.AF_INET6, HOST6) + struct.pack("=i", 0)
    ways = {socket.AF_INET: ((OTHER4, 7777), (socket.IPPROTO_IP, IP_PKTINFO, address4)),
            socket.AF_INET6: ((OTHER6, 7777), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, address6))}
    tried = []
    for taken in taken_sockets(pid):
        with taken:
            if taken.family in ways and taken.type == socket.SOCK_DGRAM:
                to, source = ways[taken.family]
                with pytest.raises(PermissionError):
                    taken.sendmsg([b"marker-"], [source], 0, to)
                tried.append(taken.family)
    assert sorted(tried) == [socket.AF_INET, socket.AF_INET6]
    sniffer.assert_no_bytes(b"marker-")
    cage.stop()


@pytest.mark.parametrize("kind, address, port", [(socket.SOCK_STREAM, "127.0.0.1", TCP_PORT),
                                                 (socket.SOCK_STREAM, "::1", TCP_PORT),
                                                 (socket.SOCK_DGRAM, "127.0.0.1", DNS_PORT)])
def test_a_taken_port_is_named_and_leaves_nothing(world, kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with world.c.socket(family, kind) as taken:
        taken.bind((address, port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        ended = run_to_its_end(world, write_config(world, config_text()))
        assert ended.rc == 3 and f"port {port} is taken" in ended.errors, ended.errors
        assert world.c.rules() == [] and not locks(world) and not world.c.pids(uid=PROXY_UID)


def test_without_written_ports_the_first_free_pair_is_taken(world):
    text = config_text().replace("ports = { tcp = 15080, dns = 15053 }, ", "").replace(
        ", ports = { tcp = 15080, dns = 15053 }", "")
    assert "ports" not in text
    with world.c.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", TCP_PORT))
        cage = Product(world, write_config(world, text)).wait_ready()
        assert cage.matching(event="ready")[0]["listen"] == {"tcp": TCP_PORT + 1, "dns": DNS_PORT + 1}
        cage.reload()
        cage.stop()
    assert_nothing_left(world)


@pytest.mark.parametrize("fields, said", [
    ({"user": "nobody-knows"}, 'user "nobody-knows" does not exist'),
    ({"proxy": {"user": "nobody-knows"}}, 'user "nobody-knows" does not exist'),
    ({"proxy": {"user": str(CAGE_UID)}}, "of its own"),
])
def test_an_unknown_user_is_named_and_leaves_nothing(world, fields, said):
    ended = run_to_its_end(world, write_config(world, config_text(**fields)))
    assert ended.rc in (1, 3) and said in ended.errors, ended.errors
    assert_nothing_left(world)
    assert not locks(world)


def test_no_resolver_is_a_fault_that_says_what_to_do(world):
    world.c.write_etc("resolv.conf", "search example\n")
    ended = run_to_its_end(world, write_config(world, config_text()))
    assert ended.rc == 3 and "proxy.dns.servers" in ended.errors, ended.errors
    assert_nothing_left(world)


def test_a_faulty_file_starts_nothing(world):
    ended = run_to_its_end(world, write_config(world, config_text(allow={"domains": ["good.example:99999"]})))
    assert ended.rc == 1 and "99999" in ended.errors, ended.errors
    assert_nothing_left(world)


def test_disabled_installs_nothing(world):
    ended = run_to_its_end(world, write_config(world, config_text(mode="disabled")))
    assert ended.rc == 0, ended.errors
    assert_nothing_left(world)


def test_a_second_cage_of_a_user_is_refused(world):
    cage = start(world)
    rules = world.c.rules()
    ended = run_to_its_end(world, write_config(world, config_text(proxy={"ports": {"tcp": 16080, "dns": 16053}})))
    assert ended.rc == 3 and "already running" in ended.errors, ended.errors
    other_cage = config_text(user="other", proxy={"ports": {"tcp": 16080, "dns": 16053}})
    ended = run_to_its_end(world, write_config(world, other_cage))
    assert ended.rc == 3 and "proxy user" in ended.errors, ended.errors
    assert world.c.rules() == rules
    cage.stop()
    assert_nothing_left(world)


def test_without_the_right_to_change_rules_nothing_is_left(world):
    config = write_config(world, config_text())
    ended = world.c.run("setpriv", "--bounding-set=-net_admin,-net_raw", PROG, "run", "-c", config)
    assert ended.rc == 3 and ended.errors.strip(), ended.errors
    assert_nothing_left(world)
    assert not locks(world)


def test_not_root(world):
    ended = world.c.run(PROG, "run", "-c", write_config(world, config_text()), uid=CAGE_UID)
    assert ended.rc == 3 and "root" in ended.errors, ended.errors


def test_a_killed_worker_means_refusals_at_once_and_is_replaced(world, origin):
    cage = start(world, allow={"domains": ["good.example:80"], "ips": [f"{STATIC4}:80"]})
    first, = cage.worker_pids()
    os.kill(first, signal.SIGKILL)
    cage.wait_line(event="fault", what="worker")
    # Refused while it is away, and what the kernel itself lets pass goes on.
    if not listening(world):
        assert connects(world, SHARED4, SHARED6, OTHER4) == ["ECONNREFUSED"] * 3 or listening(world)
    assert connects(world, STATIC4) == ["connected"]
    wait_until(lambda: listening(world), "the sockets accept again", 30)
    second, = cage.worker_pids()
    assert second != first
    cage.stop()
    assert_nothing_left(world)


REFUSED = """
request = b"GET / HTTP/1.1\\r\\nHost: other.example\\r\\n\\r\\n"
answer = fetch(sys.argv[1], 80, request)
tell(status=answer.split(b" ", 2)[1])
"""

HELD = """
held = stream(sys.argv[1], 80)
tell(result="connected")
wait()
"""


def test_connections_of_a_killed_worker_do_not_keep_the_next_from_accepting(world, origin):
    cage = start(world, allow={"domains": ["good.example:80"]})
    # One that the worker has closed and that waits in the kernel, and one that it holds when it dies.
    assert clients.python(world, REFUSED, SHARED4) == [{"status": "403"}]
    held = clients.Caged(world, HELD, SHARED4)
    assert held.hear() == {"result": "connected"}
    first, = cage.worker_pids()
    os.kill(first, signal.SIGKILL)
    cage.wait_line(event="fault", what="worker")
    wait_until(lambda: cage.worker_pids() not in ([], [first]) and listening(world), "another worker accepts", 30)
    assert clients.python(world, REFUSED, SHARED4) == [{"status": "403"}]
    assert len(cage.matching(event="fault")) == 1
    held.kill()
    cage.stop()
    assert_nothing_left(world)


def test_a_worker_that_is_killed_again_and_again_stays_refused(world):
    cage = start(world)
    for count in range(1, 6):
        pid = wait_until(cage.worker_pids, "there is a worker")[0]
        os.kill(pid, signal.SIGKILL)
        cage.wait_line(event="fault", what="worker", count=count)
        assert connects(world, OTHER4) != ["connected"]
    wait_until(lambda: listening(world), "the sockets accept again", 30)
    # Also a worker that died before its sockets accepted leaves them whole for the next.
    for address in (SHARED4, SHARED6):
        assert clients.python(world, REFUSED, address) == [{"status": "403"}]
    cage.stop()


def test_a_stopped_worker_means_refusals_at_once_and_is_replaced(world, origin):
    cage = start(world, allow={"domains": ["good.example:80"]})
    first, = cage.worker_pids()
    os.kill(first, signal.SIGSTOP)
    assert "stopped" in cage.wait_line(event="fault", what="worker")["message"]
    if not listening(world):
        assert connects(world, SHARED4) == ["ECONNREFUSED"] or listening(world)
    wait_until(lambda: cage.worker_pids() not in ([], [first]) and listening(world), "another worker accepts", 30)
    assert connects(world, SHARED4) == ["connected"]
    cage.stop()
    assert_nothing_left(world)


def reap(task):
    """A tracer has to see the end of what it traces before the parent does."""
    with contextlib.suppress(ChildProcessError):
        while not os.WIFSIGNALED(os.waitpid(task, WALL)[1]):
            pass


def freeze(pid):
    """Every thread of a process stands still, and its parent is told nothing of it; undone when it is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    for task in map(int, os.listdir(f"/proc/{pid}/task")):
        for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            assert libc.ptrace(request, task, None, None) == 0, os.strerror(ctypes.get_errno())
        threading.Thread(target=reap, args=(task,), daemon=True).start()


def test_a_worker_that_hangs_is_replaced(world):
    cage = start(world)
    first, = cage.worker_pids()
    freeze(first)
    assert "ping" in cage.wait_line(event="fault", what="worker")["message"]
    wait_until(lambda: cage.worker_pids() not in ([], [first]) and listening(world), "another worker accepts", 30)
    cage.stop()
    assert_nothing_left(world)


@pytest.mark.parametrize("attempt", range(3))
def test_an_end_while_a_new_worker_reads_its_policy(world, attempt):
    """It ends in order, and what was read so far is freed."""
    cage = start(world)
    first, = cage.worker_pids()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: cage.worker_pids() not in ([], [first]), "there is another worker")
    cage.stop()
    assert_nothing_left(world)


def test_a_faulty_reload_changes_nothing(world):
    cage = start(world, allow={"ips": [f"{STATIC4}:80"]})
    rules = world.c.rules()
    good = cage.config.read_text()
    cage.config.write_text(good.replace(":80", ":99999"))
    os.kill(cage.pid, signal.SIGHUP)
    fault = cage.wait_line(event="fault", what="reload")
    assert "99999" in fault["message"] and fault["generation"] == 1
    cage.config.write_text(config_text(proxy={"ports": {"tcp": 16080, "dns": 16053}}))
    os.kill(cage.pid, signal.SIGHUP)
    assert "proxy.ports" in cage.wait_line(event="fault", what="reload", count=2)["message"]
    assert world.c.rules() == rules
    cage.stop()
    assert_nothing_left(world)


def test_a_reload_replaces_the_policy(world, origin):
    cage = start(world, allow={"ips": [f"{STATIC4}:80"]})
    assert named(world, STATIC4) and not named(world, SHARED4)
    cage.config.write_text(config_text(allow={"ips": [f"{SHARED4}:80", f"{OTHER4}:80"]}))
    line = cage.reload()
    assert (line["mode"], line["rules"]) == ("allowlist", 2)
    assert named(world, SHARED4) and not named(world, STATIC4)
    assert connects(world, SHARED4) == ["connected"]
    cage.config.write_text(config_text(mode="blocklist", block={"ips": [SHARED4]}))
    assert cage.reload()["mode"] == "blocklist"
    assert connects(world, SHARED4) == ["ECONNREFUSED"]
    cage.stop()
    assert_nothing_left(world)


ASKING = """
s = stream(sys.argv[1], 80)
def ask():
    s.sendall(b"GET /x HTTP/1.1\\r\\nHost: good.example\\r\\n\\r\\n")
    return s.recv(4096).split(b"\\r\\n")[0].decode()
tell(answer=ask())
while wait() == "ask":
    try:
        tell(answer=ask())
    except OSError as error:
        tell(answer=name_of(error))
"""


@pytest.mark.parametrize("address", [SHARED4, SHARED6])
def test_a_reload_closes_what_it_refuses_and_nothing_else(world, origin, address):
    cage = start(world, allow={"domains": ["good.example:80"]})
    held = clients.Caged(world, ASKING, address)
    assert held.hear() == {"answer": "HTTP/1.1 200 OK"}
    cage.config.write_text(config_text(allow={"domains": ["**.good.example:80"]}))
    assert cage.reload()["closed"] == 0
    held.say("ask")
    assert held.hear() == {"answer": "HTTP/1.1 200 OK"}
    cage.config.write_text(config_text(allow={"domains": ["other.example:80"]}))
    assert cage.reload()["closed"] == 1
    assert cage.wait_line(event="close")["why"] == "policy"
    held.say("ask")
    assert held.hear()["answer"] in ("", "ECONNRESET", "EPIPE")
    held.end()
    cage.stop()


def test_a_start_right_after_an_end_gets_its_ports(world, origin):
    for _ in range(2):
        cage = start(world, allow={"domains": ["good.example:80"]})
        # The proxy closes first, so that TIME_WAIT is on its port.
        got = clients.curl(world, origin.authority, "--resolve", f"other.example:80:{SHARED4}", "http://other.example/")
        assert "[403]" in got.text
        cage.stop()
    assert_nothing_left(world)


def test_a_killed_supervisor_leaves_everything_refused_and_the_next_takes_over(world, origin):
    allowed = {"ips": [f"{STATIC4}:80"]}
    cage = start(world, allow={"domains": ["good.example"], **allowed})
    os.kill(cage.pid, signal.SIGKILL)
    cage.process.wait(30)
    wait_until(lambda: not world.c.pids(uid=PROXY_UID), "the worker died with its supervisor")
    assert world.c.rules()
    assert connects(world, SHARED4, SHARED6, OTHER4) == ["ECONNREFUSED"] * 3
    assert "error" in clients.dns(world, "good.example")
    again = start(world, allow=allowed)
    assert connects(world, STATIC4) == ["connected"]
    again.stop()
    assert_nothing_left(world)
    assert not locks(world)


def test_rules_stay_while_a_process_of_the_cage_lives(world, origin):
    cage = start(world, allow={"ips": [f"{STATIC4}:80"]})
    snippet = clients.Caged(world, """
s = stream(sys.argv[1], 80)
tell(connected=True)
wait()
tell(sent=attempt(s.sendall, b"GET / HTTP/1.0\\r\\n\\r\\n"), read=attempt(s.recv, 1), again=attempt(stream, sys.argv[1], 80, 2))
wait()
""", STATIC4)
    assert snippet.hear() == {"connected": True}
    cage.stop()
    assert cage.lines[-1]["event"] == "stop" and cage.lines[-1]["left"] == "deny-all"
    assert "refused" in cage.errors
    snippet.say()
    told = snippet.hear()
    assert told["sent"] or told["read"], "the old connection lives on"
    assert told["again"] == "ECONNREFUSED"
    snippet.end()
    again = start(world)
    again.stop()
    assert_nothing_left(world)


def test_sockets_older_than_the_cage_are_destroyed(world, origin):
    snippet = clients.Caged(world, """
s = stream(sys.argv[1], 80)
tell(connected=True)
wait()
tell(sent=attempt(s.sendall, b"GET / HTTP/1.0\\r\\n\\r\\n"), read=attempt(s.recv, 1))
wait()
""", OTHER4)
    assert snippet.hear() == {"connected": True}
    cage = start(world, allow={"ips": [OTHER4]})
    snippet.say()
    told = snippet.hear()
    assert told["sent"] or told["read"]
    snippet.end()
    cage.stop()
    assert_nothing_left(world)


def test_a_log_that_nobody_reads_stops_nothing(world):
    config = write_config(world, config_text())
    reader, writer = os.pipe()
    os.close(reader)
    errors = world.state / "nobody.err"
    with open(errors, "wb") as stream:
        process = world.c.popen(PROG, "run", "-c", config, stdout=writer, stderr=stream, env=product.SANITIZERS)
    os.close(writer)
    world.at_close(process.kill)
    wait_until(lambda: listening(world), "it runs", 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert_nothing_left(world)


def test_the_log_goes_to_a_file_as_text(world):
    path = world.state / "cage.log"
    log = {"file": str(path), "format": "text"}
    process = world.c.popen(PROG, "run", "-c", write_config(world, config_text(proxy={"log": log})),
                            stdout=subprocess.PIPE, env=product.SANITIZERS)
    world.at_close(process.kill)
    line = wait_until(lambda: path.exists() and path.read_text(), "a line is logged", 30)
    assert " ready version=" in line and f"uid={CAGE_UID}" in line
    # A log that was rotated away is opened anew.
    path.rename(world.state / "cage.log.1")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: path.exists() and " reload generation=2 " in path.read_text(), "the reload is logged", 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0 and process.stdout.read() == b""
    assert path.read_text().splitlines()[-1].endswith("stop why=SIGTERM left=nothing")


def test_a_front_leaves_the_rules_of_a_cage_that_began_since(world):
    """exec: its supervisor dies, and before the front can clean up somebody else has the cage's user."""
    config = write_config(world, config_text(allow={"domains": ["good.example:443"]}))
    front = world.c.popen(PROG, "exec", "-c", config, "--", "/bin/sh", "-c", "echo begun; sleep 600",
                          env=product.SANITIZERS, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert front.stdout.readline().strip() == b"begun", front.stderr.read()
        children = Path(f"/proc/{front.pid}/task/{front.pid}/children").read_text().split()
        supervisor, = [pid for pid in children if os.path.samefile(f"/proc/{pid}/ns/pid", "/proc/self/ns/pid")]
        lock = min(locks(world), key=lambda path: int(path.name.rsplit("-", 1)[1]) != CAGE_UID)
        os.kill(front.pid, signal.SIGSTOP)
        os.kill(int(supervisor), signal.SIGKILL)
        with lock.open() as held:
            wait_until(lambda: attempt_lock(held), "the supervisor's lock is free")
            os.kill(front.pid, signal.SIGCONT)
            _, errors = front.communicate(timeout=60)
            assert b"another cage of this user has begun" in errors, errors
            assert world.c.rules()
    finally:
        kill_session(front)
    start(world).stop()
    assert_nothing_left(world)
