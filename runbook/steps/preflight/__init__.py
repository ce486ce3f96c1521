"""Read-only: whether the site is fit for the runbook, and what is not and why."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from runbook.changes import Check, Finding, Plan, blocking, forbids, warns
from runbook.errors import BadInput, Refused, RunbookError
from runbook.hosts.live import Live
from runbook.steps import approved, keepalived
from runbook.steps.keepalived.objections import judge_vip
from runbook.steps.preflight.facts import HostFacts, observe_hosts
from runbook.steps.preflight.findings import declared, judge
from runbook.steps.preflight.swarm_facts import SwarmFacts, observe_swarm
from runbook.steps.step import Row, Step, host_rows

FIT = "nothing forbids the run"


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


def observe(others: Sequence[Step[Any]], live: Live) -> Facts:
    """Read every host in one command each, and the Swarm through one manager, and judge both.

    Args:
        others: The steps after this one, which are planned here already, so that a refusal comes
            before the first change.
        live: The site and its connections.
    """
    managing = [step for step in others if step.manages]
    with ThreadPoolExecutor(len(managing)) as pool:
        rehearsals = {step.name: pool.submit(rehearsed, live, step) for step in managing}
        hosts = observe_hosts(live)
        engine = hosts[live.manager].engine
        # Without its engine the first manager cannot be asked; the finding on it says so.
        swarm = observe_swarm(live) if engine is not None and not engine.error else None
        findings = (*declared(live.site_file), *judge(live.site, hosts, swarm))
        for step in others:
            findings += tuple(step.objections(live.site_file, hosts, swarm))
        plans = {name: each.result() for name, each in rehearsals.items()}
        if not blocking(findings):  # else the steps would only say the same in other words
            findings += tuple(each.found for each in plans.values() if each.found)
        planned = [name for name, each in plans.items() if each.changes]
        read = plans[keepalived.STEP.name].facts
        delay_s = keepalived.startup_delay(read) if read else 0
        findings += tuple(judge_vip(live, hosts, planned, delay_s))
    return Facts(hosts, swarm, findings)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of planning a step.

    Attributes:
        changes: Whether it changes something.
        found: Why it would not run, if so.
        facts: What it has read; ``None`` where it could not.
    """

    changes: bool = False
    found: Finding | None = None
    facts: Any = field(default=None, compare=False, repr=False)


def rehearsed(live: Live, step: Step[Any]) -> Rehearsed:
    """Plan a step without a word, and return what is in its way."""
    name = step.name
    silent = Live(live.site_file, live.fleet, context=live.context)
    facts = None
    try:
        facts = step.observe(silent)
        plan = Plan(name, tuple(step.plan(live.site_file, facts)))
    except (Refused, BadInput) as error:
        why = "the run would stop there, after other steps have changed something"
        found = forbids(error.host or "site", name, error.message, why, error.todo)
        return Rehearsed(found=found, facts=facts)
    except RunbookError as error:
        why = "it could not be planned now; should it be so again, the run would stop there"
        todo = error.todo or "run it again, and mend this where it comes again"
        found = warns(error.host or "site", name, error.message, why, todo)
        return Rehearsed(found=found, facts=facts)
    part = approved.part(step, live.site_file, facts, plan)
    moved = approved.moved(name, part, live.context.approved)
    return Rehearsed(bool(plan.changes), unapproved(name, moved), facts)


def unapproved(step: str, moved: list[str]) -> Finding | None:
    """Return what moved since the plan was approved, if one was and anything did."""
    if not moved:
        return None
    why = "the plan that was approved was made for what was there then"
    todo = "plan it as it is now (--plan), and have that approved"
    return forbids("site", step, f"{step}: {'; '.join(moved)}", why, todo)


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    found = []
    for host, seen in facts.hosts.items():
        offset = None if seen.clock_offset_s is None else f"{seen.clock_offset_s:+.1f} s"
        fields: list[tuple[str, object]] = [
            ("system", seen.system),
            ("clock offset", offset),
            ("default route", seen.default_via or None),
        ]
        if seen.engine is not None:
            fields.append(("engine", seen.engine.version or seen.engine.error))
        if seen.gateway is not None:
            fields.append(("shorewall", seen.gateway.version))
        found += host_rows(host, "host", fields)
    return found


def before(others: Sequence[Step[Any]]) -> Step[Facts]:
    """Return the step that looks whether the site is fit for the others."""
    return Step(
        name="preflight",
        notebook="00_preflight.ipynb",
        observe=partial(observe, others),
        rows=rows,
        required_checks=lambda _site: (FIT,),
        findings=lambda facts: facts.findings,
        verdict=lambda facts: [facts.verdict],
    )
