"""A walk through a step, cell by cell, as its notebook does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import TOP, ConfigStore, FakeFleet, converged, parameters, swarm
from walking import Pretended, stepping

from runbook.errors import IN_DOUBT, BadInput, Lost, Refused, RunbookError, Unreachable
from runbook.masking.redact import Masker
from runbook.masking.secret import Registry
from runbook.notebook.walk import Walk, open_step
from runbook.steps import STEPS, find
from runbook.steps import approved as sealed

ARTICLE = str(TOP / "parameters" / "article.yml")


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
