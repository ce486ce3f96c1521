"""Errors: the exit status each ends with, and how its message reads."""

from __future__ import annotations

import re
from importlib import import_module

import pytest
from fakes import TOP

from runbook.errors import (
    BadInput,
    ChangeFailed,
    CheckFailed,
    Refused,
    RunbookError,
    Unreachable,
    during,
)

DEFINES_AN_ERROR = re.compile(
    r"^class \w+\((RunbookError|BadInput|Refused|Unreachable|ChangeFailed|CheckFailed)\)", re.M
)


def family(kind: type[RunbookError]) -> list[type[RunbookError]]:
    """Return an error and everything below it."""
    return [kind, *(below for child in kind.__subclasses__() for below in family(child))]


class TestExitCodes:
    """What the program ends with."""

    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            (RunbookError, 1),
            (ChangeFailed, 1),
            (CheckFailed, 1),
            (BadInput, 2),
            (Refused, 3),
            (Unreachable, 3),
        ],
    )
    def test_of_each_kind(self, kind: type[RunbookError], status: int) -> None:
        """Input is 2, a refusal 3, everything else 1."""
        assert status == kind("said").exit_code

    def test_of_every_error_in_the_package(self) -> None:
        """An error of any module ends with the status of the kind that it is one of."""
        for path in sorted((TOP / "runbook").rglob("*.py")):
            if DEFINES_AN_ERROR.search(path.read_text()):
                import_module(".".join(path.relative_to(TOP).with_suffix("").parts))
        kinds = family(RunbookError)

        assert len(kinds) > 10
        for kind in kinds:
            wanted = 2 if issubclass(kind, BadInput) else 3 if issubclass(kind, Refused) else 1
            assert (kind.__name__, wanted) == (kind.__name__, kind.exit_code)


class TestMessage:
    """What an operator reads."""

    @pytest.mark.parametrize(
        ("place", "text"),
        [
            ({}, "no candidate"),
            ({"host": "docker02"}, "docker02: no candidate"),
            ({"step": "keepalived"}, "keepalived: no candidate"),
            (
                {"host": "docker02", "step": "keepalived"},
                "docker02, keepalived: no candidate",
            ),
            ({"todo": "run apt-get update"}, "no candidate\n  What to do: run apt-get update"),
        ],
    )
    def test_shape(self, place: dict[str, str], text: str) -> None:
        """Host and step come first where they are known, what to do comes last."""
        assert text == str(RunbookError("no candidate", **place))

    def test_carries_its_parts(self) -> None:
        """Whoever catches it need not take the message apart."""
        error = Refused("said", host="docker02", step="network", todo="wait")

        assert (
            error.message,
            error.host,
            error.step,
            error.todo,
        ) == ("said", "docker02", "network", "wait")

    def test_replaces_the_traceback_in_a_notebook(self) -> None:
        """IPython shows the kind and the message and no line of code."""
        error = Refused("the VIP is taken", host="docker02")

        shown = error._render_traceback_()

        assert shown == ["Refused: docker02: the VIP is taken"]


class TestDuring:
    """The step that was running."""

    def test_is_named(self) -> None:
        """An error that names no step learns it, and keeps what it says."""
        with pytest.raises(Refused) as caught, during("network"):
            raise Refused("said", host="docker02")

        assert str(caught.value) == "docker02, network: said"

    def test_that_is_known_better(self) -> None:
        """One that names a step keeps it."""
        with pytest.raises(Refused) as caught, during("network"):
            raise Refused("said", step="preflight")

        assert caught.value.step == "preflight"
