"""The Traefik service among neighbours: applications, somebody else's Traefik, sudo, drift."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conftest import Break, Operator, SiteWriter
from witnesses import must, snapshot, touched

from runbook.lab import Lab

SERVICE = "traefik_traefik"
DEMONSTRATION = "runbook-demonstration"
# A Traefik as somebody else runs it: with TLS, certificates in a volume, and a network of its own.
FOREIGN = """
version: "3.8"
services:
  traefik:
    image: traefik:3.7
    command: ["--providers.swarm=true", "--entrypoints.websecure.address=:443"]
    ports: [{target: 443, published: 443, mode: host}]
    volumes: ["/var/run/docker.sock:/var/run/docker.sock:ro", "certs:/certs"]
    networks: [public]
    deploy: {MODE placement: {constraints: ["node.role == manager"]}}
volumes: {certs: {}}
networks: {public: {external: true}}
"""
DEPLOY = (
    f"cat > /tmp/theirs.yml <<'END'\n{FOREIGN}END\ndocker stack deploy -c /tmp/theirs.yml traefik"
)
GLOBAL = DEPLOY.replace("MODE", "mode: global,")
REPLICATED = DEPLOY.replace("MODE", "")
TAKE_ALL = (
    "docker service create -d --name store --network frontend -l traefik.enable=true "
    "-l 'traefik.http.routers.store.rule=PathPrefix(`/`)' "
    "-l traefik.http.routers.store.priority=99 "
    "-l traefik.http.services.store.loadbalancer.server.port=80"
)


def spec(lab: Lab, service: str = SERVICE) -> dict[str, Any]:
    """Return a service's specification as the engine tells it."""
    found: dict[str, Any] = json.loads(
        must(lab, "docker01", f"docker service inspect --format '{{{{json .Spec}}}}' {service}")
    )
    return found


@pytest.fixture
def public(bare: Lab) -> Lab:
    """A bare site with the network of somebody else's Traefik."""
    create = "docker network create -d overlay public"
    must(bare, "docker01", f"docker network inspect public >/dev/null 2>&1 || {create}")
    return bare


class TestForeign:
    """A service of our name that we did not deploy."""

    @pytest.mark.leaves("unknown")
    @pytest.mark.parametrize("deploy", [GLOBAL, REPLICATED], ids=["global", "replicated"])
    def test_is_refused(self, public: Lab, operator: Operator, deploy: str) -> None:
        """Before the first change, by the preflight, with what it would lose."""
        must(public, "docker01", deploy)
        before, all_before = spec(public), snapshot(public)
        done = operator("run")

        assert done.status == 3, done.text
        assert f"service {SERVICE} was not deployed by the runbook" in done.text
        assert "443" in done.text
        assert "certs" in done.text
        assert spec(public) == before
        # Their tasks are still starting; that is not the run's doing.
        moved = touched(all_before, snapshot(public))
        assert {name for name in moved if not re.search(r" (tasks|service) ?", name)} == set()

    @pytest.mark.leaves("unknown")
    def test_handed_over(self, public: Lab, operator: Operator, write_site: SiteWriter) -> None:
        """The site hands it over; the plan shows all that goes, and the run ends well."""
        must(public, "docker01", GLOBAL)
        site = write_site({"traefik": {"replace_unmanaged": True}})
        shown = operator("run", "--plan", "--json", site=site)
        (change,) = [c for c in shown.changes if c["resource"] == f"service {SERVICE}"]

        assert "PublishedPort=443" in change["diff"]
        assert operator("run", site=site).status == 0

    @pytest.mark.leaves("unknown")
    @pytest.mark.parametrize("remove", ["docker stack rm traefik; ", ""])
    def test_on_a_converged_edge(self, edge: Lab, operator: Operator, remove: str) -> None:
        """Neither our recipe beside it nor that ours was there before makes it ours."""
        must(edge, "docker01", f"{remove}{GLOBAL}")
        before = spec(edge)
        done = operator.apply("traefik")

        assert done.status == 3, done.text
        assert spec(edge) == before

    @pytest.mark.leaves("unknown")
    def test_in_no_stack(self, bare: Lab, operator: Operator) -> None:
        """A plain service of our name is refused."""
        must(bare, "docker01", f"docker service create -d --name {SERVICE} demo:1")
        done = operator("run")

        assert done.status == 3, done.text
        assert "is in no stack traefik" in done.text

    @pytest.mark.leaves("unknown")
    def test_stack_of_others(self, bare: Lab, operator: Operator) -> None:
        """A stack of our name with other services is not joined."""
        label = "-l com.docker.stack.namespace=traefik"
        must(bare, "docker01", f"docker service create -d --name traefik_blog {label} demo:1")
        done = operator("run")

        assert done.status == 3, done.text
        assert "it has traefik_blog" in done.text

    @pytest.mark.leaves("unknown")
    def test_deployed_by_hand(self, edge: Lab, operator: Operator) -> None:
        """The recipe deployed by hand is as declared: nothing is left to change."""
        must(
            edge,
            "docker01",
            "cd ~/traefik && sudo docker stack deploy -c traefik.yml traefik",
            user="gerard",
        )

        assert "runbook.site" not in spec(edge)["Labels"]
        assert operator.plan("traefik").status == 0


class TestEnvironment:
    """What the operator's environment on a manager says of other engines."""

    def test_other_engine_in_the_environment(
        self, edge: Lab, operator: Operator, broken: Break
    ) -> None:
        """Where the operator's environment names another engine, the local one is asked."""
        names = "DOCKER_HOST=tcp://192.0.2.1:2376\nDOCKER_TLS_VERIFY=1\nDOCKER_API_VERSION=1.24"
        broken(
            "docker01",
            f"printf '{names}\\n' >> /etc/environment",
            "sed -i /^DOCKER/d /etc/environment",
        )
        done = operator.apply("acceptance")

        assert done.status == 0, done.text


class TestCatchAll:
    """Applications that answer every request."""

    @pytest.mark.parametrize(
        ("more", "answer"),
        [
            ("demo:1", 200),
            ("-l traefik.http.routers.store.priority=1000000 demo:1", 200),
            (
                "-l traefik.http.routers.store.middlewares=away -l traefik.http.middlewares.away"
                ".redirectregex.regex='.*' -l traefik.http.middlewares.away.redirectregex"
                ".replacement=https://shop.example.org/ demo:1",
                302,
            ),
            (
                "-l traefik.http.routers.store.middlewares=users -l traefik.http.middlewares.users"
                ".basicauth.users='a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=' demo:1",
                401,
            ),
            ("-l traefik.http.services.store.loadbalancer.server.port=81 demo:1", 502),
        ],
        ids=["200", "high priority", "302", "401", "502"],
    )
    def test_run_is_green(
        self, edge: Lab, operator: Operator, broken: Break, more: str, answer: int
    ) -> None:
        """A healthy edge ends 0, whatever its applications answer at `/`."""
        broken("docker01", f"{TAKE_ALL} {more}", "docker service rm store")
        for last in (11, 12, 13):  # each Traefik asks the Swarm for services every so often
            url = f"http://{edge.topology.lan_address(last)}/"
            ask = f"curl -so /dev/null -w '%{{http_code}}' {url}"
            must(edge, "docker01", f'until [ "$({ask})" = {answer} ]; do sleep 0.2; done')
        done = operator.apply("acceptance")

        assert done.status == 0, done.text

    def test_port_of_a_worker(self, edge: Lab, operator: Operator, broken: Break) -> None:
        """What a worker publishes on that port is no Traefik of ours."""
        port = "--publish mode=host,published=80,target=80"
        where = "--constraint node.role==worker --mode global"
        broken(
            "docker01",
            f"docker service create --name web {port} {where} demo:1",
            "docker service rm web",
        )
        done = operator.apply("acceptance")

        assert done.status == 0, done.text


class TestDemonstration:
    """What acceptance deploys for a moment."""

    def test_left_behind(self, edge: Lab, operator: Operator, broken: Break) -> None:
        """A demonstration of a run that was killed is gone after the next."""
        labels = f"-l com.docker.stack.namespace={DEMONSTRATION} " + (
            f"-l 'traefik.http.routers.{DEMONSTRATION}.rule=Host(`demo.test`)'"
        )
        name = f"{DEMONSTRATION}_shown"
        broken(
            "docker01",
            f"docker service create -d --name {name} {labels} demo:1",
            f"docker service rm {name} 2>/dev/null || true",
        )
        assert operator.apply("acceptance").status == 0
        assert DEMONSTRATION not in must(edge, "docker01", "docker service ls")

    def test_somebody_elses(self, edge: Lab, operator: Operator, broken: Break) -> None:
        """A stack of that name that is not ours stays, and its check says so."""
        name = f"{DEMONSTRATION}_web"
        label = f"-l com.docker.stack.namespace={DEMONSTRATION}"
        broken(
            "docker01",
            f"docker service create -d --name {name} {label} demo:1",
            f"docker service rm {name}",
        )
        before = spec(edge, name)
        done = operator.apply("acceptance")

        assert done.status == 1
        assert f"stack {DEMONSTRATION} is somebody else's" in done.text
        assert spec(edge, name) == before


def test_bare_site(bare: Lab, operator: Operator) -> None:
    """Where nothing is deployed acceptance shows every check with what is seen."""
    done = operator("run", "--only", "acceptance", "--json")

    assert done.status == 1, done.text
    assert len(done.step("acceptance")["checks"]) == 12


# Updates by hand, and the path under which each is named.
DRIFTS = {
    "--cap-add CAP_NET_ADMIN": "CapabilityAdd",
    "--cap-drop CAP_NET_RAW": "CapabilityDrop",
    "--host-add traefik.example.org:10.9.9.9": "Hosts",
    "--dns-add 10.9.9.9": "DNSConfig.Nameservers",
    "--dns-search-add example.org": "DNSConfig.Search",
    "--health-cmd /bin/false": "Healthcheck.Test",
    "--no-healthcheck": "Healthcheck.Test",
    "--limit-memory 512M": "Resources.Limits.MemoryBytes",
    "--limit-pids 500": "Resources.Limits.Pids",
    "--reserve-memory 8M": "Resources.Reservations.MemoryBytes",
    "--restart-condition on-failure": "RestartPolicy.Condition",
    "--restart-max-attempts 3": "RestartPolicy.MaxAttempts",
    "--log-driver json-file --log-opt max-size=1m": "LogDriver.Name",
    "--stop-signal SIGINT": "StopSignal",
    "--stop-grace-period 30s": "StopGracePeriod",
    "--hostname edge": "Hostname",
    "--init": "Init",
    "--sysctl-add net.core.somaxconn=512": "Sysctls",
    "--ulimit-add nofile=4096:4096": "Ulimits",
    "--tty": "TTY",
    "--read-only": "ReadOnly",
    "--workdir /tmp": "Dir",
    "--container-label-add who=someone": "ContainerSpec.Labels",
    "--placement-pref-add spread=node.labels.zone": "Placement.Preferences",
    "--update-parallelism 0": "UpdateConfig.Parallelism",
    "--update-failure-action continue": "UpdateConfig.FailureAction",
    "--rollback-order start-first": "RollbackConfig.Order",
    "--mount-add type=tmpfs,target=/cache": "Mounts",
    "--label-add traefik.enable=true": "Labels",
    "--env-add WHO=someone": "Env",
}


def test_every_drift_is_named_and_repaired(edge: Lab, operator: Operator) -> None:
    """All at once: `check` names each by its path, and one run takes every one back."""
    before = spec(edge)
    options = [option for option in DRIFTS if option != "--health-cmd /bin/false"]
    # As one update, since the Swarm refuses one that comes while it notes the end of another.
    must(edge, "docker01", f"docker service update --quiet --detach {' '.join(options)} {SERVICE}")
    shown = operator.plan("traefik")
    assert shown.status == 4, shown.text
    (change,) = shown.changes
    unseen = [option for option in options if f"{DRIFTS[option]}:" not in change["diff"]]
    assert unseen == []
    done = operator.apply("traefik")
    assert done.status == 0, done.text
    assert spec(edge) == before
