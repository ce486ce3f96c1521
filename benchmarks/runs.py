"""Time whole runs on the lab: a fresh one, one with nothing to do, and a plan.

Each figure is the wall time of one whole `runbook` process, from its start to its exit, records
included. Fresh runs are each preceded by an untimed `runbook lab reset`.

    make bench                           five runs of each
    .venv/bin/python benchmarks/runs.py --site benchmarks/like_for_like.yml

The second site has no demonstration, whose proof waits for Traefik's next poll of the Swarm.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RUNBOOK = str(Path(sys.executable).with_name("runbook"))


def runbook(*arguments: str, expected: int = 0) -> tuple[float, float]:
    """Run the command and return its wall time and processor time (its children's too), seconds."""
    with tempfile.TemporaryDirectory() as records:
        options = ["--records", records] if arguments[0] in ("run", "check") else []
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(
            [RUNBOOK, *arguments, *options], capture_output=True, text=True, check=False
        )
        wall, after = time.perf_counter() - start, os.times()
    if done.returncode != expected:
        raise SystemExit(
            f"{' '.join(arguments)} ended {done.returncode}\n{done.stdout}{done.stderr}"
        )
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system


def fresh(site: str) -> tuple[float, float]:
    """Time a run on a lab that no run has touched."""
    runbook("lab", "reset")
    return runbook("run", site)


def measure(name: str, once: Callable[[], tuple[float, float]], runs: int) -> None:
    """Print the median, the best and the worst of several runs."""
    figures = [once() for _ in range(runs)]
    walls, used = zip(*figures, strict=True)
    print(
        f"{name:16} {statistics.median(walls):6.1f} {min(walls):6.1f} {max(walls):6.1f}"
        f" {statistics.median(used):8.1f} {runs:5}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind (5)")
    parser.add_argument("--site", default="parameters/lab.yml", help="the site (the lab's)")
    given = parser.parse_args(arguments)
    runs, site = given.runs, given.site
    print(f"{'seconds':16} {'median':>6} {'min':>6} {'max':>6} {'cpu':>8} {'runs':>5}")
    measure("fresh", lambda: fresh(site), runs)
    runbook("run", site)  # not counted: the first run after a fresh one also warms caches
    measure("nothing to do", lambda: runbook("run", site), runs)
    measure("plan", lambda: runbook("check", site), runs)


if __name__ == "__main__":
    main()
