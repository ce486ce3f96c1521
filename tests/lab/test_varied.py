"""Machines that differ and are shared: a run is green, and what others have stays theirs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from conftest import OWN_LAB, SITES, Done, Labs, Operator, SiteWriter, make_bare
from witnesses import RELOAD, Snapshot, foreign, holders, must, snapshot, touched

from runbook.lab import Lab

VIP = str(OWN_LAB.vip)
SPANISH = ". /etc/default/locale; export LANG LANGUAGE; ls /nonesuch || true"
MANAGERS = ("docker01", "docker02", "docker03")


@dataclass(frozen=True, slots=True)
class Story:
    """Two runs and a check on the bare lab, with what is somebody else's before and after each."""

    before: Snapshot
    run: Done
    after: Snapshot
    edge: Snapshot
    again: Done
    still: Snapshot
    check: Done
    last: Snapshot


@pytest.fixture(scope="module")
def story(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story, told once for all tests of this module."""
    lab, state = labs("varied"), labs.states["varied"]
    operator = Operator(tmp_path_factory.mktemp("varied") / "records", SITES["varied"])
    make_bare(lab, state)
    state.known = "unknown"
    before = foreign(lab)
    run, after, edge = operator("run", "--json"), foreign(lab), snapshot(lab)
    again, still = operator("run", "--json"), snapshot(lab)
    check, last = operator("check"), foreign(lab)
    state.known = "edge" if check.status == 0 else "unknown"
    return Story(before, run, after, edge, again, still, check, last)


class TestLab:
    """The lab is as varied as it says."""

    @pytest.mark.parametrize(
        ("node", "question", "answer"),
        [
            ("gateway", "date +%Z", "CET"),
            ("docker01", "date +%Z; id -nG gerard", "-04\ngerard"),
            ("docker01", "sh -c 'head -n 1 /home/gerard/.bashrc'", "echo"),
            ("docker02", "hostname; sudo -V", "docker02.example.org\nsudo-rs"),
            ("docker02", "grep ^VERSION_ID /etc/os-release", 'VERSION_ID="13"'),
            ("docker03", "date +%z; getent passwd gerard", "+0530\ngerard"),
            ("docker03", "getent passwd gerard | cut -d: -f7", "/bin/tcsh"),
            ("docker03", SPANISH, "ls: no se puede acceder"),
            ("docker04", "hostname; getent passwd gerard | cut -d: -f7", "DOCKER04\n/usr/bin/fish"),
        ],
    )
    def test_machine(self, lab: Lab, node: str, question: str, answer: str) -> None:
        """Each machine answers as it was declared."""
        assert must(lab, node, question).startswith(answer)


class TestRun:
    """``runbook run parameters/varied.yml``, twice, and ``check``."""

    def test_is_green(self, story: Story) -> None:
        """Every step ends well, and one manager holds the VIP."""
        assert story.run.status == 0, story.run.text
        held = [host for host in MANAGERS if VIP in story.edge[f"{host} addresses"]]
        assert held == ["docker01"]

    def test_network_is_somebody_elses(self, story: Story) -> None:
        """The overlay network that others made with the defaults is used as it is."""
        assert story.run.step("network")["changes"] == []

    def test_touches_nothing_foreign(self, story: Story) -> None:
        """Files, live rules, sets, instances, addresses and services are as they were."""
        assert touched(story.before, story.after) == set()

    def test_second_run_changes_nothing(self, story: Story) -> None:
        """With managers in Caracas, in Kolkata and in UTC, everything is as declared."""
        assert story.again.status == 0, story.again.text
        assert story.again.changes == []
        assert touched(story.edge, story.still) == set()

    def test_check_finds_nothing(self, story: Story) -> None:
        """``check`` ends with 0 and touches nothing either."""
        assert story.check.status == 0, story.check.text
        assert touched(story.before, story.last) == set()

    def test_applications_of_others_answer(self, edge: Lab) -> None:
        """One takes every request that comes through the edge, one has a port of its own."""
        gateway = edge.topology.gateway.net
        assert "Hostname:" in must(edge, "client", f"curl -s -m 5 http://{gateway}/")
        assert "Hostname:" in must(edge, "client", f"curl -s -m 5 http://{gateway}:9000/")


class TestDebian13:
    """A manager of another release holds the VIP."""

    @pytest.mark.leaves("unknown")
    def test_is_the_master(self, bare: Lab, operator: Operator, write_site: SiteWriter) -> None:
        """With the highest priority it is green, and the second run changes nothing."""
        priorities = {"docker01": 100, "docker02": 200, "docker03": 50}
        site = write_site(
            {"managers": {host: {"priority": value} for host, value in priorities.items()}}
        )
        before = foreign(bare)
        done = operator("run", site=site)
        assert done.status == 0, done.text
        assert holders(bare, VIP) == ["docker02"]
        again = operator("run", "--json", site=site)
        assert again.status == 0, again.text
        assert again.changes == []
        assert touched(before, foreign(bare)) == set()


@pytest.mark.leaves("bare")
class TestReset:
    """What others have is put back by ``lab reset``, and is kept where nobody touched it."""

    def test_keeps_what_is_as_it_was(self, bare: Lab) -> None:
        """Where something else is taken back, the very same services and daemons go on."""
        before = foreign(bare)
        must(bare, "docker01", "docker service create -d --name web --network frontend demo:1")
        must(bare, "gateway", "echo 'ACCEPT net fw tcp 81' >>/etc/shorewall/rules")
        must(bare, "gateway", RELOAD)
        bare.reset()
        assert touched(before, foreign(bare)) == set()

    def test_restores_what_was_lost(self, bare: Lab) -> None:
        """Rules, sets, files, instances, networks and services come back."""
        before = foreign(bare)
        must(bare, "gateway", "shorewall reload; ipset flush; rm /etc/shorewall/macro.Backup")
        must(bare, "docker02", "systemctl stop keepalived; rm -r /etc/keepalived/conf.d")
        must(bare, "docker03", "sed -i 's/60/70/' /etc/keepalived/keepalived.conf")
        must(bare, "docker03", "systemctl restart keepalived; rm /etc/default/locale")
        must(
            bare, "docker01", "docker service rm shop; docker service update -d --force others_web"
        )
        must(bare, "docker01", "until docker network rm frontend; do sleep 0.2; done")
        create = "docker network create -d overlay --attachable frontend"
        must(bare, "docker01", f"until {create}; do sleep 0.2; done")
        bare.reset()
        made_again = {
            *("docker01 service shop", "docker01 service others_web", "docker01 networks"),
            *(f"{host} unit keepalived" for host in ("docker02", "docker03")),
        }
        assert touched(before, foreign(bare)) == made_again
        assert bare.up() == []
        assert bare.reset() == []


@pytest.mark.leaves("unknown")
def test_agent_that_does_not_come_back(bare: Lab) -> None:
    """A node that stays down though its engine runs has its engine restarted."""
    unit, rule = "/run/systemd/system/docker.service.d", "OUTPUT -p tcp --dport 2377 -j DROP"
    mended = f"[Service]\\nExecStopPost=/usr/sbin/iptables -D {rule}\\n"  # by a restart alone
    down = "until docker node ls | grep -q 'docker06 *Down'; do sleep 0.2; done"
    try:
        must(bare, "docker06", f"mkdir -p {unit} && printf '{mended}' >{unit}/lab.conf")
        must(bare, "docker06", f"systemctl daemon-reload && iptables -I {rule}")
        must(bare, "docker01", f'timeout 50 sh -c "{down}"')

        assert bare.up() == ["restarted the engine of docker06"]
    finally:
        must(bare, "docker06", f"rm {unit}/lab.conf && systemctl daemon-reload")
