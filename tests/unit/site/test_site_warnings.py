"""What is valid in a site but had better be otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from runbook.site import Site, load, rules

VALID = Path(__file__).parents[2] / "data" / "sites" / "valid.yml"
Changed = Callable[[str], list[str]]


@cache
def valid() -> Site:
    """Return the site that the others are made of."""
    return load(VALID).site


def spread(priorities: Iterable[int], interval_s: float) -> Site:
    """Return a site with managers of these priorities and VRRP 3 at this interval."""
    site = valid()
    one = next(iter(site.managers.values()))
    managers = {f"m{n}": one.model_copy(update={"priority": n}) for n in priorities}
    timing = site.keepalived.model_copy(update={"version": 3, "advert_int": interval_s})
    return site.model_copy(update={"managers": managers, "keepalived": timing})


def proposed(priorities: Iterable[int], interval_s: float) -> str:
    """Return what the warning about close priorities ends with."""
    ((_, said),) = rules.priorities_are_apart(spread(priorities, interval_s))
    return said.rpartition("; ")[2]


class TestWarnings:
    """What is valid but had better be otherwise."""

    def test_none(self, warnings: Changed) -> None:
        """A sound site has no warnings."""
        assert warnings("") == []

    def test_even_managers(self, warnings: Changed) -> None:
        """A fourth manager adds a machine and no tolerance."""
        assert warnings("managers:\n  d: {address: 10.0.0.15, priority: 50}\n") == [
            "2:1: managers: 4 managers survive the loss of 1, as 3 do; use an odd number"
        ]

    def test_close_priorities(self, warnings: Changed) -> None:
        """The article's 3, 2 and 1 are so close that two backups may become master together."""
        lines = "".join(f"  docker0{n}: {{priority: {4 - n}}}\n" for n in (1, 2, 3))

        assert warnings("managers:\n" + lines) == [
            "4:24: managers.docker02.priority: 2 is close to the 3 of docker01: their timers end "
            "3.9 ms apart, and both may become master for a moment; "
            "200, 150 and 100 are well apart"
        ]

    @pytest.mark.parametrize("interval_s", [0.01, 0.05, 0.06, 0.07, 0.1, 0.15, 1])
    @pytest.mark.parametrize("managers", [2, 3, 4, 5, 7])
    def test_what_is_proposed_holds(self, managers: int, interval_s: float) -> None:
        """Never what is set already: with it, the warning is gone."""
        proposal = proposed(range(managers, 0, -1), interval_s)
        if proposal.endswith(" s is enough"):
            interval_s = float(proposal.split()[0])
            proposal = proposed(range(managers, 0, -1), interval_s)
        numbers = [int(number) for number in re.findall(r"\d+", proposal)]

        assert len(numbers) == managers
        assert list(rules.priorities_are_apart(spread(numbers, interval_s))) == []

    @pytest.mark.parametrize(
        ("keepalived", "close"),
        [
            ("{advert_int: 40}", False),
            ("{version: 3, advert_int: 0.2}", False),
            ("{version: 3, advert_int: 0.1}", True),
        ],
    )
    def test_skew_counts_the_interval(
        self, warnings: Changed, keepalived: str, close: bool
    ) -> None:
        """Priorities 50 apart are close when version 3 counts in tenths of a second."""
        assert bool(warnings(f"keepalived: {keepalived}\n")) is close

    def test_skew_of_version_2_is_in_seconds(self, warnings: Changed) -> None:
        """In version 2 a longer interval does not set the backups further apart."""
        assert warnings("keepalived: {advert_int: 40}\nmanagers: {docker01: {priority: 151}}\n")

    def test_risk_that_does_not_apply(self, warnings: Changed) -> None:
        """A risk that this site does not take need not be accepted."""
        line = "accepted_risks: [{risk: public-dashboard, reason: left from before}]\n"

        assert warnings(line) == [
            "2:25: accepted_risks[0].risk: public-dashboard is accepted, "
            "but this site does not take it; remove it"
        ]

    def test_nothing_to_ask(self, warnings: Changed) -> None:
        """Acceptance needs the gateway's name or public address."""
        assert warnings("gateway: {public_address: null}\n") == [
            "1:1: acceptance.url_host: acceptance has nothing to ask; "
            "set url_host, or public_address of the gateway"
        ]
