"""Records of real runs: what they hold, what a stranger can verify, and what needs an approval."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import zipfile
from getpass import getuser
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Break, Operator, SiteWriter
from witnesses import RELOAD, must, snapshot, touched

from runbook.lab import Lab, engine
from runbook.lab.tarball import Member, pack

RULES = "/etc/shorewall/rules"
CAROL = "carol@example"
OPERATOR = f"{getuser()}@{socket.gethostname()}"
PARTS = {
    *("after.json", "before.json", "changes.diff", "journal.jsonl", "plan.json", "report.html"),
    *("results.json", "source", "transcript.jsonl", "statement.json", "statement.json.sig"),
}


def verified_by_both(operator: Operator) -> int:
    """Return the exit status on which the program and verify.sh agree."""
    status = operator.archive("records", "verify").status
    script = subprocess.run(
        ["sh", operator.records / "verify.sh"], capture_output=True, text=True, check=False
    )
    assert script.returncode == status, script.stdout
    return status


def predicate(operator: Operator, run_id: str) -> dict[str, Any]:
    """Return what the statement of a run says."""
    told = json.loads((operator.records / run_id / "statement.json").read_text())
    said: dict[str, Any] = told["predicate"]
    return said


def objections(schema: str, document: Any) -> list[str]:
    """Return what a published schema says against a document."""
    text = files("runbook.records").joinpath(f"schemas/{schema}.json").read_text()
    return [e.message for e in jsonschema.Draft7Validator(json.loads(text)).iter_errors(document)]


class TestRecord:
    """The folder of one run."""

    def test_holds_all_and_verifies(self, edge: Lab, operator: Operator) -> None:
        """Every part is there and keeps to its schema, and both verifiers find it as it was."""
        done = operator("run", "--json", "--ticket", "CHG-7", "--reason", "a look at the records")
        assert done.status == 0, done.stderr
        folder = operator.records / done.results["run_id"]
        names = {path.name for path in folder.iterdir()}
        notebooks = {step["notebook"] for step in done.results["steps"]}
        assert names == PARTS | notebooks
        assert {path.name for path in (folder / "source").iterdir()} == notebooks
        for schema, name in (
            *(("state", f"{moment}.json") for moment in ("before", "after")),
            *((name, f"{name}.json") for name in ("plan", "results", "statement")),
        ):
            assert objections(schema, json.loads((folder / name).read_text())) == [], name
        for schema in ("journal", "transcript"):
            lines = (folder / f"{schema}.jsonl").read_text().split("\n")[:-1]
            assert len(lines) > 10
            assert [objections(schema, json.loads(line)) for line in lines] == [[]] * len(lines)
        told = predicate(operator, done.results["run_id"])
        assert (told["ticket"], told["reason"]) == ("CHG-7", "a look at the records")
        assert (told["outcome"], told["signer"]) == ("ok", OPERATOR)
        assert len(told["host_keys"]) == 8
        assert verified_by_both(operator) == 0

    @pytest.mark.leaves("edge")
    def test_tells_of_changes_outside_any_run(
        self, edge: Lab, operator: Operator, broken: Break
    ) -> None:
        """What somebody changed by hand between two runs is drift in the report, with its fact."""
        assert operator("run", "--only", "network").status == 0
        assert operator("run", "--only", "shorewall").status == 0
        line = "ACCEPT net fw tcp 2222"
        mend = f"sed -i '/^{line}$/d' {RULES}; {RELOAD}"
        broken("gateway", f"echo '{line}' >> {RULES}; {RELOAD}", mend)
        assert operator("run", "--only", "shorewall").status == 0
        report = json.loads(operator.archive("records", "report", "--json").stdout)
        drift = [found for found in report["anomalies"] if found["kind"] == "drift"]
        assert len(report["population"]) == 3
        assert len(drift) == 1
        assert "gateway/shorewall/rules file" in drift[0]["what"]
        first, last = (entry["run_id"] for entry in report["population"][1:])
        shown = json.loads(operator.archive("records", "diff", first, last, "--json").stdout)
        assert "before/gateway/shorewall/rules file" in [found["fact"] for found in shown]


class TestStranger:
    """Somebody with an export and none of our software."""

    def test_verifies_without_python(self, edge: Lab, operator: Operator, tmp_path: Path) -> None:
        """verify.sh finds the export as it was written, and one altered byte by its file."""
        assert operator("run", "--only", "network").status == 0
        target = tmp_path / "export.zip"
        assert operator.archive("records", "export", target).status == 0
        with zipfile.ZipFile(target) as packed:
            members = [Member(f"export/{name}", packed.read(name)) for name in packed.namelist()]
        container = engine.connect().containers.get(edge.topology.container(edge.topology.client))
        assert container.put_archive("/root", pack(members))
        try:
            assert must(edge, "client", "command -v python3 python perl-never || true") == ""
            said = must(edge, "client", "cd /root/export && sh verify.sh")
            assert "1 runs, 2 lines: as they were written" in said
            edit = (
                "cd /root/export && f=$(ls 2*/results.json) && "
                f"sed -i s/{edge.topology.name}/lob/ $f && echo $f"
            )
            altered = must(edge, "client", edit).strip()
            verdict = must(edge, "client", "cd /root/export && sh verify.sh; echo status $?")
            assert f"BAD {altered}: altered: it is not the file" in verdict
            assert verdict.endswith("status 1\n")
        finally:
            must(edge, "client", "rm -r /root/export")


class TestApproval:
    """A plan that somebody else signs before it is applied."""

    @pytest.fixture
    def planned(self, bare: Lab, operator: Operator, carol: Path) -> str:
        """A plan of the bare lab, in an archive that lets carol approve."""
        done = operator("run", "--plan", "--json")
        assert done.status == 4, done.stderr
        allowed = operator.records / "allowed_signers"
        line = f'{CAROL} namespaces="runbook-approval" {carol.with_suffix(".pub").read_text()}'
        allowed.write_text(allowed.read_text() + line)
        run_id: str = done.results["run_id"]
        return run_id

    @pytest.fixture
    def carol(self, tmp_path: Path) -> Path:
        """The key of somebody who approves."""
        return make_key(tmp_path / "carol")

    @pytest.mark.leaves("edge")
    def test_is_applied(self, bare: Lab, operator: Operator, planned: str, carol: Path) -> None:
        """What was approved is applied, and the record says by whom."""
        options = ("--key", carol, "--reason", "as discussed")
        assert operator.archive("approve", planned, *options).status == 0
        done = operator("run", "--approved", planned, "--json")
        assert done.status == 0, done.text
        told = predicate(operator, done.results["run_id"])
        assert (told["approval"]["kind"], told["approval"]["by"]) == ("pre", CAROL)
        assert told["plan_sha256"] == predicate(operator, planned)["plan_sha256"]
        assert told["outcome"] == "changed"
        assert verified_by_both(operator) == 0
        # It was good for one world, and that is over: everything is as declared now.
        again = operator("run", "--approved", planned)
        assert again.status == 3
        assert "docker01/service/exists: no → absent" in again.text

    @pytest.mark.leaves("bare")
    def test_world_that_moved(
        self, bare: Lab, operator: Operator, planned: str, carol: Path, broken: Break
    ) -> None:
        """Nothing is changed, and what moved is named."""
        assert operator.archive("approve", planned, "--key", carol, "--reason", "go").status == 0
        line = "ACCEPT net fw tcp 2222"
        broken("gateway", f"echo '{line}' >> {RULES}", f"sed -i '/^{line}$/d' {RULES}")
        before = snapshot(bare)
        done = operator("run", "--approved", planned)
        assert done.status == 3
        assert "gateway/shorewall/rules file" in done.text
        assert "have that approved" in done.text
        assert touched(before, snapshot(bare)) == set()
        assert verified_by_both(operator) == 0

    @pytest.mark.leaves("bare")
    def test_what_does_not_count(
        self, bare: Lab, operator: Operator, planned: str, carol: Path, tmp_path: Path
    ) -> None:
        """Nobody's, the operator's own, a stranger's and an expired approval are refused."""
        before = snapshot(bare)

        def refused(why: str) -> None:
            done = operator("run", "--approved", planned)
            assert (done.status, why in done.text) == (3, True), done.text

        refused("nobody has approved this plan")
        own = operator.archive("approve", planned, "--key", own_key(bare), "--reason", "me")
        assert (own.status, "cannot approve it" in own.text) == (3, True), own.text
        assert (
            operator.archive(
                "approve", planned, "--key", carol, "--reason", "late", "--hours", "0"
            ).status
            == 0
        )
        refused("it expired at")
        assert operator.archive("approve", planned, "--key", carol, "--reason", "go").status == 0
        sign(operator.records / "approvals" / f"{planned}-{CAROL}.json", make_key(tmp_path / "eve"))
        refused("is not in allowed_signers")
        # The operator's key under another name.
        allowed = operator.records / "allowed_signers"
        mine = own_key(bare).with_suffix(".pub").read_text()
        allowed.write_text(f'{allowed.read_text()}{CAROL} namespaces="runbook-approval" {mine}')
        sign(operator.records / "approvals" / f"{planned}-{CAROL}.json", own_key(bare))
        refused("signs with the operator's key")
        assert touched(before, snapshot(bare)) == set()

    @pytest.mark.leaves("edge")
    def test_site_that_requires_one(
        self, bare: Lab, operator: Operator, write_site: SiteWriter
    ) -> None:
        """Without it nothing is run; an emergency is, and stays marked for review."""
        needs = ["signature", "ticket", "reason", "approval"]
        site = write_site({"records": {"require": needs}})
        done = operator("run", site=site)
        assert done.status == 3
        assert "ticket, reason, approval" in done.text
        assert not [*operator.records.glob("2*")]
        options = ("--ticket", "INC-1", "--reason", "the edge is down", "--emergency", "--json")
        urgent = operator("run", *options, site=site)
        assert urgent.status == 0, urgent.text
        told = predicate(operator, urgent.results["run_id"])
        assert (told["approval"]["kind"], told["approval"]["by"]) == ("emergency", OPERATOR)
        report = json.loads(operator.archive("records", "report", "--json").stdout)
        assert "review" in [found["kind"] for found in report["anomalies"]]
        assert verified_by_both(operator) == 0


def own_key(lab: Lab) -> Path:
    """Return the key of the lab's operator, which its site names."""
    return lab.state.signing_key


def make_key(path: Path) -> Path:
    """Make a key, and return its file."""
    comment = f"{path.name}@example"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path]
    subprocess.run(argv, check=True)
    return path


def sign(approval: Path, key: Path) -> None:
    """Sign an approval with another key, as anybody with access to the archive can."""
    made = approval.with_name("forged.json")
    shutil.copy(approval, made)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "runbook-approval", "-f", key, made]
    subprocess.run(argv, check=True)
    (approval.with_name(f"{approval.name}.sig")).write_text(
        made.with_name("forged.json.sig").read_text()
    )
    made.unlink()
    made.with_name("forged.json.sig").unlink()
