"""Text of others on its way to the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from runbook.cli.terminal import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", "␛[2J␛]0;owned␇"),
        ("\x9b31m", "<U+009B>31m"),
        ("over\rwritten\x08", "over␍written␈"),
        ("\x7f", "<U+007F>"),
        ("CHG-1\u202e1-GHC", "CHG-1<U+202E>1-GHC"),
        ("\u2066x\u200b", "<U+2066>x<U+200B>"),
        ("\udcff", "<U+DCFF>"),
    ],
)
def test_what_steers_is_shown(text: str, shown: str) -> None:
    """Escape sequences, overwriting and turned letters appear as what they are."""
    assert plain(text) == shown


def test_nothing_of_unicode_steers() -> None:
    """Of all letters only line feed and tab are passed on among those that a terminal obeys."""
    passed = {plain(chr(code)) for code in range(sys.maxunicode + 1)}
    kept = {c for text in passed for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs")}
    assert kept == {"\n", "\t"}


@pytest.mark.parametrize("text", ["", "año 2026: 3 → 4, ✓\n\tmañana", "日本語 🙂"])
def test_the_rest_stays(text: str) -> None:
    """What people write in any language is not touched."""
    assert plain(text) == text


@pytest.mark.parametrize("charset", ["iso-8859-15", "iso-8859-9", "euc_jp", "cp437"])
@pytest.mark.parametrize("words", [["check"], ["show"], ["show", "--json"]])
def test_letters_that_a_terminal_has_not(tmp_path: Path, charset: str, words: list[str]) -> None:
    """Whatever the operator's charset, a word of it is shown and the status is the command's."""
    site = tmp_path / "söte ☃ 日本.yml"
    site.symlink_to(Path("parameters/article.yml").absolute())
    program = [sys.executable, "-c", "from runbook.cli import main; main()"]
    # The arguments come as they are named on the disk; what is printed is in the charset.
    environment = {**os.environ, "PYTHONIOENCODING": charset, "COLUMNS": "300"}
    done = subprocess.run(
        [*program, "site", *words, site], env=environment, capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, b"")
    shown = "söte ☃ 日本.yml".encode(charset, "backslashreplace").decode(charset)
    escaped = "s\\u00f6te \\u2603 \\u65e5\\u672c.yml"  # in JSON
    assert (escaped if "--json" in words else shown) in done.stdout.decode(charset)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "parameters/article.yml", "--reason", b"a\xf1o"],
        ["run", "parameters/article.yml", "--ticket", b"CHG\xff-1"],
        ["check", b"ma\xf1ana.yml"],
    ],
)
def test_words_of_another_charset(tmp_path: Path, words: list[str | bytes]) -> None:
    """What a record could not hold is refused before anything is begun."""
    program = [sys.executable, "-c", "from runbook.cli import main; main()"]
    (tmp_path / "parameters").symlink_to(Path("parameters").absolute())
    os.symlink(Path("parameters/article.yml").absolute(), bytes(tmp_path) + b"/ma\xf1ana.yml")
    environment = {**os.environ, "PYTHONPATH": str(Path().absolute())}
    done = subprocess.run(
        [*program, *words], cwd=tmp_path, env=environment, capture_output=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.decode().startswith("BadInput: '")
    assert "is not UTF-8" in done.stderr.decode()
    assert not (tmp_path / "records").exists()
