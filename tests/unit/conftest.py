"""What all unit tests obey, and fixtures that several subjects share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from fakes import TOP, Clock
from walking import (  # noqa: F401  # fixtures
    approved,
    events,
    module,
    preflight,
    shown,
    store,
    walk,
)

import runbook.run.serving  # noqa: F401  # the first to import nbformat, it does so in less time
from runbook import waiting
from runbook.site import SiteInvalid, load

VALID = TOP / "tests" / "data" / "sites" / "valid.yml"
Changed = Callable[[str], list[str]]
IMPURE = {
    *("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
    *("os.system", "socket.bind", "socket.connect"),
}
"""What Python calls it when a program is started or a socket is used (audit events table)."""

watched = False
"""Whether a unit test runs now: a hook stays, and the same process runs other tests, too."""


def pytest_configure() -> None:
    """Have every unit test fail where it starts a program or uses a socket."""
    sys.addaudithook(_forbid)


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    if watched and event in IMPURE:
        pytest.fail(f"{event} {arguments[:2]}: what is not pure belongs in tests/process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch a unit test, and its fixtures of any scope; this is called for every test."""
    global watched  # noqa: PLW0603  # nothing else reaches the hook
    watched = item.path.is_relative_to(Path(__file__).parent)
    try:
        return (yield)
    finally:
        watched = False


@pytest.fixture
def problems(tmp_path: Path) -> Changed:
    """What is wrong with a valid site once these lines are added to it or replace others."""

    def changed(text: str) -> list[str]:
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {VALID}\n{text}")
        with pytest.raises(SiteInvalid) as caught:
            load(site)
        lines = caught.value.problems
        return [
            str(line).replace(f"{site}:", "").replace(str(VALID), "valid.yml") for line in lines
        ]

    return changed


@pytest.fixture
def warnings(tmp_path: Path) -> Changed:
    """What had better be otherwise in a valid site with these lines."""

    def changed(text: str) -> list[str]:
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {VALID}\n{text}")
        lines = load(site).warnings
        return [
            str(line).replace(f"{site}:", "").replace(str(VALID), "valid.yml") for line in lines
        ]

    return changed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Waits that take no time."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock
