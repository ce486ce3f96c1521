"""Archives as runs leave them, and the two programs that verify them."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from runbook.records.archive.archive import Archive, Sealed
from runbook.records.archive.findings import Verification
from runbook.records.archive.ledger import Head
from runbook.records.archive.statement import Context
from runbook.records.signing.sign import Signer
from runbook.records.verify.verify import Options, verify

RECORD = Path(__file__).parent / "data" / "records" / "run"
ALICE, BOB, CAROL = "alice@example", "bob@example", "carol@example"
RUNS = ("20261123T130001Z-lab-00000a", "20261123T130002Z-lab-00000b", "20261123T130003Z-lab-00000c")
"""Those of the archive that most tests begin with: alice's, bob's and alice's again."""

PLANNED = "20261123T125900Z-lab-000009"
"""The run that :func:`planned_in` adds."""

NEEDED = "dirname mkdir mktemp rm sha256sum tail tr jq ssh-keygen".split()  # noqa: SIM905
CONTEXT = Context(ticket="CHG-7", reason="the edge is to be highly available", site_sha256="5" * 64)


@cache
def scratch() -> Path:
    """Return a folder that all tests share, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="records-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def key(name: str, kind: str = "ed25519", *options: str) -> Path:
    """Return a private key of that name, made once."""
    path = scratch() / f"{name}-{kind}{''.join(options)}"
    argv = ["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-C", name, "-f", str(path)]
    subprocess.run(argv, check=True, timeout=30)
    return path


def signer(principal: str) -> Signer:
    """Return somebody with a key."""
    return Signer(key(principal.partition("@")[0]), principal)


def allow(folder: Path, lines: Iterable[str]) -> None:
    """Write the allowed signers of an archive."""
    folder.mkdir(exist_ok=True)
    (folder / "allowed_signers").write_text("".join(line + "\n" for line in lines))


def team() -> list[str]:
    """Return the lines of alice and bob, who operate, and of carol, who approves."""
    operators = [f'{name} namespaces="runbook-record,runbook-anchor"' for name in (ALICE, BOB)]
    lines = [*operators, f'{CAROL} namespaces="runbook-approval,runbook-anchor"']
    names = (ALICE, BOB, CAROL)
    return [f"{line} {signer(name).public_line}" for line, name in zip(lines, names, strict=True)]


def fill(folder: Path, run_id: str, **results: Any) -> None:
    """Write what the runner writes into a record, with other results where given."""
    shutil.copytree(RECORD, folder)
    path = folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run_id": run_id, **results}))


def run(
    archive: Archive,
    run_id: str,
    *,
    context: Context = CONTEXT,
    before_close: Callable[[Path], None] = lambda _folder: None,
    **results: Any,
) -> Sealed:
    """Record one run, from its opening to its final name."""
    archive.open_run(run_id, site="lab", mode=results.get("mode", "apply"), context=context)
    spool = archive.folder / f".spool-{run_id}"
    fill(spool, run_id, **results)
    before_close(spool)
    sealed = archive.close_run(spool, run_id, context)
    spool.rename(archive.folder / run_id)
    return sealed


@cache
def _template() -> Path:
    folder = scratch() / "archive"
    allow(folder, team())
    for name, run_id in zip((ALICE, BOB, ALICE), RUNS, strict=True):
        run(Archive(folder, signer(name)), run_id)
    return folder


def archive_in(folder: Path) -> Path:
    """Return a copy of an archive of three runs."""
    return Path(shutil.copytree(_template(), folder / "records"))


def planned_in(records: Path, by: str = ALICE) -> str:
    """Add a run that only planned what the others did, and return its id."""
    steps = json.loads((RECORD / "results.json").read_text())["steps"]
    made = [{"outcomes": [], "counts": step["counts"] | {"done": 0}} for step in steps]
    planned = [step | nothing for step, nothing in zip(steps, made, strict=True)]
    run(Archive(records, signer(by)), PLANNED, mode="plan", steps=planned)
    return PLANNED


def write(path: Path, content: bytes | str) -> None:
    """Replace a file of a record, as anybody with access to the disk can."""
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def edit(path: Path, old: str, new: str) -> None:
    """Replace text in a file of a record, which must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    write(path, text.replace(old, new))


def verified(folder: Path, **options: Any) -> Verification:
    """Return what the package finds, once in this process and once with ssh-keygen."""
    found = verify(folder, Options(**options))
    independent = verify(folder, Options(**options, independent=True))
    assert [f.where for f in found.findings] == [f.where for f in independent.findings]
    return found


@cache
def _tools() -> Path:
    """Return a folder with the programs that verify.sh may use, and no others."""
    folder = scratch() / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found, f"{name} is not installed"
        (folder / name).symlink_to(found)
    return folder


def by_script(folder: Path, *options: str) -> tuple[int, list[str]]:
    """Return exit status and lines of verify.sh, which finds its few programs only."""
    done = subprocess.run(
        ["/bin/sh", str(folder / "verify.sh"), *options],
        env={"PATH": str(_tools()), "TMPDIR": tempfile.gettempdir()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def by_both(folder: Path, witness: Iterable[Head] = ()) -> tuple[int, list[str]]:
    """Return exit status and findings, once both programs agree on them."""
    heads = tuple(witness)
    told = scratch() / "witness.json"
    told.write_text(json.dumps([head.as_dict() for head in heads]))
    found = verified(folder, witness=heads)
    status, printed = by_script(folder, *(("--witness", str(told)) if heads else ()))
    own = [str(f) for f in found.findings]
    script = [line for line in printed if line.split()[0] in ("BAD", "INCOMPLETE", "NOTE")]
    ours, theirs = ({_comparable(line) for line in lines} for lines in (own, script))
    assert ours == theirs, (ours - theirs, theirs - ours)
    assert found.exit_status == status
    return status, own


def _comparable(line: str) -> str:
    """Return a finding without what only one of the two can say: why a signature is bad."""
    where, _, _ = line.partition(": ")
    return where if where.endswith((".sig", ".dsse.json")) or "ssh-keygen" in line else line


PYTHON = sys.executable
