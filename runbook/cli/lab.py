"""The commands ``runbook lab …``: thin, one library call each.

Results go to standard output, progress to standard error. Exit 0 done or nothing to do, 1 failed,
2 bad input.
"""

import json
import os
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console

from runbook.lab import engine, report
from runbook.lab.lab import Lab
from runbook.lab.progress import Progress
from runbook.lab.state import State
from runbook.lab.topology import VARIED_LAB, Topology

app = typer.Typer(
    name="lab",
    help="A real site in containers: gateway, Swarm, client outside.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Option("--name", help="The lab's name; several can run side by side.")]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="gateway, client, docker01, …")]
AsJson = Annotated[bool, typer.Option("--json", help="The same facts as JSON.")]


@app.command()
def up(
    name: Annotated[
        str | None, typer.Option("--name", help="Its name (lab, or varied); several run beside.")
    ] = None,
    varied: Annotated[
        bool, typer.Option("--varied", help="Machines that differ, with neighbours on them.")
    ] = False,
    managers: Annotated[int | None, typer.Option(help="Swarm managers (3).")] = None,
    workers: Annotated[int | None, typer.Option(help="Swarm workers (3).")] = None,
    lan: Annotated[str | None, typer.Option(help="Inside network (10.0.0.0/24).")] = None,
    net: Annotated[str | None, typer.Option(help="Outside network (203.0.113.0/28).")] = None,
    interface: Annotated[str | None, typer.Option(help="Nodes' interface (enp0s3).")] = None,
) -> None:
    """Bring the lab up, or what is missing of it; with nothing missing, say so."""
    asked: dict[str, Any] = {
        "managers": managers,
        "workers": workers,
        "lan": lan,
        "net": net,
        "interface": interface,
    }
    given = {option: value for option, value in asked.items() if value is not None}
    declared = VARIED_LAB if varied else Topology()
    declared = replace(declared, name=name or declared.name)
    existing = State.of(declared.name).topology()
    if existing and existing.varied == varied:
        declared = existing
    lab = Lab.declare(replace(declared, **given))
    done = lab.up(Progress())
    _say(done or [f"lab {declared.name!r} is up, nothing to do"])
    _say([f"ssh -F {os.path.relpath(lab.state.ssh_config)} docker01"])


@app.command()
def down(
    name: Name = "lab",
    images: Annotated[bool, typer.Option("--images", help="The built images too.")] = False,
    stop_engine: Annotated[
        bool, typer.Option("--engine", help="Also stop the engine, if the lab started it.")
    ] = False,
) -> None:
    """Remove everything the lab made, whatever is left of it, and say what that was."""
    try:
        done = Lab.remains(name).down(Progress(), images_too=images)
        _say(done or [f"there is nothing of lab {name!r}"])
    finally:  # what an engine keeps of a network, it forgets when it ends
        if stop_engine:
            _say([engine.stop()])


@app.command()
def status(name: Name = "lab", as_json: AsJson = False) -> None:
    """Show every node: container, systemd, engine, place in the Swarm; exit 1 unless well."""
    seen = Lab.load(name).status()
    if as_json:
        typer.echo(json.dumps(report.as_json(seen), indent=2))
    else:
        Console().print(report.table(name, seen))
    if not all(node.well for node in seen):
        raise typer.Exit(1)


@app.command()
def reset(name: Name = "lab") -> None:
    """Take a running lab back to how it was after up, in seconds."""
    done = Lab.load(name).reset(Progress())
    _say(done or [f"lab {name!r} is as it was after up"])


@app.command()
def shell(node: NodeName, name: Name = "lab") -> None:
    """Log in to a node as gerard, the way an operator would."""
    lab = Lab.load(name)
    lab.topology.node(node)
    os.execvp("ssh", ["ssh", "-F", str(lab.state.ssh_config), "-o", "BatchMode=no", "-t", node])  # noqa: S606


@app.command()
def logs(
    node: NodeName,
    name: Name = "lab",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, at the end.")] = 100,
) -> None:
    """Show the end of a node's journal, or of its console where it does not run."""
    typer.echo(Lab.load(name).logs(node, lines=lines))


def _say(sentences: list[str]) -> None:
    for sentence in sentences:
        typer.echo(sentence)
