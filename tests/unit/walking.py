"""A step that is only pretended, walked as its notebook does it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import IPython.display
import pytest
from fakes import ConfigStore, FakeFleet, converged, parameters, swarm

from runbook.changes import Change, Check
from runbook.context import RunContext
from runbook.errors import RunbookError
from runbook.events import MIME
from runbook.hosts.fleet import Fleet
from runbook.hosts.live import Live
from runbook.notebook import walk as notebook
from runbook.notebook.walk import Walk
from runbook.site import SiteFile
from runbook.steps import CONVERGED, Row, Step, find

ANSWERS = "it answers"


class Pretended:
    """A step whose hosts are a list of what is not yet so.

    Attributes:
        missing: What a plan would change, by name.
        made: What was changed, in order.
        broken: Changes that fail, with the error.
        answer: What its check sees.
        stays: Whether what was changed is missing still.
        unread: Which of its readings fail, with the error.
    """

    def __init__(self) -> None:
        self.missing = ["a", "b"]
        self.made: list[str] = []
        self.broken: dict[str, RunbookError] = {}
        self.answer = "yes"
        self.stays = False
        self.unread: dict[str, RunbookError] = {}

    def step(self, **more: Any) -> Step[tuple[str, ...]]:
        """Return it as its module would declare it."""
        return Step(
            name="pretended",
            notebook="99_pretended.ipynb",
            observe=self.observe,
            rows=self.rows,
            plan=self.plan,
            files=self.files,
            verify=self.verify,
            required_checks=lambda _site: (CONVERGED, ANSWERS),
            **more,
        )

    def observe(self, _live: Live) -> tuple[str, ...]:
        """Return what is missing."""
        self._read("observe")
        return tuple(self.missing)

    def rows(self, facts: tuple[str, ...]) -> list[Row]:
        """Return one row for each."""
        return [Row("docker01", name, "is", "missing") for name in facts]

    def files(self, _site_file: SiteFile, facts: tuple[str, ...]) -> dict[str, dict[str, str]]:
        """Return one file that lists them."""
        return {"docker01": {"/etc/missing": "".join(f"{name}\n" for name in facts)}}

    def plan(self, _site_file: SiteFile, facts: tuple[str, ...]) -> list[Change]:
        """Return one change for each, each in a stage of its own."""
        return [
            Change("docker01", name, "create", "", "there", f"rm {name}", self._make(name), stage)
            for stage, name in enumerate(facts)
        ]

    def _read(self, part: str) -> None:
        if part in self.unread:
            raise self.unread[part]

    def _make(self, name: str) -> Callable[[Live], None]:
        def make(_live: Live) -> None:
            if name in self.broken:
                raise self.broken[name]
            self.made.append(name)
            if not self.stays:
                self.missing.remove(name)

        return make

    def verify(self, _live: Live) -> list[Check]:
        """Return one check."""
        self._read("verify")
        return [Check(ANSWERS, "docker01", "yes", self.answer)]


@pytest.fixture
def module() -> Pretended:
    """A step that is only pretended."""
    return Pretended()


@pytest.fixture
def store() -> ConfigStore:
    """The Swarm in which the lock is kept."""
    return ConfigStore()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a cell displayed besides its own value."""
    shown: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", lambda value, **_: shown.append(value))
    return shown


@pytest.fixture
def walk(
    module: Pretended, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Walk]:
    """Open the pretended step: ``walk("apply")``, or up to its plan: ``walk("apply", 2)``."""
    pretended = module.step(manages=True)
    monkeypatch.setattr(notebook, "STEPS", (pretended,))

    def begin(mode: str, cells: int = 2, site_file: SiteFile | None = None) -> Walk:
        step = stepping(pretended, mode, store, site_file or parameters("article"))
        for cell in (step.observe, step.plan)[:cells]:
            cell()
        return step

    return begin


def stepping(
    step: Step[Any], mode: str, store: ConfigStore, site_file: SiteFile, fleet: Any = None
) -> Walk:
    """Return a step whose hosts are not there."""
    hosts = cast(Fleet, fleet or FakeFleet())
    walk = Walk(step, site_file, mode, hosts, RunContext.from_environ())
    vars(walk.live)["engine"] = store.client
    return walk


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, shown: list[Any]) -> Callable[[], list[dict[str, Any]]]:
    """The events that the runner was sent so far."""
    monkeypatch.setenv("RUNBOOK_EVENTS", "1")
    return lambda: [value[MIME] for value in shown if isinstance(value, dict)]


@pytest.fixture
def approved(
    walk: Callable[..., Walk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The part of the pretended step, as it is now, in a plan that somebody has approved."""
    step = walk("plan")
    part = step._part(step._shown_plan())
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"steps": {"pretended": part}}))
    monkeypatch.setenv("RUNBOOK_APPROVED", str(path))
    return part


@pytest.fixture
def preflight(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Walk]:
    """Open the preflight of the lab as recorded: ``preflight("plan", docker02={...})``."""
    store = ConfigStore(swarm())
    monkeypatch.setattr("runbook.hosts.docker.api.engine", lambda _connection: store.client)

    def begin(mode: str, **texts: dict[str, str]) -> Walk:
        fleet = FakeFleet(converged(**texts))
        return stepping(find("preflight"), mode, store, parameters("lab"), fleet)

    return begin
