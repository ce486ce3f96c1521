"""Applying a plan: the order, what a failure stops, and what is told of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from fakes import live, parameters

from runbook.apply import Outcome, Reports, apply
from runbook.changes import Change, Plan
from runbook.errors import ChangeFailed, Lost, Refused, RunbookError, Unreachable
from runbook.hosts.live import Live


class Log:
    """Everything that happened, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def change(
        self, name: str, host: str = "docker01", stage: int = 0, error: Exception | None = None
    ) -> Change:
        """Return a change that writes its name down when it is made, and then may fail."""

        def make(_live: Live) -> None:
            self.lines.append(name)
            if error:
                raise error

        return Change(host, name, "update", "a", "b", "", make, stage)

    def apply(self, *changes: Change) -> list[Outcome]:
        """Apply these changes."""
        return apply(
            live(parameters("article")),
            Plan("test", changes),
            Reports(
                lambda change: self.lines.append(f"{change.resource} begun"),
                lambda outcome: self.lines.append(f"{outcome.change.resource} {outcome.word}"),
            ),
            lambda: self.lines.append("proceed"),
        )


@pytest.fixture
def log() -> Log:
    """What happened, nothing yet."""
    return Log()


def words(outcomes: list[Outcome]) -> dict[str, str]:
    """Return the outcomes by the name of the change."""
    return {outcome.change.resource: outcome.word for outcome in outcomes}


class TestOrder:
    """What is made when."""

    def test_stages_one_after_another(self, log: Log) -> None:
        """Before each change the run is asked whether it may go on."""
        log.apply(log.change("second", stage=2), log.change("first", stage=0))

        assert log.lines == [
            *("proceed", "first begun", "first", "first done"),
            *("proceed", "second begun", "second", "second done"),
        ]

    def test_one_host_in_the_order_of_the_plan(self, log: Log) -> None:
        """What comes later in a plan is made later on the same host."""
        log.apply(*(log.change(name) for name in "abc"))

        assert [line for line in log.lines if len(line) == 1] == ["a", "b", "c"]

    def test_hosts_of_one_stage_in_parallel(self, log: Log) -> None:
        """Each of two hosts waits for the other; one after another they never would meet."""
        meeting = threading.Barrier(2, timeout=5)

        def meet(host: str) -> Change:
            return Change(host, host, "update", "a", "b", "", lambda _live: met(meeting))

        outcomes = log.apply(meet("docker01"), meet("docker02"))

        assert words(outcomes) == {"docker01": "done", "docker02": "done"}

    def test_nothing(self, log: Log) -> None:
        """A plan without changes asks nobody and does nothing."""
        assert log.apply() == []
        assert log.lines == []


def met(meeting: threading.Barrier) -> None:
    """Wait for the other; an error of the runbook when it does not come."""
    try:
        meeting.wait()
    except threading.BrokenBarrierError as error:
        raise RunbookError("alone") from error


class TestFailure:
    """What a change that does not succeed stops."""

    def test_a_mistake_hides_no_other_outcome(self, log: Log) -> None:
        """What came of other hosts' changes is told, whatever went wrong in one."""
        seen = threading.Event()  # nobody tells when the mistake was seen, so it is given a moment

        def late(_live: Live) -> None:
            seen.wait(0.3)

        with pytest.raises(ZeroDivisionError):
            log.apply(
                log.change("wrong", error=ZeroDivisionError()),
                Change("docker02", "late", "update", "a", "b", "", late),
            )
        assert log.lines[-1] == "late done"

    def test_stops_its_host_at_once(self, log: Log) -> None:
        """Later changes of the same stage are made on other hosts only."""
        outcomes = log.apply(
            log.change("bad", error=ChangeFailed("no")),
            log.change("after"),
            log.change("other", host="docker02"),
            log.change("and more", host="docker02"),
        )

        assert words(outcomes) == {"bad": "failed", "other": "done", "and more": "done"}

    def test_stops_the_stages_after_it(self, log: Log) -> None:
        """No further stage is begun, so nobody is asked to proceed either."""
        outcomes = log.apply(
            log.change("good"), log.change("bad", stage=1, error=ChangeFailed("no")),
            log.change("never", stage=2),
        )  # fmt: skip

        assert words(outcomes) == {"good": "done", "bad": "failed"}
        assert log.lines.count("proceed") == 2

    def test_is_kept_with_its_change(self, log: Log) -> None:
        """The outcome carries the error, and what succeeded carries none."""
        error = Refused("no", host="docker01")

        outcomes = log.apply(log.change("bad", error=error), log.change("x", host="docker02"))

        assert {o.change.resource: o.error for o in outcomes} == {"bad": error, "x": None}

    def test_of_the_code_is_not_an_outcome(self, log: Log) -> None:
        """What no operator can cause rises with its traceback."""
        with pytest.raises(ZeroDivisionError):
            log.apply(log.change("bug", error=ZeroDivisionError()))

    def test_to_proceed_stops_everything(self, log: Log) -> None:
        """A run that may not go on makes no change of the stage."""
        plan = Plan("test", (log.change("never"),))

        with pytest.raises(Refused):
            apply(live(parameters("article")), plan, Reports(unwanted, unwanted), refuse)
        assert log.lines == []

    def test_to_proceed_after_a_change_is_no_refusal(self, log: Log) -> None:
        """Where something was changed, nobody says that nothing was."""

        def proceed() -> None:
            if log.lines:
                refuse()

        plan = Plan("test", (log.change("first"), log.change("never")))
        told: list[str] = []
        reports = Reports(lambda _change: None, lambda outcome: told.append(outcome.word))
        with pytest.raises(ChangeFailed, match="another run has the site; what was changed"):
            apply(live(parameters("article")), plan, reports, proceed)
        assert (log.lines, told) == (["first"], ["done"])

    def test_interrupt_begins_nothing_more_and_tells_the_rest(self, log: Log) -> None:
        """What is being made when Ctrl-C comes is waited for and told; what waits is not begun."""
        told: list[str] = []
        held, interrupted = threading.Event(), threading.Event()

        def hold(_live: Live) -> None:
            held.set()
            assert interrupted.wait(5)

        def ended(outcome: Outcome) -> None:
            told.append(f"{outcome.change.resource} {outcome.word}")
            if outcome.change.resource == "quick":
                assert held.wait(5)
                interrupted.set()
                raise KeyboardInterrupt

        plan = Plan(
            "test",
            (
                Change("docker01", "slow", "update", "a", "b", "", hold),
                log.change("after slow"),
                log.change("quick", host="docker02"),
                log.change("after quick", host="docker02"),
                log.change("later", stage=1),
            ),
        )
        with pytest.raises(KeyboardInterrupt):
            apply(live(parameters("article")), plan, Reports(lambda _c: None, ended), lambda: None)
        assert log.lines == ["quick"]
        assert "slow done" in told


def refuse() -> None:
    """Let no run go on."""
    raise Refused("another run has the site")


def unwanted(_told: object) -> None:
    """Take no outcome."""
    raise AssertionError("nothing was tried")


class TestOutcome:
    """What is known of one change."""

    @pytest.mark.parametrize(
        ("error", "word"),
        [
            (None, "done"),
            (ChangeFailed("no"), "failed"),
            (Refused("no"), "refused"),
            (Unreachable("no"), "refused"),
            (Lost("in the middle"), "unknown"),
        ],
    )
    def test_word(self, log: Log, error: RunbookError | None, word: str) -> None:
        """One word says whether it was made."""
        assert word == Outcome(log.change("x"), 1, error).word

    def test_duration(self, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
        """It took as long as its own change took, in whole milliseconds."""
        times = iter([10.0, 10.25, 20.0, 21.5])
        ticking: Callable[[], float] = lambda: next(times)  # noqa: E731
        monkeypatch.setattr("runbook.apply.time.monotonic", ticking)

        outcomes = log.apply(log.change("x"), log.change("y"))

        assert [outcome.duration_ms for outcome in outcomes] == [250, 1500]
