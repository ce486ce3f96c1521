"""How a site file's text becomes values, and what is refused on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runbook.site.problems import SiteInvalid
from runbook.site.reading import Place, plain_scalar, read


class Written:
    """A file in a folder of its own, and what reading it says."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "site.yml"

    def problems(self, text: str) -> list[str]:
        """Return what is wrong with how values are written, without the folder."""
        self.path.write_text(text)
        return [str(p).replace(f"{self.path}:", "") for p in read(self.path)[1]]

    def refusal(self, content: str | bytes) -> str:
        """Return why there is no tree at all."""
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(SiteInvalid) as caught:
            read(self.path)
        assert len(caught.value.problems) == 1
        return str(caught.value.problems[0]).replace(str(self.path), "site.yml")


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A place to write a site file."""
    return Written(tmp_path)


class TestPlainScalar:
    """What an unquoted word or number is."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("51", 51),
            ("-1", -1),
            ("0", 0),
            ("80.0", 80.0),
            ("0.2", 0.2),
            (".5", 0.5),
            ("true", True),
            ("FALSE", False),
            ("~", None),
            ("", None),
        ],
    )
    def test_yaml_1_2_values(self, text: str, value: object) -> None:
        """Numbers, flags and null of YAML 1.2 have their own type."""
        seen, objection = plain_scalar(text)

        assert (seen, type(seen), objection) == (value, type(value), "")

    @pytest.mark.parametrize(
        "text",
        ["22:22", "no", "yes", "on", "1_000", "2026-01-01", "10.0.0.2", ".inf", "0b11", "<<"],
    )
    def test_everything_else_is_text(self, text: str) -> None:
        """What YAML 1.1 turned into numbers, flags and dates stays what was written."""
        assert plain_scalar(text) == (text, "")

    @pytest.mark.parametrize(
        ("text", "objection"),
        [
            ("051", "051 starts with a zero, which some programs read as octal; write 51"),
            ("-08", "-08 starts with a zero, which some programs read as octal; write -8"),
            ("00.5", "00.5 starts with a zero, which some programs read as octal; write 0.5"),
            ("0o17", "0o17 is not a decimal number; write 15"),
            ("0x1F", "0x1F is not a decimal number; write 31"),
            ("1e3", "1e3 has an exponent; write the number in full"),
            ("1.5E-1", "1.5E-1 has an exponent; write the number in full"),
        ],
    )
    def test_doubtful_numbers(self, text: str, objection: str) -> None:
        """A number that two programs may read differently is refused and has no value."""
        value, said = plain_scalar(text)

        assert said == objection
        assert value != value  # noqa: PLR0124 - not a number, which no setting accepts

    def test_quoted_text_is_never_a_number(self, written: Written) -> None:
        """Quotes make text, whatever is in them."""
        written.path.write_text("a: '051'\nb: \"no\"\nc: |-\n  80\n")

        assert read(written.path)[0].plain() == {"a": "051", "b": "no", "c": "80"}


class TestPlaces:
    """Where a value stands."""

    def test_name_and_value(self, written: Written) -> None:
        """A node knows line and column of its name and of its value, counted from 1."""
        written.path.write_text("# a comment\nlan: x\nhosts:\n  one: [1, 2]\n")
        node = read(written.path)[0].find(("hosts", "one", 1))
        lan = read(written.path)[0].find(("lan",))

        assert node is not None
        assert lan is not None
        assert node.at == Place(str(written.path), 4, 12)
        assert (lan.name_at.column, lan.at.column) == (1, 6)

    def test_what_is_not_declared(self, written: Written) -> None:
        """There is no node where the file says nothing."""
        written.path.write_text("lan: x\n")

        assert read(written.path)[0].find(("lan", "deeper", "still")) is None


class TestObjections:
    """What is wrong with how values are written; all of it is collected."""

    def test_every_objection_in_one_go(self, written: Written) -> None:
        """Reading goes on after the first objection."""
        assert written.problems("a: 051\nb:\n  - 0o17\n") == [
            "1:4: a: 051 starts with a zero, which some programs read as octal; write 51",
            "3:5: b[0]: 0o17 is not a decimal number; write 15",
        ]

    def test_duplicate_names(self, written: Written) -> None:
        """A name declared twice in one mapping is named with its first line."""
        assert written.problems("a:\n  b: 1\n  c: 2\n  b: 3\n") == [
            "4:3: a.b: is declared twice, first in line 2"
        ]

    def test_alias(self, written: Written) -> None:
        """An alias is refused, also one that contains itself."""
        assert written.problems("a: &x [1, *x]\nb: *x\n") == [
            "1:11: a[1]: is the alias *x; write the value itself",
            "2:4: b: is the alias *x; write the value itself",
        ]

    def test_tag(self, written: Written) -> None:
        """A tag, which would change a value's type, is refused."""
        assert written.problems("a: !!int '80'\nb: !mine {}\n") == [
            "1:4: a: has the tag !!int; write the value without it",
            "2:4: b: has the tag !mine; write the value without it",
        ]

    def test_name_that_is_a_list(self, written: Written) -> None:
        """A name that is no text is refused, and what follows is still read."""
        assert written.problems("[a]: 1\nb: 051\n") == [
            "1:1: has a name that is not plain text",
            "2:4: b: 051 starts with a zero, which some programs read as octal; write 51",
        ]


class TestUnusableFiles:
    """Files that hold no site at all."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "site.yml: is empty"),
            ("# only a comment\n", "site.yml: is empty"),
            ("---\n", "site.yml:2:1: is empty"),
            ("- a\n- b\n", "site.yml:1:1: is not a mapping; a site is lines of `name: value`"),
            ("just text\n", "site.yml:1:1: is not a mapping; a site is lines of `name: value`"),
            ("a: 1\n---\nb: 2\n", "site.yml:2:1: holds a second document; a site is one"),
            ("a: b: c\n", "site.yml:1:5: is not YAML: mapping values are not allowed here"),
            ("a:\n\tb: 1\n", "site.yml:2:1: is not YAML: a tab; YAML is indented with spaces"),
            ("a: 1\nb: x\x07y\n", "site.yml:2:5: is not YAML: a control character"),
            (b"a: \xe9\n", "site.yml: is not UTF-8 text, from byte 3 on"),
        ],
    )
    def test_message(self, written: Written, content: str | bytes, message: str) -> None:
        """The refusal says what the file is instead, and where that shows."""
        assert written.refusal(content) == message

    def test_missing_file(self, tmp_path: Path) -> None:
        """A file that is not there is bad input, exit status 2."""
        with pytest.raises(SiteInvalid, match=r"site\.yml: there is no such file") as caught:
            read(tmp_path / "site.yml")

        assert caught.value.exit_code == 2

    def test_folder(self, tmp_path: Path) -> None:
        """A file that cannot be read is named with the system's reason."""
        with pytest.raises(SiteInvalid, match="cannot be read: Is a directory"):
            read(tmp_path)

    def test_byte_order_mark(self, written: Written) -> None:
        """The mark that some editors put first is no part of the first name."""
        written.path.write_bytes(b"\xef\xbb\xbfname: x\r\n")

        root, _ = read(written.path)
        name = root.find(("name",))

        assert root.plain() == {"name": "x"}
        assert name is not None
        assert name.at.column == 7


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "a: " + "{a: " * 5000, "- " * 5000])
def test_depth_is_bounded(tmp_path: Path, text: str) -> None:
    """A file that is nested without end is refused with its line, not with a traceback."""
    path = tmp_path / "site.yml"
    path.write_text(text)

    with pytest.raises(SiteInvalid, match=r"1.*nested more than 50 levels deep"):
        read(path)


def test_fifo(tmp_path: Path) -> None:
    """What is no file is not waited for."""
    os.mkfifo(tmp_path / "site.yml")

    with pytest.raises(SiteInvalid, match="is not a file"):
        read(tmp_path / "site.yml")
