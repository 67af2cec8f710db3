"""The far side: web servers, a resolver, an ssh and git server and plain services, all in S.

`Authority` makes certificates once per test run. `Origin` starts one of everything for one World;
the plain services are threads of the test process whose sockets were opened in S.
"""

import contextlib
import hashlib
import os
import re
import selectors
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from lib.netns import (ALIASES4, ALIASES6, DNS4, DNS6, GATE4, GATE6, GIT_UID, SHARED4, SHARED6, STATIC4, STATIC6,
                       kill_session, wait_until)

TOOLS = Path(os.environ.get("TOOLS", Path(__file__).resolve().parents[2] / "build/tools"))

# Every web name of the far side; all are served by every address, on 80 and 443.
WEB_NAMES = ["good.example", "other.example", "third.example", "sub.good.example", "blocked.example",
             "evil-good.example", "good.example.evil.example"]
DEFAULT_NAME = "default.example"

# name -> addresses; what dnsmasq knows until a test says otherwise.
NAMES = {
    "good.example": [SHARED4, SHARED6],
    "other.example": [SHARED4, SHARED6],
    "blocked.example": [SHARED4, SHARED6],
    "sub.good.example": [SHARED4, SHARED6],
    "third.example": [STATIC4, STATIC6],
    "evil-good.example": [STATIC4, STATIC6],
    "only4.example": [SHARED4],
    "only6.example": [SHARED6],
    "ssh.example": [STATIC4, STATIC6],
    "private.example": ["10.0.0.5", "fd12::5"],
    "metadata.example": ["169.254.169.254", "fd00:ec2::254"],
    "loopback.example": ["127.0.0.1", "::1"],
}

HTTP_PORT, HTTPS_PORT, SSH_PORT = 80, 443, 22
BANNER_PORT, SINK_PORT, SOURCE_PORT, ECHO_PORT = 2525, 9000, 9001, 7777
BANNER = b"220 banner.example ready\r\n"


class Authority:
    """A test CA and one certificate per name; ca is the file that a client trusts."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.ca = self.directory / "ca.pem"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                      "30", "-subj", "/CN=test authority", "-keyout", self._path("ca", "key"), "-out", self.ca)
        for name in [*WEB_NAMES, DEFAULT_NAME]:
            self.issue(name)

    def issue(self, name):
        """Makes NAME.key and NAME.pem; returns both paths."""
        key, request, certificate = (self._path(name, kind) for kind in ("key", "csr", "pem"))
        extensions = self._path(name, "ext")
        extensions.write_text(f"subjectAltName=DNS:{name}\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                      f"/CN={name}", "-keyout", key, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._path("ca", "key"),
                      "-CAcreateserial", "-days", "30", "-extfile", extensions, "-out", certificate)
        return key, certificate

    def _path(self, name, kind):
        return self.directory / f"{name}.{kind}"

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def nginx_config(directory, authority):
    servers = []
    for name in [DEFAULT_NAME, *WEB_NAMES]:
        default = " default_server" if name == DEFAULT_NAME else ""
        key, certificate = authority.directory / f"{name}.key", authority.directory / f"{name}.pem"
        servers.append(f"""
    server {{
        listen {HTTP_PORT}{default}; listen [::]:{HTTP_PORT}{default};
        listen {HTTPS_PORT} ssl{default}; listen [::]:{HTTPS_PORT} ssl{default};
        server_name {name};
        ssl_certificate {certificate}; ssl_certificate_key {key};
        location /files/ {{ alias {directory}/files/; autoindex on; }}
        location /post {{ client_max_body_size 0; proxy_pass http://unix:{directory}/post.sock; }}
        location / {{
            default_type text/plain;
            return 200 "dst=$server_addr sni=$ssl_server_name host=$host uri=$request_uri\\n";
        }}
    }}""")
    return f"""
daemon off; master_process off; user root; pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    log_format seen '$server_addr $server_port $ssl_server_name $host $request_method $request_uri';
    access_log {directory}/access.log seen; error_log {directory}/error.log;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    ssl_protocols TLSv1.2 TLSv1.3; server_tokens off; keepalive_requests 100000; server_names_hash_bucket_size 128;
    server {{
        listen unix:{directory}/post.sock; client_max_body_size 0; client_body_buffer_size 16k;
        location / {{ return 200 "length=$http_content_length\\n"; }}
    }}
{"".join(servers)}
}}
"""


SSHD_CONFIG = """
Port {port}
AddressFamily any
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
LogLevel ERROR
"""


@dataclass
class Transfer:
    """One connection to a plain service."""

    peer: tuple
    local: tuple
    count: int = 0
    head: bytes = b""
    digest: object = field(default_factory=hashlib.sha256)
    ended: bool = False
    failed: str = None

    HEAD_BYTES = 1 << 16

    def take(self, data):
        self.digest.update(data)
        if len(self.head) < self.HEAD_BYTES:
            self.head += data[:self.HEAD_BYTES - len(self.head)]
        self.count += len(data)


class TcpService:
    """Listens on every address of a namespace, v4 and v6; each connection is a thread and a Transfer.

    While gate is cleared, connections are accepted and nothing is read from them.
    """

    def __init__(self, namespace, port, serve):
        self.port = port
        self.transfers = []
        self.gate = threading.Event()
        self.gate.set()
        self._serve = serve
        self._listener = namespace.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("::", port))
        self._listener.listen(512)
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            transfer = Transfer(plain(peer), plain(connection.getsockname()))
            self.transfers.append(transfer)
            self._open.add(connection)
            threading.Thread(target=self._one, args=(connection, transfer), daemon=True).start()

    def _one(self, connection, transfer):
        try:
            with connection:
                self.gate.wait()
                self._serve(connection, transfer)
        except OSError as error:
            transfer.failed = str(error)
        finally:
            transfer.ended = True
            self._open.discard(connection)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.gate.set()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def plain(address):
    return address[0].removeprefix("::ffff:"), address[1]


def serve_banner(connection, transfer):
    """Server first, then an echo."""
    connection.sendall(BANNER)
    while data := connection.recv(65536):
        transfer.take(data)
        connection.sendall(data)


def serve_sink(connection, transfer):
    """Reads to the end, then answers with 'COUNT SHA256\\n'."""
    while data := connection.recv(1 << 18):
        transfer.take(data)
    connection.sendall(f"{transfer.count} {transfer.digest.hexdigest()}\n".encode())


def serve_source(connection, transfer):
    """Reads one line, a number N, and sends N bytes of `pattern`."""
    line = connection.makefile("rb").readline()
    transfer.take(line)
    left = int(line)
    block = memoryview(pattern(1 << 18))
    while left:
        part = block[:left]
        connection.sendall(part)
        left -= len(part)


def pattern(length):
    """The same pseudo-random bytes every time."""
    return hashlib.shake_128(b"pattern").digest(length)


class UdpEcho:
    """Answers every datagram with the same bytes, from the address that was asked; remembers all."""

    def __init__(self, namespace, port):
        self.port = port
        self.datagrams = []
        self._selector = selectors.DefaultSelector()
        for address in [*ALIASES4, *ALIASES6, GATE4, GATE6]:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            one = namespace.socket(family, socket.SOCK_DGRAM)
            one.bind((address, port))
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ, address)
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(OSError):
                    data, peer = key.fileobj.recvfrom(65536)
                    self.datagrams.append((key.data, peer[:2], data))
                    key.fileobj.sendto(data, peer)

    def close(self):
        os.write(self._wake_write, b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.fileobj.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)


class Resolver:
    """dnsmasq in S: knows the names that it is given, says NXDOMAIN to all others, logs each query."""

    def __init__(self, world, directory, names, ttl_s=60):
        self.world = world
        self._hosts = directory / "hosts"
        self._log = directory / "queries.log"
        self._log.touch()
        self._write(names)
        self._process = world.s.popen(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root",
            "--pid-file=", f"--addn-hosts={self._hosts}", "--address=/#/", "--log-queries", "--cache-size=0",
            f"--log-facility={self._log}", f"--local-ttl={ttl_s}", "--neg-ttl=1", "--bind-interfaces",
            f"--listen-address={DNS4},{DNS6}", "--except-interface=lo")
        world.at_close(kill_session, self._process)
        wait_until(lambda: self._knows("ready.example"), "dnsmasq")

    def _write(self, names):
        lines = [f"{address} {name}" for name, addresses in names.items() for address in addresses]
        self._hosts.write_text("\n".join([f"{DNS4} ready.example", *lines]) + "\n")

    def _knows(self, name):
        from lib.clients import dns_question
        with self.world.s.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(0.2)
            try:
                asker.sendto(dns_question(name), (DNS4, 53))
                return asker.recv(4096)[3] & 15 == 0
            except OSError:
                return False

    def set_names(self, names):
        """From the return on, dnsmasq knows these names instead. A fresh name proves the reload."""
        token = f"t{os.urandom(6).hex()}.example"
        self._write({**names, token: [DNS4]})
        pids = [pid for pid in self.world.s.pids() if Path(f"/proc/{pid}/comm").read_text().strip() == "dnsmasq"]
        for pid in pids:
            os.kill(pid, 1)
        wait_until(lambda: self._knows(token), "dnsmasq's reload")

    def queries(self, name=None):
        """(type, name, asker) of every query that arrived, oldest first."""
        found = re.findall(r"query\[(\S+)\] (\S+) from (\S+)", self._log.read_text())
        ours = [q for q in found if not re.fullmatch(r"(ready|t[0-9a-f]{12})\.example", q[1])]
        return [q for q in ours if name is None or q[1].lower() == name]


class Origin:
    """All services of the far side, for the life of its World."""

    def __init__(self, world, authority, names=None):
        self.world = world
        self.authority = authority
        self.directory = world.state / "origin"
        self.directory.mkdir()
        self.resolver = Resolver(world, self.directory, NAMES if names is None else names)
        self.banner = self._service(TcpService(world.s, BANNER_PORT, serve_banner))
        self.sink = self._service(TcpService(world.s, SINK_PORT, serve_sink))
        self.source = self._service(TcpService(world.s, SOURCE_PORT, serve_source))
        self.echo = self._service(UdpEcho(world.s, ECHO_PORT))
        self._start_nginx()

    def _service(self, service):
        self.world.at_close(service.close)
        return service

    def listen(self, port, serve=serve_sink):
        """One more plain TCP service."""
        return self._service(TcpService(self.world.s, port, serve))

    def echo_on(self, port):
        return self._service(UdpEcho(self.world.s, port))

    def _start_nginx(self):
        (self.directory / "files").mkdir()
        config = self.directory / "nginx.conf"
        config.write_text(nginx_config(self.directory, self.authority))
        process = self.world.s.popen(TOOLS / "usr/sbin/nginx", "-p", self.directory, "-c", config, "-e",
                                     self.directory / "error.log")
        self.world.at_close(kill_session, process)
        wait_until(lambda: self._accepts(HTTPS_PORT), "nginx")

    def _accepts(self, port):
        with self.world.s.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex((SHARED4, port)) == 0

    def requests(self):
        """'ADDRESS PORT SNI HOST METHOD URI' of each request that nginx answered, oldest first."""
        return (self.directory / "access.log").read_text().splitlines()

    def start_ssh(self):
        """sshd as the user git, which may log in with the key that is returned."""
        directory = self.directory / "ssh"
        directory.mkdir()
        for name in ("host_key", "client_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / name],
                           check=True)
        shutil.copy(directory / "client_key.pub", directory / "authorized_keys")
        config = directory / "sshd_config"
        config.write_text(SSHD_CONFIG.format(port=SSH_PORT, directory=directory))
        chown_tree(directory, GIT_UID)
        # Not root: then sshd needs neither its own account nor /run/sshd.
        process = self.world.s.popen(TOOLS / "usr/sbin/sshd", "-D", "-e", "-f", config, uid=GIT_UID,
                                     stderr=open(directory / "log", "wb"))
        self.world.at_close(kill_session, process)
        wait_until(lambda: self._accepts(SSH_PORT), "sshd")
        key = self.world.home / "id_ed25519"
        shutil.copy(directory / "client_key", key)
        chown_tree(self.world.home, self.world.home.stat().st_uid)
        key.chmod(0o600)
        return key

    def start_git(self):
        """One repository, for ssh as its path and for https below /files/repo.git; returns that path."""
        path = self.directory / "files/repo.git"
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "GIT_CONFIG_NOSYSTEM": "1",
                       **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
                          for what, value in (("NAME", "t"), ("EMAIL", "t@good.example"))}}
        work = self.directory / "work"
        for argv in (["git", "init", "-q", "-b", "main", work],
                     ["git", "-C", work, "commit", "-q", "--allow-empty", "-m", "first"],
                     ["git", "clone", "-q", "--bare", work, path],
                     ["git", "-C", path, "update-server-info"]):
            subprocess.run(argv, check=True, env=environment, capture_output=True)
        chown_tree(path, GIT_UID)
        return path


def chown_tree(path, uid):
    for each in [path, *Path(path).rglob("*")]:
        os.chown(each, uid, uid)
