"""A walk that changes something: applied, verified, and as it was approved."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fakes import ConfigStore, declared
from walking import ANSWERS, Pretended

from runbook.errors import ChangeFailed, CheckFailed, Refused, RunbookError
from runbook.masking.redact import Masker
from runbook.masking.secret import Registry
from runbook.notebook.tables import Shown
from runbook.notebook.walk import Walk
from runbook.steps import CONVERGED
from runbook.steps import approved as sealed


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
