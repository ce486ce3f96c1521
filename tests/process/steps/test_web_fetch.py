"""Fetching a page by a real shell and a real curl, from a real server."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runbook.steps.web import TRAEFIK, answered, ask, asked, fetch, header


class Web(BaseHTTPRequestHandler):
    """A page that shows the virtual host it was asked for, and one that never comes."""

    silence = threading.Event()

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/silent":
            self.silence.wait(5)
        status = 404 if self.path == "/missing" else 200
        size = 1 << 20 if self.path == "/large" else 0
        body = f"Host: {self.headers['Host']}\nPath: {self.path}\n".encode() + b"x" * size
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A web server on loopback; its address with the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    Web.silence.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def said(snippet: str, **environment: str) -> str:
    """Return what a snippet prints when a real shell runs it."""
    done = subprocess.run(
        ["sh", "-s"],
        input=snippet,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"} | environment,
    )
    assert done.stderr == ""
    return done.stdout


class TestFetch:
    """The snippet that asks for a page, really run."""

    @pytest.mark.parametrize(("path", "status"), [("/", "200"), ("/missing", "404")])
    def test_page(self, web: str, path: str, status: str) -> None:
        """Status and page are read as they came, an error's page too."""
        answer = answered(said(fetch(f"http://{web}{path}")))

        assert (answer.status, answer.body) == (status, f"Host: {web}\nPath: {path}")
        assert answer.header("server").startswith("BaseHTTP")

    def test_virtual_host(self, web: str) -> None:
        """The request names it, or none at all."""
        assert header(said(fetch(f"http://{web}/", host="demo.test")), "Host") == "demo.test"
        assert header(said(fetch(f"http://{web}/", host="")), "Host") == "None"

    def test_large_page(self, web: str) -> None:
        """Of a large page the beginning is enough."""
        text = said(fetch(f"http://{web}/large"))

        assert answered(text).status == "200"
        assert len(text) < 5000

    def test_proxy(self, web: str, closed: str) -> None:
        """A proxy in the environment does not answer for the edge."""
        proxies = {"http_proxy": f"http://{closed}", "ALL_PROXY": f"http://{closed}"}

        assert answered(said(fetch(f"http://{web}/"), **proxies)).status == "200"

    def test_refused(self, closed: str) -> None:
        """A port at which nobody listens is refused, in one word."""
        assert said(fetch(f"http://{closed}/")) == "refused\n"

    def test_no_answer(self, web: str) -> None:
        """A server that accepts and then is silent does not answer; the wait is bounded."""
        snippet = fetch(f"http://{web}/silent")
        assert " -m 4 " in snippet

        assert said(snippet.replace(" -m 4 ", " -m 0.2 ")) == "no answer\n"

    def test_anything_else(self) -> None:
        """Another failure is named by curl's exit status."""
        assert said(fetch("http://127.0.0.1:notaport/")) == "curl: 3\n"

    def test_no_curl(self) -> None:
        """A host without curl says so."""
        done = subprocess.run(
            ["/bin/sh", "-s"], input=f"PATH=/nowhere\n{fetch('http://x/')}", capture_output=True,
            text=True, check=True,
        )  # fmt: skip

        assert done.stdout == "there is no curl\n"

    def test_one_word_each(self, web: str) -> None:
        """What a site declares cannot end the command and begin another."""
        assert header(said(fetch(f"http://{web}/", host="x'; echo y; '")), "Host").startswith("x'")


class TestAsk:
    """A request without a Host, and then one with."""

    def test_something_else(self, web: str) -> None:
        """A server that answers without a Host is no Traefik, and says itself what it is."""
        check = asked(said(ask(f"http://{web}/missing"))).check("name", "docker01")

        assert not check.passed
        assert check.expected == TRAEFIK
        assert check.seen.startswith("404 of something else (Server: BaseHTTP/")

    def test_nobody(self, closed: str) -> None:
        """Where nobody listens the second request is not made."""
        check = asked(said(ask(f"http://{closed}/"))).check("name", "docker01")

        assert (check.passed, check.seen) == (False, "refused")
