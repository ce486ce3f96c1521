"""A file, whole or one marked block of it, replaced atomically after its own program checked it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
from dataclasses import dataclass, field
from functools import partial

from runbook.changes import Change
from runbook.errors import Refused
from runbook.hosts.live import Live, decoded
from runbook.hosts.ssh.command import CommandFailed
from runbook.resources import HostResource

BEGIN = "# BEGIN runbook: this block is kept by the runbook; changes in it are undone"
END = "# END runbook"
BACKUPS = "/var/backups/runbook"
HOME_BACKUPS = ".local/state/runbook/backups"  # XDG Base Directory: state that outlives a session

MOVED = 75  # exit status: the file is no longer what was read; EX_TEMPFAIL of sysexits(3)
ABSENT = "absent"

# Reads standard input into a file beside the target, has it checked, keeps the old one, moves.
# Arguments: path, mode, new owner or empty, backup or empty, check command, for which $1 is the new
# file, and the SHA-256 of what the file must be after and before. The rename is the only moment at
# which the target changes (rename(2) is atomic); whatever fails earlier leaves it as it was. The
# file beside it begins with a dot, so that no program that reads a folder takes it for one of its
# own; one that a killed script left is removed by the next. A copy of the old file carries over its
# access list and labels. Other names of the same file (hard links) keep the old content.
_INSTALL = """set -eu; umask 022
path=$1 mode=$2 owner=$3 backup=$4 check=$5 after=$6 before=$7
[ ! -L "$path" ] || path=$(readlink -f "$path")
folder=$(dirname "$path"); beside=$folder/.$(basename "$path").runbook
stop() { status=$1; shift; echo "$*" >&2; exit "$status"; }
digest() { sha256sum < "$1" | cut -c1-64; }
unmoved() {
  now=absent; [ ! -e "$path" ] || now=$(digest "$path")
  [ "$now" = "$before" ] || stop 75 "$path is no longer what the plan was made from"
}
[ ! -e "$path" ] || [ -f "$path" ] || stop 66 "$path is not a regular file"
unmoved
[ -d "$folder" ] || mkdir -p "$folder"
rm -f "$beside".*
new=$(mktemp "$beside.XXXXXX")
trap 'rm -f "$new"' EXIT; trap 'exit 129' HUP INT PIPE TERM
[ ! -e "$path" ] || cp -a "$path" "$new"
[ -z "$owner" ] || chown "$owner" "$new"
chmod "$mode" "$new"
base64 -d > "$new"
[ "$(digest "$new")" = "$after" ] || stop 65 "$path did not arrive whole and is not replaced"
if [ -n "$check" ]; then
  said=$(sh -c "$check" check "$new" 2>&1) || stop 65 "its own check says: $said"
fi
if [ -n "$backup" ]; then
  mkdir -p "$(dirname "$backup")"; cp -p "$path" "$backup.new"; mv -f "$backup.new" "$backup"
fi
sync "$new"; unmoved; mv -f "$new" "$path"; sync "$folder"
"""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found at a path; ``content`` is ``None`` where nothing is there.

    ``fixed`` is what not even root may write: it is immutable, or its file system read-only.
    """

    content: str | None
    mode: str = ""
    owner: str = ""
    fixed: bool = field(default=False, compare=False)

    @property
    def identity(self) -> str | None:
        """Return permissions, owner and SHA-256 of the content; ``None`` where nothing is there."""
        if self.content is None:
            return None
        return f"{self.mode} {self.owner} sha256:{self.digest}"

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the content; ``absent`` where nothing is there."""
        if self.content is None:
            return ABSENT
        return hashlib.sha256(_bytes(self.content)).hexdigest()


@dataclass(frozen=True, slots=True)
class File:
    """A file as declared.

    Attributes:
        host: Where it is.
        path: Absolute and written by root, or below the operator's home with ``~/``.
        content: The whole file, whose first line says who keeps it (:func:`is_ours`), or the lines
            of the block where ``block`` is set.
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
        """Return the snippet that reads the file; ``!`` is before the mode of one that is fixed."""
        # What the operator may not write at home is replaced none the less, as a name in a folder.
        fixed = "" if self._at_home else '[ -w "$f" ] || printf !; '
        return (
            f"f={shlex.quote(self.path.removeprefix('~/'))}\n"
            f'if [ -e "$f" ]; then {fixed}stat -L -c "%04a %U:%G" "$f" && base64 -w0 "$f"\n'
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
        mode, _, owner = head.removeprefix("!").partition(" ")
        try:
            content = decoded(body)
        except binascii.Error:
            mode = ""  # what follows is not the file but why it cannot be read
        if not mode.isdigit():
            raise Refused(f"{self.path} cannot be read: {text.strip()}", host=self.host)
        return FileFacts(content, mode, owner, fixed=head.startswith("!"))

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

    def plan(self, facts: FileFacts) -> list[Change]:
        """Return the replacement of the file, or nothing where it is as declared.

        Raises:
            Refused: It is to be replaced and cannot be.
        """
        declared = self.declared(facts.content)
        wanted = FileFacts(declared, self.mode, self._owner or facts.owner)
        if self.block and facts.content is not None:
            wanted = FileFacts(declared, facts.mode, facts.owner)
        if facts == wanted:
            return []
        if facts.fixed:
            raise Refused(
                f"{self.path} is immutable, or on a read-only file system, and cannot be replaced",
                host=self.host,
                todo=f"see sudo lsattr {self.path} and findmnt -T {self.path} there",
            )
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
                make=partial(_install, self, facts, wanted),
            )
        ]

    def backup(self, facts: FileFacts) -> str:
        """Return where a file with this content is kept when it is replaced; empty where none is.

        The name tells the content, so that whoever takes a change back finds exactly what was
        there before it: ``rules.<first 12 digits of its SHA-256>``.
        """
        if facts.content is None:
            return ""
        folder = f"~/{HOME_BACKUPS}" if self._at_home else BACKUPS
        return f"{folder}/{self.path.rpartition('/')[2]}.{facts.digest[:12]}"

    def _undo(self, facts: FileFacts) -> str:
        if facts.content is None:
            return f"rm {self.path}"
        return f"cp -p {self.backup(facts)} {self.path}"


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
    lines = lines_of(kept)
    span = _span(lines)
    if span is not None:
        return "".join([*lines[: span[0]], ours, *lines[span[1] :]])
    if kept and not kept.endswith("\n") and ours:
        return f"{kept}\n{ours}"
    return kept + ours


def outside_block(content: str) -> str:
    """Return a file's content without our block: what is somebody else's."""
    return with_block(content, "")


def lines_of(text: str) -> list[str]:
    """Return the lines of a configuration file, each with its end: a line feed, nothing else."""
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
    lines = lines_of(content)
    span = _span(lines)
    return span is not None and span[1] > len(lines)


def _bytes(content: str) -> bytes:
    return content.encode("utf-8", "surrogateescape")


def _install(file: File, before: FileFacts, after: FileFacts, live: Live) -> None:
    # A command starts in the operator's home, so paths below it need no expansion.
    at_home = file.path.startswith("~/")
    arguments = [
        file.path.removeprefix("~/"),
        after.mode,
        "" if at_home or after.owner == before.owner else after.owner,
        file.backup(before).removeprefix("~/"),
        file.check,
        after.digest,
        before.digest,
    ]
    result = live.fleet[file.host].run(
        ["sh", "-c", _INSTALL, "install", *arguments],
        stdin=base64.b64encode(_bytes(after.content or "")).decode(),
        sudo=not at_home,
        check=False,
    )
    if result.status == MOVED:
        raise Refused(
            f"{file.path} was changed by somebody else since it was read, and is not replaced",
            host=file.host,
            todo="run again, which plans from what is there now",
        )
    if result.status != 0:
        raise CommandFailed(result)


_obeys: type[HostResource[FileFacts]] = File
