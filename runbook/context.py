"""What a run tells the kernels that it starts, beside the parameters of their notebooks.

That it listens is said apart (:data:`runbook.events.SWITCH`): papermill with our engine does, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

_PREFIX = "RUNBOOK_"


@dataclass(frozen=True, slots=True)
class RunContext:
    """The run that a kernel serves; all is empty where a person runs the notebook.

    Attributes:
        run_id: The run.
        record: The folder of its record.
        approved: The file with the plan that was approved; empty: nothing has to be.
        witness: What the managers' journals are to know before the first change.
    """

    run_id: str = ""
    record: str = ""
    approved: str = ""
    witness: str = ""

    def to_environ(self) -> dict[str, str]:
        """Return it as variables; each is set, whatever the operator's own environment has."""
        return {_PREFIX + name.upper(): value for name, value in asdict(self).items()}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> RunContext:
        """Return what this process was told."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: environ.get(_PREFIX + name.upper(), "") for name in names})
