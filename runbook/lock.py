"""Only one run at a time changes a site: a lock in the Swarm's own Raft store.

The lock is a Docker config object, whose name is unique in the Swarm. Its holder renews a label
while it works; a lock that nobody renews belongs to a run that was killed and is taken over.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runbook.errors import Refused, RunbookError
from runbook.waiting import until

if TYPE_CHECKING:
    from docker import APIClient

    from runbook.live import Live

RENEW_S = 4.0
STALE_S = 15.0
"""How long a lock may go without a renewal: three renewals and some."""


class SwarmLock:
    """The lock of one step, held while the block runs.

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
        self._step = step
        self._name = f"runbook-lock-{step}"
        self._labels = {
            "runbook.run": os.environ.get("RUNBOOK_RUN_ID") or uuid.uuid4().hex,
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
        self._remove(self._id)  # where it is gone, somebody took it for dead and has the site now

    def proceed(self) -> None:
        """Let the run go on only while the lock is held.

        Raises:
            Refused: The lock was taken over because this run had stood still.
        """
        if self._lost.is_set():
            raise Refused(
                "this run stood still and another one took the site over",
                step=self._step,
                todo="let the other run end, then run again",
            )

    def _take(self) -> bool:
        from runbook.swarm import Conflict, translated

        try:
            with translated(self._live.manager, self._step):
                made = self._api.create_config(self._name, b"held\n", labels=self._labels)
        except Conflict:
            return False
        self._id = made["ID"]
        return True

    def _remove(self, identifier: str) -> None:
        from runbook.swarm import Absent, translated

        try:
            with translated(self._live.manager, self._step):
                self._api.remove_config(identifier)
        except Absent:
            return

    def _other(self) -> dict[str, Any] | None:
        from runbook.swarm import translated

        with translated(self._live.manager, self._step):
            found: list[dict[str, Any]] = self._api.configs(filters={"name": self._name})
        return next((c for c in found if c["Spec"]["Name"] == self._name), None)

    def _await_other(self) -> None:
        """Wait while the holder renews, at most until it is certain that it does."""
        first = self._other()
        if first is None:
            return
        seen = until(
            self._other,
            holds=lambda now: now is None or now["Version"] != first["Version"],
            timeout_s=STALE_S,
            every_s=0.5,
        )
        if seen is None:
            return
        if seen["Version"] != first["Version"]:
            self._refuse(seen)
        # By its id: a lock that a third run has made meanwhile has another one.
        self._remove(seen["ID"])

    def _refuse(self, other: dict[str, Any] | None) -> None:
        labels = other["Spec"]["Labels"] if other else {}
        raise Refused(
            f"run {labels.get('runbook.run', 'unknown')} of "
            f"{labels.get('runbook.operator', 'somebody')} is changing this site",
            step=self._step,
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
        with translated(self._live.manager, self._step):
            # The SDK has no call for ConfigUpdate; its client is an ordinary requests session.
            self._api.post(
                f"{self._api.base_url}/v{self._api.api_version}/configs/{self._id}/update",
                params={"version": current["Version"]["Index"]},
                json=spec,
                timeout=RENEW_S,
            ).raise_for_status()
        return True
