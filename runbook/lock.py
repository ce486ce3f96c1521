"""Only one run at a time changes a site: a lock in the Swarm's own Raft store.

The lock is a Docker config object, whose name is unique in the Swarm. Its holder renews a label
while it works; a lock that nobody renews belongs to a run that was killed and is taken over.

A run takes it in the first step that manages something, changes or not, and keeps it to its end, so
that two runs do not get half of the site each. Its kernels share it.
"""

from __future__ import annotations

import atexit
import getpass
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runbook.errors import Refused, RunbookError, during
from runbook.hosts.docker.errors import Absent, Conflict
from runbook.waiting import until

if TYPE_CHECKING:
    from requests import Response

    from runbook.hosts.live import Live

NAME = "runbook-lock"
RENEW_S = 4.0
STALE_S = 15.0
"""How long a lock may go without a renewal before others take it over: three renewals and some."""
SURE_S = 10.0
"""How old the last renewal may be when a change is begun; the rest is for the change to begin."""
PATIENCE_S = 20.0
"""How long a change waits for an overdue renewal."""

# Unlike CLOCK_MONOTONIC of Linux it goes on while the machine is suspended, as the others' clocks
# do; macOS has it in CLOCK_MONOTONIC. Source: clock_gettime(2).
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

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
    if not live.context.run_id:
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
            "runbook.run": live.context.run_id or uuid.uuid4().hex,
            "runbook.operator": f"{getpass.getuser()}@{socket.gethostname()}",
        }
        self._renewed = 0.0
        self._trouble = "no answer"
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

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
        # Where it is gone, another kernel of the run was faster, or somebody took it for dead;
        # where it stays, it goes stale, and what the block came to is told all the same.
        with suppress(RunbookError):
            self._remove()

    def release(self) -> None:
        """Give the lock back; where that fails, it goes stale."""
        self.__exit__(None, None, None)

    def proceed(self) -> None:
        """Let the run go on only while it is certain that the lock is held.

        Raises:
            Refused: The lock was taken over because this run had stood still, or it has not been
                renewed for so long that it may have been.
        """
        overtaken = self.overtaken(PATIENCE_S)
        if overtaken is not None:
            raise overtaken
        if self._age_s >= SURE_S:
            raise Refused(
                f"the site's lock could not be renewed for {self._age_s:.0f} s, so another run may "
                f"have it ({self._trouble})",
                step=self.step,
                todo="see that the Swarm answers, then run again",
            )

    def overtaken(self, patience_s: float = RENEW_S) -> Refused | None:
        """Return the refusal of a run that stood still while another one took the site over.

        Args:
            patience_s: How long an overdue renewal is waited for, in seconds.

        """
        until(
            lambda: self._lost.is_set() or self._age_s < SURE_S,
            holds=bool,
            timeout_s=patience_s,
        )
        if not self._lost.is_set():
            return None
        return Refused(
            "this run stood still and another one took the site over",
            step=self.step,
            todo="let the other run end, then run again",
        )

    @property
    def _age_s(self) -> float:
        return time.clock_gettime(_CLOCK) - self._renewed

    def _take(self) -> bool:
        asked = time.clock_gettime(_CLOCK)
        try:
            with during(self.step):
                self._live.engine.create_config(NAME, b"held\n", labels=self._labels)
        except Conflict:
            other = self._other()
            # Another kernel of the run has it, or this one has taken it over.
            return other is not None and self._is_own(other)
        self._renewed = asked
        return True

    def _is_own(self, held: dict[str, Any]) -> bool:
        return bool(held["Spec"]["Labels"].get("runbook.run") == self._labels["runbook.run"])

    def _remove(self) -> None:
        held = self._other()
        if held is None or not self._is_own(held):
            return
        with suppress(Absent):
            self._live.engine.remove_config(held["ID"])

    def _other(self) -> dict[str, Any] | None:
        filters = json.dumps({"name": [NAME]})  # matches prefixes, too
        found: list[dict[str, Any]] = self._ask("GET", "", params={"filters": filters}).json()
        return next((c for c in found if c["Spec"]["Name"] == NAME), None)

    def _ask(self, method: str, path: str, **options: Any) -> Response:
        """Ask the engine about configs, with a bound of our own: the SDK's is a minute."""
        engine = self._live.engine  # an ordinary requests session; for ConfigUpdate it has no call
        url = f"{engine.base_url}/v{engine.api_version}/configs{path}"
        with during(self.step):
            return engine.request(method, url, timeout=RENEW_S, **options)

    def _await_other(self) -> None:
        """Wait while the holder renews, at most until it is certain that it does.

        A run that was killed may have a renewal under way, which arrives a little later; one that
        comes after a whole period is of a run that is alive.
        """
        seen = self._other()
        if seen is None:
            return
        self._live.say(
            self._live.manager,
            f"waiting up to {RENEW_S + STALE_S:.0f} s to see whether {_named(seen)} is alive",
        )
        first = time.monotonic()
        while True:
            before = seen
            seen = until(
                self._other,
                holds=lambda now, was=before: now is None or now["Version"] != was["Version"],  # type: ignore[misc]
                timeout_s=STALE_S,
                every_s=0.5,
            )
            if seen is None or self._is_own(seen):
                return
            if seen["Version"] == before["Version"]:
                break
            if time.monotonic() - first > RENEW_S:
                self._refuse(seen)
        # Its labels become ours, which fails where its holder has just come back to life, or where
        # another kernel of this run was faster.
        if not self._update(seen, self._labels):
            now = self._other()
            if now is not None and not self._is_own(now):
                self._refuse(now)

    def _refuse(self, other: dict[str, Any] | None) -> None:
        raise Refused(
            f"{_named(other) if other else 'another run'} is changing this site",
            step=self.step,
            todo="let it end, then run again",
        )

    def _renew(self) -> None:
        count = 0
        # A lock that the run's other kernel holds is renewed at once: how old it is, is not known.
        delay = RENEW_S if self._renewed else 0
        while not self._stop.wait(delay) and not self._lost.is_set():
            count, delay = count + 1, RENEW_S
            try:
                asked = time.clock_gettime(_CLOCK)
                if self._renew_once(count):
                    self._renewed = asked
                else:
                    self._lost.set()
            except RunbookError as error:  # it is tried again; proceed() knows how old the last is
                self._trouble = error.message

    def _renew_once(self, count: int) -> bool:
        """Renew the lock, and return whether it was still ours."""
        current = self._other()
        if current is None or not self._is_own(current):
            return False
        if self._update(current, self._labels | {"runbook.renewed": str(count)}):
            return True
        # The run's other kernel has renewed it in between, or another run has taken it over.
        current = self._other()
        return current is not None and self._is_own(current)

    def _update(self, held: dict[str, Any], labels: dict[str, str]) -> bool:
        """Write labels to a lock that is as it was seen, and return whether it still was."""
        version = {"version": held["Version"]["Index"]}
        spec = held["Spec"] | {"Labels": labels}
        try:
            self._ask("POST", f"/{held['ID']}/update", params=version, json=spec)
        except (Absent, Conflict):
            return False
        return True


def _named(held: dict[str, Any]) -> str:
    """Return whose a lock is."""
    labels = held["Spec"]["Labels"]
    return (
        f"run {labels.get('runbook.run', 'unknown')} of "
        f"{labels.get('runbook.operator', 'somebody')}"
    )
