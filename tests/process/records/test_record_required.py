"""What a site requires of a run that changes something: whose key, whose approval, an emergency."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, BOB, CAROL, allow, by_both, key, signer, team
from headless import Workplace, plan
from spooled import CONTEXT, applied, approved, begin, ignore, killed, opened, planned, told

from runbook.errors import BadInput, Refused
from runbook.events import to_json
from runbook.records.archive import canonical
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import Ledger
from runbook.records.journal.entries import read
from runbook.records.reading.report import report
from runbook.records.writing.closing import JOURNAL
from runbook.records.writing.record import Record, close_killed
from runbook.run.opening import prepare

pytestmark = pytest.mark.usefixtures("quick_kernels")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A folder of records in which nothing was recorded yet, and who may sign there."""
    allow(tmp_path / "records", team())
    return tmp_path / "records"


@pytest.fixture
def place(tmp_path: Path, records: Path) -> Workplace:
    """A site with one step, whose records the team signs."""
    place = Workplace(tmp_path)
    assert place.records == records
    begin(place)
    return place


GIVEN: dict[str, dict[str, Any]] = {
    "signature": {"key": key("alice")},
    "ticket": {"ticket": "CHG-7"},
    "reason": {"reason": "the edge is to be highly available"},
    "approval": {"emergency": True, "reason": "the edge is down"},
}


@pytest.fixture
def bobs(records: Path) -> Archive:
    """The archive, of which the next run is bob's."""
    return Archive(records, signer(BOB))


class TestRequirements:
    """What a site requires of a run that changes something."""

    @pytest.mark.parametrize("need", GIVEN)
    def test_missing(self, place: Workplace, need: str) -> None:
        """It is named, with how to give it, and nothing is entered or begun."""
        place.require = (need,)
        with pytest.raises(Refused, match=f"changes something: {need}") as refused:
            place.run(mode="apply")

        assert refused.value.exit_code == 3
        assert refused.value.todo
        assert [path.name for path in place.records.iterdir()] == ["allowed_signers"]
        assert place.entries == []

    @pytest.mark.parametrize("need", GIVEN)
    def test_given(self, place: Workplace, need: str) -> None:
        """With it the run is begun, and its statement says it."""
        place.require = (need,)
        result = place.run(mode="apply", **GIVEN[need])
        said = told(result.record)

        assert result.exit_status == 0
        assert said["signer"] == (ALICE if need == "signature" else None)
        assert said["ticket"] == GIVEN[need].get("ticket")
        assert said["reason"] == GIVEN[need].get("reason")
        assert (said["approval"] or {}).get("kind") == ("emergency" if need == "approval" else None)

    def test_all_at_once(self, place: Workplace) -> None:
        """Every one that is missing is named, each with how to give it."""
        place.require = ("ticket", "approval", "signature")
        with pytest.raises(Refused, match="ticket, approval, signature") as refused:
            place.run(mode="apply", reason="why")

        assert all(word in refused.value.todo for word in ("--ticket", "--approved", "--key"))

    def test_planning_needs_none(self, place: Workplace) -> None:
        """A plan changes nothing, so nothing is asked."""
        place.require = tuple(GIVEN)

        assert place.run().exit_status == 4

    @pytest.mark.parametrize("text", ["", None])
    def test_empty_is_missing(self, place: Workplace, text: str | None) -> None:
        """An empty ticket is none."""
        place.require = ("ticket",)
        with pytest.raises(Refused, match="ticket"):
            place.run(mode="apply", ticket=text)


class TestKey:
    """Whose key signs."""

    @pytest.mark.parametrize(
        "names",
        [
            ("alice", "bob", "carol", "alice"),
            (None, "bob", "carol", "bob"),
            (None, "", "alice", "alice"),
            (None, None, "alice", "alice"),
            (None, None, None, None),
        ],
    )
    def test_order(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, names: tuple[str | None, ...]
    ) -> None:
        """The one that is asked for, else RUNBOOK_KEY, else the site's; else nobody's."""
        asked, variable, site, expected = names
        monkeypatch.delenv("RUNBOOK_KEY", raising=False)
        if variable is not None:
            monkeypatch.setenv("RUNBOOK_KEY", variable and str(key(variable)))
        place.key = key(site) if site else None
        own = key(asked) if asked else None
        found = prepare(place.declared, place.request(key=own)).archive.signer

        assert (found and found.key) == (key(expected) if expected else None)
        assert (found and found.principal) == (f"{expected}@example" if expected else None)

    @pytest.mark.parametrize("is_new", [True, False])
    def test_that_cannot_sign(
        self, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
    ) -> None:
        """A key that nobody holds leaves no record and no line, and is allowed nowhere."""
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        absent = tmp_path / "absent.pub"
        absent.write_text(key("alice").with_name(key("alice").name + ".pub").read_text())
        if is_new:
            place.records = tmp_path / "new"
        before = sorted(place.records.rglob("*"))
        with pytest.raises(Refused, match="did not sign"):
            place.run(mode="apply", key=absent)

        assert sorted(place.records.rglob("*")) == before
        assert place.records.exists() is not is_new

    def test_that_may_not(self, place: Workplace) -> None:
        """A key for approvals alone leaves no record and no line either."""
        with pytest.raises(Refused, match="may not sign records here"):
            place.run(mode="apply", key=key("carol"))

        assert not [path for path in place.records.iterdir() if path.is_dir()]

    def test_that_is_not_there(self, place: Workplace, tmp_path: Path) -> None:
        """A key that cannot be read is bad input."""
        with pytest.raises(BadInput, match="there is no public key in"):
            place.run(key=tmp_path / "no-key")

        assert place.entries == []

    def test_refused_after_the_folder_was_made(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the ledger cannot be written on, the folder is removed again."""

        def refuse(*_arguments: Any, **_fields: Any) -> None:
            raise Refused("its last line is damaged")

        monkeypatch.setattr(Ledger, "append", refuse)
        with pytest.raises(Refused, match="its last line is damaged"):
            place.run(key=key("alice"))

        assert not list(place.records.glob(".spool-*"))


class TestApproved:
    """A run under an approval that was given beforehand."""

    def test_holds(self, place: Workplace) -> None:
        """Plan and approval are part of its record, byte for byte, and both verifiers agree."""
        place.require = ("signature", "approval")
        run_id = planned(place)
        approval = approved(place, run_id)
        result = applied(place, approved=run_id[-6:])
        plan_of = (place.records / run_id / "plan.json").read_bytes()
        said = told(result.record)

        assert result.exit_status == 0
        assert (result.record / "plan.json").read_bytes() == plan_of
        assert (result.record / "approval.json").read_bytes() == approval.read_bytes()
        assert (said["approval"]["kind"], said["approval"]["by"]) == ("pre", CAROL)
        assert said["approval"]["plan_sha256"] == said["plan_sha256"] == canonical.sha256(plan_of)
        assert by_both(place.records) == (0, [])
        assert "unapproved" not in {
            a.kind for a in report(place.records).anomalies if a.run_id == result.record.name
        }

    def test_reaches_the_notebooks(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        """The kernels are told where the approved plan is, and only then, and by the run alone."""
        monkeypatch.setenv("RUNBOOK_APPROVED", "of the operator")
        ask = f"tell(**{plan()})\nimport os\nos.environ['RUNBOOK_APPROVED'] or None"
        place.cells("asks", ask)
        run_id = planned(place)
        approved(place, run_id)
        result = applied(place, approved=run_id, only="network")
        other = place.run(key=key("alice"), only="asks")
        shown = [
            json.loads(path.read_text())["cells"][-1]["outputs"]
            for path in (other.record / "10_asks.ipynb", result.record / "00_network.ipynb")
        ]
        assert shown == [[], []]

        asked = applied(place, approved=run_id, only="asks")
        (output,) = json.loads((asked.record / "10_asks.ipynb").read_text())["cells"][-1]["outputs"]
        assert "".join(output["data"]["text/plain"]).strip("'").endswith("/plan.json")

    def test_nobody_approved(self, place: Workplace) -> None:
        """A plan that waits for somebody is not applied."""
        run_id = planned(place)
        with pytest.raises(Refused, match="nobody has approved this plan"):
            applied(place, approved=run_id)

        assert len(list(place.records.glob("2*"))) == 1

    def test_another_site(self, place: Workplace) -> None:
        """A setting that moved since is named with both values, and nothing is begun."""
        place.settings = {"keepalived.vip": "10.0.0.2", "shorewall.net_zone": "net"}
        run_id = planned(place)
        approved(place, run_id)
        place.settings = {"keepalived.vip": "10.0.0.3", "traefik.image": "traefik:v3"}
        entries = len(place.entries)
        with pytest.raises(Refused, match="not the one whose plan was approved") as refused:
            applied(place, approved=run_id)

        assert refused.value.message.splitlines()[1:] == [
            "  keepalived.vip: 10.0.0.2 → 10.0.0.3",
            "  shorewall.net_zone: net → None",
            "  traefik.image: None → traefik:v3",
        ]
        assert len(place.entries) == entries

    def test_without_a_key(self, place: Workplace) -> None:
        """Nobody knows whether the approver is the operator."""
        run_id = planned(place)
        approved(place, run_id)
        with pytest.raises(Refused, match="held against the operator's key"):
            place.run(mode="apply", approved=run_id)

    def test_unknown_run(self, place: Workplace) -> None:
        """A run that there is not cannot have been approved."""
        planned(place)
        with pytest.raises(BadInput, match="no run is called"):
            applied(place, approved="999999")

    def test_run_without_a_plan(self, place: Workplace) -> None:
        """One that was killed before it planned has none."""
        record = Record(Archive(place.records, signer(ALICE)), "lab", ignore)
        record.archive.open_run(record.run_id, site="lab", mode="plan", context=CONTEXT)
        killed(record)
        (closed,) = close_killed(Archive(place.records, signer(ALICE)))
        with pytest.raises(BadInput, match=f"{closed.name} has no plan.json"):
            applied(place, approved=record.run_id)


class TestEmergency:
    """A run that cannot wait for an approval."""

    def test_is_recorded_as_one(self, place: Workplace) -> None:
        """The statement says who took it upon themselves, why, and until when to review it."""
        place.require = ("approval", "signature")
        result = applied(place, emergency=True, reason="the edge is down")
        said = told(result.record)
        digest = canonical.sha256_of(result.record / "plan.json")

        assert said["approval"]["kind"] == "emergency"
        assert (said["approval"]["by"], said["approval"]["reason"]) == (ALICE, "the edge is down")
        assert said["approval"]["plan_sha256"] == said["plan_sha256"] == digest
        assert said["approval"]["at"] == said["started"] < said["approval"]["review_due"]
        assert by_both(place.records) == (0, [])

    def test_unsigned(self, place: Workplace) -> None:
        """Where nobody signs, it is the account's."""
        said = told(place.run(mode="apply", emergency=True, reason="the edge is down").record)
        account = said["operator"]

        assert said["approval"]["by"] == f"{account['os_user']}@{account['host']}"

    def test_of_a_run_that_was_killed(self, records: Path, bobs: Archive) -> None:
        """It stays one, and the operator's, whoever closes it."""
        record = opened(records)
        lines = read(record.folder / JOURNAL)
        record.journal.close()
        (record.folder / JOURNAL).write_text(
            json.dumps(to_json(lines[0]) | {"emergency": True}) + "\n"
        )
        (closed,) = close_killed(bobs)

        assert told(closed)["approval"]["kind"] == "emergency"
        assert (told(closed)["approval"]["by"], told(closed)["signer"]) == (ALICE, BOB)
        assert by_both(records) == (0, [])

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"emergency": True}, "an emergency needs a reason"),
            ({"emergency": True, "reason": ""}, "an emergency needs a reason"),
            (
                {"emergency": True, "reason": "why", "approved": "x"},
                "an emergency is not approved beforehand",
            ),
            ({"emergency": True, "reason": "why", "mode": "plan"}, "a plan needs no approval"),
            ({"approved": "x", "mode": "plan"}, "a plan needs no approval"),
        ],
    )
    def test_contradictions(self, place: Workplace, options: dict[str, Any], said: str) -> None:
        """Options that do not go together are refused before anything is written."""
        with pytest.raises(BadInput, match=said) as refused:
            place.run(**{"mode": "apply", "key": key("alice"), **options})

        assert refused.value.todo
        assert [path.name for path in place.records.iterdir()] == ["allowed_signers"]
