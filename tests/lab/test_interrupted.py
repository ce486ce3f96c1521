"""Runs that are cut short: the next one finishes the work."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Operator, finished, until
from witnesses import holders, must, snapshot

from runbook.lab import Lab


def outcome(step: str, resource: str) -> Callable[[dict[str, Any]], bool]:
    """Return what recognises the end of a change."""

    def reached(entry: dict[str, Any]) -> bool:
        event = entry.get("event", {})
        return (
            entry.get("step") == step
            and event.get("event") == "outcome"
            and event["resource"].startswith(resource)
        )

    return reached


@pytest.mark.leaves("edge")
def test_killed_again_and_again(bare: Lab, operator: Operator) -> None:
    """Killed after the rules, a package and the stack were written: the next run ends well."""
    # One step each for the first two, so that no other step is ahead of the moment waited for.
    moments = [
        (["--only", "shorewall"], outcome("shorewall", "file /etc/shorewall/rules")),
        (["--only", "keepalived"], outcome("keepalived", "package keepalived")),
        ([], outcome("traefik", "service traefik_traefik")),
    ]
    for options, moment in moments:
        process = operator.start("run", *options)
        until(operator, process, moment)
        process.kill()
        assert finished(process).status == -signal.SIGKILL
    done = operator("run", "--json")
    assert done.status == 0, done.stderr
    assert done.stderr.count("an earlier run was killed; its record is closed") == 1
    records = [json.loads(path.read_text()) for path in operator.records.glob("*/results.json")]
    statuses = sorted(record["status"] for record in records)
    assert statuses == ["completed", *["killed"] * len(moments)]
    assert operator.archive("records", "verify").status == 0
    check = operator("check")
    assert check.status == 0, check.text
    assert_whole(bare)


@pytest.mark.leaves("edge")
def test_interrupted(bare: Lab, operator: Operator) -> None:
    """Ctrl-C ends a run with 130; the record says so, and the next run ends well."""
    process = operator.start("run", "--json")
    until(operator, process, outcome("keepalived", "file"))
    process.send_signal(signal.SIGINT)
    done = finished(process)
    assert done.status == 130
    assert done.results["status"] == "interrupted"
    assert "SIGINT" in done.results["reason"]
    record: Path = operator.records / done.results["run_id"]
    assert json.loads((record / "results.json").read_text())["exit_status"] == 130
    assert must(bare, "docker01", "docker config ls -q") == ""
    again = operator("run")
    assert again.status == 0, again.text
    assert_whole(bare)


def assert_whole(lab: Lab) -> None:
    """Assert by witnesses that nothing is half-done and nothing is left over."""
    seen = snapshot(lab)
    assert holders(lab, str(lab.topology.vip)) == ["docker01"]
    assert seen["docker01 configs"] == ""
    assert seen["gateway units runbook"] == ""
    assert seen["gateway saved firewalls"] == ""
    assert seen["gateway firewall"].count(f"-j DNAT --to-destination {lab.topology.vip}:") == 2
    assert [seen[f"docker0{n} tasks"].count("traefik_traefik") for n in range(1, 7)] == [
        *[1] * 3,
        *[0] * 3,
    ]
