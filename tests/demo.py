#!/usr/bin/env python3
"""What a caged curl, git, ssh and dig may and may not do, on real traffic in throw-away namespaces.

One namespace is the machine with the cage, the other the internet: nginx with several sites on one
address, dnsmasq, sshd with a git repository. Nothing of this machine's own network is touched.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib import clients, netns, product  # noqa: E402
from lib.origin import Authority, Origin  # noqa: E402

CONFIG = {
    "mode": "allowlist",
    "allow": {"domains": ["good.example:80,443", "ssh.example:22", "private.example:80"],
              "ips": [f"{netns.STATIC4}:9000"]},
}
LIAR = netns.OTHER4

CONNECT = r'''
address, port = sys.argv[1], int(sys.argv[2])
with socket.socket(family(address), socket.SOCK_STREAM) as s:
    s.settimeout(SNIPPET_SECONDS_MAX)
    tell(error=attempt(s.connect, (address, port)))
'''

DATAGRAM = r'''
address, port = sys.argv[1], int(sys.argv[2])
with datagram(address) as s:
    tell(error=attempt(s.sendto, b"hello", (address, port)))
'''

TWO_REQUESTS = r'''
request = b"GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n"
with stream(sys.argv[1], 80) as s:
    s.sendall(request % (b"first", b"good.example"))
    first = s.recv(65536).split(b"\r\n")[0].decode()
    s.sendall(request % (b"second", b"other.example"))
    tell(first=first, second=s.recv(65536).split(b"\r\n")[0].decode())
'''


class Demo:
    def __init__(self, world, authority):
        self.world = world
        self.authority = authority
        self.origin = Origin(world, authority)
        self.key = self.origin.start_ssh()
        self.repository = self.origin.start_git()
        self.run = product.Product(world, product.write_config(world, product.config_text(**CONFIG)))
        self.run.wait_ready()
        self.rows = []

    def curl(self, *arguments):
        """The body's first line and the status, or curl's own word for what went wrong."""
        result = clients.curl(self.world, self.authority, *arguments)
        if result.rc != 0:
            return result.errors.strip().splitlines()[-1] if result.errors.strip() else f"curl {result.rc}"
        body, _, status = result.text.rpartition("\n")
        return f"{status.strip('[]')} {body.splitlines()[0] if body else ''}".strip()

    def snippet(self, source, *arguments):
        told = clients.python(self.world, source, *map(str, arguments))[0]
        return told.get("error") if "error" in told else " then ".join(told.values())

    def git(self, *arguments):
        result = clients.git(self.world, self.authority, *arguments, key=self.key)
        return "refs listed" if result.rc == 0 else result.errors.strip().splitlines()[-1]

    def ssh(self, host):
        result = clients.ssh(self.world, self.key, f"git@{host}", "echo", "hello")
        return result.text.strip() if result.rc == 0 else result.errors.strip().splitlines()[-1]

    def dig(self, name):
        result = self.world.as_cage("dig", "+noall", "+comments", "+answer", name, "A")
        lines = [line for line in result.text.splitlines() if line.strip()]
        status = next((line.split("status:")[1].split(",")[0].strip() for line in lines if "status:" in line), "?")
        answers = [line.split()[-1] for line in lines if not line.startswith(";")]
        reason = next((line.split("EDE:")[1].strip() for line in lines if "EDE:" in line), "")
        return " ".join([status, *answers, reason]).strip()

    def row(self, what, seen, *expected):
        """A row is good when it holds each of the expected words."""
        self.rows.append((what, seen, all(word in seen for word in expected)))

    def allowed(self):
        self.row("curl https://good.example (allowed)", self.curl("https://good.example/"), "200", "sni=good.example")
        self.row("curl http://good.example (allowed)", self.curl("http://good.example/"), "200")
        self.row("git ls-remote https://good.example/...", self.git("ls-remote", "https://good.example/files/repo.git"),
                 "refs listed")
        self.row("git ls-remote over ssh (ssh.example, allowed)",
                 self.git("ls-remote", f"ssh://git@ssh.example{self.repository}"), "refs listed")
        self.row("ssh ssh.example (allowed)", self.ssh("ssh.example"), "hello")
        self.row("dig good.example (allowed)", self.dig("good.example"), "NOERROR", netns.SHARED4)

    def other_names(self):
        shared = netns.SHARED4
        self.row("dig other.example (not listed)", self.dig("other.example"), "NXDOMAIN", "not-allowed")
        self.row("curl https://other.example at the same address",
                 self.curl("--resolve", f"other.example:443:{shared}", "https://other.example/"), "unrecognized name")
        self.row("curl http://other.example at the same address",
                 self.curl("--resolve", f"other.example:80:{shared}", "http://other.example/"), "403", "not-allowed")
        self.row("second request on one connection, another Host", self.snippet(TWO_REQUESTS, shared), "200", "421")
        self.row("ssh to an address without a name", self.ssh(LIAR), "reset")
        seen = self.curl("--resolve", f"good.example:443:{LIAR}", "https://good.example/")
        self.row("curl https://good.example dialled to a stranger's address",
                 f"the stranger answered: {seen}" if f"dst={LIAR}" in seen else seen, "200 dst=", "sni=good.example")

    def addresses(self):
        for what, address, port in (("metadata service 169.254.169.254", "169.254.169.254", 80),
                                    ("metadata service fd00:ec2::254", "fd00:ec2::254", 80),
                                    ("private address 10.0.0.5", "10.0.0.5", 443),
                                    ("this machine itself", "127.0.0.1", 22)):
            self.row(f"connect to {what}", self.snippet(CONNECT, address, port), "ECONNREFUSED")
        self.row("curl http://private.example (allowed name, private address)",
                 self.curl("--resolve", f"private.example:80:{netns.SHARED4}", "http://private.example/"), "403",
                 "private-address")
        self.row("QUIC: UDP to port 443", self.snippet(DATAGRAM, netns.SHARED4, 443), "EPERM")
        self.row("other UDP", self.snippet(DATAGRAM, netns.SHARED4, 7777), "EPERM")

    def dead_proxy(self):
        # A stopped supervisor replaces nobody: what refuses here is the kernel alone.
        os.kill(self.run.pid, signal.SIGSTOP)
        for pid in self.run.worker_pids():
            os.kill(pid, signal.SIGKILL)
        self.row("proxy killed: connect to 10.0.0.5", self.snippet(CONNECT, "10.0.0.5", 80), "ECONNREFUSED")
        os.kill(self.run.pid, signal.SIGCONT)
        netns.wait_until(lambda: self.curl("https://good.example/").startswith("200"), "the proxy is back")
        self.row("proxy killed: a moment later", self.curl("https://good.example/"), "200")

    def show(self):
        width = max(len(what) for what, _, _ in self.rows)
        print(f"\n{'what the caged user does':{width}}  {'as it should':12}  what it sees")
        for what, seen, is_good in self.rows:
            print(f"{what:{width}}  {'yes' if is_good else 'NO':12}  {seen[:100]}")
        asked = self.origin.resolver.queries("other.example")
        print(f"\nThe resolver was asked for other.example {len(asked)} times.")
        print("Configuration: " + product.config_text(**CONFIG).strip())
        return all(is_good for _, _, is_good in self.rows) and not asked


def main():
    # The caged user may not be allowed where the caller stands, and git insists on knowing that place.
    os.chdir("/")
    netns.sweep_stale()
    with netns.state_directory("demo") as directory, netns.World() as world:
        demo = Demo(world, Authority(directory))
        demo.allowed()
        demo.other_names()
        demo.addresses()
        demo.dead_proxy()
        is_good = demo.show()
        demo.run.stop()
    print("\nEverything as it should be; nothing is left." if is_good else "\nSomething is wrong: see the rows with NO.")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
