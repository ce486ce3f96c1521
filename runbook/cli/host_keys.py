"""``runbook trust``: show the host keys that are offered, ask, and pin the confirmed ones."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from runbook.cli.terminal import plain
from runbook.errors import Refused, Unreachable
from runbook.hosts.host_keys import Offered, offered_keys, pin
from runbook.site import SiteFile


def confirm_keys(site_file: SiteFile, *, confirmed: bool) -> None:
    """Pin the keys of every host that is not known yet, once a person has confirmed them.

    Hosts behind a jump host are asked once the jump host is known, so there may be two rounds.

    Args:
        site_file: The site.
        confirmed: Whether the operator has said yes beforehand.

    Raises:
        Refused: A host offers another key than the known one, or the operator said no.
        Unreachable: A host could not be asked.
    """
    while True:
        keys = offered_keys(site_file)
        changed = [offered for offered in keys if offered.known == "changed"]
        if changed:
            raise Refused(changed[0].why, host=changed[0].host)
        new = [offered for offered in keys if offered.known == "no"]
        if not new:
            break
        _show(new)
        question = "Are these the keys of those hosts (ssh-keygen -lf on each shows it)? Pin them"
        if not confirmed and not typer.confirm(question):
            raise Refused("nothing was pinned", todo="compare the fingerprints on the hosts first")
        for offered in new:
            pin(offered, offered.file)
    unasked = [offered for offered in keys if offered.known == "unasked"]
    if unasked:
        others = "".join(f"\n  also {offered.host}: {offered.why}" for offered in unasked[1:])
        raise Unreachable(unasked[0].why + others, host=unasked[0].host)
    typer.echo(f"{len(keys)} hosts are known")


def _show(keys: list[Offered]) -> None:
    table = Table(title="Host keys that are not known yet")
    for heading in ("host", "known as", "type", "fingerprint", "goes to"):
        table.add_column(heading, overflow="fold")
    for key in keys:
        cells = (key.host, key.name_in_known_hosts, key.key_type, key.fingerprint, key.file)
        table.add_row(*map(plain, cells))
    Console(markup=False, stderr=True).print(table)
