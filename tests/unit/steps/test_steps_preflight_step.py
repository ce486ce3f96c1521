"""The preflight as a step: its plan and its secrets, and the other steps' plans beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import (
    TOP,
    Clock,
    Failure,
    FakeEngine,
    converged,
    live,
    parameters,
    recorded,
    recorded_json,
    swarm,
)
from preflighted import HOSTS, lab

from runbook.changes import Level, blocking
from runbook.hosts.live import Live
from runbook.masking.secret import Registry
from runbook.site import load
from runbook.steps import STEPS, find, preflight

PREFLIGHT = find("preflight")
MANAGING = [step.name for step in STEPS if step.manages]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine of every site, which is that of the lab as recorded."""
    engine = FakeEngine(swarm())
    monkeypatch.setattr("runbook.hosts.docker.api.engine", lambda _connection: engine.client)
    return engine


@pytest.mark.usefixtures("engine")
class TestStep:
    """The step as a whole."""

    def test_recorded(self) -> None:
        """Nothing in the lab as it was recorded forbids a run."""
        facts = PREFLIGHT.observe(lab())

        assert facts.verdict.passed
        assert facts.verdict.name == preflight.FIT
        assert facts.swarm is not None

    def test_without_the_engine_of_the_first_manager(self) -> None:
        """The Swarm is not asked; the finding says why, and it forbids the run."""
        missing = recorded("missing")
        texts = {"version": missing["version"], "info": missing["info"]}
        facts = PREFLIGHT.observe(lab(docker01=texts))

        assert facts.swarm is None
        assert not facts.verdict.passed
        assert facts.verdict.seen.startswith("docker01: the Docker Engine does not answer")

    def test_changes_nothing(self) -> None:
        """Whatever it finds, it plans no change."""
        site = lab()

        facts = PREFLIGHT.observe(site)

        assert PREFLIGHT.plan(site.site_file, facts) == []
        assert PREFLIGHT.files(site.site_file, facts) == {}

    def test_proves_by_observing(self) -> None:
        """Its check is that of its observation, and due when planning, too."""
        assert PREFLIGHT.verdict is not None
        assert PREFLIGHT.proves_when_planning
        (check,) = PREFLIGHT.verdict(PREFLIGHT.observe(lab(docker02={"hostname": "other\n"})))

        assert (check.name, check.passed) == (preflight.FIT, False)
        assert PREFLIGHT.required_checks(parameters("lab").site) == (preflight.FIT,)

    def test_rows(self) -> None:
        """The table has the engine of every node and the gateway's Shorewall."""
        rows = {(row.host, row.field): row.seen for row in preflight.rows(PREFLIGHT.observe(lab()))}

        assert rows["docker06", "engine"] == "20.10.24+dfsg1"
        assert rows["gateway", "shorewall"] == "5.2.8"
        assert rows["gateway", "default route"] == "absent"
        assert rows["docker01", "clock offset"] == "+0.3 s"


@pytest.mark.usefixtures("engine")
class TestUsers:
    """The dashboard's users, of which the run will make a Docker secret."""

    @staticmethod
    def lab(folder: Path) -> Live:
        """Return the lab with a guarded dashboard, whose users are in a file beside the site's."""
        site = folder / "site.yml"
        site.write_text(
            f"extends: {TOP}/parameters/lab.yml\n"
            "traefik: {dashboard: {insecure: false, port: , host: traefik.test,\n"
            "  users_secret: edge_users, users: file:users}}\n"
            "shorewall: {forward: [{port: 80}]}\n"
            "accepted_risks: [{risk: plain-http-password, reason: nobody but the test listens}]\n"
        )
        return live(load(site), converged(), swarm())

    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> Registry:
        """What the process knows, empty at first."""
        registry = Registry()
        monkeypatch.setattr("runbook.masking.secret.KNOWN", registry)
        return registry

    @pytest.fixture
    def users(self, tmp_path: Path) -> Path:
        """The file with the users, which only its owner can read."""
        path = tmp_path / "users"
        path.write_text("operator:$apr1$mHd83kLm$dy4xm0CCgRYHdfXI.Sy670\n")
        path.chmod(0o600)
        return path

    def test_readable(self, tmp_path: Path, users: Path, known: Registry) -> None:
        """They can be read and look like users: nothing is found, and they are masked."""
        facts = PREFLIGHT.observe(self.lab(tmp_path))

        assert blocking(facts.findings) == []
        assert [name for _, name in known.values] == ["traefik.dashboard.users"]

    @pytest.mark.parametrize(
        ("content", "mode", "what"),
        [
            (None, 0o600, "the secret traefik.dashboard.users cannot be read: "),
            ("operator:x\n", 0o644, "the secret traefik.dashboard.users cannot be read: "),
            ("operator:in-clear\n", 0o600, "line 1 of the secret traefik.dashboard.users is no "),
        ],
        ids=["missing", "open to others", "no user"],
    )
    def test_unreadable(
        self, tmp_path: Path, users: Path, content: str | None, mode: int, what: str
    ) -> None:
        """Otherwise the run would stop between network and stack, so it is not begun."""
        users.unlink()
        if content is not None:
            users.write_text(content)
            users.chmod(mode)
        (found,) = blocking(PREFLIGHT.observe(self.lab(tmp_path)).findings)

        assert (found.host, found.subject) == ("site", "secret")
        assert found.what.startswith(what)
        assert "edge_users" in found.why
        assert found.todo
        assert "in-clear" not in str(found)

    def test_not_read_where_the_secret_is_there(
        self, tmp_path: Path, users: Path, engine: FakeEngine, known: Registry
    ) -> None:
        """What is not needed is not read."""
        users.unlink()
        there = {"ID": "s1", "Spec": {"Name": "edge_users"}}
        engine.answers = {**engine.answers, "GET /secrets": [there]}
        here = self.lab(tmp_path)
        vars(here)["engine"] = engine.client

        assert PREFLIGHT.observe(here).verdict.passed
        assert known.values == ()


@pytest.mark.usefixtures("engine")
class TestRehearsal:
    """The plans of the other steps, made beforehand."""

    def test_steps(self) -> None:
        """Those with a state of their own: what only reads cannot be refused later."""
        assert MANAGING == ["network", "traefik", "keepalived", "shorewall"]

    @pytest.mark.parametrize("step", MANAGING)
    def test_step_that_can_be_planned(self, step: str) -> None:
        """A step that plans something, or nothing, has no finding."""
        assert preflight.rehearsed(lab(), find(step)) == preflight.Rehearsed()

    @pytest.mark.parametrize(
        ("step", "host", "texts", "what"),
        [
            (
                "keepalived",
                "docker02",
                {"keepalived": recorded("packages")["unknown"]},
                "apt would not install",
            ),
            (
                "shorewall",
                "gateway",
                {"compare": recorded("shorewall-compared")["refused"]},
                "no-such-port",
            ),
            (
                "traefik",
                "docker01",
                {"recipe": "0644 root:root\ndmVyc2lvbjogJzMnCg=="},
                "was not written by the runbook",
            ),
        ],
    )
    def test_refusal(self, step: str, host: str, texts: dict[str, str], what: str) -> None:
        """What would stop a later step forbids the run before its first change."""
        facts = PREFLIGHT.observe(lab(**{host: texts}))
        (found,) = blocking(facts.findings)

        assert (found.host, found.subject) == (host, step)
        assert what in found.what
        assert found.todo
        assert not facts.verdict.passed

    def test_network_that_differs(self, engine: FakeEngine) -> None:
        """So does a network that is there and otherwise."""
        networks = recorded_json("networks")
        for network in networks:
            network["Attachable"] = True
        engine.answers = swarm() | {"GET /networks": networks}
        found = preflight.rehearsed(lab(), find("network")).found

        assert found is not None
        assert "attachable is True, declared False" in found.what

    def test_other_errors(self, engine: FakeEngine) -> None:
        """An answer that failed once may not come again; it is told, and forbids nothing."""
        engine.answers = swarm() | {"GET /networks": Failure(500)}
        found = preflight.rehearsed(lab(), find("network")).found

        assert found is not None
        assert (found.level, found.host) == (Level.WARNING, "docker01")
        assert found.what == "the Docker Engine answered 500: the engine says no"

    def test_is_silent(self) -> None:
        """Whoever watches hears of the preflight's own hosts only."""
        told: list[str | None] = []
        site = lab()
        watched = Live(site.site_file, site.fleet, lambda host, _text: told.append(host))
        PREFLIGHT.observe(watched)

        assert sorted(filter(None, told)) == sorted(HOSTS)

    def test_keepalived_that_waits_after_its_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An election is given the time for which somebody else's line has it wait."""
        clock = Clock()
        monkeypatch.setattr("runbook.waiting.time", clock)
        host, vip = recorded("preflight-docker02"), "2: enp0s3    inet 10.0.0.2/32 scope global x\n"
        lines = ("global_defs {", "vrrp_startup_delay 60", "}")
        read = "".join(f"/etc/keepalived/x.conf\t{n}\t{line}\n" for n, line in enumerate(lines, 1))
        texts = {"addresses": host["addresses"] + vip, "vip": vip, "read": f"{read}read\n"}
        (found,) = blocking(PREFLIGHT.observe(lab(docker02=texts)).findings)

        assert found.what.startswith("docker01 and docker02 hold the VIP")
        assert 60 < sum(clock.slept) < 70

    def test_does_not_repeat_the_findings(self) -> None:
        """Where something forbids the run already, the steps would say it in other words."""
        texts = {"keepalived": recorded("packages")["unknown"], "route": ""}
        (found,) = blocking(PREFLIGHT.observe(lab(docker02=texts)).findings)

        assert found.subject == "route"
