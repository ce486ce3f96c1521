"""The Traefik step: the tasks that are watched, and the answers."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Clock, FakeEngine, Keeping, Recordings, live, parameters, recorded, recorded_json
from traefiks import ENGINE, lab

from runbook import waiting
from runbook.errors import ChangeFailed
from runbook.hosts.live import Live
from runbook.steps import traefik
from runbook.steps.traefik import ANSWERS, ONE_EACH


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait ends with what is seen first."""
    monkeypatch.setattr(
        traefik, "until", lambda probe, **_: waiting.until(probe, holds=bool, timeout_s=0)
    )


def task(number: int = 0, **status: Any) -> dict[str, Any]:
    """Return one of the recorded tasks with another status."""
    found: dict[str, Any] = recorded_json("tasks")[number]
    found["Status"] |= status
    return found


def refusal(number: int, name: str = "", node: int = 0) -> dict[str, Any]:
    """Return a task that a node rejected, as the engine keeps it in the service's history."""
    message = "No such image: traefik:3.7"
    found = task(node, State="rejected", Err=message)
    return found | {"ID": name or f"refused{number}", "DesiredState": "shutdown"}


@pytest.mark.usefixtures("hurry")
class TestVerify:
    """Tasks and answers."""

    def test_recorded(self) -> None:
        """One task runs on every manager and each answers: both checks hold."""
        checks = traefik.verify(lab())

        assert [(c.name, c.seen, c.passed) for c in checks] == [
            (ONE_EACH, "docker01 running, docker02 running, docker03 running", True),
            (ANSWERS, ", ".join(f"docker0{n} 404 page not found" for n in (1, 2, 3)), True),
        ]

    @pytest.mark.parametrize(
        ("tasks", "seen"),
        [
            ([], ""),
            ([task(0), task(1)], None),
            ([*recorded_json("tasks"), task(0) | {"ID": "second"}], None),
            ([task(0), task(1), task(2, State="starting")], None),
        ],
        ids=["none", "one is missing", "two on one node", "one only starts"],
    )
    def test_not_one_each(self, tasks: list[dict[str, Any]], seen: str | None) -> None:
        """Anything but one running task on each manager fails the check."""
        placement = traefik.verify(lab(tasks=tasks))[0]

        assert not placement.passed
        assert seen is None or seen == placement.seen

    def test_what_keeps_a_task(self) -> None:
        """The engine's own word of a task that does not run is told."""
        taken = "host-mode port already in use on 1 node"
        tasks = [task(0), task(1), task(2, State="pending", Err=taken)]
        placement = traefik.verify(lab(tasks=tasks))[0]

        assert f" pending ({taken}), " in placement.seen

    def test_nobody_answers(self) -> None:
        """Running tasks alone prove nothing."""
        answers = traefik.verify(lab("traefik-absent"))[1]

        assert (answers.seen, answers.passed) == (
            "docker01 refused, docker02 refused, docker03 refused",
            False,
        )

    @pytest.mark.parametrize("status", ["200 OK", "301 Moved", "401 Unauthorized", "503 No"])
    def test_application_that_takes_all(self, status: str) -> None:
        """What an application says to `/` is its own affair; Traefik answers before it."""
        texts = recorded("traefik-docker01")
        page = texts["docker02"].replace("404 Not Found", status).replace("404 page", "A page")
        answers = Recordings({"docker01": texts | {"docker02": page}})
        check = traefik.verify(live(parameters("lab"), answers, ENGINE))[1]

        assert check.passed
        assert f"docker02 {status[:3]} of an application" in check.seen

    def test_something_else_on_the_port(self) -> None:
        """Another server that answers is not Traefik."""
        page = "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<html>400 Bad Request</html>"
        texts = recorded("traefik-docker01") | {"docker02": f"{page}\n-- and with a Host --\nx"}
        check = traefik.verify(live(parameters("lab"), Recordings({"docker01": texts}), ENGINE))[1]

        assert not check.passed

    def test_no_service(self) -> None:
        """Without its service there is nothing to count."""
        assert traefik.verify(lab(services=[]))[0].seen == "no service"

    def test_old_recipe(self) -> None:
        """A task that still runs on the recipe before is said to, whatever its state."""
        (service,) = recorded_json("services")
        service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "traefik:3.8"
        seen = traefik.verify(lab(services=[service]))[0].seen

        assert seen == (
            "docker01 on an old recipe, docker02 on an old recipe, docker03 on an old recipe"
        )

    def test_renamed_host(self) -> None:
        """A host has its new name while its engine, not restarted since, still tells the old."""
        nodes = recorded_json("nodes")
        (node,) = [n for n in nodes if n["Description"]["Hostname"] == "docker02"]
        node["Description"]["Hostname"] = "ip-10-0-0-12"

        assert traefik.verify(lab(nodes=nodes))[0].passed

    @pytest.mark.parametrize("engine", [{}, {"Hostname": ""}])
    def test_node_without_a_name(self, engine: dict[str, str]) -> None:
        """A node that never came is in the list without a name, and nothing to us."""
        never = {"ID": "never", "Description": engine, "Status": {"State": "unknown"}}
        seen = lab(nodes=[*recorded_json("nodes"), never])

        assert traefik.verify(seen)[0].passed
        assert traefik.hosts_of_tasks(seen) == {"docker01", "docker02", "docker03"}

    def test_paused_update(self) -> None:
        """An update that Swarm paused is said to be, with why; one that is done is done."""
        (service,) = recorded_json("services")
        message = "update paused due to failure or early termination of task abc"
        service["UpdateStatus"] = {"State": "paused", "Message": message}
        assert traefik.verify(lab(services=[service]))[0].passed

        old = [one | {"Spec": {"ForceUpdate": 9}} for one in recorded_json("tasks")[1:]]
        with pytest.raises(ChangeFailed, match=f"paused the update: {message}; No such image"):
            traefik.verify(lab(services=[service], tasks=[refusal(0), task(0), *old]))

    def test_placement_alone(self) -> None:
        """Swarm lets a task run on whose node fits the new placement as well."""
        tasks = recorded_json("tasks")
        for one in tasks:
            one["Spec"]["Placement"] = {"Constraints": ["node.role == manager", "node.id != x"]}

        assert traefik.verify(lab(tasks=tasks))[0].passed

    def test_old_ports(self) -> None:
        """A task with the ports of before is not of the new recipe."""
        tasks = recorded_json("tasks")
        tasks[0]["Status"]["PortStatus"]["Ports"][1]["PublishedPort"] = 81
        seen = traefik.verify(lab(tasks=tasks))[0].seen

        assert (seen.count("on an old recipe"), seen.count("running")) == (1, 2)

    @pytest.mark.parametrize("untold", [{}, {"Ports": None}, None])
    def test_untold_ports(
        self, untold: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that tells none, as after a change of leader, is judged by what it answers."""
        patience: list[float] = []

        def once(probe: Any, *, holds: Any, timeout_s: float) -> Any:
            patience.append(timeout_s)
            return waiting.until(probe, holds=holds, timeout_s=0)

        monkeypatch.setattr(traefik, "until", once)
        assert all(check.passed for check in traefik.verify(lab()))
        tasks = recorded_json("tasks")
        tasks[1]["Status"]["PortStatus"] = untold
        assert all(check.passed for check in traefik.verify(lab(tasks=tasks)))
        assert patience == [3 * traefik.START_S, traefik.ANSWER_S, *[3 * traefik.START_S] * 2]

    def test_ports_of_both_families(self) -> None:
        """A port that is open for IPv4 and IPv6 is one port."""
        tasks = recorded_json("tasks")
        tasks[1]["Status"]["PortStatus"]["Ports"] *= 2

        assert traefik.verify(lab(tasks=tasks))[0].passed

    def test_stopped_tasks_are_history(self) -> None:
        """What Swarm stopped does not count as a second one."""
        old = task(0, State="shutdown") | {"ID": "old", "DesiredState": "shutdown"}

        assert traefik.verify(lab(tasks=[*recorded_json("tasks"), old]))[0].passed

    def test_asks_for_the_service_only(self) -> None:
        """Tasks of other services are not fetched."""
        asked = Keeping([])
        traefik.verify(lab(tasks=asked))

        assert [query["filters"] for query in asked.queries] == ['{"service": ["traefik_traefik"]}']


def test_slow_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each manager has its time to pull an image, for the Swarm updates one after the other."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    begun_s, tasks = clock.now_s, recorded_json("tasks")

    def updated(_query: object, _body: object) -> list[dict[str, Any]]:
        clock.sleep(20)
        done = int((clock.now_s - begun_s) // 80)
        return [*tasks[:done], *(one | {"Spec": {"ForceUpdate": 9}} for one in tasks[done:])]

    assert traefik.verify(lab(tasks=updated))[0].passed


class TestRefusals:
    """Tasks that a node rejects while the watch looks."""

    @staticmethod
    def watched(monkeypatch: pytest.MonkeyPatch, *looks: list[dict[str, Any]]) -> Live:
        """Return a site whose engine lists other tasks at each look."""
        monkeypatch.setattr(waiting, "time", Clock())
        left = list(looks)
        engine = FakeEngine(
            ENGINE | {"GET /tasks": lambda _query, _body: left.pop(0) if len(left) > 1 else left[0]}
        )
        return live(
            parameters("lab"), Recordings({"docker01": recorded("traefik-docker01")}), engine
        )

    def test_twice_on_one_node(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second refusal on a node ends the wait with the engine's own words."""
        looks = [[], [refusal(1)], [refusal(1), refusal(2)]]

        with pytest.raises(ChangeFailed, match=r"No such image: traefik:3\.7") as caught:
            traefik.verify(self.watched(monkeypatch, *looks))
        assert caught.value.host is not None
        assert caught.value.step == "traefik"

    def test_once_on_each_node_is_awaited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One refusal may mend itself, and does here."""
        each = [refusal(node, node=node) for node in range(3)]
        looks = [[], each, [*each, *recorded_json("tasks")]]

        assert traefik.verify(self.watched(monkeypatch, *looks))[0].passed

    def test_history_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refusals that were there before the watch began belong to an earlier run."""
        old = [refusal(n) for n in range(4)]
        looks = [old, [*old, refusal(5)], [*old, refusal(5), *recorded_json("tasks")]]

        assert traefik.verify(self.watched(monkeypatch, *looks))[0].passed

    def test_of_an_old_recipe_are_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was refused under another recipe says nothing about this one."""
        stale = [refusal(n) for n in range(2)]
        for one in stale:
            one["Spec"]["ContainerSpec"]["Image"] = "traefik:3.8"
        looks = [[], stale, [*stale, *recorded_json("tasks")]]

        assert traefik.verify(self.watched(monkeypatch, *looks))[0].passed
