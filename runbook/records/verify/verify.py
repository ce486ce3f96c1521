"""Verify an archive, one run of it, or an export: everything that is not as it was written."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.errors import BadInput
from runbook.records.archive import anchors, archive, statement
from runbook.records.archive.chain import Chains
from runbook.records.archive.findings import Finding, Level, Verification, ordered
from runbook.records.archive.ledger import FOLDER, Head, moment
from runbook.records.archive.statement import KILLED, SPOOL, WITHHELD
from runbook.records.signing import allowed_signers, sign, sshsig
from runbook.records.signing.allowed_signers import matches
from runbook.records.signing.sshsig import Unverified
from runbook.records.signing.trust import Trust
from runbook.records.verify import witness
from runbook.records.verify.check_run import Closed, RunCheck
from runbook.records.verify.witness import Journals

EXPORT, POPULATION = "export.json", "population.csv"
"""In an export: which runs it was to hold, and every run of the period."""

_OTHER_FOLDERS = frozenset({FOLDER, anchors.FOLDER, "approvals"})
_OTHER_FILES = frozenset({*archive.SHIPPED, archive.ALLOWED, archive.REVOKED, EXPORT, POPULATION})


@dataclass(frozen=True, slots=True)
class Options:
    """How to verify.

    Attributes:
        runs: Only these; empty: all. The ledgers are always verified whole.
        witness: Heads that were read back from where the operator cannot write.
        independent: Whether ssh-keygen verifies the signatures, and none of our code.
        signers: A reviewed copy of ``allowed_signers``; ``None``: the archive's own.
        journals: What the managers of a site have seen; ``None``: they were not asked.
    """

    runs: tuple[str, ...] = ()
    witness: tuple[Head, ...] = ()
    independent: bool = False
    signers: Path | None = None
    journals: Journals | None = None


def verify(path: Path, options: Options | None = None) -> Verification:
    """Verify an archive's folder, or a zip that was exported from one.

    Args:
        path: The folder or the zip.
        options: How.

    Raises:
        BadInput: It is no archive, a run is named that it does not know, or its allowed signers
            cannot be read.
    """
    options = options or Options()
    if path.is_dir():
        return _Verifier(path, options).verify()
    try:
        with zipfile.ZipFile(path) as packed, tempfile.TemporaryDirectory() as folder:
            packed.extractall(folder)  # it keeps every name within the folder
            return _Verifier(Path(folder), options).verify()
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} is neither an archive's folder nor an export: {error}") from error


def read_witness(path: Path) -> tuple[Head, ...]:
    """Return the heads in a file: a JSON list of principal, seq and head.

    Raises:
        BadInput: It is not such a list.
    """
    try:
        return tuple(Head.of(entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{path} is not a list of heads: {error}") from error


def chains_of(folder: Path) -> Chains:
    """Return the ledgers of an archive.

    Raises:
        BadInput: It is none.
    """
    if not (folder / FOLDER).is_dir():
        raise BadInput(f"{folder} is not an archive of runs: it has no ledger")
    return Chains(folder)


class _Verifier:
    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.options = options
        own = folder / archive.ALLOWED
        self.chains = chains_of(folder)
        allowed = allowed_signers.read(options.signers or own, folder / archive.REVOKED)
        independent = options.independent
        self.trust = Trust(allowed, sign.verify_independently if independent else sign.verify)
        self.folders = {path.name: path for path in folder.iterdir() if path.is_dir()}
        unknown = set(options.runs) - set(self.chains.runs("opened"))
        if unknown:
            raise BadInput(f"no ledger knows the run {', '.join(sorted(unknown))}")

    def verify(self) -> Verification:
        chains = self.chains.by_principal.values()
        runs = self.options.runs or sorted(
            {*self.chains.runs("opened"), *self.chains.runs("closed")}
        )
        found = [finding for chain in chains for finding in chain.check()]
        found += [finding for run_id in runs for finding in self._run(run_id)]
        found += [] if self.options.runs else [*self._strays(), *self._shipped()]
        found += self._anchors()
        for seen in self.options.witness:
            self.chains.see(seen, "the witness")
        found += self._journals()
        found += [*self.chains.disagreements(), *self.chains.uncovered()]
        heads = tuple(chain.head for chain in chains if chain.head is not None)
        lines = sum(len(chain.lines) for chain in chains)
        looked_at = sum(self._folder(run_id) is not None for run_id in runs)
        return Verification(looked_at, lines, heads, ordered(found))

    def _run(self, run_id: str) -> Iterator[Finding]:
        opened, closed = (self.chains.of(event, run_id) for event in ("opened", "closed"))
        folder = self._folder(run_id)
        for event, lines in (("opened", opened), ("closed", closed)):
            for chain, index, _ in lines[1:]:
                yield Finding(Level.BAD, chain.where(index), f"{run_id} is {event} once more")
        if not opened:
            chain, index, _ = closed[0]
            said = f"{run_id} is closed, and no ledger has opened it"
            yield Finding(Level.BAD, chain.where(index), said)
        if not closed:
            yield self._unclosed(run_id, folder)
        elif folder is None:
            yield from self._absent(run_id, closed[0][0].where(closed[0][1]))
        else:
            if folder.name.startswith(SPOOL):
                yield Finding(Level.INCOMPLETE, folder.name, "closed, and not yet given its name")
            yield from RunCheck(
                folder, Closed(run_id, *closed[0]), self.chains, self.trust
            ).findings()

    def _folder(self, run_id: str) -> Path | None:
        names = (run_id, run_id + KILLED, SPOOL + run_id)
        return next((self.folders[name] for name in names if name in self.folders), None)

    def _unclosed(self, run_id: str, folder: Path | None) -> Finding:
        chain, index, _ = self.chains.of("opened", run_id)[0]
        if folder is not None and not folder.name.startswith(SPOOL):
            said = f"no ledger has closed it, which {chain.where(index)} opened"
            return Finding(Level.BAD, folder.name, said)
        said = f"{run_id} was opened and never closed: it is under way, or was killed"
        return Finding(Level.INCOMPLETE, chain.where(index), said)

    def _absent(self, run_id: str, where: str) -> Iterator[Finding]:
        pruned = self.chains.of("pruned", run_id)
        if pruned:
            chain, index, line = pruned[0]
            said = f"{run_id} was removed by {line['operator']}: {line['reason']}"
            yield Finding(Level.NOTE, chain.where(index), said)
        elif run_id not in self._left_out():
            yield Finding(Level.BAD, run_id, f"the folder is missing; {where} has closed the run")

    def _left_out(self) -> frozenset[str]:
        """Return the runs that an export was not asked to hold."""
        path = self.folder / EXPORT
        if not path.is_file():
            return frozenset()
        try:
            asked = json.loads(path.read_text(encoding="utf-8"))["runs"]
            return frozenset(self.chains.runs("closed")) - frozenset(asked)
        except (ValueError, KeyError, TypeError, RecursionError):
            return frozenset()

    def _strays(self) -> Iterator[Finding]:
        known = {self._folder(run_id) for run_id in self.chains.runs("opened")}
        known |= {self._folder(run_id) for run_id in self.chains.runs("closed")}
        for name, path in self.folders.items():
            if path in known or name in _OTHER_FOLDERS or name.startswith(WITHHELD):
                continue
            told = _run_told(path)
            said = f", and its statement is that of {told}" if told else ""
            yield Finding(Level.BAD, name, f"added: no ledger knows it{said}")
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in _OTHER_FILES and not path.name.startswith("."):
                yield Finding(Level.NOTE, path.name, "no part of the archive")

    def _shipped(self) -> Iterator[Finding]:
        left_out = self._left_out()
        if left_out:
            said = f"an export: {len(left_out)} more runs are in the ledgers only"
            yield Finding(Level.NOTE, EXPORT, said)
        script = self.folder / "verify.sh"
        if script.is_file() and script.read_bytes() != archive.shipped("verify.sh"):
            yield Finding(
                Level.NOTE, "verify.sh", "not the one of this version; use a reviewed copy"
            )

    def _anchors(self) -> Iterator[Finding]:
        for path in sorted((self.folder / anchors.FOLDER).glob("*.json")):
            name = f"{anchors.FOLDER}/{path.name}"
            try:
                content = path.read_bytes()
                told: dict[str, Any] = json.loads(content)
                seen = [Head.of(head) for head in told["heads"]]
                who = (str(told["by"]), moment(told["time"]))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                yield Finding(Level.BAD, name, "not an anchor")
                continue
            try:
                signature = path.with_name(path.name + ".sig")
                self.trust.signature(content, signature, sshsig.ANCHOR, who)
            except Unverified as error:
                yield Finding(Level.BAD, f"{name}.sig", str(error))
                continue
            for head in seen:
                self.chains.see(head, name)

    def _journals(self) -> Iterator[Finding]:
        if self.options.journals is not None:
            yield from witness.findings(self.options.journals, self.chains, self._knows)

    def _knows(self, principal: str) -> bool:
        """Return whether somebody has a ledger here, or signs records and so should have one."""
        return principal in self.chains.by_principal or any(
            matches(principal, line.principals)
            and matches(sshsig.RECORD, line.namespaces or sshsig.RECORD)
            for line in self.trust.allowed.lines
        )


def _run_told(folder: Path) -> str | None:
    """Return the run whose statement is in a folder."""
    try:
        told = json.loads((folder / statement.STATEMENT).read_bytes())["predicate"]["run_id"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return str(told)
