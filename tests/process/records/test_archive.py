"""Opening, sealing and closing runs."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from archives import (
    ALICE,
    BOB,
    CAROL,
    CONTEXT,
    PYTHON,
    RUNS,
    allow,
    archive_in,
    by_both,
    fill,
    key,
    planned_in,
    run,
    signer,
    team,
)

from runbook.errors import BadInput, Refused, RunbookError
from runbook.records.archive import provenance, statement
from runbook.records.archive.anchors import anchor
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import Ledger
from runbook.records.archive.statement import Context
from runbook.records.keeping import approve
from runbook.records.signing.sign import Signer

FIRST, _, LAST = RUNS
NEXT = "20261123T130004Z-lab-00000d"


def statement_of(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "statement.json").read_text())
    return told


def objections(schema: str, document: Any) -> list[str]:
    """Return what a published schema says against a document."""
    text = files("runbook.records").joinpath(f"schemas/{schema}.json").read_text()
    validator = jsonschema.Draft7Validator(json.loads(text))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


class TestClosedRun:
    """What a run leaves."""

    def test_statement(self, tmp_path: Path) -> None:
        """The statement says who ran what, when, why and with what outcome."""
        told = statement_of(archive_in(tmp_path) / FIRST)["predicate"]

        assert told["operator"]["principal"] == told["signer"] == ALICE
        assert (told["site"], told["mode"], told["outcome"]) == ("lab", "apply", "changed")
        assert (told["ticket"], told["reason"]) == ("CHG-7", CONTEXT.reason)
        assert told["targets"] == ["docker03", "docker04", "gateway"]
        assert told["counts"] == {
            "ok": 3,
            "changed": 1,
            "failed": 0,
            "skipped": 0,
            "unreachable": 0,
        }
        assert None not in (told["plan_sha256"], told["state_before_sha256"])

    def test_subject(self, tmp_path: Path) -> None:
        """It names every other file by its digest, in order."""
        folder = archive_in(tmp_path) / FIRST
        names = [entry["name"] for entry in statement_of(folder)["subject"]]
        there = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]

        assert names == sorted(set(there) - statement.OWN)
        assert "source/10_network.ipynb" in names

    def test_read_only(self, tmp_path: Path) -> None:
        """Every file is readable by all and writable by nobody."""
        sealed = [p for p in (archive_in(tmp_path) / FIRST).rglob("*") if p.is_file()]

        assert {stat.S_IMODE(path.stat().st_mode) for path in sealed} == {0o444}

    def test_head(self, tmp_path: Path) -> None:
        """Closing returns the head that a witness is to keep."""
        folder = archive_in(tmp_path)
        sealed = run(Archive(folder, signer(ALICE)), NEXT)

        assert sealed.head == Ledger(folder, ALICE).head()
        assert (sealed.signed_by, sealed.head.seq) == (ALICE, 5)

    @pytest.mark.parametrize(
        ("results", "outcome"),
        [
            ({}, "changed"),
            ({"steps": []}, "ok"),
            ({"status": "failed"}, "partial"),
            ({"status": "failed", "steps": []}, "failed"),
            ({"status": "timed out", "steps": []}, "failed"),
            ({"status": "interrupted"}, "aborted"),
            ({"status": "killed"}, "killed"),
        ],
    )
    def test_outcome(self, tmp_path: Path, results: dict[str, Any], outcome: str) -> None:
        """The outcome says whether something was changed, even where the run failed."""
        run(Archive(tmp_path), NEXT, **results)

        assert statement_of(tmp_path / NEXT)["predicate"]["outcome"] == outcome

    def test_error(self, tmp_path: Path) -> None:
        """The first error is told, with at most 500 characters of its message."""
        steps = json.loads(
            (Path(__file__).parents[2] / "data/records/run/results.json").read_text()
        )
        broken = steps["steps"][1] | {"status": "failed", "reason": "x" * 600}
        broken["errors"] = [{"kind": "Unreachable", "host": "docker02", "message": "y" * 600}]
        run(Archive(tmp_path), NEXT, status="failed", steps=[broken])
        told = statement_of(tmp_path / NEXT)["predicate"]

        assert told["error"] == {
            "step": "network",
            "host": "docker02",
            "type": "Unreachable",
            "message": "y" * 500,
        }
        assert told["counts"]["unreachable"] == 1

    def test_provenance(self, tmp_path: Path) -> None:
        """Commit, dirtiness, versions and lock file are told; outside a repository no commit."""
        argv = ["git", "-c", "user.name=a", "-c", "user.email=a@example", "-C", str(tmp_path)]
        (tmp_path / "requirements.lock").write_text("")
        for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "x"]):
            subprocess.run([*argv, *words], check=True)

        git, tool = provenance.git(tmp_path), provenance.tool(tmp_path)

        assert git is not None
        assert (git["branch"], git["dirty"]) == ("main", True)
        assert tool["lock_sha256"] is not None
        assert provenance.git(Path("/")) is None

    def test_user_without_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a container a user may have a number only; who ran it is told by that."""
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)

        assert provenance.account()["os_user"] == "uid 3999999999"

    def test_links_refused(self, tmp_path: Path) -> None:
        """A link cannot be recorded: what it leads to is not in the record."""
        archive = Archive(tmp_path)
        archive.open_run(NEXT, site="lab", mode="apply", context=CONTEXT)
        fill(tmp_path / NEXT, NEXT)
        (tmp_path / NEXT / "elsewhere").symlink_to("/etc/hostname")

        with pytest.raises(RunbookError, match="'elsewhere' is no plain file"):
            archive.close_run(tmp_path / NEXT, NEXT, CONTEXT)


class TestSchemas:
    """The published JSON Schemas."""

    @pytest.mark.parametrize(
        "name", ["statement", "results", "ledger", "plan", "state", "approval", "anchor"]
    )
    def test_are_schemas(self, name: str) -> None:
        """Each keeps to the draft that it names."""
        text = files("runbook.records").joinpath(f"schemas/{name}.json").read_text()

        jsonschema.Draft7Validator.check_schema(json.loads(text))

    def test_samples(self, tmp_path: Path) -> None:
        """What the package writes keeps to them."""
        records = archive_in(tmp_path)
        planned = planned_in(records)
        approval = approve.approve(records, planned, signer(CAROL), reason="looks right")
        lines = Ledger(records, ALICE).lines()

        assert objections("statement", statement_of(records / FIRST)) == []
        assert (
            objections("results", json.loads((records / FIRST / "results.json").read_text())) == []
        )
        assert objections("plan", json.loads((records / FIRST / "plan.json").read_text())) == []
        for name in ("before.json", "after.json"):
            assert objections("state", json.loads((records / FIRST / name).read_text())) == []
        assert [found for line in lines for found in objections("ledger", line)] == []
        assert objections("approval", json.loads(approval.read_text())) == []
        assert objections("anchor", json.loads(anchor(records, signer(BOB)).read_text())) == []

    def test_object(self, tmp_path: Path) -> None:
        """They notice what is missing, too much or of another form."""
        told = statement_of(archive_in(tmp_path) / FIRST)
        told["predicate"] |= {"started": "yesterday", "more": 1}
        del told["predicate"]["ticket"]
        said = "\n".join(objections("statement", told))

        assert "'ticket' is a required property" in said
        assert "'yesterday' does not match" in said
        assert "'more' was unexpected" in said


class TestFirstUse:
    """What makes a folder an archive."""

    def test_files(self, tmp_path: Path) -> None:
        """Explanation, script and allowed signers are there after the first run."""
        run(Archive(tmp_path / "records", signer(ALICE)), NEXT)

        assert by_both(tmp_path / "records") == (0, [])
        allowed = (tmp_path / "records/allowed_signers").read_text()
        assert f'{ALICE} namespaces="runbook-record,runbook-anchor" ssh-ed25519' in allowed
        assert "tamper-evident" in (tmp_path / "records/README.txt").read_text()

    def test_reviewed_files_are_kept(self, tmp_path: Path) -> None:
        """Who is allowed already is not changed by a run."""
        allow(tmp_path, team())
        run(Archive(tmp_path, signer(ALICE)), NEXT)

        assert (tmp_path / "allowed_signers").read_text().splitlines() == team()

    def test_stranger(self, tmp_path: Path) -> None:
        """A key that is not allowed is refused before the run, with the line to be reviewed."""
        records = archive_in(tmp_path)
        mallory = Signer(key("mallory"), "mallory@example")

        with pytest.raises(Refused, match="may not sign records here") as refused:
            Archive(records, mallory).open_run(NEXT, site="lab", mode="plan", context=CONTEXT)
        assert mallory.public_line in refused.value.todo
        assert not (records / "ledger/mallory@example.jsonl").exists()

    def test_key_that_cannot_sign(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that nobody holds makes no archive, in which it would be the one allowed."""
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        public = tmp_path / "absent.pub"
        public.write_text(key("alice").with_name(key("alice").name + ".pub").read_text())
        archive = Archive(tmp_path / "records", Signer(public, ALICE))

        with pytest.raises(Refused, match="did not sign"):
            archive.open_run(NEXT, site="lab", mode="plan", context=CONTEXT)
        assert not (tmp_path / "records").exists()

    def test_approver_does_not_operate(self, tmp_path: Path) -> None:
        """A key for approvals alone signs no records."""
        archive = Archive(archive_in(tmp_path), signer(CAROL))

        with pytest.raises(Refused, match="does not permit it in the namespace runbook-record"):
            archive.open_run(NEXT, site="lab", mode="plan", context=CONTEXT)

    @pytest.mark.parametrize("name", ["../alice", "unsigned", "", "a b", "-alice", "a/b", ".a"])
    def test_principals(self, name: str) -> None:
        """A principal is also a file's name."""
        with pytest.raises(BadInput, match="is no principal"):
            Signer(key("alice"), name)


class TestUnsigned:
    """Runs without a key."""

    def test_said(self, tmp_path: Path) -> None:
        """They are chained, and both verifiers say that they are not signed."""
        run(Archive(tmp_path), NEXT)

        assert by_both(tmp_path) == (2, [f"INCOMPLETE {NEXT}: not signed"])
        told = statement_of(tmp_path / NEXT)["predicate"]
        assert (told["signer"], told["operator"]["principal"]) == (None, None)

    def test_beside_signed_ones(self, tmp_path: Path) -> None:
        """They are named among signed ones, which vouch for their ledger."""
        records = archive_in(tmp_path)
        run(Archive(records), NEXT)
        run(Archive(records, signer(BOB)), "20261123T130005Z-lab-00000e")
        (records / NEXT / "report.html").unlink()

        status, found = by_both(records)

        assert status == 1
        assert found == [
            f"BAD {NEXT}/report.html: dropped: the statement names it",
            f"INCOMPLETE {NEXT}: not signed",
        ]

    def test_signature_added(self, tmp_path: Path) -> None:
        """A signature that the ledger does not know makes no run a signed one."""
        run(Archive(tmp_path), NEXT)
        (tmp_path / NEXT / "statement.json.sig").write_text("-----BEGIN")

        status, found = by_both(tmp_path)

        assert status == 1
        assert found[0].startswith(f"BAD {NEXT}/statement.json.sig: added")


KILLED = """
import os, signal, sys
from pathlib import Path
from runbook.records.archive.archive import Archive
from runbook.records.signing.sign import Signer
from runbook.records.archive.statement import Context
archive = Archive(Path(sys.argv[1]), Signer(Path(sys.argv[2]), "alice@example"))
archive.open_run(sys.argv[3], site="lab", mode="apply", context=Context(ticket="CHG-9"))
(archive.folder / f".spool-{sys.argv[3]}").mkdir()
os.kill(os.getpid(), signal.SIGKILL)
"""


class TestKilled:
    """A run whose process was killed between opened and closed."""

    @pytest.fixture
    def killed(self, tmp_path: Path) -> Path:
        """An archive in which alice's last run was killed."""
        records = archive_in(tmp_path)
        argv = [PYTHON, "-c", KILLED, str(records), str(key("alice")), NEXT]
        done = subprocess.run(argv, check=False, env=os.environ, timeout=60)
        assert done.returncode == -signal.SIGKILL
        return records

    def test_named(self, killed: Path) -> None:
        """Both verifiers say that it was opened and never closed, and where."""
        assert by_both(killed) == (
            2,
            [
                f"INCOMPLETE ledger/{ALICE}.jsonl:5: {NEXT} was opened and never closed:"
                " it is under way, or was killed"
            ],
        )

    def test_closed_by_the_next(self, killed: Path) -> None:
        """The next run closes it, whoever's it is: the operator stays, the signer is another."""
        archive = Archive(killed, signer(BOB))
        spool = killed / f".spool-{NEXT}"
        archive.close_run(spool, NEXT, archive.context(NEXT))
        spool.rename(killed / f"{NEXT}-killed")
        told = statement_of(killed / f"{NEXT}-killed")["predicate"]

        assert (told["operator"]["principal"], told["signer"]) == (ALICE, BOB)
        assert (told["outcome"], told["ticket"], told["mode"]) == ("killed", "CHG-9", "apply")
        assert objections("statement", statement_of(killed / f"{NEXT}-killed")) == []
        assert by_both(killed) == (0, [])

    def test_known(self, killed: Path) -> None:
        """The ledgers say which runs were opened and closed; one that none knows is not closed."""
        archive = Archive(killed, signer(BOB))
        assert (archive.is_opened(NEXT), archive.is_closed(NEXT)) == (True, False)
        archive.close_run(killed / f".spool-{NEXT}", NEXT, archive.context(NEXT))

        assert archive.is_closed(NEXT)
        assert (archive.is_opened("other"), archive.is_closed("other")) == (False, False)
        (killed / ".spool-other").mkdir()
        with pytest.raises(RunbookError, match=r"no ledger of .* has opened the run other"):
            archive.close_run(killed / ".spool-other", "other", CONTEXT)
        with pytest.raises(RunbookError, match=r"no ledger of .* has opened the run other"):
            archive.context("other")

    def test_killed_before_its_final_name(self, tmp_path: Path) -> None:
        """A sealed run that still has its working name is whole, and said to be so."""
        records = archive_in(tmp_path)
        (records / LAST).rename(records / f".spool-{LAST}")

        said = f"INCOMPLETE .spool-{LAST}: closed, and not yet given its name"
        assert by_both(records) == (2, [said])

    def test_results_count(self, tmp_path: Path) -> None:
        """A run that was killed after its results were final keeps its outcome."""
        records = archive_in(tmp_path)
        archive = Archive(records, signer(ALICE))
        archive.open_run(NEXT, site="lab", mode="apply", context=Context())
        fill(records / NEXT, NEXT)
        archive.close_run(records / NEXT, NEXT, archive.context(NEXT))

        assert statement_of(records / NEXT)["predicate"]["outcome"] == "changed"
