"""The lock: one run at a time, and none that waits for ever for a run that is dead."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from fakes import ConfigStore, Failure, live, parameters

from runbook import lock
from runbook.errors import Refused
from runbook.hosts.docker.errors import EngineError
from runbook.lock import SwarmLock, site_lock
from runbook.waiting import until

NAME = "runbook-lock"
OTHER = {"runbook.run": "r2", "runbook.operator": "ana@laptop"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ConfigStore:
    """The Swarm's configs, and a lock that is renewed every hundredth of a second."""
    monkeypatch.setattr(lock, "RENEW_S", 0.01)
    monkeypatch.setattr(lock, "STALE_S", 0.2)
    monkeypatch.setattr(lock, "SURE_S", 0.1)
    monkeypatch.setattr(lock, "PATIENCE_S", 0.05)
    monkeypatch.setattr(lock, "until", hurried)
    return ConfigStore()


def hurried(probe: Callable[[], Any], **options: Any) -> Any:
    """Wait as the lock does, but look more often."""
    return until(probe, **(options | {"every_s": 0.005}))


def taking(store: ConfigStore, run_id: str = "") -> SwarmLock:
    """Return a lock of one step, not yet taken."""
    return SwarmLock(live(parameters("article"), engine=store, run_id=run_id), "traefik")


def names(store: ConfigStore) -> list[str]:
    """Return the names of what is stored."""
    return [held["Spec"]["Name"] for held in store.held.values()]


def comes_true(condition: Callable[[], bool]) -> bool:
    """Return whether a condition holds within a second."""
    return until(condition, holds=bool, timeout_s=1, every_s=0.002)


def refuses(taken: SwarmLock) -> bool:
    """Return whether the run may no longer go on."""
    try:
        taken.proceed()
    except Refused:
        return True
    return False


class TestTaken:
    """A site that nobody else is at."""

    def test_is_held_while_the_block_runs(self, store: ConfigStore) -> None:
        """The object is there within the block and gone after it."""
        with taking(store) as taken:
            assert names(store) == [NAME]
            taken.proceed()
        assert names(store) == []

    def test_is_released_after_an_error(self, store: ConfigStore) -> None:
        """A run that fails does not keep others waiting."""
        with pytest.raises(ZeroDivisionError), taking(store):
            raise ZeroDivisionError
        assert names(store) == []

    def test_that_cannot_be_taken(
        self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The engine's words are told with the step that needs the lock."""
        monkeypatch.setattr(store, "_create", lambda _body: Failure(500, "no space left"))
        with pytest.raises(EngineError, match=r"^docker01, traefik: .* no space left$"):
            taking(store).__enter__()

    @pytest.mark.parametrize("error", [None, ZeroDivisionError])
    def test_that_cannot_be_given_back(
        self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None
    ) -> None:
        """It goes stale; what came of the work in the block is what is told."""
        monkeypatch.setattr(store, "_delete", lambda _held: Failure(503, "gone"))
        with pytest.raises(error) if error else nullcontext(), taking(store):
            if error:
                raise error
        assert names(store) == [NAME]

    def test_says_whose_it_is(self, store: ConfigStore) -> None:
        """Its labels have the run and the operator, after a renewal too."""
        with taking(store, run_id="20261123T130000Z-1"):
            assert comes_true(lambda: "runbook.renewed" in labels(store))
            assert labels(store)["runbook.run"] == "20261123T130000Z-1"
            assert "@" in labels(store)["runbook.operator"]

    def test_is_renewed(self, store: ConfigStore) -> None:
        """Its version moves on, again and again, under the same id."""
        with taking(store):
            (identifier,) = store.held
            first = store.held[identifier]["Version"]["Index"]

            assert comes_true(lambda: store.held[identifier]["Version"]["Index"] > first + 2)
            assert store.held[identifier]["Spec"]["Data"] == "aGVsZAo="

    def test_stops_renewing(self, store: ConfigStore) -> None:
        """After the block nothing is asked any more."""
        with taking(store) as taken:
            assert taken._renewer.is_alive()
        assert not taken._renewer.is_alive()

    def test_other_locks_do_not_matter(self, store: ConfigStore) -> None:
        """Names that only begin alike are of something else."""
        store.put(f"{NAME}-2")

        with taking(store):
            assert names(store) == [f"{NAME}-2", NAME]


class TestRun:
    """The lock of a run, which its kernels share."""

    @pytest.fixture(autouse=True)
    def kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """This process is a kernel of run r1, and has taken nothing yet."""
        monkeypatch.setattr(lock, "_of_run", None)
        monkeypatch.setattr(lock.atexit, "register", self.at_exit.append)

    def setup_method(self) -> None:
        """Nothing is to be done at exit yet."""
        self.at_exit: list[Callable[[], None]] = []

    def end(self) -> None:
        """Do what is done when the kernel ends."""
        for done in self.at_exit:
            done()

    def test_is_kept_between_steps(self, store: ConfigStore) -> None:
        """It is taken once, kept after the block, and given back when the kernel ends."""
        with site_lock(live(parameters("article"), engine=store, run_id="r1"), "network") as first:
            pass
        with site_lock(live(parameters("article"), engine=store, run_id="r1"), "traefik") as second:
            assert first is second
            assert second.step == "traefik"
        assert names(store) == [NAME]
        self.end()
        assert (len(self.at_exit), names(store)) == (1, [])

    def test_is_joined_by_the_other_kernel(self, store: ConfigStore) -> None:
        """A lock of the same run is no other's; at the end it may be gone already."""
        store.put(NAME, "sibling", **OTHER | {"runbook.run": "r1"})
        with site_lock(
            live(parameters("article"), engine=store, run_id="r1"), "keepalived"
        ) as taken:
            assert comes_true(lambda: "runbook.renewed" in labels(store))
            taken.proceed()
        store.held.clear()
        self.end()
        assert list(store.held) == []

    def test_that_the_other_kernel_takes_over(self, store: ConfigStore) -> None:
        """While both wait for a dead run, the faster one's lock is joined."""
        store.put(NAME, "dead", **OTHER)

        def replaced() -> None:
            if store.held.pop("dead", None):
                store.put(NAME, "sibling", **OTHER | {"runbook.run": "r1"})

        looks = iter(range(100))
        store.before_list = lambda: replaced() if next(looks) > 1 else None
        with site_lock(
            live(parameters("article"), engine=store, run_id="r1"), "keepalived"
        ) as taken:
            taken.proceed()
        self.end()
        assert names(store) == []

    def test_of_another_run_refuses(self, store: ConfigStore) -> None:
        """What is refused leaves nothing to be given back."""
        store.put(NAME, "other", **OTHER)
        store.before_list = lambda: store.put(NAME, "other", **OTHER) and None

        with (
            pytest.raises(Refused, match="run r2 of ana@laptop is changing this site"),
            site_lock(live(parameters("article"), engine=store, run_id="r1"), "network"),
        ):
            pass
        assert self.at_exit == []

    def test_that_cannot_be_given_back(
        self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that is lost at the end leaves it to go stale, and no traceback."""
        with site_lock(live(parameters("article"), engine=store, run_id="r1"), "network"):
            pass
        monkeypatch.setattr(store, "_delete", lambda _held: Failure(503, "gone"))
        self.end()
        assert names(store) == [NAME]


def labels(store: ConfigStore) -> dict[str, str]:
    """Return the labels of the one lock that is stored."""
    (held,) = store.held.values()
    found: dict[str, str] = held["Spec"]["Labels"]
    return found


class TestOther:
    """A site that another run is at."""

    def test_that_lives_is_waited_for_and_refused(self, store: ConfigStore) -> None:
        """A holder that renews keeps it; the message says who it is."""
        store.put(NAME, "other", **OTHER)
        store.before_list = lambda: store.put(NAME, "other", **OTHER) and None

        with pytest.raises(Refused, match="run r2 of ana@laptop is changing this site") as caught:
            taking(store).__enter__()
        assert caught.value.step == "traefik"
        assert list(store.held) == ["other"]

    def test_that_is_dead_is_taken_over(self, store: ConfigStore) -> None:
        """A lock that nobody renews for its time is removed, and the run goes on."""
        store.put(NAME, "dead", **OTHER)
        begun = time.monotonic()

        with taking(store) as taken:
            assert time.monotonic() - begun >= 0.2
            taken.proceed()
            assert names(store) == [NAME]
            assert labels(store)["runbook.run"] != "r2"

    def test_last_renewal_of_a_killed_run(
        self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A renewal that was under way when the run was killed is no sign of life."""
        monkeypatch.setattr(lock, "RENEW_S", 0.5)
        store.put(NAME, "dead", **OTHER)
        looks = iter(range(1000))

        def arrives() -> None:
            if next(looks) == 3:
                store.put(NAME, "dead", **OTHER)

        store.before_list = arrives
        with taking(store) as taken:
            taken.proceed()
            assert labels(store)["runbook.run"] != "r2"

    def test_that_ends_meanwhile_leaves_the_way_free(self, store: ConfigStore) -> None:
        """A lock that is given back is taken at once."""
        store.put(NAME, "other", **OTHER)
        store.before_list = lambda: store.held.pop("other", None) and None

        with taking(store) as taken:
            taken.proceed()
            assert names(store) == [NAME]

    def test_third_run_that_was_faster(self, store: ConfigStore) -> None:
        """Of two that take over a dead lock one wins, and the other is refused."""
        store.put(NAME, "dead", **OTHER)
        loser = taking(store)
        update = loser._update

        def slow(seen: dict[str, Any], labels: dict[str, str]) -> bool:
            store.put(NAME, "dead", **OTHER | {"runbook.run": "r3"})
            return update(seen, labels)

        loser._update = slow  # type: ignore[method-assign]
        with pytest.raises(Refused, match="run r3"):
            loser.__enter__()
        assert list(store.held) == ["dead"]

    def test_other_kernel_of_the_run_that_was_faster(self, store: ConfigStore) -> None:
        """Of a run's two kernels that take over a dead lock one does, and the other joins it."""
        store.put(NAME, "dead", **OTHER)
        second = taking(store, run_id="r1")
        update = second._update

        def slow(seen: dict[str, Any], labels: dict[str, str]) -> bool:
            if seen["Spec"]["Labels"]["runbook.run"] == "r2":
                store.put(NAME, "dead", **OTHER | {"runbook.run": "r1"})
            return update(seen, labels)

        second._update = slow  # type: ignore[method-assign]
        with second as taken:
            taken.proceed()
            assert labels(store)["runbook.run"] == "r1"
        assert list(store.held) == []

    def test_holder_that_comes_back_at_the_last_moment(
        self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A lock that its holder renews while it is taken over stays the holder's."""
        held = store.put(NAME, "asleep", **OTHER)
        taker = taking(store)
        update = taker._update

        def late(seen: dict[str, Any], labels: dict[str, str]) -> bool:
            held["Version"] = {"Index": 999}
            return update(seen, labels)

        monkeypatch.setattr(taker, "_update", late)
        with pytest.raises(Refused, match="run r2 of ana@laptop is changing this site"):
            taker.__enter__()
        assert list(store.held) == ["asleep"]


class TestLost:
    """A lock that was taken away."""

    def test_stops_the_run(self, store: ConfigStore) -> None:
        """A run that stood still and lost its lock may not go on, and says why."""
        with taking(store) as taken:
            store.held.clear()
            store.put(NAME, "other", **OTHER)

            assert comes_true(lambda: refuses(taken))
            with pytest.raises(Refused, match="stood still"):
                taken.proceed()
            assert "stood still" in str(taken.overtaken())

    def test_is_asked_for_without_waiting(self, store: ConfigStore) -> None:
        """A run that holds its lock hears at once that it does."""
        with taking(store) as taken:
            before = time.monotonic()
            assert taken.overtaken() is None
            assert time.monotonic() - before < 0.2

    def test_while_it_is_renewed(self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A renewal that fails because another run took the lock over is none."""
        monkeypatch.setattr(lock, "RENEW_S", 60)
        with taking(store) as taken:
            (held,) = store.held.values()
            update = taken._update

            def late(seen: dict[str, Any], labels: dict[str, str]) -> bool:
                held.update(Version={"Index": 999}, Spec=held["Spec"] | {"Labels": OTHER})
                return update(seen, labels)

            monkeypatch.setattr(taken, "_update", late)
            assert not taken._renew_once(1)

    def test_leaves_the_lock_of_the_other(self, store: ConfigStore) -> None:
        """What the other run took is not removed at the end."""
        with taking(store) as taken:
            store.held.clear()
            store.put(NAME, "other", **OTHER)
            assert comes_true(lambda: refuses(taken))

        assert list(store.held) == ["other"]

    def test_that_was_removed(self, store: ConfigStore) -> None:
        """A lock that somebody removed by hand is lost as well."""
        with taking(store) as taken:
            store.held.clear()

            assert comes_true(lambda: refuses(taken))

    def test_engine_that_no_longer_answers(self, store: ConfigStore) -> None:
        """A lock that cannot be renewed is another's soon, so the run may not go on."""
        with taking(store) as taken:
            store.before_list = lambda: Failure(503, "gone")

            assert comes_true(lambda: refuses(taken))

    def test_run_that_was_suspended(
        self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a night's sleep nothing is changed before the lock is known to be held still."""
        monkeypatch.setattr(lock, "RENEW_S", 60)
        with taking(store) as taken:
            now = time.clock_gettime(lock._CLOCK)
            monkeypatch.setattr(lock.time, "clock_gettime", lambda _clock: now + 8 * 3600)

            with pytest.raises(Refused, match="could not be renewed for 28800 s"):
                taken.proceed()

    def test_renewal_that_is_late_is_waited_for(
        self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A change that would begin on an old renewal begins after the next one."""
        monkeypatch.setattr(lock, "PATIENCE_S", 5)
        with taking(store) as taken:
            store.before_list = lambda: Failure(503, "busy")
            assert comes_true(lambda: taken._age_s > 0.1)
            store.before_list = lambda: None

            taken.proceed()
            assert taken._age_s < 0.2

    def test_one_renewal_that_fails_is_made_up_for(self, store: ConfigStore) -> None:
        """A moment without an answer is not the loss of the lock."""
        with taking(store) as taken:
            failures = [Failure(503, "busy")]
            (identifier,) = store.held
            store.before_list = lambda: failures.pop() if failures else None
            first = store.held[identifier]["Version"]["Index"]

            assert comes_true(lambda: not failures)
            assert comes_true(lambda: store.held[identifier]["Version"]["Index"] > first + 1)
            taken.proceed()
