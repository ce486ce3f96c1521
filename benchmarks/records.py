"""Time the archive of records at ten thousand runs: verify, search, list and one more run.

The runs are synthetic, small, and signed by one key; each is opened, sealed and closed as a real
one is. Figures are wall times in seconds, each of one call in a process that has just been warmed.

    .venv/bin/python benchmarks/records.py
    .venv/bin/python benchmarks/records.py --runs 1000 --script
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from runbook.events import ChangeEnded, Check, PlannedChange, to_json
from runbook.records.archive import archive, canonical, statement
from runbook.records.archive.archive import Archive
from runbook.records.archive.chain import Chains
from runbook.records.archive.ledger import Ledger
from runbook.records.archive.statement import Context, Identity
from runbook.records.journal.results import Counts, Results, StepResults
from runbook.records.journal.status import Status
from runbook.records.reading import search
from runbook.records.signing import sshsig
from runbook.records.signing.sign import Signer
from runbook.records.verify.verify import verify

FILES = ("20_traefik.ipynb", "results.json", "journal.jsonl", "transcript.jsonl", "before.json")
SITES = ("berlin", "hamburg", "lab")


class QuickSigner(Signer):
    """Signs in this process: ten thousand times ssh-keygen would measure process starts."""

    def sign(self, content: bytes, namespace: str) -> str:
        """Return the armored signature of these bytes."""
        import base64
        import hashlib

        key = load_ssh_private_key(self.key.read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        digest = hashlib.sha512(content).digest()
        fields = [namespace.encode(), b"", b"sha512"]
        blob = b"".join(map(sshsig.string, (*fields, digest)))
        signature = sshsig.string(b"ssh-ed25519") + sshsig.string(key.sign(b"SSHSIG" + blob))
        head = b"SSHSIG\0\0\0\1" + sshsig.string(self.public)
        raw = head + b"".join(map(sshsig.string, (*fields, signature)))
        return f"{sshsig.BEGIN}\n{base64.b64encode(raw).decode()}\n{sshsig.END}\n"


def results(number: int, run_id: str) -> bytes:
    """Return the results of one synthetic run."""
    named = (f"docker{number % 20:02}", f"file /etc/x{number % 300}", "update")
    step = StepResults(
        step="traefik",
        notebook=FILES[0],
        status=Status.CHANGED,
        reason="",
        started=None,
        finished=None,
        duration_ms=1000,
        digest=None,
        changes=(PlannedChange(*named, before="", after="", undo="", summary="", diff=""),),
        outcomes=(ChangeEnded(*named, outcome="done", message=""),),
        checks=(Check("nothing is left", named[0], "0 changes", "0 changes"),),
        findings=(),
        errors=(),
        verdict=None,
        counts=Counts(changes=1, done=1, failed=0, checks_passed=1, checks_failed=0),
        cells=(),
    )
    told = Results(
        run_id=run_id,
        site=SITES[number % 3],
        site_file="x.yml",
        mode="apply",
        started=f"2026-01-01T00:00:00.{number % 1000:03}Z",
        finished=None,
        duration_ms=1000,
        status=Status.COMPLETED,
        reason="",
        exit_status=0,
        steps=(step,),
    )
    return canonical.document(to_json(told))


def add(records: Path, signer: Signer, ledger: list[bytes], number: int) -> None:
    """Write one sealed run and its two lines; as the archive does, without waiting for the disk."""
    run_id = f"2026{number:010}Z-{SITES[number % 3]}-{number:06x}"
    folder = records / run_id
    folder.mkdir()
    for name in FILES:
        host = {"host": f"docker{number % 20:02}"}
        told = results(number, run_id) if name == FILES[1] else canonical.line(host) + b"\n"
        (folder / name).write_bytes(told)
    context = Context(ticket=f"CHG-{number // 7}", reason="a synthetic run")
    heads = [{"principal": signer.principal, "seq": len(ledger), "head": ""}]
    entry = {"site": SITES[number % 3], "mode": "apply", "ticket": context.ticket}
    append(ledger, signer, {"event": "opened", "run_id": run_id, **entry})
    heads[0]["head"] = canonical.sha256(ledger[-1])
    who = Identity(run_id, signer.principal, {"os_user": "a", "host": "b"}, signer.principal)
    content = canonical.document(statement.compose(folder, who, context, heads))
    signature = signer.sign(content, sshsig.RECORD).encode()
    (folder / statement.STATEMENT).write_bytes(content)
    (folder / statement.SIGNATURE).write_bytes(signature)
    digests = {
        "statement_sha256": canonical.sha256(content),
        "sig_sha256": canonical.sha256(signature),
    }
    append(
        ledger,
        signer,
        {"event": "closed", "run_id": run_id, **entry, "outcome": "changed", **digests},
    )


def append(ledger: list[bytes], signer: Signer, told: dict[str, object]) -> None:
    """Append a line to a ledger in memory."""
    from runbook.records.archive.ledger import FIELDS, FIRST

    prev = canonical.sha256(ledger[-1]) if ledger else FIRST
    head = {"v": 1, "seq": len(ledger), "prev": prev, "time": "2026-01-01T00:00:00.000Z"}
    ledger.append(canonical.line({**head, "operator": signer.principal, **FIELDS, **told}))


def build(records: Path, key: Path, runs: int) -> None:
    """Write an archive of so many runs."""
    signer = QuickSigner(key, "alice@example")
    Archive(records, signer).begin()
    ledger: list[bytes] = []
    for number in range(runs):
        add(records, signer, ledger, number)
    path = Ledger(records, signer.principal).path
    path.parent.mkdir()
    path.write_bytes(b"".join(line + b"\n" for line in ledger))


def measure(name: str, work: Callable[[], object], best_of: int = 3) -> None:
    """Print the best of several wall times."""
    figures = []
    for _ in range(best_of):
        start = time.perf_counter()
        work()
        figures.append(time.perf_counter() - start)
    print(f"{name:44} {min(figures):9.4f} {max(figures):9.4f}", flush=True)


def signatures(records: Path) -> int:
    """Verify the chain and every statement's signature, and no other file."""
    from datetime import UTC, datetime

    from runbook.records.signing import allowed_signers, sign

    allowed = allowed_signers.read(records / archive.ALLOWED)
    chains = Chains(records)
    assert not [found for chain in chains.by_principal.values() for found in chain.check()]
    who = ("alice@example", datetime(2026, 1, 1, tzinfo=UTC))
    for run_id in chains.runs("closed"):
        content = (records / run_id / statement.STATEMENT).read_bytes()
        armored = (records / run_id / statement.SIGNATURE).read_text()
        sign.verify(content, armored, sshsig.RECORD, allowed, who)
    return len(chains.runs("closed"))


def one_more(made: Archive) -> None:
    """Open and close one run."""
    run_id = f"20270101T{time.monotonic_ns()}Z-lab-000000"
    made.open_run(run_id, site="lab", mode="apply", context=Context())
    (made.folder / run_id).mkdir()
    (made.folder / run_id / "results.json").write_bytes(results(1, run_id))
    made.close_run(made.folder / run_id, run_id, Context())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000, help="runs in the archive (10,000)")
    parser.add_argument("--script", action="store_true", help="also time verify.sh, in minutes")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        records, key = Path(folder, "records"), Path(folder, "key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        start = time.perf_counter()
        build(records, key, options.runs)
        print(f"{options.runs} runs written in {time.perf_counter() - start:.1f} s")
        print(f"{'seconds':44} {'best':>9} {'worst':>9}")
        measure("verify the chain and all signatures", lambda: signatures(records))
        measure("verify everything, every file", lambda: verify(records))
        assert verify(records).exit_status == 0
        measure("build the index", lambda: search.select(records), best_of=1)
        measure("search for two words", lambda: search.search(records, ["berlin", "CHG-77"]))
        measure(
            "list the runs of one ticket",
            lambda: search.select(records, search.Filter(ticket="CHG-9")),
        )
        if options.script:
            script = ["sh", str(records / "verify.sh")]
            measure("verify.sh", lambda: subprocess.run(script, check=True), best_of=1)
        signed = Archive(records, Signer(key, "alice@example"))
        measure("open and close one more run", lambda: one_more(signed))
        size = sum(path.stat().st_size for path in (records / "ledger").iterdir())
        print(json.dumps({"ledger_bytes": size, "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
