"""Anchors: signed heads of all ledgers, from a moment that nobody can go behind later.

The best place for a copy is where the operator cannot write. An anchor that stays in the archive
vouches for the ledger lines before it, such as those that tell of a removal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runbook.records.archive import canonical
from runbook.records.archive.ledger import heads
from runbook.records.journal.journal import now
from runbook.records.signing import sshsig
from runbook.records.signing.sign import Signer

FOLDER = "anchors"
SCHEMA = 1


def anchor(archive: Path, signer: Signer) -> Path:
    """Sign the heads of all ledgers, and return the file.

    Args:
        archive: The archive's folder.
        signer: Who has seen these heads; best somebody who does not operate.

    Raises:
        Refused: The key cannot be used.
    """
    time = now()
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "time": time,
        "by": signer.principal,
        "heads": [head.as_dict() for head in heads(archive)],
    }
    content = canonical.document(value)
    signature = signer.sign(content, sshsig.ANCHOR)
    folder = archive / FOLDER
    folder.mkdir(exist_ok=True)
    stamp = "".join(character for character in time if character.isalnum())
    path = folder / f"{stamp}-{signer.principal}.json"
    canonical.write(path.with_name(path.name + ".sig"), signature.encode())
    canonical.write(path, content)
    return path
