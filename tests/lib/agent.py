"""One long-lived process of the caged user that runs snippets, each in a child of its own.

A snippet is as for `clients.python`; it starts in milliseconds here, and its sockets end with it.
"""

import json

from lib.clients import CAGED, Caged

LOOP = r'''
import traceback
prelude = sys.argv[1]
for line in sys.stdin:
    work = json.loads(line)
    child = os.fork()
    if child == 0:
        sys.argv = ["-c", *work["arguments"]]
        try:
            exec(compile(prelude + work["source"], "snippet", "exec"), {"__name__": "__main__"})
        except BaseException:
            print(json.dumps({"_trace": traceback.format_exc()[-3000:]}))
        sys.stdout.flush()
        os._exit(0)
    print(json.dumps({"_end": os.waitpid(child, 0)[1]}), flush=True)
'''

# Raw bytes to an address: each step sends, then reads until its marker is in what came back since.
TALK = r'''
address, port, steps, is_shut, last = sys.argv[1], int(sys.argv[2]), *json.loads(sys.argv[3])
answer, error = b"", ""
def read_to(s, marker, at):
    global answer
    while not (marker and bytes.fromhex(marker) in answer[at:]) and (part := s.recv(65536)):
        answer += part
try:
    with stream(address, port) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data, marker in steps:
            at = len(answer)
            s.sendall(bytes.fromhex(data))
            if marker:
                read_to(s, marker, at)
        if is_shut:
            s.shutdown(socket.SHUT_WR)
        read_to(s, last, 0)
except OSError as failure:
    error = name_of(failure)
tell(answer=answer.hex(), error=error)
'''


class Agent:
    def __init__(self, world):
        self.world = world
        self._process = None

    def run(self, source, *arguments):
        """What the snippet told, as a list of dicts."""
        if self._process is None:
            self._process = Caged(self.world, LOOP, CAGED)
        try:
            return self._run({"source": source, "arguments": [str(a) for a in arguments]})
        except BaseException:
            self.close()
            raise

    def close(self):
        """No process of the caged user is left of it."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _run(self, work):
        self._process.say(json.dumps(work))
        told = []
        while "_end" not in (line := self._process.hear()):
            if "_trace" in line:
                raise AssertionError(f"the caged snippet failed: {line['_trace']}")
            told.append(line)
        assert line["_end"] == 0, f"the caged snippet ended with {line['_end']}"
        return told

    def talk(self, address, port, *steps, is_shut=False, marker=b""):
        """
        (answer, name of the error or ""). A step is bytes to send, or those and what to wait for before the
        next; then everything is read, to the end or to the marker.
        """
        plan = [[part.hex() for part in (step if isinstance(step, tuple) else (step, b""))] for step in steps]
        told = self.run(TALK, address, port, json.dumps([plan, is_shut, marker.hex()]))[0]
        return bytes.fromhex(told["answer"]), told["error"]
