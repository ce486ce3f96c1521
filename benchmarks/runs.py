"""Time whole runs on the lab: a fresh one, one with nothing to do, and a plan.

Each figure is the wall time of one whole `runbook` process, from its start to its exit, records
included. Of these, `close` is what comes after the run's last word in its journal: files, page,
search for secrets, signatures, ledger, witness, and the end of the process. Fresh runs are each
preceded by an untimed `runbook lab reset`.

    make bench                           five runs of each
    .venv/bin/python benchmarks/runs.py --site benchmarks/like_for_like.yml

The second site has no demonstration, whose proof waits for Traefik's next poll of the Swarm.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

RUNBOOK = str(Path(sys.executable).with_name("runbook"))


def runbook(*arguments: str, expected: int = 0) -> tuple[float, float, float]:
    """Run the command; return wall time, processor time (also of its children) and close, in s."""
    with tempfile.TemporaryDirectory() as records:
        options = ["--records", records] if arguments[0] in ("run", "check") else []
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(
            [RUNBOOK, *arguments, *options], capture_output=True, text=True, check=False
        )
        wall, after, ended = time.perf_counter() - start, os.times(), datetime.now(UTC)
        closed = [last_word(path) for path in Path(records).glob("2*/journal.jsonl")]
    if done.returncode != expected:
        raise SystemExit(
            f"{' '.join(arguments)} ended {done.returncode}\n{done.stdout}{done.stderr}"
        )
    used = after.children_user + after.children_system
    close = (ended - closed[0]).total_seconds() if closed else float("nan")
    return wall, used - before.children_user - before.children_system, close


def last_word(journal: Path) -> datetime:
    """Return when the last entry was written."""
    line = journal.read_text(encoding="utf-8").split("\n")[-2]
    return datetime.fromisoformat(json.loads(line)["time"])


def fresh(site: str) -> tuple[float, float, float]:
    """Time a run on a lab that no run has touched."""
    runbook("lab", "reset")
    return runbook("run", site)


def measure(name: str, once: Callable[[], tuple[float, float, float]], runs: int) -> None:
    """Print the median, the best and the worst of several runs."""
    figures = [once() for _ in range(runs)]
    walls, used, closes = zip(*figures, strict=True)
    print(
        f"{name:16} {statistics.median(walls):6.1f} {min(walls):6.1f} {max(walls):6.1f}"
        f" {statistics.median(used):8.1f} {statistics.median(closes):6.2f} {max(closes):6.2f}"
        f" {runs:5}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind (5)")
    parser.add_argument("--site", default="parameters/lab.yml", help="the site (the lab's)")
    given = parser.parse_args(arguments)
    runs, site = given.runs, given.site
    heads = f"{'median':>6} {'min':>6} {'max':>6} {'cpu':>8} {'close':>6} {'max':>6} {'runs':>5}"
    print(f"{'seconds':16} {heads}")
    measure("fresh", lambda: fresh(site), runs)
    runbook("run", site)  # not counted: the first run after a fresh one also warms caches
    measure("nothing to do", lambda: runbook("run", site), runs)
    measure("plan", lambda: runbook("check", site), runs)


if __name__ == "__main__":
    main()
