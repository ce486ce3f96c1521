"""Whether the folder of one run is what its statement, and the statement what the ledger, says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.records.archive import canonical, statement
from runbook.records.archive.approval import Use, objections
from runbook.records.archive.chain import Chain, Chains
from runbook.records.archive.findings import Finding, Level
from runbook.records.archive.ledger import Head, Line, moment
from runbook.records.signing import sshsig
from runbook.records.signing.sign import UNSIGNED
from runbook.records.signing.sshsig import Signature, Unverified
from runbook.records.signing.trust import Trust


@dataclass(frozen=True, slots=True)
class Closed:
    """A run that a ledger has closed.

    Attributes:
        run_id: The run.
        chain: The ledger.
        index: The line's place in it.
        line: The line.
    """

    run_id: str
    chain: Chain
    index: int
    line: Line

    @property
    def where(self) -> str:
        """Return file and line."""
        return self.chain.where(self.index)


@dataclass(frozen=True, slots=True)
class RunCheck:
    """One closed run, whose folder is there.

    Attributes:
        folder: The folder.
        closed: What the ledger says.
        chains: All ledgers; told which heads the statement has seen.
        trust: Whose signatures count.
    """

    folder: Path
    closed: Closed
    chains: Chains
    trust: Trust

    def findings(self) -> Iterator[Finding]:
        """Yield everything that is wrong with the run."""
        found = dict(statement.entries(self.folder))
        own = {name: (self.folder / name).read_bytes() for name in statement.OWN if found.get(name)}
        yield from self._digests(own)
        if self.closed.line["sig_sha256"] is None:
            yield Finding(Level.INCOMPLETE, self.folder.name, "not signed")
        content = own.get(statement.STATEMENT)
        if content is None:
            return
        signature = yield from self._signature(content, own.get(statement.SIGNATURE))
        told = _parsed(content)
        if told is None:
            yield self._bad(statement.STATEMENT, "not a statement of a run")
            return
        yield from self._claims(told["predicate"])
        yield from self._subject(told["subject"], found)
        yield from self._envelope(content, own.get(statement.DSSE))
        yield from self._approval(told["predicate"], signature, statement.APPROVAL in found)
        if signature is not None:
            for head in told["predicate"]["ledgers"]:
                self.chains.see(Head.of(head), self._name(statement.STATEMENT))

    def _digests(self, own: dict[str, bytes]) -> Iterator[Finding]:
        """Compare the files that are about the statement with the ledger's line."""
        where = self.closed.where
        for name, (field, what) in _ABOUT.items():
            due, content = self.closed.line[field], own.get(name)
            if due is None and content is not None:
                yield self._bad(name, f"added: {where} names none")
            elif due is not None and content is None:
                yield self._bad(name, f"missing: {where} names it")
            elif content is not None and canonical.sha256(content) != due:
                yield self._bad(name, f"not the {what} that {where} names")

    def _signature(
        self, content: bytes, armored: bytes | None
    ) -> Generator[Finding, None, Signature | None]:
        line = self.closed.line
        if line["sig_sha256"] is None or armored is None:
            return None
        try:
            who = (line["operator"], moment(line["time"]))
            return self.trust.check(content, armored, sshsig.RECORD, who)
        except Unverified as error:
            yield self._bad(statement.SIGNATURE, str(error))
        return None

    def _claims(self, told: dict[str, Any]) -> Iterator[Finding]:
        """Compare what statement and ledger both say."""
        line, name = self.closed.line, statement.STATEMENT
        signer = None if line["operator"] == UNSIGNED else line["operator"]
        for field, entered in (("signer", signer), *((f, line[f]) for f in _SHARED)):
            if told.get(field) != entered:
                is_, was = (json.dumps(v, ensure_ascii=False) for v in (told.get(field), entered))
                said = f"{field} is {is_}, and {was} in {self.closed.where}"
                yield self._bad(name, said)

    def _subject(self, subject: list[dict[str, Any]], found: dict[str, bool]) -> Iterator[Finding]:
        named = {entry["name"]: entry["digest"]["sha256"] for entry in subject}
        for name in sorted(named.keys() - found.keys()):
            yield self._bad(name, "dropped: the statement names it")
        for name in sorted(found.keys() - named.keys() - statement.OWN):
            yield self._bad(name, "added: the statement does not name it")
        for name in sorted(found.keys() & (named.keys() | statement.OWN)):
            if not found[name]:
                yield self._bad(name, "replaced by something that is no plain file")
            elif name in named:
                yield from self._file(name, named[name])

    def _file(self, name: str, stated: str) -> Iterator[Finding]:
        seen = canonical.sha256_of(self.folder / name)
        if seen == stated:
            return
        for chain, index, line in self.chains.of("redacted", self.closed.run_id):
            if (line["file"], line["old_sha256"]) == (name, stated):
                stated = line["new_sha256"]
                if seen == stated:
                    said = f"redacted: superseded by {chain.where(index)}: {line['reason']}"
                    yield Finding(Level.NOTE, self._name(name), said)
                    return
        yield self._bad(name, "altered: it is not the file that the statement names")

    def _envelope(self, content: bytes, envelope: bytes | None) -> Iterator[Finding]:
        held = envelope and _ENVELOPE.fullmatch(envelope.replace(b"\n", b""))
        if envelope is not None and (not held or held[1] != base64.b64encode(content)):
            yield self._bad(statement.DSSE, "not an envelope of statement.json alone")

    def _approval(
        self, told: dict[str, Any], signature: Signature | None, there: bool
    ) -> Iterator[Finding]:
        if not there:
            if (told["approval"] or {}).get("kind") == "pre":
                yield self._bad(statement.APPROVAL, "missing: the statement tells of it")
            return
        key = signature.key if signature else None
        use = Use(told["operator"]["principal"], key, told["plan_sha256"], told["started"])
        for name, what in objections(self.folder / statement.APPROVAL, use, self.trust):
            yield self._bad(name, what)

    def _name(self, name: str) -> str:
        return f"{self.folder.name}/{name}"

    def _bad(self, name: str, what: str) -> Finding:
        return Finding(Level.BAD, self._name(name), what)


_ABOUT = {
    statement.STATEMENT: ("statement_sha256", "statement"),
    statement.SIGNATURE: ("sig_sha256", "signature"),
    statement.DSSE: ("dsse_sha256", "envelope"),
}
_ENVELOPE = re.compile(
    rb'\{ "payload": "([^"]*)", "payloadType": "application/vnd\.in-toto\+json", "signatures": \['
    rb'  \{   "keyid": "SHA256:[A-Za-z0-9+/]{43}",   "sig": "[A-Za-z0-9+/]{86}=="  \} \]\}'
)
# Records had one once, which the ledger's line names. Nobody reads it any more, so that it is held
# to this form: there is no room in it for anything that the statement's signature does not cover.
_SHARED = ("run_id", "site", "mode", "outcome", "ticket")


def _parsed(content: bytes) -> dict[str, Any] | None:
    """Return a statement whose parts are of the right shape; ``None`` for anything else."""
    try:
        told: dict[str, Any] = json.loads(content)
        right = told["_type"] == statement.TYPE and told["predicateType"] == statement.PREDICATE
        for entry in told["subject"]:
            right &= type(entry["name"]) is str and type(entry["digest"]["sha256"]) is str
        predicate = told["predicate"]
        for head in predicate["ledgers"]:
            Head.of(head)
        right &= {"operator", "approval", "plan_sha256", "started"} <= predicate.keys()
        right &= type(predicate["operator"]["principal"]) in (str, type(None))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return told if right else None
