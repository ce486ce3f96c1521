"""A walk through a step, cell by cell, as its notebook does it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import IPython.display
import pytest
from fakes import TOP, ConfigStore, FakeFleet, converged, declared, parameters, swarm

from runbook.changes import Change, Check
from runbook.context import RunContext
from runbook.errors import (
    IN_DOUBT,
    BadInput,
    ChangeFailed,
    CheckFailed,
    Lost,
    Refused,
    RunbookError,
    Unreachable,
)
from runbook.events import MIME, Message, emit
from runbook.hosts.fleet import Fleet
from runbook.hosts.live import Live
from runbook.masking.redact import Masker
from runbook.masking.secret import Registry
from runbook.notebook import walk as notebook
from runbook.notebook.tables import Shown
from runbook.notebook.walk import Walk, open_step
from runbook.site import SiteFile
from runbook.steps import CONVERGED, STEPS, Row, Step, find
from runbook.steps import approved as sealed

ANSWERS = "it answers"
ARTICLE = str(TOP / "parameters" / "article.yml")


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


class TestOpen:
    """The first cell."""

    @pytest.mark.parametrize("mode", ["Apply", "", "dry-run"])
    def test_unknown_mode(self, mode: str) -> None:
        """Only the two modes exist; nothing is guessed."""
        with pytest.raises(BadInput, match="mode is") as caught:
            open_step("traefik", ARTICLE, mode)
        assert "plan, apply" in caught.value.todo

    def test_site_that_is_not_valid(self, tmp_path: Path) -> None:
        """What is wrong with the site is said, and nobody is contacted."""
        path = tmp_path / "site.yml"
        path.write_text("name: x\n")

        with pytest.raises(BadInput):
            open_step("traefik", str(path), "plan")


class TestFind:
    """Steps by name."""

    def test_every_step(self) -> None:
        """Each has a notebook and known predecessors."""
        names = [step.name for step in STEPS]

        for step in STEPS:
            assert find(step.name) is step
            assert (TOP / "notebooks" / step.notebook).exists()
            assert step.needs(parameters("production").site) <= set(names[: names.index(step.name)])

    def test_health_check_needs_traefik(self) -> None:
        """Where keepalived asks Traefik, Traefik comes first; otherwise they are independent."""
        keepalived = find("keepalived")

        assert keepalived.needs(parameters("production").site) == {"traefik"}
        assert keepalived.needs(parameters("article").site) == {"preflight"}


class TestObserveAndPlan:
    """What is there and what will change."""

    def test_tables(self, walk: Callable[..., Walk]) -> None:
        """Each cell ends on its table."""
        step = walk("plan", 0)

        assert step.observe().frame.values.tolist() == [
            ["docker01", "a", "is", "missing"],
            ["docker01", "b", "is", "missing"],
        ]
        assert step.plan().caption.startswith("Plan: 2 changes, digest ")

    @pytest.mark.parametrize("name", ["preflight", "traefik", "keepalived", "shorewall"])
    def test_plan_before_observation(self, name: str, store: ConfigStore) -> None:
        """A cell that was left out is named; there is no traceback."""
        step = stepping(find(name), "plan", store, parameters("article"))

        with pytest.raises(BadInput, match="observed"):
            step.plan()

    def test_findings_before_observation(self, store: ConfigStore) -> None:
        """So it is for the findings."""
        step = stepping(find("preflight"), "plan", store, parameters("article"))

        with pytest.raises(BadInput, match="observed"):
            step.findings()

    def test_apply_before_plan(self, walk: Callable[..., Walk]) -> None:
        """What was not shown is not applied."""
        with pytest.raises(BadInput, match="nothing was planned yet"):
            walk("apply", 1).apply()


class TestPlanMode:
    """Without permission to change anything."""

    def test_applies_nothing(
        self, walk: Callable[..., Walk], module: Pretended, store: ConfigStore
    ) -> None:
        """No change is made and no lock is taken, and it is said."""
        shown = walk("plan").apply()

        assert shown.caption == "Not applied: the mode is plan."
        assert module.made == []
        assert store.requests == []

    def test_proves_nothing(self, walk: Callable[..., Walk], module: Pretended) -> None:
        """A system that was not changed is not verified."""
        module.answer = "no"

        assert walk("plan").verify().caption == "Not verified: the mode is plan."


class TestApply:
    """Changes, made."""

    def test_all(self, walk: Callable[..., Walk], module: Pretended, store: ConfigStore) -> None:
        """They are made in order, under the lock, which is given back."""
        shown = walk("apply").apply()

        assert shown.caption == "2 of 2 changes made"
        assert module.made == ["a", "b"]
        assert "POST /configs/create" in store.requests
        assert store.held == {}

    def test_nothing(
        self, walk: Callable[..., Walk], module: Pretended, store: ConfigStore
    ) -> None:
        """An empty plan changes nothing; that nobody else does is made sure all the same."""
        module.missing.clear()

        assert walk("apply").apply().caption == "0 changes to make."
        assert module.made == []
        assert "POST /configs/create" in store.requests
        assert store.held == {}

    def test_site_that_moved(
        self, walk: Callable[..., Walk], module: Pretended, store: ConfigStore
    ) -> None:
        """A plan that is no longer true is refused with the difference; nothing is made."""
        step = walk("apply")
        module.missing.append("c")

        with pytest.raises(Refused, match="has moved since the plan was shown") as caught:
            step.apply()
        assert "+docker01: create c: absent → there" in caught.value.message
        assert module.made == []
        assert store.held == {}

    def test_risk_that_nobody_accepted(
        self, walk: Callable[..., Walk], module: Pretended, store: ConfigStore
    ) -> None:
        """A step that is run without the preflight refuses it, too."""
        step = walk("apply", site_file=declared(accepted_risks=[]))

        with pytest.raises(Refused, match="without a password"):
            step.apply()
        assert (module.made, store.requests) == ([], [])

    def test_failure(
        self, walk: Callable[..., Walk], module: Pretended, store: ConfigStore, shown: list[Any]
    ) -> None:
        """The table is shown, the rest is not tried, and the lock is given back."""
        module.missing.append("c")
        module.broken["b"] = RunbookError("disk full", host="docker01")

        with pytest.raises(ChangeFailed, match=r"create b.*disk full") as caught:
            walk("apply").apply()
        assert "1 further changes were not tried" in caught.value.todo
        assert [table.caption for table in shown] == ["1 of 3 changes made"]
        assert module.made == ["a"]
        assert store.held == {}

    def test_refusal_before_any_change(self, walk: Callable[..., Walk], module: Pretended) -> None:
        """Where nothing was changed the error says that, by its kind."""
        module.broken["a"] = Refused("sudo wants a password", host="docker01")

        with pytest.raises(Refused, match="sudo wants a password"):
            walk("apply").apply()

    def test_refusal_after_a_change(self, walk: Callable[..., Walk], module: Pretended) -> None:
        """Where something was changed already, it is a failed change."""
        module.broken["b"] = Refused("sudo wants a password", host="docker01")

        with pytest.raises(ChangeFailed):
            walk("apply").apply()


class TestReading:
    """What goes wrong while nothing is asked but to read."""

    CASES = (
        (Lost(f"the connection was lost{IN_DOUBT}", host="docker01"), Unreachable),
        (RunbookError("the engine answered 500", host="docker01"), Refused),
    )

    @pytest.mark.parametrize(("error", "kind"), CASES)
    @pytest.mark.parametrize("part", ["observe", "verify"])
    def test_before_a_change(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        part: str,
        error: RunbookError,
        kind: type[RunbookError],
    ) -> None:
        """It has changed nothing, in words and in exit status."""
        step = walk("apply")
        module.unread[part] = error

        with pytest.raises(kind, match=f"{error.message.removesuffix(IN_DOUBT)}$") as caught:
            getattr(step, part)()
        assert (caught.value.exit_code, caught.value.host) == (3, "docker01")

    @pytest.mark.parametrize(("error", "kind"), CASES)
    def test_after_a_change(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        error: RunbookError,
        kind: type[RunbookError],
    ) -> None:
        """It is no refusal any more."""
        del kind
        step = walk("apply")
        step.apply()
        module.unread["verify"] = error

        with pytest.raises(type(error)) as caught:
            step.verify()
        assert caught.value is error


def checks_of(shown: Shown) -> dict[str, str]:
    """Return what each check of a table saw."""
    return {row["check"]: row["seen"] for row in shown.frame.to_dict("records")}


class TestVerify:
    """The proof."""

    def test_after_an_apply(self, walk: Callable[..., Walk]) -> None:
        """The step's own checks and the second reading hold."""
        step = walk("apply")
        step.apply()
        shown = step.verify()

        assert checks_of(shown) == {ANSWERS: "yes", CONVERGED: "0 changes"}
        assert shown.caption.startswith("Verified: 2 of 2 checks passed.")

    def test_check_that_fails(
        self, walk: Callable[..., Walk], module: Pretended, shown: list[Any]
    ) -> None:
        """The table with what was seen is shown, then the notebook stops."""
        module.answer = "no"
        step = walk("apply")
        step.apply()

        with pytest.raises(CheckFailed, match="it answers: expected 'yes', seen 'no'"):
            step.verify()
        assert [checks_of(table)[ANSWERS] for table in shown] == ["no"]

    def test_change_without_effect(self, walk: Callable[..., Walk], module: Pretended) -> None:
        """What a second reading still finds was not changed, whatever the commands said."""
        module.stays = True
        step = walk("apply")
        step.apply()

        with pytest.raises(CheckFailed, match="seen 'docker01: create a: absent → there"):
            step.verify()

    def test_plan_that_was_not_applied(self, walk: Callable[..., Walk]) -> None:
        """A verification that skips the apply cell does not prove the plan done."""
        with pytest.raises(CheckFailed, match=CONVERGED):
            walk("apply").verify()

    def test_nothing_to_change(self, walk: Callable[..., Walk], module: Pretended) -> None:
        """An empty plan of this very notebook is the second reading."""
        module.missing.clear()
        step = walk("apply")
        step.apply()
        module.missing.append("later")

        assert checks_of(step.verify())[CONVERGED] == "0 changes"

    def test_checks_are_those_required(self, walk: Callable[..., Walk]) -> None:
        """The runner's list and the evidence are the same names."""
        step = walk("apply")
        step.apply()

        assert set(checks_of(step.verify())) == {CONVERGED, ANSWERS}


@pytest.fixture
def preflight(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Walk]:
    """Open the preflight of the lab as recorded: ``preflight("plan", docker02={...})``."""
    store = ConfigStore(swarm())
    monkeypatch.setattr("runbook.hosts.docker_api.engine", lambda _connection: store.client)

    def begin(mode: str, **texts: dict[str, str]) -> Walk:
        fleet = FakeFleet(converged(**texts))
        return stepping(find("preflight"), mode, store, parameters("lab"), fleet)

    return begin


class TestPreflight:
    """The step that proves while it only plans."""

    @pytest.mark.parametrize("mode", ["plan", "apply"])
    def test_fit(self, preflight: Callable[..., Walk], mode: str) -> None:
        """In either mode it plans nothing, applies nothing and ends with its verdict."""
        step = preflight(mode)
        step.observe()

        assert "0 blocking" in step.findings().caption
        assert "0 changes" in step.plan().caption
        step.apply()
        assert step.verify().caption.startswith("Verified: 1 of 1 checks passed. Next: 10_network")

    def test_unfit(self, preflight: Callable[..., Walk], shown: list[Any]) -> None:
        """A blocking finding refuses the run; what to do is in the message."""
        step = preflight("plan", docker02={"route": ""})
        step.observe()
        step.plan()

        with pytest.raises(Refused, match="docker02: the default route is via nothing") as caught:
            step.verify()
        assert "make 10.0.0.1 the default gateway of docker02" in caught.value.todo
        assert len(shown) == 1


class TestRecipe:
    """The files, before anything is planned."""

    @staticmethod
    def seen(name: str, **texts: dict[str, str]) -> Walk:
        """Return a step of the lab as recorded that has observed it."""
        fleet = FakeFleet(converged(**texts))
        step = stepping(find(name), "plan", ConfigStore(swarm()), parameters("lab"), fleet)
        step.observe()
        return step

    @pytest.mark.parametrize(
        ("name", "hosts", "path", "line"),
        [
            ("traefik", ["docker01"], "~/traefik/traefik.yml", "mode: global"),
            (
                "keepalived",
                ["docker01", "docker02", "docker03"],
                "/etc/keepalived/keepalived.conf",
                "vrrp_instance VI_1 {",
            ),
            ("shorewall", ["gateway"], "/etc/shorewall/rules", "DNAT net loc:10.0.0.2:80 tcp 80"),
        ],
    )
    def test_of_this_site(self, name: str, hosts: list[str], path: str, line: str) -> None:
        """Each file is shown whole, under its host and path."""
        shown = self.seen(name).recipe

        assert list(shown.unfold) == [f"{host}: {path}" for host in hosts]
        assert all(line in text for text in shown.unfold.values())

    def test_of_somebody_else(self) -> None:
        """A file that the plan will refuse is none of the step's; why is said."""
        foreign = "0644 root:root\ndmVyc2lvbjogJzMnCg=="
        shown = self.seen("traefik", docker01={"recipe": foreign}).recipe

        assert "was not written by the runbook" in shown.caption
        assert shown.unfold == {}

    def test_before_observation(self, store: ConfigStore) -> None:
        """The lines of others are not known yet."""
        with pytest.raises(BadInput, match="observed"):
            _ = stepping(find("shorewall"), "plan", store, parameters("lab")).recipe

    def test_holds_no_secret(
        self, walk: Callable[..., Walk], module: Pretended, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is masked before a person's own notebook has it."""
        registry = Registry()
        registry.add("vault", "correct-horse-battery")
        monkeypatch.setattr(sealed, "MASKER", Masker(registry))
        module.missing = ["correct-horse-battery"]

        assert walk("plan", 1).recipe.unfold == {"docker01: /etc/missing": "[masked:vault]\n"}


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


class TestApproved:
    """A step under an approval that was given beforehand."""

    @pytest.mark.usefixtures("approved")
    def test_is_applied(self, walk: Callable[..., Walk]) -> None:
        """What is planned as it was approved is made."""
        assert walk("apply").apply().caption == "2 of 2 changes made"

    @pytest.mark.usefixtures("approved")
    def test_world_that_moved(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        store: ConfigStore,
        events: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """What moved between approval and plan is refused before the lock; nothing is made."""
        module.missing.append("c")
        with pytest.raises(Refused, match="the world has moved since the plan was approved") as no:
            walk("apply").apply()

        assert "docker01/c/is: absent → missing" in no.value.message
        assert "docker01//etc/missing: would be written otherwise" in no.value.message
        assert (module.made, store.requests) == ([], [])
        assert (events()[-1]["kind"], events()[-1]["exit_code"]) == ("Refused", 3)

    @pytest.mark.usefixtures("approved")
    def test_nothing_left_to_do(self, walk: Callable[..., Walk], module: Pretended) -> None:
        """Where everything is as declared by now, nothing is refused: nothing is made."""
        module.missing.clear()

        assert walk("apply").apply().caption == "0 changes to make."

    @pytest.mark.usefixtures("approved")
    def test_planning_is_free(self, walk: Callable[..., Walk], module: Pretended) -> None:
        """A plan may say what it likes; it changes nothing."""
        module.missing.append("c")

        assert walk("plan").apply().caption == "Not applied: the mode is plan."

    def test_part(self, approved: dict[str, Any]) -> None:
        """It has what was seen, the files and the changes, and the digest that was shown."""
        assert approved["observed"] == {"docker01": {n: {"is": "missing"} for n in ("a", "b")}}
        assert approved["files"] == {"docker01": {"/etc/missing": "a\nb\n"}}
        assert [change["resource"] for change in approved["changes"]] == ["a", "b"]
        assert len(approved["digest"]) == 64

    def test_part_holds_no_secret(
        self, walk: Callable[..., Walk], module: Pretended, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was seen, would be written and would change is masked before it goes anywhere."""
        registry = Registry()
        registry.add("vault", "correct-horse-battery")
        monkeypatch.setattr(sealed, "MASKER", Masker(registry))
        module.missing = ["correct-horse-battery"]
        step = walk("plan")
        part = step._part(step._shown_plan())

        assert "correct-horse-battery" not in json.dumps(part)
        assert part["observed"] == {"docker01": {"[masked:vault]": {"is": "missing"}}}
        assert part["files"] == {"docker01": {"/etc/missing": "[masked:vault]\n"}}
        assert part["changes"][0]["resource"] == "[masked:vault]"


class TestEvents:
    """What the runner is told."""

    def test_without_a_runner(
        self, walk: Callable[..., Walk], shown: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A notebook that a person runs holds tables only."""
        for value in (None, "", "0", "true"):
            monkeypatch.delenv("RUNBOOK_EVENTS", raising=False)
            if value is not None:
                monkeypatch.setenv("RUNBOOK_EVENTS", value)
            step = walk("apply")
            step.apply()
            step.verify()

        assert shown == []

    def test_of_a_run(
        self, walk: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """What was seen, plan, outcomes, what is seen now, checks and verdict, in that order."""
        step = walk("apply")
        step.apply()
        step.verify()

        assert [event["event"] for event in events()] == [
            "hosts",
            "state",
            "plan",
            "begun",
            "outcome",
            "begun",
            "outcome",
            "state",
            "hosts",  # those that only the checks reached
            "check",
            "check",
            "verdict",
        ]
        assert {event["step"] for event in events()} == {"pretended"}

    def test_content(
        self, walk: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """Each carries the fields that the record keeps, as plain JSON."""
        step = walk("apply")
        step.apply()
        step.verify()
        told = {event["event"]: event for event in events()}

        assert json.loads(json.dumps(told)) == told
        assert len(told["plan"]["digest"]) == 64
        assert set(told["plan"]["changes"][0]) == {
            "host", "resource", "action", "summary", "before", "after", "diff", "undo",
        }  # fmt: skip
        outcome = told["outcome"] | {"duration_ms": 0}
        assert outcome == {
            "event": "outcome",
            "step": "pretended",
            "host": "docker01",
            "resource": "b",
            "action": "create",
            "outcome": "done",
            "duration_ms": 0,
            "message": "",
        }
        assert told["check"]["name"] == CONVERGED
        assert set(told["plan"]["sealed"]) == {"digest", "observed", "files", "changes"}
        assert told["plan"]["sealed"]["digest"] == told["plan"]["digest"]
        assert told["verdict"] == {
            "event": "verdict",
            "step": "pretended",
            "mode": "apply",
            "changes": 2,
            "checks_passed": 2,
            "checks_failed": 0,
        }

    def test_states(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        events: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """What was there before and after is told by host, resource and field."""
        module.stays = True
        step = walk("apply")
        step.apply()
        module.missing.remove("a")
        with pytest.raises(CheckFailed):
            step.verify()
        seen = {name: {"is": "missing"} for name in ("a", "b")}

        assert [(e["moment"], e["seen"]) for e in events() if e["event"] == "state"] == [
            ("before", {"docker01": seen}),
            ("after", {"docker01": {"b": seen["b"]}}),
        ]

    def test_step_without_a_state(
        self, module: Pretended, store: ConfigStore, events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """A step that only proves tells of no state, and nothing of it is sealed."""
        step = stepping(module.step(), "plan", store, parameters("article"))
        step.observe()
        step.plan()

        assert [event["event"] for event in events()] == ["hosts", "plan"]
        assert "sealed" not in events()[-1]

    def test_host_keys(
        self, preflight: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """The keys that the hosts proved to have are told once they were read."""
        preflight("plan").observe()
        (told,) = (event for event in events() if event["event"] == "hosts")

        assert told["keys"] == {h: f"SHA256:{h}" for h in parameters("lab").site.hosts}

    def test_of_a_failure(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        events: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """The change that failed and the error that stops the notebook are told."""
        module.broken["a"] = ChangeFailed("disk full", host="docker01")
        with pytest.raises(ChangeFailed):
            walk("apply").apply()
        outcome, error = events()[-2:]

        assert [event["event"] for event in events()[:-2]] == ["hosts", "state", "plan", "begun"]
        assert (outcome["outcome"], outcome["message"]) == ("failed", "docker01: disk full")
        assert (error["event"], error["kind"], error["exit_code"]) == ("error", "ChangeFailed", 1)
        assert "disk full" in error["message"]

    def test_of_a_failed_check(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        events: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """The verdict counts it before the error comes."""
        module.missing.clear()
        module.answer = "no"
        with pytest.raises(CheckFailed):
            walk("apply").verify()
        told = {event["event"]: event for event in events()}

        assert (told["verdict"]["checks_passed"], told["verdict"]["checks_failed"]) == (1, 1)
        assert told["error"]["kind"] == "CheckFailed"

    def test_of_bad_input(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        """An error of the first cell is told as well."""
        with pytest.raises(BadInput):
            open_step("traefik", ARTICLE, "destroy")

        assert [(event["event"], event["exit_code"]) for event in events()] == [("error", 2)]

    def test_of_the_plan_mode(
        self, walk: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """The verdict has the count of changes and no checks."""
        step = walk("plan")
        step.apply()
        step.verify()

        assert events()[-1] == {
            "event": "verdict",
            "step": "pretended",
            "mode": "plan",
            "changes": 2,
        }

    def test_findings(
        self, preflight: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """The preflight tells each finding, and each host that it has read."""
        preflight("plan").observe()
        kinds = [event["event"] for event in events()]
        levels = {event["level"] for event in events() if event["event"] == "finding"}

        assert kinds.count("progress") == len(parameters("lab").site.hosts)
        assert levels == {"warning", "fine"}

    def test_mime(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        """One event is one message of the type that the runner takes out."""
        emit("x", Message(None, "waiting"))

        assert MIME == "application/vnd.runbook.event+json"
        assert events() == [
            {"event": "progress", "step": "x", "host": None, "message": "waiting"}
        ]  # fmt: skip
