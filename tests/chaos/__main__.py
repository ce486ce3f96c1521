"""Cut runs on a lab again and again, and report what came of it.

    make chaos                          200 cuts over the varied lab
    make chaos CUTS=50 SEED=7

Broken off, it goes on where it was. The report is written after every cut. It ends with 1 where
anything was lost, half-written, untrue or not converged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos import report, sampling
from chaos.experiment import Site, told
from chaos.states import STATES
from runbook.lab import Lab


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the cuts; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lab", default="varied", help="name of a lab that is up (varied)")
    parser.add_argument("--site", type=Path, default=Path("parameters/varied.yml"))
    parser.add_argument("--cuts", type=int, default=200, help="how many (200)")
    parser.add_argument("--seed", type=int, default=1, help="which (1)")
    parser.add_argument("--folder", type=Path, default=Path(".chaos"), help="gets the report")
    given = parser.parse_args(arguments)
    folder: Path = given.folder / f"{given.lab}-{given.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return cut_all(Site(Lab.load(given.lab), given.site, folder), given.seed, given.cuts)


def cut_all(site: Site, seed: int, count: int) -> int:
    """Make so many cuts, less those that an earlier call has made; return the exit status."""
    lines, page = site.folder / "cuts.jsonl", site.folder / "report.md"
    known = site.folder / "commands.jsonl"
    site.prepare()
    if not known.exists():
        sampling.save(sampling.population([site.record(state) for state in STATES]), known)
    commands = sampling.load(known)
    states = {state.name: state for state in STATES}
    made = report.read(lines)
    say(f"{len(commands)} commands; {sum(cut['met'] for cut in made)} of {count} cuts are made")
    keys = {cut["key"] for cut in made}
    for cut in sampling.order(commands, seed):
        if sum(one["met"] for one in made) >= count:
            break
        if cut.key in keys:
            continue
        came = told(cut, site.lab) | site.make(
            states[cut.command.state], cut.to_environment(), cut.fault
        )
        report.append(lines, came)
        made.append(came)
        page.write_text(report.page(made, seed), encoding="utf-8")
        verdict = "; ".join(came["violations"]) or ("well" if came["met"] else "not met")
        say(
            f"{len(made)} {came['seconds']:.0f} s {came['host']} {cut.moment} {cut.fault}: "
            f"{verdict}"
        )
        if came["harm"]:
            site.prepare(fresh=True)
    bad = [cut for cut in made if cut["violations"]]
    say(f"{len(made)} cuts, {len(bad)} with violations: {page}")
    return 1 if bad else 0


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, flush=True)  # noqa: T201  # a program


if __name__ == "__main__":
    sys.exit(main())
