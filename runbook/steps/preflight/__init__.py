"""Read-only: whether the site is fit for the runbook, and what is not and why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runbook.changes import Change, Check, Finding, Level, blocking
from runbook.errors import Refused, RunbookError
from runbook.live import Live
from runbook.site import Site
from runbook.steps import Row, find, host_rows
from runbook.steps.preflight.facts import HostFacts, SwarmFacts, observe_hosts, observe_swarm
from runbook.steps.preflight.findings import declared, judge

FIT = "nothing forbids the run"
REHEARSED = ("network", "traefik", "keepalived", "shorewall")
"""The steps that are planned here already, so that a refusal comes before the first change."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen, and what the runbook makes of it."""

    hosts: dict[str, HostFacts]
    swarm: SwarmFacts | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Check:
        """Return whether any finding forbids the run."""
        found = blocking(self.findings)
        seen = "; ".join(f"{finding.host}: {finding.what}" for finding in found)
        return Check(FIT, "every host", "no blocking finding", seen or "no blocking finding")


def required_checks(site: Site) -> tuple[str, ...]:
    """Return the names of the checks without which the step is not proven."""
    del site
    return (FIT,)


def observe(live: Live) -> Facts:
    """Read every host in one command each, and the Swarm through one manager, and judge both."""
    with ThreadPoolExecutor(len(REHEARSED)) as pool:
        rehearsals = [pool.submit(refusal, live, step) for step in REHEARSED]
        hosts = observe_hosts(live)
        engine = hosts[live.manager].engine
        # Without its engine the first manager cannot be asked; the finding on it says so.
        swarm = observe_swarm(live) if engine is not None and not engine.error else None
        findings = (*declared(live.site_file), *judge(live.site, hosts, swarm))
        if not blocking(findings):  # else the steps would only say the same in other words
            findings += tuple(found for each in rehearsals if (found := each.result()))
    return Facts(hosts, swarm, findings)


def refusal(live: Live, step: str) -> Finding | None:
    """Return why a step would refuse to run, or ``None`` where it would not."""
    module, silent = find(step).module, Live(live.site_file, live.fleet)
    try:
        module.plan(silent, module.observe(silent))
    except Refused as error:
        why = "the run would stop there, after other steps have changed something"
        return Finding(Level.BLOCKING, error.host or "site", step, error.message, why, error.todo)
    except RunbookError:  # not about the site: the step itself will tell, should it come again
        return None
    return None


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    found = []
    for host, seen in facts.hosts.items():
        fields: list[tuple[str, object]] = [
            ("system", seen.system),
            ("clock offset", f"{seen.clock_offset_s:+.1f} s"),
            ("default route", seen.default_via or None),
        ]
        if seen.engine is not None:
            fields.append(("engine", seen.engine.version or seen.engine.error))
        if seen.gateway is not None:
            fields.append(("shorewall", seen.gateway.version))
        found += host_rows(host, "host", fields)
    return found


def plan(live: Live, facts: Facts) -> list[Change]:
    """Return nothing: the preflight changes nothing."""
    del live, facts
    return []


def verify(live: Live) -> list[Check]:
    """Observe and judge again."""
    return [observe(live).verdict]
