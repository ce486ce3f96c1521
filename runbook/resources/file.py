"""A file, whole or one marked block of it, replaced atomically after its own program checked it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
from dataclasses import dataclass
from functools import partial

from runbook.changes import Change
from runbook.errors import Refused
from runbook.live import Live, decoded

BEGIN = "# BEGIN runbook: this block is kept by the runbook; changes in it are undone"
END = "# END runbook"
BACKUPS = "/var/backups/runbook"
HOME_BACKUPS = ".local/state/runbook/backups"  # XDG Base Directory: state that outlives a session

# Reads standard input into a file beside the target, has it checked, keeps the old one, moves.
# Arguments: path, mode, owner or empty, backup folder, check command, for which $1 is the new file.
# The rename is the only moment at which the target changes (rename(2) is atomic).
_INSTALL = """set -eu
path=$1 mode=$2 owner=$3 backups=$4 check=$5
[ ! -L "$path" ] || path=$(readlink -f "$path")
[ -d "$(dirname "$path")" ] || mkdir -p "$(dirname "$path")"
new=$(mktemp "$path.runbook.XXXXXX"); trap 'rm -f "$new"' EXIT
base64 -d > "$new"; chmod "$mode" "$new"; [ -z "$owner" ] || chown "$owner" "$new"
if [ -n "$check" ]; then
  said=$(sh -c "$check" check "$new" 2>&1) || { echo "its own check says: $said" >&2; exit 65; }
fi
if [ -e "$path" ]; then
  mkdir -p "$backups"; cp -p "$path" "$backups/$(basename "$path").$(date -u +%Y%m%dT%H%M%SZ)"
fi
sync "$new"; mv -f "$new" "$path"
"""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found at a path; ``content`` is ``None`` where nothing is there."""

    content: str | None
    mode: str = ""
    owner: str = ""

    @property
    def identity(self) -> str | None:
        """Return permissions, owner and SHA-256 of the content; ``None`` where nothing is there."""
        if self.content is None:
            return None
        digest = hashlib.sha256(self.content.encode("utf-8", "surrogateescape")).hexdigest()
        return f"{self.mode} {self.owner} sha256:{digest}"


@dataclass(frozen=True, slots=True)
class File:
    """A file as declared.

    Attributes:
        host: Where it is.
        path: Absolute and written by root, or below the operator's home with ``~/``.
        content: The whole file, or the lines of the block where ``block`` is set.
        block: Whether only a marked block of the file is ours; permissions and owner of a file
            that exists are then somebody else's too.
        mode: Permissions as four octal digits.
        replace_unmanaged: Whether a whole file of somebody else's may be replaced.
        check: Shell command that judges the new file, whose path is its ``$1``; empty for none.
    """

    host: str
    path: str
    content: str
    block: bool = False
    mode: str = "0644"
    replace_unmanaged: bool = False
    check: str = ""

    @property
    def probe(self) -> str:
        """Return the snippet that reads the file."""
        return (
            f"f={shlex.quote(self.path.removeprefix('~/'))}\n"
            'if [ -e "$f" ]; then stat -c "%04a %U:%G" "$f" && base64 -w0 "$f"\n'
            "else echo absent; fi"
        )

    @property
    def _at_home(self) -> bool:
        return self.path.startswith("~/")

    @property
    def _owner(self) -> str:
        return "" if self._at_home else "root:root"

    def read(self, text: str) -> FileFacts:
        """Return the facts that the snippet printed.

        Raises:
            Refused: The file is there and cannot be read.
        """
        head, _, body = text.partition("\n")
        if head.strip() == "absent":
            return FileFacts(None)
        mode, _, owner = head.partition(" ")
        try:
            content = decoded(body)
        except binascii.Error:
            mode = ""  # what follows is not the file but why it cannot be read
        if not mode.isdigit():
            raise Refused(f"{self.path} cannot be read: {text.strip()}", host=self.host)
        return FileFacts(content, mode, owner)

    def declared(self, present: str | None) -> str:
        """Return the whole content that the file must have, foreign lines kept as they are.

        Raises:
            Refused: Somebody else wrote the whole file and the site does not give it to us.
        """
        if self.block and _without_end(present or ""):
            raise Refused(
                f"{self.path}: the runbook's block has a beginning and no end",
                host=self.host,
                todo=f"put the line {END!r} back where the block ends",
            )
        if self.block:
            return with_block("" if self.replace_unmanaged else present or "", self.content)
        if present is None or self.replace_unmanaged or is_ours(present):
            return self.content
        raise Refused(
            f"{self.path} was not written by the runbook and is not replaced",
            host=self.host,
            todo="move it away, or make its first line "
            f"{self.content.splitlines()[0]!r} to hand it over",
        )

    def plan(self, facts: FileFacts, stage: int) -> list[Change]:
        """Return the replacement of the file, or nothing where it is as declared."""
        declared = self.declared(facts.content)
        wanted = FileFacts(declared, self.mode, self._owner or facts.owner)
        if self.block and facts.content is not None:
            wanted = FileFacts(declared, facts.mode, facts.owner)
        if facts == wanted:
            return []
        before, after = facts.content or "", declared
        if facts.content == declared:
            before, after = f"{facts.mode} {facts.owner}", f"{wanted.mode} {wanted.owner}"
        return [
            Change(
                host=self.host,
                resource=f"file {self.path}",
                action="create" if facts.content is None else "update",
                before=before,
                after=after,
                undo=self._undo(facts),
                stage=stage,
                make=partial(_install, self, wanted),
            )
        ]

    def _undo(self, facts: FileFacts) -> str:
        if facts.content is None:
            return f"rm {self.path}"
        name = self.path.rpartition("/")[2]
        return f"copy the newest {self._backups}/{name}.* back"

    @property
    def _backups(self) -> str:
        return f"~/{HOME_BACKUPS}" if self._at_home else BACKUPS


def is_ours(content: str) -> bool:
    """Return whether a whole file was written by the runbook, by its first line."""
    return content.startswith("# Managed by runbook")


def with_block(kept: str, block: str) -> str:
    """Return a file's content with our block in it, in its place or at the end.

    Args:
        kept: The content whose foreign lines are kept.
        block: The block's lines without markers; empty removes the block.

    Returns:
        The content. Every byte outside the block is as it was.
    """
    ours = f"{BEGIN}\n{block}{END}\n" if block else ""
    lines = _lines(kept)
    span = _span(lines)
    if span is not None:
        return "".join([*lines[: span[0]], ours, *lines[span[1] :]])
    if kept and not kept.endswith("\n") and ours:
        return f"{kept}\n{ours}"
    return kept + ours


def outside_block(content: str) -> str:
    """Return a file's content without our block: what is somebody else's."""
    return with_block(content, "")


def _lines(text: str) -> list[str]:
    # Not splitlines(): a line of a configuration file ends at a line feed and nowhere else.
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _span(lines: list[str]) -> tuple[int, int] | None:
    """Return where our block begins and where what follows it does; ``None`` without a block.

    A marker is a whole line, whatever line ends an editor gave it. A block without an end reaches
    to the end of the file; `File.declared` refuses to write such a one.
    """
    plain = [line.rstrip("\r\n") for line in lines]
    if BEGIN not in plain:
        return None
    start = plain.index(BEGIN)
    return start, (plain.index(END, start) + 1 if END in plain[start:] else len(lines) + 1)


def _without_end(content: str) -> bool:
    lines = _lines(content)
    span = _span(lines)
    return span is not None and span[1] > len(lines)


def _install(file: File, wanted: FileFacts, live: Live) -> None:
    # An SSH command starts in the operator's home, so paths below it need no expansion.
    arguments = [
        file.path.removeprefix("~/"),
        wanted.mode,
        "" if file.path.startswith("~/") else wanted.owner,
        HOME_BACKUPS if file.path.startswith("~/") else BACKUPS,
        file.check,
    ]
    encoded = base64.b64encode((wanted.content or "").encode("utf-8", "surrogateescape")).decode()
    live.fleet[file.host].run(
        ["sh", "-c", _INSTALL, "install", *arguments],
        stdin=encoded,
        sudo=not file.path.startswith("~/"),
    )
