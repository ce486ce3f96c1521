"""A ``docker system dial-stdio`` with a little engine behind it: HTTP on standard input and output.

Run as ``fake_docker.py FOLDER system dial-stdio``; the file ``state`` in the folder says how it
behaves, and ``dialled`` has one line for every start. The messages are those of real programs.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

RAW = "failed to open the raw stream connection: dial unix /var/run/docker.sock: connect: "
FAILURES = {
    "denied": RAW + "permission denied",
    "down": RAW + "no such file or directory",
    "down-20": "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
    "Is the docker daemon running?",
}
QUORUM = (
    "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few "
    "managers are online. Make sure more than half of the managers are online."
)
ANSWERS: dict[str, tuple[int, object]] = {
    "/version": (200, {"ApiVersion": "1.41"}),
    "/v1.41/info": (200, {"Name": "docker01"}),
    "/v1.41/networks/absent": (404, {"message": "network absent not found"}),
    "/v1.41/networks/create": (409, {"message": "network with name frontend already exists"}),
    "/v1.41/nodes": (503, {"message": QUORUM}),
}


class Engine(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self) -> None:
        self.rfile, self.wfile = sys.stdin.buffer, sys.stdout.buffer
        self.client_address = ("stdin", 0)
        self.handle()

    def do_GET(self) -> None:
        """Answer from the table, with a stream, or never."""
        path = self.path.partition("?")[0]
        if path == "/v1.41/events":
            self.stream({"Type": "service", "Action": "create"})
        elif path == "/v1.41/containers/stuck/json":
            self.rfile.read()  # until the other side hangs up
        elif path == "/v1.41/containers/dies/json":
            os._exit(1)
        else:
            self.answer(*ANSWERS[path])

    def do_POST(self) -> None:
        """Read the request whole, then answer likewise."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def answer(self, status: int, content: object) -> None:
        """Send one JSON answer."""
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def stream(self, event: object) -> None:
        """Send one event, and then nothing more."""
        text = json.dumps(event).encode() + b"\n"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()
        self.rfile.read()  # until the other side hangs up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its parent's name
        """Log nothing."""


def main() -> None:
    """Fail as the state says, or answer until the end of the input."""
    folder = Path(sys.argv[1])
    with (folder / "dialled").open("a") as log:
        log.write(f"{' '.join(sys.argv[2:])}\n")
    state = (folder / "state").read_text()
    as_root = "FAKE_SUDO" in os.environ
    if state in FAILURES and not (state == "denied" and as_root):
        sys.exit(FAILURES[state])
    if state == "forbidden":
        ANSWERS["/version"] = (403, {"message": "authorization denied by plugin opa"})
    Engine()


main()
