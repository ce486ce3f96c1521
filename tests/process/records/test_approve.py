"""Approving a plan, and applying it only so."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from archives import (
    ALICE,
    BOB,
    CAROL,
    PLANNED,
    RECORD,
    allow,
    archive_in,
    by_both,
    edit,
    key,
    planned_in,
    run,
    signer,
    team,
    write,
)

from runbook.errors import BadInput, Refused
from runbook.records.archive import canonical
from runbook.records.archive.archive import Archive
from runbook.records.archive.statement import Context
from runbook.records.journal.journal import now
from runbook.records.keeping import approve
from runbook.records.signing import sshsig
from runbook.records.signing.sign import Signer

PLAN = (RECORD / "plan.json").read_bytes()
NEXT = "20261123T130004Z-lab-00000d"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive in which one run, among others, has shown the plan."""
    records = archive_in(tmp_path)
    planned_in(records)
    return records


def approved(records: Path, by: str = CAROL, **options: Any) -> Path:
    return approve.approve(records, PLANNED, signer(by), reason="looks right", **options)


def rewritten(path: Path, own: Signer, /, **values: str) -> None:
    """Change what an approval says, and sign it anew."""
    content = canonical.document(json.loads(path.read_text()) | values)
    write(path, content)
    write(path.with_name(path.name + ".sig"), own.sign(content, sshsig.APPROVAL))


class TestSeal:
    """The bytes that are approved."""

    PARTS: dict[str, Any] = {  # noqa: RUF012
        "site": {"name": "lab"},
        "image": "traefik:v3.7.1",
        "steps": {"network": {"observed": {"docker01": {}}, "files": {}, "changes": []}},
    }

    @pytest.mark.parametrize("part", PARTS)
    def test_every_part_counts(self, part: str) -> None:
        """Another site, image or step is another plan; order of keys is not."""
        sealed = approve.seal(self.PARTS)

        assert approve.seal(dict(reversed(self.PARTS.items()))) == sealed
        assert approve.seal(self.PARTS | {part: "moved"}) != sealed

    @pytest.mark.parametrize("part", ["observed", "files", "changes"])
    def test_every_part_of_a_step_counts(self, part: str) -> None:
        """So is a step that saw, would write or would change something else."""
        moved = self.PARTS["steps"]["network"] | {part: ["moved"]}

        assert approve.seal(self.PARTS | {"steps": {"network": moved}}) != approve.seal(self.PARTS)

    def test_form(self) -> None:
        """They are a JSON document of this version."""
        assert json.loads(approve.seal(self.PARTS)) == {"schema": 1, **self.PARTS}


class TestApprove:
    """What the second person does."""

    def test_written(self, records: Path) -> None:
        """The approval names run, plan, person and time, and the archive stays sound."""
        told = json.loads(approved(records).read_text())

        assert (told["run_id"], told["by"]) == (PLANNED, CAROL)
        assert told["plan_sha256"] == canonical.sha256(PLAN)
        assert told["at"] < told["expires"]
        assert by_both(records) == (0, [])

    def test_role(self, records: Path) -> None:
        """A key that may not sign in the namespace of approvals approves nothing."""
        said = "does not permit it in the namespace runbook-approval"
        with pytest.raises(Refused, match=said) as refused:
            approved(records, BOB)
        line = f'{BOB} namespaces="runbook-approval" {signer(BOB).public_line}'
        assert refused.value.todo.endswith(f"allowed_signers: {line}")
        assert not (records / "approvals").exists()

    def test_own_plan(self, records: Path) -> None:
        """Who planned it cannot approve it, even with a key that may."""
        allow(records, [*team()[1:], f"{ALICE} {signer(ALICE).public_line}"])

        with pytest.raises(Refused, match=f"{ALICE} made this plan and cannot approve it"):
            approved(records, ALICE)
        assert not (records / "approvals").exists()

    def test_altered_run(self, records: Path) -> None:
        """A plan that is not as it was sealed is not approved."""
        edit(records / PLANNED / "plan.json", "3.7", "3.8")

        with pytest.raises(Refused, match=r"plan\.json: altered"):
            approved(records)

    def test_unknown_run(self, records: Path) -> None:
        """There must be such a run."""
        with pytest.raises(BadInput, match="no ledger knows the run other"):
            approve.approve(records, "other", signer(CAROL), reason="")

    @pytest.mark.parametrize(
        ("results", "said"),
        [
            ({}, "(apply, changed) is no plan"),
            ({"mode": "plan", "status": "failed", "steps": []}, "(plan, failed) is no plan"),
            ({"mode": "plan", "status": "interrupted"}, "(plan, aborted) is no plan"),
        ],
    )
    def test_run_that_shows_no_whole_plan(
        self, records: Path, results: dict[str, Any], said: str
    ) -> None:
        """What was applied already, or what broke off, is not to be approved."""
        run(Archive(records, signer(BOB)), NEXT, **results)

        with pytest.raises(BadInput) as refused:
            approve.approve(records, NEXT, signer(CAROL), reason="")
        assert said in refused.value.message
        assert refused.value.todo == "approve one: runbook run SITE --plan"

    def test_run_without_plan(self, records: Path) -> None:
        """Nor is a run of which no plan is kept."""
        run(
            Archive(records, signer(BOB)),
            NEXT,
            before_close=lambda folder: (folder / "plan.json").unlink(),
            mode="plan",
            steps=[],
        )

        with pytest.raises(BadInput, match=r"\(plan, ok\) is no plan that came to its end"):
            approve.approve(records, NEXT, signer(CAROL), reason="")


def wrong_plan(path: Path) -> None:
    rewritten(path, signer(CAROL), plan_sha256="0" * 64)


def self_approved(path: Path) -> None:
    rewritten(path, signer(ALICE), by=ALICE)


def self_approved_by_another_name(path: Path) -> None:
    line = f"dave@example {signer(ALICE).public_line}"
    allow(path.parents[1], [*team(), line])
    rewritten(path, signer(ALICE), by="dave@example")


def foreign(path: Path) -> None:
    rewritten(path, Signer(key("mallory"), CAROL))


def edited(path: Path) -> None:
    edit(path, "looks right", "looks good")


def unsigned(path: Path) -> None:
    path.with_name(path.name + ".sig").unlink()


def expired(path: Path) -> None:
    rewritten(path, signer(CAROL), expires="2026-11-01T00:00:00.000Z")


def yet_to_come(path: Path) -> None:
    rewritten(path, signer(CAROL), at="2999-01-01T00:00:00.000Z")


def not_an_approval(path: Path) -> None:
    rewritten(path, signer(CAROL), at="soon")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda path: path.unlink(), "nobody has approved this plan"),
    "wrong plan": (wrong_plan, "wrong plan: what was approved is another one"),
    "self-approved": (self_approved, f"self-approved: {ALICE} is the operator"),
    "self-approved by another name": (
        self_approved_by_another_name,
        "self-approved: dave@example signs with the operator's key",
    ),
    "foreign": (foreign, "is not in allowed_signers"),
    "edited": (edited, "it is not a signature of this content"),
    "unsigned": (unsigned, f"{CAROL}.json.sig: missing"),
    "expired": (expired, "it expired at 2026-11-01T00:00:00.000Z"),
    "yet to come": (yet_to_come, "it is of 2999-01-01T00:00:00.000Z, after"),
    "not an approval": (not_an_approval, "not an approval"),
}


class TestRequire:
    """What a run asks for before it applies."""

    def test_granted(self, records: Path) -> None:
        """The approval of the very plan by another person lets the run go on."""
        path = approved(records)

        assert approve.require(records, PLAN, signer(ALICE)) == path

    @pytest.mark.parametrize("name", REFUSED)
    def test_refused(self, records: Path, name: str) -> None:
        """Each reason has its own message, and nothing is changed."""
        spoil, said = REFUSED[name]
        spoil(approved(records))

        with pytest.raises(Refused) as refused:
            approve.require(records, PLAN, signer(ALICE))
        assert said in str(refused.value)
        assert refused.value.exit_code == 3

    def test_one_of_several(self, records: Path) -> None:
        """An approval that holds is found beside others that do not."""
        allow(records, [*team(), f"aaron@example {signer(BOB).public_line}"])
        other = approve.approve(records, PLANNED, Signer(key("bob"), "aaron@example"), reason="")
        not_an_approval(other)
        path = approved(records)

        assert approve.require(records, PLAN, signer(ALICE)) == path

    def test_time(self, records: Path) -> None:
        """It holds for a day unless said otherwise."""
        approved(records)
        now = datetime.now(UTC)

        assert approve.require(records, PLAN, signer(ALICE), now + timedelta(hours=23))
        with pytest.raises(Refused, match="expired"):
            approve.require(records, PLAN, signer(ALICE), now + timedelta(hours=25))


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "wrong plan": (wrong_plan, ".json: wrong plan: it approves 0000"),
    "self-approved": (self_approved, ".json: self-approved: alice@example is the operator"),
    "self-approved by another name": (self_approved_by_another_name, ".json: self-approved: dave"),
    "foreign": (foreign, ".json.sig: "),
    "edited": (edited, ".json.sig: "),
    "unsigned": (unsigned, ".json.sig: missing"),
    "expired": (expired, ".json: it expired at 2026-11-01"),
    "not an approval": (not_an_approval, ".json: not an approval"),
}


class TestInTheRecord:
    """The approval as a part of the run that it allowed."""

    def apply(
        self, records: Path, spoil: Callable[[Path], Any] = lambda _path: None
    ) -> dict[str, Any]:
        """Apply under an approval, and return what the statement says of it."""
        path = approved(records)

        def place(folder: Path) -> None:
            approve.place(path, folder)
            spoil(folder / "approval.json")

        # The recorded results are of a time before any approval.
        times = {"started": now(), "finished": now()}
        run(Archive(records, signer(ALICE)), NEXT, before_close=place, **times)
        told = json.loads((records / NEXT / "statement.json").read_text())
        return dict(told["predicate"]["approval"])

    def test_holds(self, records: Path) -> None:
        """Both verifiers find it in order; the statement says who approved what."""
        told = self.apply(records)

        assert by_both(records) == (0, [])
        assert (told["kind"], told["by"], told["review_due"]) == ("pre", CAROL, None)
        assert told["plan_sha256"] == canonical.sha256(PLAN)

    @pytest.mark.parametrize("name", SPOILT)
    def test_does_not_hold(self, records: Path, name: str) -> None:
        """A run recorded with an approval that does not hold is bad, whoever signed the record."""
        spoil, said = SPOILT[name]

        def spoil_copy(path: Path) -> None:
            path.chmod(0o644)
            spoil(path)

        self.apply(records, spoil_copy)
        status, found = by_both(records)

        assert status == 1
        assert [line for line in found if line.startswith(f"BAD {NEXT}/approval{said}")]

    def test_after_the_fact(self, records: Path) -> None:
        """An approval given after the run had started approves nothing."""
        path = approved(records)
        archive = Archive(records, signer(ALICE))
        run(archive, NEXT, before_close=lambda folder: approve.place(path, folder))

        status, found = by_both(records)

        assert status == 1
        assert "after 2026-11-23T13:01:47" in found[0]

    def test_emergency(self, records: Path) -> None:
        """An emergency is recorded as one, with a reason and a day for its review."""
        told = approve.emergency(PLAN, ALICE, "the edge is down", "2026-11-23T13:00:00.000Z")
        run(Archive(records, signer(ALICE)), NEXT, context=Context(approval=told))
        predicate = json.loads((records / NEXT / "statement.json").read_text())["predicate"]

        assert predicate["approval"] == {
            "kind": "emergency",
            "by": ALICE,
            "plan_sha256": canonical.sha256(PLAN),
            "at": "2026-11-23T13:00:00.000Z",
            "expires": None,
            "reason": "the edge is down",
            "review_due": "2026-11-28T13:00:00.000Z",
        }
        assert predicate["plan_sha256"] == canonical.sha256(PLAN)
        assert by_both(records) == (0, [])
