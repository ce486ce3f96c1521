"""One Traefik on every manager: the recipe, its deployment and the tasks that run."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbook.changes import Change, Check, in_stages
from runbook.errors import Refused
from runbook.hosts.docker.cli import DOCKER, run_docker
from runbook.hosts.live import Live
from runbook.recipes import render
from runbook.resources.file import File, FileFacts, is_ours
from runbook.resources.secret import DockerSecret, SecretFacts
from runbook.resources.service_spec import Fields, implied
from runbook.resources.stack import Stack, StackFacts, inspect
from runbook.site import Site, SiteFile, Traefik
from runbook.steps.step import CONVERGED, Row, Step, host_rows
from runbook.steps.traefik.htpasswd import content
from runbook.steps.traefik.objections import objections
from runbook.steps.traefik.tasks import Watch, host_of
from runbook.steps.web import Asked, ask, asked
from runbook.waiting import until

RECIPE = "traefik.yml"
ONE_EACH = "one task runs on every manager and nowhere else"
ANSWERS = "every manager answers on the web port"
PRIORITY = 2**31 - 1001  # the highest that Traefik takes on all machines, above any catch-all
ANSWER_S = 15
"""How long Traefik may take to listen once its task runs."""
START_S = 90  # of one manager, which may first have to pull the image
# `docker stack config` came with Docker CLI 23; an older one has no way to only check a recipe.
# It asks no engine.
_CHECK = (
    f'{shlex.join(DOCKER)} stack config --help 2>&1 | grep -q "stack config" || exit 0\n'
    f'{shlex.join(DOCKER)} stack config -c "$1"'
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is on the first manager and in the Swarm; what is absent is ``None``."""

    host: str
    recipe: FileFacts
    secrets: Mapping[str, SecretFacts | None]
    service: StackFacts


def major_version(image: str) -> int:
    """Return the major version that an image's tag begins with.

    Raises:
        Refused: The tag does not begin with a version, so the flags that fit it are unknown.
    """
    match = re.search(r":v?(\d+)(?:[.@-]|$)", image.rpartition("/")[2])
    if match is None:
        raise Refused(
            f"the version of {image!r} cannot be told from its tag, and flags differ by version",
            todo="declare traefik.image with its version as the tag, such as traefik:v3.7",
        )
    return int(match[1])


def flags(site: Site) -> tuple[str, ...]:
    """Return Traefik's command line.

    Source: ``article.md`` for 2.x; Traefik's v2-to-v3 migration guide for the renamed provider.
    """
    provider = "docker" if major_version(site.traefik.image) < 3 else "swarm"
    swarm = "--providers.docker.swarmmode" if provider == "docker" else "--providers.swarm"
    refresh = site.traefik.refresh_seconds
    refresh_name = "swarmmodeRefreshSeconds" if provider == "docker" else "refreshSeconds"
    return (
        *(["--api.insecure=true"] if site.traefik.dashboard.insecure else []),
        *(["--api.dashboard=true"] if site.traefik.dashboard.host else []),
        swarm,
        f"--providers.{provider}.exposedbydefault=false",
        f"--providers.{provider}.network={site.network.name}",
        *([f"--providers.{provider}.{refresh_name}={refresh}"] if refresh else []),
    )


def dashboard_labels(traefik: Traefik) -> tuple[str, ...]:
    """Return the labels that publish the authenticated dashboard; empty where there is none."""
    dashboard = traefik.dashboard
    if not dashboard.host:
        return ()
    router, guard = "traefik.http.routers.dashboard", "traefik.http.middlewares.dashboard-users"
    return (
        "traefik.enable=true",
        f"{router}.rule=Host(`{dashboard.host}`)",
        f"{router}.priority={PRIORITY}",
        f"{router}.service=api@internal",
        f"{router}.middlewares=dashboard-users",
        f"{guard}.basicauth.usersfile=/run/secrets/{dashboard.users_secret}",
        # The Swarm provider finds no port by itself and drops a router without one.
        "traefik.http.services.dashboard.loadbalancer.server.port=8080",
    )


def recipe(site: Site) -> str:
    """Return the recipe, ``traefik.yml``, as an operator could deploy it by hand."""
    traefik = site.traefik
    ports = [{"target": 80, "published": traefik.web_port}]
    if traefik.dashboard.port is not None:
        ports.append({"target": 8080, "published": traefik.dashboard.port})
    secret = traefik.dashboard.users_secret
    return render(
        RECIPE,
        image=traefik.image,
        command=" ".join(flags(site)),
        ports=ports,
        network=site.network.name,
        secrets=[secret] if secret else [],
        labels=dashboard_labels(traefik),
    )


def parsed(text: str) -> Mapping[str, Any]:
    """Return a recipe as the values it stands for."""
    from ruamel.yaml import YAML

    values: Mapping[str, Any] = YAML(typ="safe", pure=True).load(io.StringIO(text))
    return values


def declared(site: Site) -> tuple[File, Stack]:
    """Return the recipe's file and the stack that the site declares."""
    traefik, text = site.traefik, recipe(site)
    path = f"{traefik.folder}/{RECIPE}"
    file = File(site.first_manager, path, text, check=_CHECK)
    stack = Stack(
        site.first_manager, traefik.stack, path, parsed(text), site.name, traefik.replace_unmanaged
    )
    return file, stack


def secrets(site_file: SiteFile) -> list[DockerSecret]:
    """Return the Docker secret with the dashboard's users, where the site wants one."""
    site, users = site_file.site, site_file.secret("traefik.dashboard.users")
    name = site.traefik.dashboard.users_secret
    return [DockerSecret(site.first_manager, name, users, content)] if name is not None else []


def observe(live: Live) -> Facts:
    """Read the recipe on the first manager, the Docker secret and the live service."""
    file, stack = declared(live.site)
    probes = {live.manager: {"recipe": file.probe}}
    text = live.gather(probes, sudo=False, said="observed")[live.manager]["recipe"]
    stored = {secret.name: secret.observe(live) for secret in secrets(live.site_file)}
    there = file.read(text)
    service = replace(stack.observe(live), written=_written(stack.name, there.content))
    return Facts(live.manager, there, stored, service)


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    found = host_rows(facts.host, f"file {RECIPE}", [("content", facts.recipe.identity)])
    for name, secret in facts.secrets.items():
        seen: list[tuple[str, object]] = [("exists", "no" if secret is None else "yes")]
        seen += [("label", secret.label)] if secret is not None else []
        found += host_rows(facts.host, f"secret {name}", seen)
    if facts.service.fields is None:
        return [*found, *host_rows(facts.host, "service", [("exists", "no")])]
    fields = [(name, "\n".join(values)) for name, values in facts.service.fields.items()]
    return [*found, *host_rows(facts.host, "service", fields)]


def plan(site_file: SiteFile, facts: Facts) -> list[Change]:
    """Return the recipe to write, the secret to make, and the stack to deploy, which needs both."""
    file, stack = declared(site_file.site)
    needed = file.plan(facts.recipe)
    for secret in secrets(site_file):
        needed += secret.plan(facts.secrets[secret.name])
    return in_stages(needed, stack.plan(facts.service))


def _written(stack: str, content: str | None) -> Fields | None:
    """Return the service of the runbook's recipe on the manager; ``None`` where none is known."""
    from ruamel.yaml.error import YAMLError

    if content is None or not is_ours(content):
        return None
    try:
        return implied(stack, parsed(content))
    except (YAMLError, LookupError, TypeError, ValueError, AttributeError):
        return None  # edited by hand, and no recipe of ours any more


def files(site_file: SiteFile, facts: Facts) -> dict[str, dict[str, str]]:
    """Return the recipe on the first manager as it must be.

    Raises:
        Refused: Somebody else wrote the file that is there.
    """
    file, _ = declared(site_file.site)
    return {facts.host: {file.path: file.declared(facts.recipe.content)}}


def verify(live: Live) -> list[Check]:
    """Wait until one task runs on every manager, then ask each manager for an answer.

    Raises:
        ChangeFailed: A task was rejected or keeps failing; the message is the engine's own.
    """
    _, stack = declared(live.site)
    wanted = ", ".join(f"{name} running" for name in sorted(live.site.managers))
    watch = Watch(live, stack.service)
    timeout_s = START_S * len(live.site.managers)  # the Swarm updates one after the other
    live.say(None, f"waiting up to {timeout_s} s for one task on every manager")
    seen = until(watch.placement, holds=lambda text: text == wanted, timeout_s=timeout_s)
    # A task that tells no ports may be one from before them, which the Swarm is yet to replace.
    answered = answers(live, ANSWER_S if watch.all_tell_ports else timeout_s)
    return [Check(ONE_EACH, live.manager, wanted, seen), answered]


def stack_ls(live: Live) -> list[dict[str, str]]:
    """Return ``docker stack ls`` of the first manager, a line each by its columns."""
    return _listed(live, "ls")


def stack_ps(live: Live) -> list[dict[str, str]]:
    """Return ``docker stack ps`` of the stack likewise: a line a task."""
    return _listed(live, "ps", live.site.traefik.stack)


def _listed(live: Live, *words: str) -> list[dict[str, str]]:
    # An empty answer is one, so the command may end with an error: "nothing found in stack".
    result = run_docker(live, "stack", *words, "--format", "{{json .}}", check=False)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return lines or [{"docker": result.stderr.strip()}]


def hosts_of_tasks(live: Live) -> set[str]:
    """Return the declared hosts on which a task of Traefik's is, as the Swarm has them."""
    _, stack = declared(live.site)
    if inspect(live, stack.service) is None:
        return set()
    tasks = live.engine.tasks({"service": stack.service, "desired-state": "running"})
    nodes = {node["ID"]: node for node in live.engine.nodes()}
    found = {host_of(live.site, nodes[t["NodeID"]]) for t in tasks if t.get("NodeID") in nodes}
    return found & live.site.hosts.keys()


def answers(live: Live, timeout_s: float = ANSWER_S) -> Check:
    """Return whether every manager's Traefik answers on the web port, within so many seconds."""
    port = live.site.traefik.web_port
    snippets = {name: ask(f"http://{m.address}:{port}/") for name, m in live.site.managers.items()}

    def look() -> dict[str, Asked]:
        texts = live.gather({live.manager: snippets}, sudo=False)[live.manager]
        return {name: asked(text) for name, text in texts.items()}

    # A task counts as running a moment before Traefik listens.
    found = until(
        look, holds=lambda seen: all(a.by_traefik for a in seen.values()), timeout_s=timeout_s
    )
    checks = {name: answer.check(ANSWERS, name) for name, answer in found.items()}
    wanted = ", ".join(f"{name} {check.expected}" for name, check in checks.items())
    seen = ", ".join(f"{name} {check.seen}" for name, check in checks.items())
    return Check(ANSWERS, live.manager, wanted, seen)


STEP = Step(
    name="traefik",
    notebook="20_traefik.ipynb",
    needs=lambda _site: frozenset({"network"}),
    manages=True,
    observe=observe,
    rows=rows,
    plan=plan,
    files=files,
    verify=verify,
    objections=objections,
    required_checks=lambda _site: (CONVERGED, ONE_EACH, ANSWERS),
)
