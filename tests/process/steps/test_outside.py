"""What is asked from this machine, by a real shell."""

from __future__ import annotations

import pytest
from fakes import live, parameters

from runbook.steps.outside import client_of, from_outside


class TestOutside:
    """Web port and dashboard, through the gateway."""

    def test_from_this_machine(self) -> None:
        """Without a client this machine asks, in a shell of its own."""
        site = live(parameters("article"))

        assert from_outside(site, {"a": "echo a", "b": "echo b"}) == {"a": "a\n", "b": "b\n"}
        assert client_of(site.site) == "this machine"

    @pytest.mark.parametrize(
        "page", [r"P\341gina", r"\346\227"], ids=["latin 1", "half a character"]
    )
    def test_page_that_is_no_utf_8(self, page: str) -> None:
        """A page in another encoding, or cut within a character, is an answer all the same."""
        seen = from_outside(
            live(parameters("article")), {"web": f"printf 'HTTP/1.1 200 OK\n\n{page}'"}
        )

        assert seen["web"].startswith("HTTP/1.1 200 OK")
