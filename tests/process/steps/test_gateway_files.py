"""Shorewall's files as the preflight reads them, by a real shell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Command, converged, live, local, parameters

from runbook.steps.preflight.facts import GatewayFacts, observe_hosts


@pytest.fixture
def shorewall(tmp_path: Path) -> Path:
    """An /etc/shorewall without any file."""
    return tmp_path


def read_here(folder: Path) -> GatewayFacts:
    """Return the gateway's facts where its snippets are really run, on the files of a folder."""
    recordings, here = converged(), local(folder)

    def answer(command: Command) -> Any:
        if command.host != "gateway":
            return recordings(command)
        return here(replace(command, stdin=command.stdin.replace("/etc/shorewall", str(folder))))

    facts = observe_hosts(live(parameters("lab"), answer))["gateway"].gateway
    assert facts is not None
    return facts


class TestGatewayFiles:
    """Shorewall's files, read by a real shell."""

    def test_none(self, shorewall: Path) -> None:
        """Files that are not there declare no zones, no forwarding and no way in."""
        facts = read_here(shorewall)

        assert not {"net", "loc"} & set(facts.zones)
        assert (facts.started, facts.stopped_rules) == (False, False)
        assert facts.forwarding.lower() not in ("on", "yes")

    @pytest.mark.parametrize(
        ("text", "any_rules"),
        [
            ("ACCEPT lan0 - tcp 22\n", True),
            ("#ACTION SOURCE\n  # ACCEPT lan0\n\n", False),
            ("", False),
        ],
    )
    def test_stopped_rules(self, shorewall: Path, text: str, any_rules: bool) -> None:
        """Comments and blank lines let nobody in."""
        (shorewall / "stoppedrules").write_text(text)

        assert any_rules is read_here(shorewall).stopped_rules

    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("IP_FORWARDING=On", "On"),
            ("IP_FORWARDING=Keep", "Keep"),
            ('IP_FORWARDING="On"', "On"),
            ("IP_FORWARDING=Yes  # so", "Yes"),
            ("#IP_FORWARDING=On", ""),
        ],
    )
    def test_forwarding(self, shorewall: Path, line: str, value: str) -> None:
        """A value of shorewall.conf may have quotes and a comment (shorewall.conf(5))."""
        (shorewall / "shorewall.conf").write_text(f"A=b\n{line}\nC=d\n")

        assert value == read_here(shorewall).forwarding
