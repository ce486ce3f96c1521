"""The command of ``runbook records`` that needs the extra ``s3``."""

from __future__ import annotations

from typing import Annotated

import typer

from runbook.cli.entering import RECORDS, ArchiveOption

app = typer.Typer()


@app.command()
def copy(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="s3://BUCKET or s3://BUCKET/PREFIX, one for each archive."
        ),
    ],
    archive: ArchiveOption = RECORDS,
    retain_days: Annotated[
        int | None,
        typer.Option(help="For how many days nobody can remove the runs there (Object Lock)."),
    ] = None,
) -> None:
    """Copy closed runs, ledgers and what verifies them to S3; what is there is not sent again.

    Keys, region and endpoint are those of boto3: AWS_… variables, such as AWS_ENDPOINT_URL_S3 for
    another storage than Amazon's, or ~/.aws.
    """
    from runbook.records.copies import storage

    copied = storage.copy(archive, target, retain_days=retain_days)
    locked = f", {copied.locked} of them locked now" if copied.locked else ""
    there = f"{copied.there} were there already{locked}"
    typer.echo(f"{copied.sent} files sent, {there}: {copied.target}")
