"""One cut on a lab: a state, a run that is cut there, a clean run, and what they left."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import witnesses

from chaos import judge, runs
from chaos.sampling import Command, Cut, recorded
from chaos.states import State
from runbook.lab import Lab, Role

CLEAN_RUNS = 3
SETTLE_S = 30
SHOWN = 1500

# What a run may have left on a host. A demonstration that is being removed takes a moment.
_REMAINS = r"""
find /etc /home /root /run /var/lib/shorewall /tmp \( -name '*.runbook.*' -o -name 'runbook-*' \
  -o -path '/run/runbook*' -o -path '/tmp/tmp.*' \) -prune -print 2>/dev/null
systemctl list-units --all --plain --no-legend 'runbook*' | awk '{print "unit " $1}'
"""
_SWARM_REMAINS = r"""
docker config ls --format 'config {{.Name}}' --filter name=runbook-
end=$(($(date +%s) + 20))
while docker service ls -q --filter name=runbook- | grep -q . && [ "$(date +%s)" -lt "$end" ]; do
  sleep 0.5
done
docker service ls --format 'service {{.Name}}' --filter name=runbook-
"""


class NotReady(Exception):
    """The lab cannot be brought to where a cut begins."""


@dataclass
class Site:
    """A lab and its declared site, with the edge that every cut begins at and ends with.

    Attributes:
        lab: The lab.
        file: The site's file.
        folder: Gets the variant of the site without a demonstration, which is faster.
    """

    lab: Lab
    file: Path
    folder: Path
    edge: judge.Seen = field(default_factory=dict)
    foreign: judge.Seen = field(default_factory=dict)
    lay_about: set[str] = field(default_factory=set)

    def declared(self, state: State) -> Path:
        """Return the site's file for runs from a state."""
        if state.demonstration:
            return self.file
        plain = self.folder / "plain.yml"
        # YAML 1.2 holds JSON
        text = {"extends": str(self.file.resolve()), "acceptance": {"demonstration": None}}
        plain.write_text(json.dumps(text | {"name": self.lab.topology.name}))
        return plain

    def prepare(self, *, fresh: bool = False) -> None:
        """Bring the lab to the edge, from the beginning where it must be, and look at it.

        Args:
            fresh: Whether it must be: what others had there is lost.

        Raises:
            NotReady: No run gets there.
        """
        if not fresh:
            self.lab.up()
            done = self._run()
        if fresh or done.status != 0:
            self.lab.reset()
            done = self._run()
        if done.status != 0:
            raise NotReady(f"a run on the fresh lab ended with {done.status}: {done.said}")
        self.edge, self.foreign, lies_about = look(self.lab)
        self.lay_about = set(lies_about)

    def _run(self) -> runs.Ended:
        with runs.operator() as somebody:
            return somebody("run", self.file)

    def record(self, state: State) -> list[Command]:
        """Return what a run from a state sends.

        Raises:
            NotReady: The run did not end well.
        """
        state.make(self.lab)
        with runs.operator() as somebody:
            done = somebody("run", self.declared(state), *state.options, cut="")
            if done.status != 0:
                raise NotReady(f"a run from {state.name!r} ended with {done.status}: {done.said}")
            return recorded(state.name, somebody.told())

    def make(self, state: State, cut: str, fault: str) -> dict[str, Any]:
        """Make one cut and return what came of it.

        Args:
            state: Where the run begins.
            cut: What the injection is told.
            fault: What it does to the run.
        """
        begun = time.monotonic()
        state.make(self.lab)
        before = witnesses.snapshot(self.lab)
        site = self.declared(state)
        with runs.operator() as somebody:
            run = somebody("run", site, *state.options, cut=cut)
            after, foreign_after, _ = look(self.lab)
            struck = [line for line in somebody.told() if line["event"] == "cut"]
            clean = [somebody("run", site, *state.options)]
            archived = [
                r for r in somebody.archived() if r["run_id"] != clean[0].results.get("run_id")
            ]
            while clean[-1].status != 0 and len(clean) < CLEAN_RUNS:
                clean.append(somebody("run", site, *state.options))
            end, foreign_end, lies_about = look(self.lab)
            left = [thing for thing in lies_about if thing not in self.lay_about]
            self.lay_about = {*self.lay_about, *left}
            left += [f"process {name}" for name in run.survivors] + somebody.remains()
            verified = somebody.verify()
        if fault == "killed kernel" and struck and struck[0]["process"] == "runner":
            fault = "killed runner"  # which sends something, too
        evidence = judge.Evidence(
            fault=fault,
            status=run.status,
            said=run.said,
            results=runs.last(archived),
            edge=self.edge,
            before=before,
            after=after,
            end=end,
            foreign_edge=self.foreign,
            foreign_after=foreign_after,
            foreign_end=foreign_end,
            clean=[one.status for one in clean],
            planned=clean[0].changes,
            remains=left,
        )
        found = judge.violations(evidence) if struck else []
        found += ["hung: had to be ended"] * (run.hung or any(one.hung for one in clean))
        found += [f"records verify ended with {verified}"] * (verified != 0)
        return {
            "met": bool(struck),
            "struck": struck[:1],
            "status": run.status,
            "left": judge.changed(self.edge, after, " content ", " configs", " saved ", " units "),
            "clean": evidence.clean,
            "violations": found,
            "harm": bool(judge.harm(evidence)),
            "seconds": round(time.monotonic() - begun, 1),
            "run_seconds": [round(one.seconds, 1) for one in (run, *clean)],
            "said": run.said[-SHOWN:],
            "clean_said": clean[0].said[-SHOWN:] if clean[0].status else "",
        }


def look(lab: Lab) -> tuple[judge.Seen, judge.Seen, list[str]]:
    """Return the witnesses of the lab, what is others', and what lies about."""
    with ThreadPoolExecutor(3) as pool:
        ours, theirs = pool.submit(witnesses.snapshot, lab), pool.submit(others, lab)
        return ours.result(), theirs.result(), pool.submit(remains, lab).result()


def others(lab: Lab) -> judge.Seen:
    """Return what is somebody else's on the lab, where its witnesses tell it."""
    seen = witnesses.foreign(lab)
    return {name: value for name, value in seen.items() if "/runbook/backups/" not in name}


def remains(lab: Lab) -> list[str]:
    """Return what lies about on the hosts that only a run under way may have there."""
    nodes = [node for node in lab.topology.nodes if node.role is not Role.CLIENT]
    first = lab.topology.swarm[0]

    def on(name: str) -> list[str]:
        script = _REMAINS + (_SWARM_REMAINS if name == first.name else "")
        said = witnesses.must(lab, name, script + "true\n")
        return [f"{name}: {line}" for line in said.splitlines()]

    with ThreadPoolExecutor(len(nodes)) as pool:
        return sorted(line for lines in pool.map(on, [n.name for n in nodes]) for line in lines)


def told(cut: Cut, lab: Lab) -> dict[str, Any]:
    """Return what a report says of a cut beforehand."""
    names = {address: node.name for node in lab.topology.nodes for address in (node.lan, node.net)}
    names |= {str(lab.topology.vip): "the VIP", "127.0.0.1": lab.topology.gateway.name}
    return {
        "key": cut.key,
        "state": cut.command.state,
        "host": names.get(cut.command.host, cut.command.host),
        "text": cut.command.text[:SHOWN],
        "moment": cut.moment,
        "fault": cut.fault,
        "changes": cut.command.changes,
    }
