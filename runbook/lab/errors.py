"""The lab's one error: something in the containers, not in the runbook, went wrong.

RunbookError
└── LabError
"""

from runbook.errors import RunbookError


class LabError(RunbookError):
    """The lab could not be brought to the state that was asked for."""
