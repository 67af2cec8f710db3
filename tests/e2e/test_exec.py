"""`exec`: what its command may reach and do, what it is told, and that nothing is left afterwards."""

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from lib import clients, execs, product
from lib.execs import Exec, Terminal, assert_nothing_left, left_over, snippet, wait_worker
from lib.netns import (CAGE_UID, CAGE_USER, DNS4, DNS6, METADATA4, OTHER4, OTHER_UID, PROXY_UID, SHARED4, SHARED6,
                       STATIC4, STATIC6, wait_until)
from lib.origin import SINK_PORT
from lib.product import DNS_PORT, PROG, TCP_PORT, Product, config_text, write_config

ALLOW = {"domains": ["good.example:80,443", "ssh.example:22"],
         "ips": [f"{STATIC4}:{SINK_PORT}", f"[{STATIC6}]:{SINK_PORT}"]}
PROBE_NAME = "cage-proxy-probe.invalid"


@pytest.fixture
def desk():
    """A directory of the cage's user that its commands see: /run, where a World's state is, is hidden from them."""
    path = Path(tempfile.mkdtemp(prefix="cage-desk-", dir="/tmp"))
    path.chmod(0o755)
    os.chown(path, CAGE_UID, CAGE_UID)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def config(world):
    return write_config(world, config_text(allow=ALLOW))


def run(world, config, *argv, options=(), env=None, rules_before=(), **more):
    """One exec to its end, after which nothing is left."""
    environment = {**execs.mark(), **(env or {})}
    ended = product.command(world, "exec", "-c", config, *options, "--", *argv, env=environment, **more)
    assert not any(report in ended.errors for report in product.SANITIZER_REPORTS), ended.errors[-6000:]
    assert_nothing_left(world, environment, rules_before)
    return ended


def tell(world, config, source, *arguments, **options):
    """What the snippet told as the command of an exec."""
    ended = run(world, config, *snippet(source, *arguments), **options)
    assert ended.rc == 0, ended.errors
    return [json.loads(line) for line in ended.text.splitlines()]


def complaint(ended):
    """The one line of an error."""
    lines = ended.errors.splitlines()
    assert len(lines) == 1, ended.errors
    return lines[0]


@pytest.mark.parametrize("script, status", [
    ("true", 0), ("exit 7", 7), ("exit 255", 255),
    *((f"kill -{name} $$", 128 + number)
      for name, number in (("HUP", 1), ("INT", 2), ("KILL", 9), ("SEGV", 11), ("TERM", 15))),
])
def test_the_status_is_the_commands_own(world, config, script, status):
    ended = run(world, config, "sh", "-c", script)
    assert (ended.rc, ended.errors) == (status, "")


@pytest.mark.parametrize("command, status, said", [
    ("plain.txt", 126, "Permission denied"), ("", 126, "Permission denied"), ("nowhere", 127, "No such file"),
    ("no-such-command", 127, "No such file"),
])
def test_a_command_that_cannot_be_run(world, config, desk, command, status, said):
    (desk / "plain.txt").write_text("no program\n")
    path = command if command == "no-such-command" else desk / command
    ended = run(world, config, path)
    assert ended.rc == status
    assert complaint(ended) == f"cage-proxy exec: {path}: {said}" + (" or directory" if status == 127 else "")


def not_made(world, config, desk, *options, **more):
    """An exec that must end before its command."""
    marker = desk / "ran"
    ended = run(world, config, "touch", marker, options=options, **more)
    assert not marker.exists()
    assert ended.rc == 125, ended.errors
    return ended


def test_every_fault_of_the_configuration_is_said(world, desk):
    config = write_config(world, config_text(allow={"domains": ["good.example:99999", "*.com"]}))
    ended = not_made(world, config, desk)
    assert "99999" in ended.errors and "*.com" in ended.errors
    assert all(line.startswith(f"{config}:") for line in ended.errors.splitlines()), ended.errors


def test_a_missing_configuration_is_said(world, desk):
    ended = not_made(world, world.state / "none.lua", desk)
    assert f"{world.state}/none.lua" in complaint(ended)


@pytest.mark.parametrize("fields, said", [
    ({"user": "nobody-knows"}, "there is no user nobody-knows: create it (useradd"),
    ({"mode": "disabled"}, 'networkMode is disabled, so nothing would be enforced: set it to "allowlist"'),
    ({"proxy": {"user": "nobody-knows"}}, 'user "nobody-knows" does not exist'),
])
def test_what_the_configuration_asks_for_and_is_not_there(world, desk, fields, said):
    assert said in complaint(not_made(world, write_config(world, config_text(**fields)), desk))


def test_an_unknown_user_as_an_option(world, config, desk):
    assert "there is no user nobody-knows" in complaint(not_made(world, config, desk, "--user", "nobody-knows"))


def test_a_cage_of_that_user_is_already_running(world, config, desk):
    service = Product(world, config).wait_ready()
    rules = world.c.rules()
    ended = product.exec_cage(world, config, "touch", desk / "ran")
    assert ended.rc == 125 and not (desk / "ran").exists()
    assert "already running here: end it first" in complaint(ended)
    assert world.c.rules() == rules
    service.stop()
    assert_nothing_left(world)


def test_a_second_exec_of_that_user(world, config, desk):
    first = Exec(world, config, *snippet("tell(ready=1)\nwait()"))
    first.hear()
    ended = product.exec_cage(world, config, "touch", desk / "ran")
    assert ended.rc == 125 and not (desk / "ran").exists()
    assert "already running here: end it first" in complaint(ended)
    first.say()
    assert first.wait() == 0
    assert_nothing_left(world, first.environment)


@pytest.mark.parametrize("kind, address, port", [(socket.SOCK_STREAM, "127.0.0.1", TCP_PORT),
                                                 (socket.SOCK_STREAM, "::1", TCP_PORT),
                                                 (socket.SOCK_DGRAM, "127.0.0.1", DNS_PORT)])
def test_a_port_is_taken(world, config, desk, kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with world.c.socket(family, kind) as taken:
        taken.bind((address, port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        ended = product.exec_cage(world, config, "touch", desk / "ran")
        assert ended.rc == 125 and not (desk / "ran").exists()
        assert f"port {port} is taken" in complaint(ended)
    assert_nothing_left(world)


def test_no_resolver(world, config, desk):
    world.c.write_etc("resolv.conf", "search example\n")
    assert "proxy.dns.servers" in complaint(not_made(world, config, desk))


def test_not_root(world, config, desk):
    ended = world.c.run(PROG, "exec", "-c", config, "--", "touch", desk / "ran", uid=OTHER_UID)
    assert ended.rc == 125 and not (desk / "ran").exists()
    assert "this needs root: run it with sudo" in complaint(ended)
    assert_nothing_left(world)


def test_root_without_the_right_to_change_rules(world, config, desk):
    ended = world.c.run("setpriv", "--bounding-set=-net_admin,-net_raw", PROG, "exec", "-c", config, "--", "touch",
                        desk / "ran")
    assert ended.rc == 125 and not (desk / "ran").exists()
    assert complaint(ended)
    assert_nothing_left(world)


@pytest.mark.parametrize("arguments", [[], ["--"], ["--nonsense", "--", "true"], ["-c"], ["--user"]])
def test_wrong_use(world, arguments):
    ended = product.command(world, "exec", *arguments)
    assert ended.rc == 2 and ended.errors.startswith("cage-proxy exec: ") and ended.text == ""
    assert_nothing_left(world)


def test_the_commands_own_options_are_not_ours(world, config):
    ended = run(world, config, "sh", "-c", 'echo "$@"', "sh", "--user", "x", "--", "-c", "y")
    assert ended.text == "--user x -- -c y\n"


def test_standard_input_and_output_are_the_commands(world, config):
    ended = run(world, config, "sh", "-c", "cat; echo to-error >&2", stdin=b"bytes\0\xff\n")
    assert (ended.out, ended.err) == (b"bytes\0\xff\n", b"to-error\n")


def script(world, config, origin, desk, text, **options):
    """A shell script with $CA and $DESK; what each of its lines prints."""
    shutil.copy(origin.authority.ca, desk / "ca.pem")
    (desk / "ca.pem").chmod(0o644)
    environment = {"CA": str(desk / "ca.pem"), "DESK": str(desk), "GIT_SSL_CAINFO": str(desk / "ca.pem"),
                   "GIT_TERMINAL_PROMPT": "0", "NODE_EXTRA_CA_CERTS": str(desk / "ca.pem"), **options.pop("env", {})}
    return run(world, config, "sh", "-c", text, env=environment, **options)


CURLS = f"""
get() {{ curl -sS --max-time 40 --cacert "$CA" "$@" 2>&1; echo " =$?"; }}
get https://good.example/a
get -6 http://good.example/b
get https://other.example/
get --resolve other.example:443:{SHARED4} https://other.example/
get --resolve other.example:80:{SHARED4} http://other.example/
get --resolve good.example:443:{OTHER4} https://good.example/lie
get http://10.0.0.5/
get http://{METADATA4[0]}/
get http://{STATIC4}:{SINK_PORT + 1}/
"""


def test_curl(world, config, origin, desk):
    lines = script(world, config, origin, desk, CURLS).text
    expected = ["sni=good.example host=good.example uri=/a\n =0", f"dst={SHARED6} ", "uri=/b\n =0",
                "Could not resolve host: other.example", "=6\n", "unrecognized name", "=35\n",
                "cage-proxy refused this request: not-allowed", "other.example port 80", '"other.example:80"',
                "uri=/lie\n =0", "Failed to connect to 10.0.0.5", "=7\n", f"Failed to connect to {METADATA4[0]}",
                "=7\n"]
    at = 0
    for part in expected:
        assert part in lines[at:], f"no {part!r} after:\n{lines[:at]}\nbut:\n{lines[at:]}"
        at = lines.index(part, at) + len(part)
    # The address that the client named for an allowed name is never dialled.
    assert f"dst={OTHER4}" not in lines
    assert all(" good.example GET " in request for request in origin.requests()), origin.requests()


GITS = """
git clone -q https://good.example/files/repo.git "$DESK/clone" && git -C "$DESK/clone" log --format=%s
git ls-remote https://other.example/files/repo.git 2>&1
git -c http.curloptResolve=other.example:443:203.0.113.10 ls-remote https://other.example/files/repo.git 2>&1
options="-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
export GIT_SSH_COMMAND="ssh $options -i $DESK/key"
git ls-remote "ssh://git@ssh.example$REPO" 2>/dev/null
"""


def test_git(world, config, origin, desk):
    key = origin.start_ssh()
    repo = origin.start_git()
    shutil.copy(key, desk / "key")
    os.chown(desk / "key", CAGE_UID, CAGE_UID)
    (desk / "key").chmod(0o600)
    lines = script(world, config, origin, desk, GITS, env={"REPO": str(repo)}).text
    assert lines.startswith("first\n")
    assert "Could not resolve host: other.example" in lines
    assert "not recognized" in lines
    assert lines.rstrip().endswith("refs/heads/main"), lines


PYTHON = f"""
import http.client, ssl, urllib.error, urllib.request
context = ssl.create_default_context(cafile=sys.argv[1])
opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
def get(url):
    try:
        tell(status=opener.open(url, timeout=40).status)
    except urllib.error.HTTPError as error:
        tell(status=error.code, reason=error.headers["X-Cage-Reason"], body=error.read())
    except (urllib.error.URLError, OSError) as error:
        tell(error=str(getattr(error, "reason", error)))
get("https://good.example/")
get("http://good.example/")
get("http://other.example/")
connection = http.client.HTTPConnection("{SHARED4}", 80, timeout=40)
connection.request("GET", "/", headers={{"Host": "other.example"}})
answer = connection.getresponse()
tell(status=answer.status, reason=answer.headers["X-Cage-Reason"], body=answer.read())
for address in ("10.0.0.5", "{METADATA4[0]}", "fd00:ec2::254"):
    tell(error=attempt(stream, address, 80))
with datagram("{OTHER4}") as s:
    tell(error=attempt(s.sendto, b"x", ("{OTHER4}", 443)))
"""


def test_python(world, config, origin, desk):
    shutil.copy(origin.authority.ca, desk / "ca.pem")
    (desk / "ca.pem").chmod(0o644)
    told = tell(world, config, PYTHON, desk / "ca.pem")
    assert told[:2] == [{"status": 200}] * 2
    assert "Name or service not known" in told[2]["error"]
    assert (told[3]["status"], told[3]["reason"]) == (403, "not-allowed")
    assert '"other.example:80"' in told[3]["body"]
    assert told[4:] == [{"error": "ECONNREFUSED"}] * 3 + [{"error": "EPERM"}]


NODE = f"""
const http = require("http"), https = require("https");
const get = (client, url, options) => new Promise(done =>
    client.get(url, options || {{}}, answer => {{
        answer.resume();
        done([answer.statusCode, answer.headers["x-cage-reason"]]); }})
        .on("error", error => done([error.code])));
(async () => {{
    console.log(JSON.stringify([
        await get(https, "https://good.example/"), await get(http, "http://other.example/"),
        await get(http, "http://{SHARED4}/", {{ headers: {{ host: "other.example" }} }}),
        await get(http, "http://10.0.0.5/")]));
}})();
"""


def test_node(world, config, origin, desk):
    (desk / "get.js").write_text(NODE)
    ended = script(world, config, origin, desk, '/usr/bin/node "$DESK/get.js"')
    assert ended.rc == 0, ended.errors
    assert json.loads(ended.text) == [[200, None], ["ENOTFOUND"], [403, "not-allowed"], ["ECONNREFUSED"]]


def test_a_blocklist(world, origin, desk):
    config = write_config(world, config_text("blocklist", block={"domains": ["blocked.example"], "ips": [STATIC4]}))
    lines = script(world, config, origin, desk, f"""
        get() {{ curl -sS --max-time 40 --cacert "$CA" "$@" 2>&1; echo " =$?"; }}
        get https://other.example/; get https://blocked.example/; get http://{STATIC4}/; get http://10.0.0.5/""")
    assert [line.split("=")[-1] for line in lines.text.splitlines() if " =" in line] == ["0", "6", "7", "7"], lines.text


IDENTITY = """
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
fds = [fd for fd in range(100) if not attempt(os.fstat, fd)]
tell(uids=os.getresuid(), gids=os.getresgid(), groups=os.getgroups(), status=status, fds=fds, env=dict(os.environ),
     pid=os.getpid(), session=os.getsid(0), cwd=os.getcwd(), pids=[int(p) for p in os.listdir("/proc") if p.isdigit()])
"""


def identity(world, config, **options):
    told, = tell(world, config, IDENTITY, **options)
    return told


def test_the_command_is_the_cages_user_and_nothing_more(world, config):
    told = identity(world, config)
    assert told["uids"] == [CAGE_UID] * 3 and told["gids"] == [CAGE_UID] * 3 and set(told["groups"]) <= {CAGE_UID}
    status = told["status"]
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    # A pid namespace of its own, in which only its own processes are to be seen.
    assert told["session"] == told["pid"] and told["pids"] == [told["pid"]]


def test_a_uid_without_an_account(world, desk):
    config = write_config(world, config_text(user="6242", proxy={"user": "6243"}))
    told = identity(world, config)
    assert told["uids"] == [6242] * 3 and told["gids"] == [6242] * 3 and told["env"]["HOME"] == "/"
    told = identity(world, config, options=["--user", "6244"])
    assert told["uids"] == [6244] * 3


def test_proxy_variables_and_their_like_are_removed(world, config):
    dropped = ["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "npm_config_https_proxy", "SSH_AUTH_SOCK",
               "DOCKER_HOST", "DBUS_SESSION_BUS_ADDRESS", "LD_LIBRARY_PATH", "SUDO_USER", "RES_OPTIONS", "LOCALDOMAIN",
               "HOSTALIASES", "XDG_RUNTIME_DIR", "DISPLAY", "NOTIFY_SOCKET", "GIT_PROXY_COMMAND"]
    env = identity(world, config, env={**dict.fromkeys(dropped, "/nonexistent"), "KEPT": "a b"})["env"]
    assert not set(dropped) & set(env)
    assert env["KEPT"] == "a b" and env["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    assert (env["USER"], env["LOGNAME"], env["HOME"]) == (CAGE_USER, CAGE_USER, "/nonexistent")


def test_no_descriptor_is_inherited(world, config):
    first, second = os.pipe()
    with world.c.socket(socket.AF_INET, socket.SOCK_STREAM) as inet:
        fds = [first, second, inet.fileno()]
        process = world.c.popen(PROG, "exec", "-c", config, "--", *snippet(IDENTITY), stdout=-1, pass_fds=fds)
        told = json.loads(process.communicate(timeout=60)[0])
    os.close(first)
    os.close(second)
    assert told["fds"] == [0, 1, 2]
    assert_nothing_left(world)


@pytest.mark.parametrize("which", ["stdin", "stdout"])
def test_an_inherited_network_socket_is_refused(world, config, desk, which):
    with world.c.socket(socket.AF_INET, socket.SOCK_STREAM) as inet:
        process = world.c.popen(PROG, "exec", "-c", config, "--", "touch", desk / "ran", stderr=-1, **{which: inet})
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 125 and not (desk / "ran").exists()
    assert b"is a network socket" in errors and b"through a pipe" in errors
    assert_nothing_left(world)


FORBIDDEN_CALLS = """
import ctypes, fcntl, termios
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return "" if result >= 0 else errno.errorcode[ctypes.get_errno()]
def made(*arguments):
    return attempt(socket.socket, *arguments)
tell(vsock=made(40, 1, 0), packet=made(17, 3, 0), raw=made(2, 3, 1), mptcp=made(2, 1, 262), unix=made(1, 1, 0),
     netlink=made(16, 3, 0),
     vsock_high=call(41, 40 | 1 << 32, 1, 0), io_uring=call(425, 1, 0), add_key=call(248, 0, 0, 0, 0, 0),
     request_key=call(249, 0, 0, 0, 0), sti=attempt(fcntl.ioctl, 0, termios.TIOCSTI, b"x"),
     sti_high=call(16, 0, termios.TIOCSTI | 1 << 32, 0))
"""


def test_calls_that_lead_around_the_rules_are_refused(world, config):
    told, = tell(world, config, FORBIDDEN_CALLS)
    assert told == {"vsock": "EAFNOSUPPORT", "packet": "EAFNOSUPPORT", "raw": "EPERM", "mptcp": "EPROTONOSUPPORT",
                    "unix": "", "netlink": "", "vsock_high": "EAFNOSUPPORT", "io_uring": "ENOSYS", "add_key": "EPERM",
                    "request_key": "EPERM", "sti": "EPERM", "sti_high": "EPERM"}


# /run is a file system of this namespace only, with a listening socket wherever a service of the host would have
# one. They hang up at once: the C library waits for nscd's answers.
HOST_SERVICES = r'''
import os, socket, subprocess, sys, threading
def hang_up(one):
    while True:
        one.accept()[0].close()
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
for path in sys.argv[1].split(","):
    if not path.startswith("@"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    one = socket.socket(socket.AF_UNIX)
    one.bind("\0" + path[1:] if path.startswith("@") else path)
    one.listen()
    if not path.startswith("@"):
        os.chmod(path, 0o777)
    threading.Thread(target=hang_up, args=(one,), daemon=True).start()
sys.exit(subprocess.run(sys.argv[2:]).returncode)
'''

REACH_SERVICES = """
for path in sys.argv[1].split(","):
    s = socket.socket(socket.AF_UNIX)
    tell(path=path, error=attempt(s.connect, "\\0" + path[1:] if path[0] == "@" else path))
tell(run=[name for name in os.listdir("/run") if not name.startswith(".")])
"""


def test_sockets_of_the_hosts_services_are_out_of_reach(world, origin, desk):
    services = ["/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve", "/run/dbus/system_bus_socket",
                "/var/run/dbus/system_bus_socket", "/run/docker.sock", "/run/containerd/containerd.sock",
                "/run/snapd.socket", "/run/user/1000/bus", "/run/avahi-daemon/socket", "/run/cups/cups.sock",
                "/run/anything/new"]
    abstract = f"@cage-test-{os.getpid()}"
    config = world.c.etc / "cage.lua"
    config.write_text(config_text(allow=ALLOW))
    command = [PROG, "exec", "-c", config, "--", *snippet(REACH_SERVICES, ",".join([*services, abstract]))]
    paths = ",".join([path for path in services if not path.startswith("/var/run")] + [abstract])
    ended = world.c.run("/usr/bin/python3", "-I", "-c", HOST_SERVICES, paths, *command)
    assert ended.rc == 0, ended.errors
    told = [json.loads(line) for line in ended.text.splitlines()]
    assert [one for one in told[:-2] if one["error"] not in ("ENOENT", "EACCES")] == []
    assert told[-2] == {"path": abstract, "error": "EPERM"}
    assert not set(told[-1]["run"]) & {"nscd", "dbus", "systemd", "docker.sock", "user", "anything", "cage-proxy"}
    assert left_over(world) == {}


RESOLVED = """
mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/systemd/resolve &&
cp /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf && cp /etc/netns/$NAME/cage.lua /run &&
umount /etc/resolv.conf && cp -a /etc /run/etc && rm -f /run/etc/resolv.conf &&
ln -s ../run/systemd/resolve/stub-resolv.conf /run/etc/resolv.conf && mount --bind /run/etc /etc && exec "$@"
"""


def test_the_resolvers_file_stays_readable_when_run_holds_it(world):
    (world.c.etc / "cage.lua").write_text(config_text(allow=ALLOW))
    ended = world.c.run("sh", "-c", RESOLVED, "sh", PROG, "exec", "-c", "/run/cage.lua", "--", "cat",
                        "/etc/resolv.conf", env={"NAME": world.c.name})
    assert ended.rc == 0 and f"nameserver {DNS4}" in ended.text, ended.errors


LIVING = """
tell(ready=True)
while True:
    word = wait()
    if word == "":
        break
    try:
        tell(answer=fetch(word, 80, b"GET / HTTP/1.0\\r\\nHost: good.example\\r\\n\\r\\n").split(b"\\r\\n")[0])
    except OSError as error:
        tell(answer=name_of(error))
"""


def living(world, config, **options):
    one = Exec(world, config, *snippet(LIVING), **options)
    assert one.hear() == {"ready": True}
    return one


def test_the_command_is_killed(world, config):
    one = living(world, config)
    os.kill(one.command, signal.SIGKILL)
    assert one.wait() == 128 + signal.SIGKILL
    assert_nothing_left(world, one.environment)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_a_signal_to_exec_is_the_commands(world, config, name):
    one = living(world, config)
    os.kill(one.front, getattr(signal, name))
    assert one.wait() == 128 + getattr(signal, name)
    assert_nothing_left(world, one.environment)


def test_the_command_may_handle_a_signal(world, config):
    one = Exec(world, config, *snippet("""
import signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
tell(ready=True)
while True:
    time.sleep(60)
"""))
    one.hear()
    os.kill(one.front, signal.SIGTERM)
    assert one.wait() == 5
    assert_nothing_left(world, one.environment)


def wait_nothing_left(world, one):
    wait_until(lambda: not left_over(world) and not execs.marked_pids(one.environment), "nothing is left")


def test_exec_itself_is_killed(world, config):
    one = living(world, config)
    os.kill(one.front, signal.SIGKILL)
    assert one.wait() == -signal.SIGKILL
    wait_nothing_left(world, one)


def test_its_supervisor_is_killed(world, config):
    one = living(world, config)
    os.kill(one.supervisor, signal.SIGKILL)
    assert one.wait() == 125
    assert one.errors == "cage-proxy exec: the proxy ended before the command, which was killed\n"
    assert_nothing_left(world, one.environment)


def test_its_holder_is_killed(world, config):
    one = living(world, config)
    os.kill(one.holder, signal.SIGKILL)
    assert one.wait() == 128 + signal.SIGKILL
    assert_nothing_left(world, one.environment)


def test_the_worker_is_killed_and_the_command_goes_on(world, origin, config):
    one = living(world, config)
    one.say(SHARED4)
    assert one.hear() == {"answer": "HTTP/1.1 200 OK"}
    first = wait_worker(world)
    os.kill(first, signal.SIGKILL)
    wait_worker(world, other_than=[first])
    one.say(SHARED4)
    assert one.hear() == {"answer": "HTTP/1.1 200 OK"}
    assert one.end() == 0
    assert_nothing_left(world, one.environment)


REFUSED = f"""
for address in ("{SHARED4}", "{SHARED6}", "{OTHER4}", "10.0.0.5"):
    tell(error=attempt(stream, address, 80, 5))
with datagram("{DNS4}") as s:
    s.settimeout(5)
    s.connect(("{DNS4}", 53))
    tell(error=attempt(s.send, b"x" * 20) or attempt(s.recv, 100))
"""


def test_all_of_it_is_killed_at_once(world, origin, config):
    one = living(world, config)
    pids = [one.front, one.supervisor]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    assert one.wait() == -signal.SIGKILL
    wait_until(lambda: not (world.c.pids(uid=CAGE_UID) or world.c.pids(uid=PROXY_UID)), "command and worker are gone")
    assert execs.marked_pids(one.environment) == []
    # Nobody was left to take the rules away: that user is refused everything.
    assert world.c.rules()
    told = clients.python(world, REFUSED)
    assert [one["error"] for one in told[:4]] == ["ECONNREFUSED"] * 4 and told[4]["error"] in ("EPERM", "ECONNREFUSED")
    # The next one takes over, and leaves nothing.
    again = living(world, config)
    again.say(SHARED4)
    assert again.hear() == {"answer": "HTTP/1.1 200 OK"}
    assert again.end() == 0
    assert_nothing_left(world, again.environment)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_at_any_moment(world, config, number):
    for twentieths in (0, 1, 2, 3, 5, 8, 13):
        one = Exec(world, config, "sleep", "600")
        time.sleep(twentieths / 20)
        os.kill(one.front, number)
        assert one.wait() in (-number, 128 + number)
        wait_nothing_left(world, one)


def test_its_supervisor_is_killed_at_any_moment(world, config):
    for twentieths in (0, 1, 2, 3, 4, 6, 9, 14):
        one = Exec(world, config, "sleep", "600")
        supervisor = wait_until(one.find_supervisor, "there is a supervisor")
        time.sleep(twentieths / 20)
        os.kill(supervisor, signal.SIGKILL)
        assert one.wait() == 125
        assert_nothing_left(world, one.environment)


def test_twenty_in_a_row_are_all_proven_and_leave_nothing(world):
    log = world.state / "cage.log"
    config = write_config(world, config_text(allow=ALLOW, proxy={"log": {"file": str(log), "format": "json"}}))
    for count in range(1, 21):
        assert run(world, config, "true").errors == ""
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        log.write_text("")
        probes = [line["layer"] for line in lines if line["event"] == "decision" and line["name"] == PROBE_NAME]
        assert sorted(probes) == ["dns", "dns", "proxy", "proxy"], f"exec {count}: {lines}"
        assert all(line["verdict"] == "deny" for line in lines if line["event"] == "decision")
        assert (lines[-1]["event"], lines[-1]["left"]) == ("stop", "nothing")


# One socket that a detached child holds, one whose process is gone: both with more to send than the peer takes.
ORPHANS = """
def fill(s):
    s.setblocking(False)
    while select.select([], [s], [], 1)[1]:
        s.send(b"\\0unsent-" * 4096)
    return s
address, port, forbidden = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
held, orphan = fill(stream(address, port)), fill(stream(address, port))
command = os.getpid()
ready, is_ready = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        orphan.close()
        os.write(is_ready, b"x")
        while True:
            try:
                os.kill(command, 0)
            except OSError:
                break
        while True:
            for target in forbidden:
                with datagram(target) as s:
                    attempt(s.sendto, b"forbidden-bytes", (target, 7777))
                attempt(stream, target, 9000, 0.01)
            attempt(held.send, b"\\0unsent-")
    os._exit(0)
os.read(ready, 1)
tell(ready=True)
wait()
"""


@pytest.mark.parametrize("way", ["direct", "proxied"])
def test_what_a_command_leaves_behind_reaches_nothing(world, origin, sniffer, family, way):
    shared, static = (SHARED4, STATIC4) if family == 4 else (SHARED6, STATIC6)
    port = SINK_PORT if way == "direct" else 80
    late = origin.listen(9100) if way == "proxied" else origin.sink
    late.gate.clear()
    address = static if way == "direct" else shared
    if way == "proxied":
        # A name on an address that the proxy dials for it: server-first and nameless.
        port = late.port
    config = write_config(world, config_text(allow={**ALLOW, "domains": ["good.example:9100"]}))
    forbidden = ",".join([OTHER4, "10.0.0.5", METADATA4[0], "2001:db8:2::66"])
    resolve = "socket.getaddrinfo('good.example', 80)\n" if way == "proxied" else ""
    one = Exec(world, config, *snippet(resolve + ORPHANS, address, port, forbidden))
    assert one.hear() == {"ready": True}
    one.say()
    assert one.wait() == 0, one.errors
    ended = len(sniffer.packets())
    assert_nothing_left(world, one.environment)
    # Translations are forgotten and the peer reads again: whatever still had something to send would send it now.
    world.c.run("conntrack", "-F")
    late.gate.set()
    time.sleep(2)
    after = [packet for packet in sniffer.packets()[ended:] if packet.dst != "203.0.113.254"]
    assert [str(packet) for packet in after if packet.payload and packet.proto in (6, 17)] == []
    sniffer.assert_no_bytes(b"forbidden-bytes")
    sniffer.assert_no_packet_to(*forbidden.split(","))


def test_a_process_of_that_user_beside_it_stays_refused(world, origin, config):
    beside = clients.Caged(world, f"""
tell(ready=True)
while wait():
    tell(error=attempt(stream, "{STATIC4}", {SINK_PORT}, 5))
""")
    beside.hear()
    one = living(world, config)
    beside.say()
    assert beside.hear()["error"] == ""
    assert one.end() == 0
    assert "processes of the cage's user are still there: everything that they send is refused" in one.errors
    # Closed for it, while it lives.
    assert world.c.rules()
    beside.say()
    assert beside.hear()["error"] == "ECONNREFUSED"
    beside.end()
    assert run(world, config, "true").errors == ""


def test_sockets_that_are_older_than_the_rules_are_destroyed(world, origin, config):
    older = clients.Caged(world, f"""
s = stream("{OTHER4}", 80)
u = datagram("{OTHER4}")
u.connect(("{OTHER4}", 7777))
tell(ready=True)
wait()
tell(sent=attempt(s.sendall, b"GET / HTTP/1.0\\r\\n\\r\\n"), read=attempt(s.recv, 1), udp=attempt(u.send, b"x"))
wait()
""")
    older.hear()
    one = living(world, config)
    older.say()
    told = older.hear()
    assert (told["sent"] or told["read"]) and told["udp"], told
    older.end()
    assert one.end() == 0
    assert_nothing_left(world, one.environment)


AT_TERMINAL = """
import fcntl, signal, termios
def size():
    return list(os.get_terminal_size(0))
inject = attempt(fcntl.ioctl, 0, termios.TIOCSTI, b"x")
tty = os.open("/dev/tty", os.O_RDWR)
tell(tty=[os.isatty(fd) for fd in range(3)], name=os.ttyname(0), session=os.getsid(0) == os.getpid(),
     foreground=os.tcgetpgrp(0) == os.getpgrp(), inject=inject, inject_tty=attempt(fcntl.ioctl, tty, termios.TIOCSTI, b"x"), size=size(),
     callers=attempt(os.open, sys.argv[1], os.O_RDWR | os.O_NOCTTY), owner=os.fstat(0).st_uid)
def tell_at_once(**fields):
    os.write(1, json.dumps(fields).encode() + b"\\n")
signal.signal(signal.SIGWINCH, lambda *_: tell_at_once(size=size()))
signal.signal(signal.SIGINT, lambda *_: tell_at_once(got="INT"))
tell(ready=True)
while (line := sys.stdin.readline()):
    tell(line=line)
"""


@pytest.fixture
def terminal(world):
    return Terminal(world)


def at_terminal(world, config, terminal, *argv):
    return Exec(world, config, *argv, **terminal.options)


def seen(terminal, key):
    """The next line on the screen that tells `key`."""
    while True:
        line = terminal.see(b"\n")
        told = json.loads(line[line.index(b"{"):]) if b"{" in line else {}
        if key in told:
            return told


def test_the_command_has_a_terminal_of_its_own(world, config, terminal):
    before = terminal.modes()
    one = at_terminal(world, config, terminal, *snippet(AT_TERMINAL, terminal.name))
    told = seen(terminal, "tty")
    assert told["tty"] == [True] * 3 and told["session"] and told["foreground"] and told["owner"] == CAGE_UID
    assert told["name"] != terminal.name and told["callers"] in ("EACCES", "ENOENT", "EIO")
    assert (told["inject"], told["inject_tty"]) == ("EPERM", "EPERM")
    assert told["size"] == [97, 31]
    seen(terminal, "ready")
    assert terminal.modes() != before
    terminal.resize(41, 83)
    assert seen(terminal, "size") == {"size": [83, 41]}
    terminal.type(b"\x03")
    assert seen(terminal, "got") == {"got": "INT"}
    terminal.type("grüße\r".encode())
    assert seen(terminal, "line") == {"line": "grüße\n"}
    terminal.type(b"\x04")
    assert one.wait() == 0
    assert terminal.modes() == before
    assert_nothing_left(world, one.environment)


def test_an_interactive_shell(world, config, terminal):
    before = terminal.modes()
    one = at_terminal(world, config, terminal, "bash", "--norc", "--noprofile", "-i")
    terminal.type(b"echo $((6 * 7))\r")
    assert b"job control" not in terminal.see(b"42\r\n")
    terminal.type(b"sleep 600\r")
    sleep = wait_until(lambda: next(iter(execs.children(one.command)), None), "the shell has a child")
    wait_until(lambda: execs.comm(sleep) == "sleep" and execs.has_terminal(sleep), "sleep runs")
    terminal.type(b"\x1a")
    terminal.see(b"Stopped")
    terminal.type(b"fg\r")
    wait_until(lambda: execs.has_terminal(sleep), "sleep is in the foreground again")
    terminal.type(b"\x03")
    terminal.type(b"echo status $?\r")
    terminal.see(b"status 130")
    terminal.type(b"exit 3\r")
    assert one.wait() == 3
    assert terminal.modes() == before
    assert_nothing_left(world, one.environment)


def test_what_is_typed_and_not_read_is_not_for_the_callers_shell(world, config, terminal):
    one = at_terminal(world, config, terminal, *snippet("tell(ready=1)\ntime.sleep(0.5)\nos.kill(os.getpid(), 9)"))
    seen(terminal, "ready")
    terminal.type(b"echo typed\r")
    assert one.wait() == 128 + signal.SIGKILL
    os.set_blocking(terminal.slave, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal.slave, 100)


def test_output_to_a_pipe_with_a_terminal_as_input(world, config, terminal):
    options = {**terminal.options, "stdout": -1}
    source = "tell(tty=[os.isatty(fd) for fd in range(3)], line=sys.stdin.readline())"
    one = Exec(world, config, *snippet(source), **options)
    terminal.type(b"word\r")
    assert one.hear() == {"tty": [True, False, True], "line": "word\n"}
    assert one.wait() == 0
    assert_nothing_left(world, one.environment)


def test_the_terminal_is_restored_when_the_proxy_dies(world, config, terminal):
    before = terminal.modes()
    one = at_terminal(world, config, terminal, *snippet("tell(ready=1)\ntime.sleep(600)"))
    seen(terminal, "ready")
    os.kill(one.supervisor, signal.SIGKILL)
    terminal.see(b"the proxy ended before the command, which was killed\r\n")
    assert one.wait() == 125
    assert terminal.modes() == before
    assert_nothing_left(world, one.environment)


NOT_HELD = "cage-proxy exec: the cage does not hold, the command was not run"


def hijack(world, family, *rule):
    """A rule of the machine's nft tables whose nat hook is registered after the legacy one: the later one wins."""
    legacy, nft = ("iptables-legacy", "iptables-nft") if family == 4 else ("ip6tables-legacy", "ip6tables-nft")
    world.c.run(legacy, "-t", "nat", "-S", check=True)
    world.c.run(nft, "-t", "nat", "-A", "OUTPUT", "-m", "owner", "--uid-owner", CAGE_UID, *rule, check=True)


@pytest.mark.parametrize("family, server, asked", [(4, f"{DNS4}:53", "192.0.2.53"),
                                                   (6, f"[{DNS6}]:53", "2001:db8::53")])
def test_a_cage_whose_dns_is_led_elsewhere_runs_nothing(world, origin, config, desk, family, server, asked):
    hijack(world, family, "-p", "udp", "--dport", "53", "-j", "DNAT", "--to-destination", server)
    ended = not_made(world, config, desk)
    assert f"{NOT_HELD}: DNS question for {PROBE_NAME} to {asked} port 53 must be refused" in ended.errors
    assert origin.resolver.queries(PROBE_NAME) == []


@pytest.mark.parametrize("family, server, asked", [(4, f"{STATIC4}:80", "192.0.2.1"),
                                                   (6, f"[{STATIC6}]:80", "2001:db8::1:1")])
def test_a_cage_whose_web_is_led_elsewhere_runs_nothing(world, origin, desk, family, server, asked):
    config = write_config(world, config_text(allow={"ips": [f"{STATIC4}:80", f"[{STATIC6}]:80"]}))
    hijack(world, family, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", server)
    ended = not_made(world, config, desk)
    assert f"{NOT_HELD}: request for {PROBE_NAME} at {asked} port 80 must be refused" in ended.errors


def test_a_machine_without_a_way_out_proves_nothing(world, config, desk):
    for version in ("-4", "-6"):
        world.c.run("ip", version, "route", "del", "default", check=True)
        world.c.run("ip", version, "addr", "flush", "dev", "c0", check=True)
    ended = not_made(world, config, desk)
    assert "could not be proven, the command was not run" in ended.errors


@pytest.mark.parametrize("rule", [["-t", "nat", "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-j", "ACCEPT"],
                                  ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "owner", "--uid-owner",
                                   str(CAGE_UID), "-j", "REDIRECT", "--to-ports", "9"],
                                  ["-A", "OUTPUT", "-j", "ACCEPT"]])
def test_rules_of_the_machine_stay_and_lead_nothing_around(world, origin, config, rule):
    world.c.run("iptables-legacy", *rule, check=True)
    before = world.c.rules()
    ended = run(world, config, "curl", "-4", "-sS", "http://good.example/", rules_before=before)
    assert (ended.rc, ended.errors) == (0, "") and "host=good.example" in ended.text
    assert world.c.rules() == before


def test_a_policy_that_denies_nothing_is_said_to_be_unproven(world, origin):
    config = write_config(world, config_text("blocklist", proxy={"base": {"metadata": False, "private": False}}))
    ended = run(world, config, "true")
    assert ended.rc == 0
    assert "denies nothing that could be tried; the cage is not proven" in ended.errors


REFUSALS = f"""
curl -s --resolve other.example:80:{SHARED4} http://other.example/ http://other.example/again >/dev/null
curl -s --resolve third.example:443:{SHARED4} https://third.example/ >/dev/null
curl -s http://good.example/ >/dev/null
getent ahosts sub.good.example
true
"""


def summary(ended):
    """{{name: (count, rest of the line)}}"""
    head, *lines = ended.errors.splitlines()
    assert head == "cage-proxy: refused by policy:"
    parts = [line.split(maxsplit=3) for line in lines]
    assert all(part[1] == "x" for part in parts), ended.errors
    found = {part[2]: (int(part[0]), part[3]) for part in parts}
    assert len(found) == len(lines), f"a name has two lines: {ended.errors}"
    return found


def test_the_summary_has_a_line_per_name_and_what_to_add(world, origin, config):
    found = summary(run(world, config, "sh", "-c", REFUSALS))
    assert set(found) == {"other.example", "third.example", "sub.good.example"}
    assert found["other.example"] == (
        2, 'port 80  not-allowed  to allow: allow = { domains = { "other.example:80" } }')
    assert '"third.example:443"' in found["third.example"][1]
    assert found["sub.good.example"][1].startswith("(DNS)  not-allowed  to allow: ")


def test_quiet_drops_the_summary(world, origin, config):
    ended = run(world, config, "sh", "-c", REFUSALS, options=["--quiet"])
    assert (ended.rc, ended.errors) == (0, "")


def test_a_command_that_is_refused_nothing_is_told_nothing(world, origin, config):
    ended = run(world, config, "curl", "-sS", "http://good.example/")
    assert (ended.rc, ended.errors) == (0, "")


def test_the_line_to_add_is_enough(world, origin, desk):
    config = write_config(world, config_text())
    found = summary(script(world, config, origin, desk, f"""
        curl -s --cacert "$CA" --resolve good.example:443:{SHARED4} https://good.example/ >/dev/null
        curl -s http://good.example/ >/dev/null"""))
    line = found["good.example"][1].partition("to allow: ")[2]
    more = write_config(world, f"claude_cage {{ {line} }}\n")
    ended = script(world, config, origin, desk, """
        curl -sS --cacert "$CA" https://good.example/""", options=["-c", more])
    assert (ended.rc, ended.errors) == (0, "")


HOSTILE = """
import ssl
def hello(name):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a" * len(name) + ".example")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read().replace(b"a" * len(name), name)
def send(port, data):
    attempt(fetch, sys.argv[1], port, data)
def ask(label):
    message = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + bytes([len(label)]) + label + b"\\7example\\0\\0\\1\\0\\1"
    with datagram(sys.argv[1]) as s:
        s.connect((sys.argv[1], 53))
        s.settimeout(2)
        attempt(lambda: (s.send(message), s.recv(2000)))
for name in (b"evil\\x1b[2J\\x07", b"evil\\r\\nforged", b'evil"\\\\,{}', b"evil\\x9b31m\\xff", b"EVIL\\x00name"):
    send(443, hello(name))
    send(80, b"GET / HTTP/1.1\\r\\nHost: " + name + b".example\\r\\n\\r\\n")
    send(80, b"CONNECT " + name + b".example:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    ask(name)
send(80, b"GET / HTTP/1.1\\r\\nHost: Honest.Example\\r\\n\\r\\n")
"""


def test_hostile_names_never_reach_the_terminal(world, origin, config):
    ended = run(world, config, *snippet(HOSTILE, SHARED4))
    assert ended.rc == 0, ended.errors
    assert all(32 <= byte < 127 or byte == 10 for byte in ended.err), ended.err
    assert "forged" not in ended.errors and "[2J" not in ended.errors
    assert any(" honest.example port 80 " in line for line in ended.errors.splitlines()), ended.errors


def test_the_probes_are_no_business_of_the_command(world, origin, config):
    ended = run(world, config, "sh", "-c", REFUSALS + "getent ahosts blocked.example")
    assert "blocked.example" in ended.errors and PROBE_NAME not in ended.errors


def test_the_probe_name_of_the_command_itself_is_counted(world, origin, config):
    ended = run(world, config, "sh", "-c", f"getent ahosts {PROBE_NAME}; true")
    assert list(summary(ended)) == [PROBE_NAME]
