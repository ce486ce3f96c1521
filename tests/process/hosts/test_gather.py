"""The script that reads a host, as a shell runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import live, local, parameters

from runbook.hosts.live import Live


@pytest.fixture
def here(tmp_path: Path) -> Live:
    """A site whose hosts all are this machine."""
    return live(parameters("article"), local(tmp_path))


def gathered(here: Live, **snippets: str) -> dict[str, str]:
    """Return what snippets print on one host."""
    return dict(here.gather({"docker01": snippets}, sudo=False)["docker01"])


class TestGather:
    """Named snippets, run by a real shell."""

    def test_each_output_by_its_name(self, here: Live) -> None:
        """Every byte that a snippet prints is its own, final newlines and blank lines included."""
        seen = gathered(
            here, one="echo a", two="printf b", none=":", blank="printf '\\n\\nx\\n\\n'"
        )

        assert seen == {"one": "a\n", "two": "b", "none": "", "blank": "\n\nx\n\n"}

    def test_names_are_quoted(self, here: Live) -> None:
        """A name may hold what a shell would take for something else."""
        assert gathered(here, **{"it's $HOME; exit": "echo a"}) == {"it's $HOME; exit": "a\n"}

    def test_standard_error_is_output(self, here: Live) -> None:
        """What a program complains about is seen where it was expected to answer."""
        assert gathered(here, x="echo out; echo err >&2") == {"x": "out\nerr\n"}

    def test_a_failure_stays_with_its_snippet(self, here: Live) -> None:
        """A snippet that fails, exits or changes its folder does not disturb the next."""
        seen = gathered(here, fails="false", exits="exit 3", moves="cd /; x=1", next="echo $x; pwd")

        assert seen["next"].splitlines()[0] == ""
        assert seen["next"].splitlines()[1] != "/"

    def test_nothing_reads_the_rest_of_the_script(self, here: Live) -> None:
        """A program that reads its standard input finds it empty."""
        # A shell reads its script in blocks; what is beyond the first is still to be read.
        after = f": {'x' * 20_000}\necho a"

        assert gathered(here, reads="cat", after=after) == {"reads": "", "after": "a\n"}

    def test_speaks_no_language(self, here: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        """Programs are asked in the C locale, whatever the operator's own is."""
        monkeypatch.setitem(os.environ, "LC_ALL", "es_ES.UTF-8")

        assert gathered(here, locale="echo $LC_ALL") == {"locale": "C\n"}
