"""Secrets: named in a site by reference, read when they are needed, never shown.

A site holds one of three references in place of a value:

    env:NAME          an environment variable of the process that reads it
    file:PATH         a file that nobody but its owner can read; relative to the site's file
    command:WORDS     what a command prints, run without a shell: command:pass show edge/auth

Whoever needs the value asks a :class:`Secret` to reveal it. The value is then known to the process
(:data:`KNOWN`) before the caller has it, so that everything written afterwards is masked.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from runbook.errors import BadInput

REFERENCE = r"(?:env:[A-Za-z_]\w*|(?:file|command):\S.*)"
"""What a reference matches from its first to its last character."""

SHORTEST = 8
"""Characters. A shorter value is part of ordinary words: masking ``admin`` everywhere would turn
``administrator`` into ``[masked:p]istrator`` and so give the value away."""

COMMAND_TIMEOUT_S = 30

_NAME = re.compile(r"[\w.-]{1,80}")


def placeholder(name: str) -> str:
    """Return what stands in place of a secret of this name."""
    return f"[masked:{name}]"


class Registry:
    """The values that a process knows to be secret; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a listener may look at what is known
        self._values: dict[str, str] = {}
        self._listeners: list[Callable[[str, str], None]] = []

    def __len__(self) -> int:
        """Return how many values are known; a value once known stays so."""
        return len(self._values)

    @property
    def values(self) -> tuple[tuple[str, str], ...]:
        """Every known value and its name, in the order in which they became known."""
        with self._lock:
            return tuple(self._values.items())

    def add(self, name: str, value: str) -> bool:
        """Make a value known, and tell the listeners of one that is new.

        Args:
            name: Stands in for the value wherever that would be written.
            value: The secret.

        Returns:
            Whether everything written from now on is masked. A value shorter than
            :data:`SHORTEST` is refused; it is masked only where its key says what it is.
        """
        if len(value) < SHORTEST:
            return False
        with self._lock:
            if value in self._values:
                return True
            # Listeners come first and within the lock: when the value is in use, all know it.
            for listener in self._listeners:
                listener(name, value)
            self._values[value] = name
        return True

    def listen(self, listener: Callable[[str, str], None]) -> None:
        """Tell a listener the name and value of every secret known now and later."""
        with self._lock:
            for value, name in self._values.items():
                listener(name, value)
            self._listeners.append(listener)


KNOWN = Registry()
"""What this process knows."""


class Secret(str):
    """A secret that can be passed around and shown; as text it is ``[masked:NAME]``.

    Being that text, it is masked in every form that text takes: ``str``, ``repr``, formats, JSON,
    pickles, HTML, other people's libraries. It holds the reference, and never the value.

    Args:
        name: Its name in tables and records, as the site names the setting.
        reference: Where the value is.
        folder: What a relative path of ``file:`` is relative to.

    Raises:
        BadInput: The reference is none; it may be the value itself, so it is not repeated.
    """

    __slots__ = ("_folder", "_reference", "name")
    name: str
    _reference: str
    _folder: Path

    def __new__(cls, name: str, reference: str, *, folder: Path = Path()) -> Self:
        """Return the secret; nothing is read."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a secret's name: {name!r}")
        if not re.fullmatch(REFERENCE, reference):
            raise BadInput(
                f"{name}: a secret is named by where it is, never by its value",
                todo="write env:NAME, file:PATH or command:WORDS",
            )
        secret = super().__new__(cls, placeholder(name))
        secret.name, secret._reference, secret._folder = name, reference, folder
        return secret

    def reveal(self) -> str:
        """Return the value, once everybody who writes knows it.

        Raises:
            BadInput: It cannot be read, or is empty.
        """
        kind, _, place = self._reference.partition(":")
        value = {"env": self._variable, "file": self._file, "command": self._command}[kind](place)
        if not value.strip():
            raise self._unreadable(f"{self._reference} is empty")
        KNOWN.add(self.name, value)
        return value

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return str(self)

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return (str, (str(self),))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def _variable(self, name: str) -> str:
        if name not in os.environ:
            raise self._unreadable(f"the environment variable {name} is not set", "set it")
        return self._text(os.fsencode(os.environ[name]))

    def _file(self, place: str) -> str:
        path = self._folder / os.path.expanduser(place)
        try:
            with path.open("rb") as file:
                held = os.fstat(file.fileno())  # of what was opened, whatever the path is now
                if not stat.S_ISREG(held.st_mode):
                    raise self._unreadable(f"{path} is not a file")
                if held.st_mode & 0o077:
                    mode = stat.S_IMODE(held.st_mode)
                    raise self._unreadable(
                        f"{path} has mode {mode:04o}, so others may read it", f"chmod 600 {path}"
                    )
                return self._text(file.read())
        except OSError as error:
            raise self._unreadable(f"{path}: {error.strerror}") from error

    def _command(self, words: str) -> str:
        try:
            argv = shlex.split(words)
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_TIMEOUT_S,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            what = f"{argv[0]} ended with status {error.returncode}"
        except subprocess.TimeoutExpired:
            what = f"{argv[0]} did not end within {COMMAND_TIMEOUT_S} s"
        except OSError as error:
            what = f"{argv[0]}: {error.strerror}"
        except ValueError as error:
            what = f"its command cannot be split into words: {error}"
        else:
            return self._text(done.stdout)
        # What it printed may be the secret, and so may what the errors above carry along.
        raise self._unreadable(what, "run it by hand to see why") from None

    def _text(self, content: bytes) -> str:
        try:
            return content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            # The error carries the bytes.
            raise self._unreadable("it is not text in UTF-8") from None

    def _unreadable(self, what: str, todo: str = "") -> BadInput:
        return BadInput(f"the secret {self.name} cannot be read: {what}", todo=todo)
