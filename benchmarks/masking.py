"""Time what masking costs: one long text, one notebook saved again and again, one whole record.

.venv/bin/python benchmarks/masking.py --record records/<run id>
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import string
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat

from runbook.masking.gate import gate
from runbook.masking.redact import Masker
from runbook.masking.secret import Registry

MEGABYTE = 1_000_000
LINE = (
    "2026-11-23T13:01:53Z docker01 keepalived[812]: \x1b[32m(VI_1)\x1b[0m Entering BACKUP STATE, "
    "priority 100, sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"
)


def masker(count: int) -> Masker:
    """Return a masker of this many random secrets with awkward characters."""
    known = Registry()
    for number in range(count):
        value = "".join(secrets.choice(string.printable[:94]) for _ in range(24))
        known.add(f"s{number}", value)
    return Masker(known)


def measure(name: str, once: Callable[[], object], runs: int) -> None:
    """Print the median and the worst of several runs in milliseconds."""
    figures = []
    for _ in range(runs):
        start = time.perf_counter()
        once()
        figures.append((time.perf_counter() - start) * 1000)
    print(f"{name:40} {statistics.median(figures):9.1f} {max(figures):9.1f} {runs:5}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all of it with 1 and with 50 known secrets."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", type=Path, help="the folder of a run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind (5)")
    options = parser.parse_args(arguments)
    text = LINE * (MEGABYTE // len(LINE))
    print(f"{'milliseconds':40} {'median':>9} {'max':>9} {'runs':>5}")
    for count in (1, 50):
        mask = masker(count)
        measure(f"forms of {count} secrets", lambda n=count: masker(n).needles, options.runs)
        measure(f"1 MB of log, {count} secrets", lambda m=mask: m.mask(text), options.runs)
        if options.record:
            measure_record(options.record, mask, f"{count} secrets", options.runs)


def measure_record(record: Path, mask: Masker, what: str, runs: int) -> None:
    """Measure the record's longest notebook and the gate over all of it."""
    longest = max(record.glob("*.ipynb"), key=lambda path: path.stat().st_size)
    notebook = nbformat.read(longest, 4)
    name = f"notebook of {longest.stat().st_size // 1000} kB, {what}"
    measure(name, lambda: mask.mask_notebook(notebook), runs)
    measure(f"gate, {what}", lambda: gate(record, mask), runs)


if __name__ == "__main__":
    main()
