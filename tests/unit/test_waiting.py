"""Waiting: until the condition holds, and never longer than allowed."""

from __future__ import annotations

from fakes import Clock

from runbook.waiting import until


class TestUntil:
    """One wait."""

    def test_ends_as_soon_as_it_holds(self, clock: Clock) -> None:
        """The first value that fits is returned, with one pause between two probes."""
        values = iter(["no", "no", "yes", "never read"])

        seen = until(lambda: next(values), holds=lambda v: v == "yes", timeout_s=10, every_s=0.5)

        assert (seen, clock.slept) == ("yes", [0.5, 0.5])

    def test_does_not_pause_when_it_holds_already(self, clock: Clock) -> None:
        """What is so already costs no time."""
        assert until(lambda: 1, holds=lambda v: v == 1, timeout_s=10) == 1
        assert clock.slept == []

    def test_ends_with_what_was_seen_last(self, clock: Clock) -> None:
        """When the time is up the caller gets the state that was really there."""
        values = iter(range(100))

        seen = until(lambda: next(values), holds=lambda _: False, timeout_s=1, every_s=0.25)

        assert (seen, sum(clock.slept)) == (4, 1.0)

    def test_probes_at_least_once(self, clock: Clock) -> None:
        """Without any time left it still looks."""
        assert until(lambda: "seen", holds=lambda _: False, timeout_s=0) == "seen"
