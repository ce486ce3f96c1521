"""``runbook site``: look at a site file without contacting anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from runbook.cli.terminal import plain
from runbook.site.loading import SiteFile, load
from runbook.site.problems import SiteInvalid
from runbook.site.risks import unaccepted_risks
from runbook.site.schema import schema_text

app = typer.Typer(help="Look at a site file without contacting anything.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="A site file, such as parameters/lab.yml.")]


@app.command()
def check(file: File) -> None:
    """Say everything that is wrong with a site file; exit with 2 if anything is."""
    site_file = _loaded(file)
    for problem in site_file.warnings:
        typer.echo(plain(f"warning: {problem}"))
    for risk in unaccepted_risks(site_file.site):
        typer.echo(f"not accepted: {risk.name}: {risk.what}; a run refuses this: {risk.todo}")
    typer.echo(f"{file} is a valid site")


@app.command()
def show(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show every effective value of a site and where it is declared."""
    settings = _loaded(file).settings
    if as_json:
        typer.echo(json.dumps([asdict(setting) for setting in settings], indent=2))
        return
    table = Table(title=str(file))
    for heading in ("Setting", "Value", "Declared"):
        table.add_column(heading, overflow="fold")  # the default cuts long values short
    for setting in settings:
        value = "" if setting.value is None else json.dumps(setting.value, ensure_ascii=False)
        table.add_row(*map(plain, (setting.name, value.strip('"'), setting.origin)))
    Console(markup=False).print(table)


@app.command()
def schema() -> None:
    """Print the JSON Schema of site files, for editors."""
    typer.echo(schema_text(), nl=False)


def _loaded(file: Path) -> SiteFile:
    """Return the site, or end with every problem on standard error."""
    try:
        return load(file)
    except SiteInvalid as error:
        typer.echo(plain(error), err=True)
        raise typer.Exit(error.exit_code) from error
