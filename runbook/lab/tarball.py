"""Files for a container, as the tar archive the engine's API takes."""

import io
import tarfile
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive; equal when path, content, mode and owner are.

    Attributes:
        path: Where it goes, relative to the folder the archive is unpacked in.
        content: The whole file.
        mode: Permission bits.
        owner: Numeric user and group.
    """

    path: str
    content: bytes
    mode: int = 0o644
    owner: int = 0


def pack(members: list[Member]) -> bytes:
    """Return the archive; the same members always give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            entry = tarfile.TarInfo(member.path)
            entry.size = len(member.content)
            entry.mode = member.mode
            entry.uid = entry.gid = member.owner
            archive.addfile(entry, io.BytesIO(member.content))
    return buffer.getvalue()
