"""What the edge answers, and what tells Traefik from an application."""

from __future__ import annotations

import pytest
from fakes import recorded

from runbook.steps.web import asked, header

BODY = recorded("acceptance-demonstration")["body"]
TRAEFIKS = recorded("acceptance-docker01")["docker01"]


class TestHeader:
    """A header, as a server or an application printed it."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Host", "demo.test"),
            ("host", "demo.test"),
            ("X-Forwarded-For", "203.0.113.10"),
            ("Peer", "[::ffff:10.0.2.5]"),
            ("Accept", "*/*"),
            ("Forwarded", ""),
            ("X-Forwarded", ""),
            ("", ""),
        ],
    )
    def test_recorded(self, name: str, value: str) -> None:
        """The whole name counts, in either case; a header that is not there is empty."""
        assert value == header(BODY, name)

    @pytest.mark.parametrize("body", ["", "404 page not found\n", "Host\n"])
    def test_no_header(self, body: str) -> None:
        """A page that is none has none."""
        assert header(body, "Host") == ""


class TestAsk:
    """A request without a Host, and then one with."""

    def test_traefik(self) -> None:
        """The refusal of a request without a Host is Traefik's; the page is shown."""
        seen = asked(TRAEFIKS)

        assert (seen.by_traefik, seen.seen) == (True, "404 page not found")
        assert seen.check("name", "docker01").passed

    @pytest.mark.parametrize("status", ["200", "301", "401", "503"])
    def test_application(self, status: str) -> None:
        """Whatever an application answers, Traefik is there, and the check says what was seen."""
        page = TRAEFIKS.replace(" 404 Not Found", f" {status} X").replace("404 page", "A page")
        check = asked(page).check("name", "docker01")

        assert (check.passed, check.seen) == (True, f"{status} of an application")

    def test_application_that_is_slow(self) -> None:
        """It need not even answer."""
        unnamed = TRAEFIKS.partition("-- and")[0]
        check = asked(f"{unnamed}-- and with a Host --\nno answer\n").check("name", "docker01")

        assert (check.passed, check.seen) == (True, "no answer")

    @pytest.mark.parametrize(
        ("head", "who"),
        [
            ("Server: cloudflare\nCF-RAY: -", " (Server: cloudflare)"),
            ("server: openresty\nvia: 1.1 varnish", " (Server: openresty, Via: 1.1 varnish)"),
            ("Connection: close", ""),
        ],
    )
    def test_proxy_on_the_way(self, head: str, who: str) -> None:
        """One that refuses requests itself is named, as far as it names itself."""
        refusal = f"HTTP/1.1 400 Bad Request\n{head}\n\n<h1>400 Bad Request</h1>\n"
        named = refusal.replace("400", "403")
        check = asked(f"{refusal}-- and with a Host --\n{named}").check("name", "client")

        assert (check.passed, check.seen) == (False, f"403 of something else{who}")
