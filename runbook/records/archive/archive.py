"""The archive: a folder of sealed runs, and the ledger that says which there must be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from runbook.errors import Refused, RunbookError
from runbook.records.archive import anchors, canonical, provenance, statement
from runbook.records.archive.ledger import FOLDER, Head, Ledger, Line, heads
from runbook.records.archive.statement import Context, Identity
from runbook.records.signing import allowed_signers, sshsig
from runbook.records.signing.sign import UNSIGNED, Signer, public_key, verify

ALLOWED, REVOKED = "allowed_signers", "revoked_keys"
SHIPPED = ("README.txt", "verify.sh")
_NAMESPACES = f"{sshsig.RECORD},{sshsig.ANCHOR}"  # not approval: that is for somebody else


@dataclass(frozen=True, slots=True)
class Sealed:
    """A closed run.

    Attributes:
        run_id: The run.
        statement_sha256: Digest of its statement.
        signed_by: The principal who vouches for it; ``None``: unsigned.
        head: The ledger's head after it, to be kept where the operator cannot write.
    """

    run_id: str
    statement_sha256: str
    signed_by: str | None
    head: Head


class Archive:
    """A folder of records.

    Args:
        folder: The folder; made when it is first written to.
        signer: Who signs what this process writes; ``None``: it stays unsigned, which every
            reader is told.
    """

    def __init__(self, folder: Path, signer: Signer | None = None) -> None:
        self.folder = folder
        self.signer = signer
        self.ledger = Ledger(folder, signer.principal if signer else UNSIGNED)

    def begin(self) -> None:
        """Write what an archive needs, and make sure that the key can sign, before any run.

        Raises:
            Refused: The key cannot be used, or is not in the archive's ``allowed_signers``.
        """
        # First of all: a key that cannot sign is not to be named in a new archive.
        probe = self.signer.sign(b"", sshsig.RECORD) if self.signer else ""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in SHIPPED:
            if not (self.folder / name).exists():
                canonical.create(self.folder / name, shipped(name))
        allowed = self.folder / ALLOWED
        if not allowed.exists():
            canonical.create(allowed, self._first_line().encode())
        if self.signer is not None:
            self._check_allowed(self.signer, probe)

    def open_run(self, run_id: str, *, site: str, mode: str, context: Context) -> Head:
        """Enter a run into the ledger, before anything is contacted.

        Args:
            run_id: The run; also the name of its folder.
            site: The site's name.
            mode: ``plan`` or ``apply``.
            context: Its ticket and reason are entered.

        Returns:
            The ledger's new head.

        Raises:
            Refused: The key cannot sign or is not allowed to, or the ledger is damaged.
        """
        self.begin()
        told = {"ticket": context.ticket, "reason": context.reason, **provenance.account()}
        return self.ledger.append("opened", run_id=run_id, site=site, mode=mode, **told)

    def close_run(self, folder: Path, run_id: str, context: Context) -> Sealed:
        """Seal a run: statement, signature, files made read-only, and the ledger's line.

        It may be one that an earlier process opened and left behind. What its results say, counts:
        a run whose results are final was only not sealed.

        Args:
            folder: The record under whatever name; no file of it is written any more.
            run_id: The run that was opened.
            context: What its files do not say.

        Raises:
            Refused: The key cannot be used any more; the run stays unclosed.
            RunbookError: No ledger has opened it, or something in the folder is no plain file.
        """
        return self._seal(folder, self.identity(run_id), context)

    def identity(self, run_id: str) -> Identity:
        """Return who opened a run, and who would sign it now.

        Raises:
            RunbookError: No ledger has opened it.
        """
        opened = self._opened(run_id)
        operator = opened["operator"]
        principal = None if operator == UNSIGNED else operator
        account = {"os_user": opened["os_user"], "host": opened["host"]}
        begun = (opened["site"], opened["mode"])
        return Identity(run_id, principal, account, self._principal, *begun)

    def context(self, run_id: str) -> Context:
        """Return why a run was opened, as far as its ledger says so.

        Raises:
            RunbookError: No ledger has opened it.
        """
        opened = self._opened(run_id)
        return Context(ticket=opened["ticket"], reason=opened["reason"])

    def _opened(self, run_id: str) -> Line:
        opened = next(self.events("opened", run_id), None)
        if opened is None:
            raise RunbookError(f"no ledger of {self.folder} has opened the run {run_id}")
        return opened

    def is_opened(self, run_id: str) -> bool:
        """Return whether a ledger has opened this run."""
        return next(self.events("opened", run_id), None) is not None

    def is_closed(self, run_id: str) -> bool:
        """Return whether a ledger has this run closed: its folder only wants its final name."""
        return next(self.events("closed", run_id), None) is not None

    def events(self, event: str, run_id: str) -> Iterator[Line]:
        """Yield what the ledgers say of one run."""
        for path in sorted((self.folder / FOLDER).glob("*.jsonl")):
            # Parsing is most of the time, and nearly every line is of another run.
            whole = path.read_text(encoding="utf-8").split("\n")[:-1]
            for line in (json.loads(text) for text in whole if run_id in text):
                if line["event"] == event and line["run_id"] == run_id:
                    yield line

    def enter(self, event: str, run_ids: Iterable[str], **fields: Any) -> None:
        """Append a line a run, and anchor them: no later statement may come to vouch for them.

        Args:
            event: One of :data:`runbook.records.archive.ledger.EVENTS`.
            run_ids: The runs.
            fields: What each line says.

        Raises:
            Refused: The key cannot be used, or the ledger is damaged.
        """
        self.begin()
        for run_id in run_ids:
            self.ledger.append(event, run_id=run_id, **fields)
        if self.signer is not None:
            anchors.anchor(self.folder, self.signer)

    @property
    def _principal(self) -> str | None:
        return self.signer.principal if self.signer else None

    def _seal(self, folder: Path, identity: Identity, context: Context) -> Sealed:
        for own in statement.OWN:
            (folder / own).unlink(missing_ok=True)
        known = [head.as_dict() for head in heads(self.folder)]
        content = canonical.document(statement.compose(folder, identity, context, known))
        canonical.write(folder / statement.STATEMENT, content)
        digests = {
            "statement_sha256": canonical.sha256(content),
            "sig_sha256": self._sign(folder, content),
        }
        _protect(folder)
        said = json.loads(content)["predicate"]
        told: Mapping[str, Any] = {
            name: said[name] for name in ("site", "mode", "outcome", "ticket")
        }
        head = self.ledger.append("closed", run_id=identity.run_id, **told, **digests)
        return Sealed(identity.run_id, canonical.sha256(content), self._principal, head)

    def _sign(self, folder: Path, content: bytes) -> str | None:
        if self.signer is None:
            return None
        signature = self.signer.sign(content, sshsig.RECORD).encode()
        canonical.write(folder / statement.SIGNATURE, signature)
        return canonical.sha256(signature)

    def _first_line(self) -> str:
        head = "# Who may sign what: see ssh-keygen(1), ALLOWED SIGNERS. Keep a copy elsewhere.\n"
        return head + (_line_for(self.signer) if self.signer else "")

    def _check_allowed(self, signer: Signer, probe: str) -> None:
        path = self.folder / ALLOWED
        known = allowed_signers.read(path, self.folder / REVOKED)
        try:
            verify(b"", probe, sshsig.RECORD, known, (signer.principal, datetime.now(UTC)))
        except sshsig.Unverified as error:
            raise Refused(
                f"{signer.principal} may not sign records here: {error}",
                todo=f"have it reviewed and added to {path}: {_line_for(signer).strip()}",
            ) from error


def identify(folder: Path, key: Path, principal: str | None = None) -> Signer:
    """Return who signs with a key in an archive.

    Args:
        folder: The archive's folder; it need not be there.
        key: The private key, or the ``.pub`` file of one that the agent holds.
        principal: Who; absent: whose the key is in ``allowed_signers``, else user@host.

    Raises:
        BadInput: There is no such key, or the principal may not be used.
    """
    if principal is None and (folder / ALLOWED).exists():
        principal = allowed_signers.read(folder / ALLOWED).principal_of(public_key(key))
    if principal is None:
        own = provenance.account()
        principal = f"{own['os_user']}@{own['host']}"
    return Signer(key, principal)


def shipped(name: str) -> bytes:
    """Return a file that every archive holds, as this version ships it."""
    return package_files("runbook.records.archive").joinpath(name).read_bytes()


def _line_for(signer: Signer) -> str:
    return f'{signer.principal} namespaces="{_NAMESPACES}" {signer.public_line}\n'


def _protect(folder: Path) -> None:
    """Take write permission from every file, and return once all is on the disk."""
    for name in statement.files(folder):
        opened = os.open(folder / name, os.O_RDONLY)
        os.fchmod(opened, 0o444)
        os.fsync(opened)
        os.close(opened)
    for below in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        below.chmod(0o755)
        canonical.sync(below)
