"""Only one run at a time changes a site: a lock in the Swarm's own Raft store.

The lock is a Docker config object, whose name is unique in the Swarm. Its holder renews a label
while it works; a lock that nobody renews belongs to a run that was killed and is taken over.

A run takes it in the first step that manages something, changes or not, and keeps it to its end, so
that two runs do not get half of the site each. Its kernels share it.
"""

from __future__ import annotations

import atexit
import getpass
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runbook.errors import Refused, RunbookError
from runbook.waiting import until

if TYPE_CHECKING:
    from docker import APIClient

    from runbook.live import Live

NAME = "runbook-lock"
RENEW_S = 4.0
STALE_S = 15.0
"""How long a lock may go without a renewal: three renewals and some."""

RUN = "RUNBOOK_RUN_ID"
"""The environment variable that tells a kernel which run it serves."""


_of_run: SwarmLock | None = None
"""The lock of the run that this process is a kernel of."""


@contextmanager
def site_lock(live: Live, step: str) -> Iterator[SwarmLock]:
    """Hold the site's lock for a step: in a run to the end of this process, else of the block.

    Args:
        live: The site and its connections.
        step: The step that is applied.

    Raises:
        Refused: Another run holds the lock and renews it.
    """
    global _of_run  # noqa: PLW0603  # as the process, it is one
    if not os.environ.get(RUN):
        with SwarmLock(live, step) as lock:
            yield lock
        return
    if _of_run is None:
        _of_run = SwarmLock(live, step).__enter__()
        atexit.register(_of_run.release)
    _of_run.step = step
    yield _of_run


class SwarmLock:
    """The lock of a site, held while the block runs.

    Source: Docker Engine API 1.41, ConfigCreate (409 where the name exists) and ConfigUpdate
    (refused where the version is not the current one).

    Args:
        live: The site and its connections.
        step: The step that is applied.

    Raises:
        Refused: Another run holds the lock and renews it.
    """

    def __init__(self, live: Live, step: str) -> None:
        self._live = live
        self.step = step
        self._labels = {
            "runbook.run": os.environ.get(RUN) or uuid.uuid4().hex,
            "runbook.operator": f"{getpass.getuser()}@{socket.gethostname()}",
        }
        self._id = ""
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

    @property
    def _api(self) -> APIClient:
        return self._live.engine.api

    def __enter__(self) -> SwarmLock:
        if not self._take():
            self._await_other()
            if not self._take():
                self._refuse(self._other())
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._renewer.join()
        # Where it is gone, another kernel of the run was faster, or somebody took it for dead.
        self._remove(self._id)

    def release(self) -> None:
        """Give the lock back; where that fails, it goes stale."""
        with suppress(RunbookError):
            self.__exit__(None, None, None)

    def proceed(self) -> None:
        """Let the run go on only while the lock is held.

        Raises:
            Refused: The lock was taken over because this run had stood still.
        """
        if self._lost.is_set():
            raise Refused(
                "this run stood still and another one took the site over",
                step=self.step,
                todo="let the other run end, then run again",
            )

    def _take(self) -> bool:
        from runbook.swarm import Conflict, translated

        try:
            with translated(self._live.manager, self.step):
                made = self._api.create_config(NAME, b"held\n", labels=self._labels)
        except Conflict:
            other = self._other()
            if other is None or not self._is_own(other):
                return False
            made = other  # another kernel of the run has it
        self._id = made["ID"]
        return True

    def _is_own(self, held: dict[str, Any]) -> bool:
        return bool(held["Spec"]["Labels"].get("runbook.run") == self._labels["runbook.run"])

    def _remove(self, identifier: str) -> None:
        from runbook.swarm import Absent, translated

        try:
            with translated(self._live.manager, self.step):
                self._api.remove_config(identifier)
        except Absent:
            return

    def _other(self) -> dict[str, Any] | None:
        from runbook.swarm import translated

        with translated(self._live.manager, self.step):
            found: list[dict[str, Any]] = self._api.configs(filters={"name": NAME})
        return next((c for c in found if c["Spec"]["Name"] == NAME), None)

    def _await_other(self) -> None:
        """Wait while the holder renews, at most until it is certain that it does."""
        first = self._other()
        if first is None:
            return
        self._live.say(
            self._live.manager,
            f"waiting up to {STALE_S:.0f} s to see whether {_named(first)} is alive",
        )
        seen = until(
            self._other,
            holds=lambda now: now is None or now["Version"] != first["Version"],
            timeout_s=STALE_S,
            every_s=0.5,
        )
        if seen is None or self._is_own(seen):
            return
        if seen["Version"] != first["Version"]:
            self._refuse(seen)
        # By its id: a lock that a third run has made meanwhile has another one.
        self._remove(seen["ID"])

    def _refuse(self, other: dict[str, Any] | None) -> None:
        raise Refused(
            f"{_named(other) if other else 'another run'} is changing this site",
            step=self.step,
            todo="let it end, then run again",
        )

    def _renew(self) -> None:
        renewed, count = time.monotonic(), 0
        while not self._stop.wait(RENEW_S):
            count += 1
            try:
                held = self._renew_once(count)
                renewed = time.monotonic()
            except RunbookError:
                # Others take a lock over after STALE_S; one renewal must still fit in before.
                held = time.monotonic() - renewed < STALE_S - RENEW_S
            if not held:
                self._lost.set()
                return

    def _renew_once(self, count: int) -> bool:
        """Renew the lock, and return whether it was still ours."""
        from runbook.swarm import translated

        current = self._other()
        if current is None or current["ID"] != self._id:
            return False
        spec = current["Spec"] | {"Labels": self._labels | {"runbook.renewed": str(count)}}
        with translated(self._live.manager, self.step):
            # The SDK has no call for ConfigUpdate; its client is an ordinary requests session.
            self._api.post(
                f"{self._api.base_url}/v{self._api.api_version}/configs/{self._id}/update",
                params={"version": current["Version"]["Index"]},
                json=spec,
                timeout=RENEW_S,
            ).raise_for_status()
        return True


def _named(held: dict[str, Any]) -> str:
    """Return whose a lock is."""
    labels = held["Spec"]["Labels"]
    return (
        f"run {labels.get('runbook.run', 'unknown')} of "
        f"{labels.get('runbook.operator', 'somebody')}"
    )
