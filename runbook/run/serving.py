"""One notebook through papermill, in a kernel of the run.

Importing this module loads papermill, which takes a third of a second; the runner does so while
its kernels boot.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runbook.errors import RunbookError
from runbook.run.kernels import KernelStartError


@contextmanager
def _without_iri_grammar() -> Iterator[None]:
    # jsonschema, which nbformat brings, compiles a grammar of IRIs when it is imported: a second
    # for a format that the schema of notebooks does not use. It does without where the import
    # fails, and None in sys.modules makes it fail (Python reference, 5.3.1).
    name = "rfc3987_syntax"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _without_iri_grammar():  # nothing above may import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillException

from runbook.run.papermill import HonestEngine  # noqa: E402

papermill_engines.register("runbook", HonestEngine)  # where the package is not installed
logging.getLogger("papermill").addHandler(logging.NullHandler())  # the journal says it all

EXPECTED = (
    PapermillException,
    CellTimeoutError,
    DeadKernelError,
    KernelStartError,
    RunbookError,
    OSError,
)
"""What serving a notebook may raise when a cell, a kernel or the disk fails."""


def serve(
    notebook: Path, parameters: Mapping[str, str], cell_timeout_s: int, **supervision: Any
) -> None:
    """Run a notebook; called in its kernel's thread.

    Args:
        notebook: The notebook.
        parameters: Its parameters.
        cell_timeout_s: Longest time for one cell in seconds.
        supervision: ``kernel``, ``save_to`` and ``report``, see :class:`HonestEngine`.

    Raises:
        Exception: One of :data:`EXPECTED`; what came of the notebook was reported before.
    """
    papermill.execute_notebook(
        # papermill takes paths for format strings
        str(notebook).replace("{", "{{").replace("}", "}}"),
        None,
        parameters=dict(parameters),
        engine_name="runbook",
        progress_bar=False,
        execution_timeout=cell_timeout_s,
        **supervision,
    )
