"""Two runs on one site exclude each other through the Swarm; a dead run's lock is taken over."""

from __future__ import annotations

import time

import psutil
import pytest
from conftest import Operator, finished, until
from witnesses import holders, must, snapshot, touched

from runbook.lab import Lab
from runbook.lock import STALE_S


@pytest.mark.leaves("edge")
def test_two_runs_at_once(bare: Lab, operator: Operator) -> None:
    """On a bare lab one ends well, the other well too or refused with the reason."""
    processes = [operator.start("run") for _ in range(2)]
    ended = [finished(process) for process in processes]
    statuses = sorted(done.status for done in ended)
    assert statuses in ([0, 0], [0, 3]), "\n".join(done.text for done in ended)
    for done in ended:
        if done.status == 3:
            assert "is changing this site" in done.text or "the site has moved" in done.text
    check = operator("check")
    assert check.status == 0, check.text
    seen = snapshot(bare)
    assert seen["docker01 configs"] == ""
    assert seen["gateway units runbook"] == ""
    assert holders(bare, str(bare.topology.vip)) == ["docker01"]


def test_lock_of_a_dead_run(edge: Lab, operator: Operator) -> None:
    """A lock that nobody renews is waited for, no longer than it must be, and taken over."""
    lock = "docker config create --label runbook.operator=someone runbook-lock -"
    must(edge, "docker01", f"echo held | {lock}; rm /home/gerard/traefik/traefik.yml")
    begun = time.monotonic()
    done = operator("run", "--only", "traefik")
    took_s = time.monotonic() - begun
    assert done.status == 0, done.text
    assert STALE_S <= took_s < 3 * STALE_S
    assert snapshot(edge)["docker01 configs"] == ""


@pytest.mark.leaves("unknown")
def test_run_that_stood_still(bare: Lab, operator: Operator) -> None:
    """A run that sleeps while another one takes the site over changes nothing when it wakes up."""
    first = operator.start("run", "--only", "keepalived")
    until(operator, first, lambda entry: entry.get("event", {}).get("event") == "outcome")
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    second = Operator(operator.records.with_name("of the other"), operator.site)
    done = second("run", "--only", "keepalived")
    assert done.status == 0, done.text
    before = snapshot(bare)
    for process in reversed(family):
        process.resume()
    woken = finished(first)
    assert woken.status == 1, woken.text  # something was changed before it slept
    # Nothing is begun; what had been begun finds the other run's file in the place of the one read.
    reasons = ("this run stood still and another one took the site over", "was changed by somebody")
    assert any(reason in woken.text for reason in reasons), woken.text
    assert touched(before, snapshot(bare)) == set()
