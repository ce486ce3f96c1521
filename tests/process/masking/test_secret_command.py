"""Secrets that a command prints."""

from __future__ import annotations

import sys

import pytest

from runbook.errors import BadInput
from runbook.masking import secret as module
from runbook.masking.secret import Registry, Secret

VALUE = "correct-horse-battery"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What the process knows, empty at first."""
    registry = Registry()
    monkeypatch.setattr(module, "KNOWN", registry)
    return registry


class TestReveal:
    """Where values come from."""

    def test_command(self) -> None:
        """What a command prints, without a shell."""
        words = f"command:{sys.executable} -c 'print(\"a$HOME b\")'"

        assert Secret("a", words).reveal() == "a$HOME b"

    @pytest.mark.parametrize(
        ("reference", "why"),
        [
            ("env:NOT_THERE_AT_ALL", "NOT_THERE_AT_ALL is not set"),
            ("file:not/there", "No such file"),
            ("file:/", "Is a directory"),
            ("file:/dev/null", "is not a file"),
            ("command:false", "false ended with status 1"),
            ("command:not-a-program-of-ours", "No such file"),
            ("command:'open", "No closing quotation"),
            ("command:true", "is empty"),
            (r"command:printf '\377'", "not text in UTF-8"),
        ],
    )
    def test_cannot_be_read(self, reference: str, why: str) -> None:
        """Each failure names the secret and why."""
        with pytest.raises(BadInput, match=why) as caught:
            Secret("edge.auth", reference).reveal()

        assert "the secret edge.auth cannot be read" in str(caught.value)

    def test_failing_command_keeps_its_output(self) -> None:
        """What it printed may be the secret, so neither message nor cause repeats it."""
        words = f"command:{sys.executable} -c 'print({VALUE!r}[::1]); raise SystemExit(3)'"
        with pytest.raises(BadInput) as caught:
            Secret("a", words).reveal()

        assert VALUE not in str(caught.value)
        assert caught.value.__suppress_context__
