"""The acceptance step: an application that is deployed behind everything, asked, and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from edges import LOOP, MARK, MISSING, PAGE, Edge, Swarm, ours, outside, results
from fakes import Clock, Command, FakeFleet, live, local, parameters, recorded

from runbook.errors import ChangeFailed, Lost, Refused, RunbookError, Unreachable
from runbook.steps import acceptance, demonstration
from runbook.steps.acceptance import DASHBOARD, WEB
from runbook.steps.demonstration import CLIENT, HIDDEN, SHOWN, STACK

BODY = recorded("acceptance-demonstration")["body"]


class TestDemonstration:
    """An application behind everything."""

    def test_recorded(self, clock: Clock) -> None:
        """It is reached by its name, sees the client, and its hidden twin is not there."""
        seen = results(outside())

        assert seen[SHOWN] == ("demo.test", True)
        assert seen[CLIENT] == ("203.0.113.10", True)
        assert seen[HIDDEN] == ("404 page not found", True)
        assert all(passed for _, passed in seen.values())

    @pytest.mark.parametrize(
        ("name", "answer", "check", "seen"),
        [
            ("body", MISSING, SHOWN, "404 of something else: 404 page not found"),
            ("body", "", SHOWN, "nothing"),
            ("body", PAGE, SHOWN, "200 of something else: Host: demo.test"),
            ("body", BODY.replace(MARK, "of another run"), CLIENT, "no X-Forwarded-For"),
            ("body", BODY.replace("Host: demo", "Host: other"), SHOWN, "other.test"),
            ("body", BODY.replace("For: 203.0.113.10", "For: 10.0.0.1"), CLIENT, "10.0.0.1"),
            ("hidden", BODY, HIDDEN, "the hidden application"),
            ("hidden", "no answer\n", HIDDEN, "no answer"),
        ],
    )
    def test_fails(self, clock: Clock, name: str, answer: str, check: str, seen: str) -> None:
        """Whatever is seen instead fails its check and is shown."""
        found = results(outside(edge=Edge(client={name: answer})))

        assert found[check] == (seen, False)

    @pytest.mark.parametrize("status", ["200", "301", "401", "503"])
    def test_application_that_takes_all(self, clock: Clock, status: str) -> None:
        """Where it answers for the hidden one, that one has not answered."""
        page = PAGE.replace("200", status)

        assert results(outside(edge=Edge(client={"hidden": page})))[HIDDEN] == (
            f"{status} of an application",
            True,
        )

    def test_waits_until_traefik_knows_it(self, clock: Clock) -> None:
        """Two refreshes and half a minute, no more; a page of another's does not do."""
        edge = Edge(client={"body": PAGE})
        demonstration.demonstrated(outside(edge=edge, traefik={"refresh_seconds": 5}), MARK, "")

        assert sum(clock.slept) == pytest.approx(40, abs=0.5)

    def test_is_deployed_first_and_removed_last(self, clock: Clock) -> None:
        """Checks are made between, under the site's lock; nothing else is written."""
        fleet, engine = FakeFleet(Edge()), Swarm(ours("shown"))
        acceptance.verify(outside(edge=fleet, engine=engine))

        assert docker_words(fleet) == [
            ("stack", "deploy", "--resolve-image", "never", "-c", "-", STACK),
            ("stack", "rm", STACK),
        ]
        assert "docker" in fleet.commands[1].argv
        assert "docker" in fleet.commands[-1].argv
        assert "image: demo:1" in fleet.commands[1].stdin
        assert engine.requests.count("POST /configs/create") == 1
        assert engine.held == {}

    def test_is_removed_whatever_happens(self, clock: Clock) -> None:
        """A manager that is lost does not leave it behind."""

        class Dead(Edge):
            def __call__(self, command: Command) -> str:
                if command.argv == ("sh", "-s"):
                    raise Unreachable("timed out", host="docker01")
                return super().__call__(command)

        fleet = FakeFleet(Dead())

        with pytest.raises(Unreachable):
            acceptance.verify(outside(edge=fleet))
        assert docker_words(fleet)[-1] == ("stack", "rm", STACK)

    @pytest.mark.parametrize("kind", [Unreachable, Lost, RunbookError])
    def test_cannot_be_removed(self, clock: Clock, kind: type[RunbookError]) -> None:
        """A manager that stays lost has it still: that is not "nothing was changed"."""

        class Dead(Edge):
            def __call__(self, command: Command) -> str:
                if "deploy" not in command.argv:
                    raise kind("timed out", host="docker01")
                return super().__call__(command)

        with pytest.raises(ChangeFailed, match=r"timed out.*may be left") as caught:
            acceptance.verify(outside(edge=FakeFleet(Dead())))
        assert caught.value.exit_code == 1

    def test_half_a_deployment_is_removed(self, clock: Clock) -> None:
        """Where it cannot be deployed its checks fail and say why; what had begun is removed."""
        fleet = FakeFleet(Edge(deploy=RunbookError("network frontend is not there")))
        seen = results(outside(edge=fleet))

        assert seen[SHOWN] == ("not deployed: network frontend is not there", False)
        assert seen[HIDDEN] == ("not deployed: network frontend is not there", False)
        assert not seen[CLIENT][1]
        assert all(passed for name, (_, passed) in seen.items() if name in (*LOOP, WEB, DASHBOARD))
        assert docker_words(fleet)[-1] == ("stack", "rm", STACK)
        assert clock.slept == []

    def test_somebody_elses(self, clock: Clock) -> None:
        """A stack of that name that is not ours is neither deployed over nor removed."""
        foreign = {"Spec": {"Name": f"{STACK}_web", "Labels": {}}}
        fleet = FakeFleet(Edge())
        seen = results(outside(edge=fleet, engine=Swarm(ours("shown"), foreign)))

        assert "is somebody else's" in seen[SHOWN][0]
        assert docker_words(fleet) == []

    def test_site_without_it(self) -> None:
        """Nothing is deployed and nothing removed, and no lock is taken."""
        fleet, engine = FakeFleet(Edge()), Swarm()
        acceptance.verify(outside("article", fleet, engine))

        assert docker_words(fleet) == []
        assert "POST /configs/create" not in engine.requests

    def test_left_behind(self) -> None:
        """What a killed run has left the next one removes, also where the site wants none now."""
        fleet, engine = FakeFleet(Edge()), Swarm(ours("shown"), ours("hidden"))
        acceptance.verify(outside("article", fleet, engine))

        assert docker_words(fleet) == [("stack", "rm", STACK)]
        assert engine.requests.count("POST /configs/create") == 1

    def test_locked(self, clock: Clock) -> None:
        """While another run changes the site nothing is deployed."""
        engine, fleet = Swarm(), FakeFleet(Edge())
        other = engine.put("runbook-lock", "other", **{"runbook.run": "other"})
        engine.before_list = lambda: engine.held.update(
            other=other | {"Version": {"Index": clock.now_s}}
        )

        with pytest.raises(Refused, match="is changing this site"):
            acceptance.verify(outside(edge=fleet, engine=engine))
        assert fleet.commands == []


def docker_words(fleet: FakeFleet) -> list[tuple[str, ...]]:
    """Return the arguments of every docker command line that was run."""
    return [c.argv[c.argv.index("stack") :] for c in fleet.commands if "docker" in c.argv]


class TestStep:
    """The rest of the step."""

    def test_plans_nothing(self) -> None:
        """What it deploys for a moment is no change."""
        site = outside()

        assert acceptance.STEP.plan(site.site_file, acceptance.STEP.observe(site)) == []

    @pytest.mark.parametrize(
        ("site", "fields"),
        [
            ("article", [("asks", "http://gateway/")]),
            ("lab", [("asks", "http://gateway/"), ("deploys and removes", "demo:1")]),
        ],
    )
    def test_rows(self, site: str, fields: list[tuple[str, str]]) -> None:
        """The table says what is asked, and what is deployed where anything is."""
        rows = acceptance.rows(acceptance.STEP.observe(outside(site)))

        assert fields == [(row.field, row.seen) for row in rows]
        assert {row.host for row in rows} == {"client"}

    def test_reads_nothing_beforehand(self, tmp_path: Path) -> None:
        """The vantage points are known from the site alone."""
        fleet = FakeFleet(local(tmp_path))
        acceptance.STEP.observe(live(parameters("lab"), fleet))

        assert fleet.commands == []
