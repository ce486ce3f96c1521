"""An overlay network of the Swarm."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from runbook.changes import Change
from runbook.errors import Refused
from runbook.hosts.live import Live
from runbook.resources import SwarmResource
from runbook.waiting import until

MTU_OPTION = "com.docker.network.driver.mtu"
UNALLOCATED = ""
"""The driver of a network that the Swarm has not allocated yet."""
ALLOCATION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class OverlayFacts:
    """The fields of a network that are fixed when it is created.

    Source: Docker Engine API 1.41, NetworkInspect.
    """

    driver: str
    scope: str
    attachable: bool
    encrypted: bool
    subnet: str
    mtu: int | None
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay network as declared; ``subnet`` and ``mtu`` are ``None`` where any will do."""

    host: str
    name: str
    subnet: str | None
    attachable: bool
    encrypted: bool
    mtu: int | None

    def observe(self, live: Live) -> OverlayFacts | None:
        """Return the network's facts, or ``None`` where no network has the name.

        One that was created just now has neither driver nor subnet until the Swarm's leader has
        allocated it; that is waited for.
        """
        return until(
            lambda: self._read(live),
            holds=lambda facts: facts is None or facts.driver != UNALLOCATED,
            timeout_s=ALLOCATION_TIMEOUT_S,
        )

    def _read(self, live: Live) -> OverlayFacts | None:
        named = live.engine.networks(names=[self.name])  # the filter matches parts of names, too
        exact = [network for network in named if network["Name"] == self.name]
        if len(exact) > 1:  # made on two managers, each for itself or one for the Swarm
            told = ", ".join(f"{one['Id'][:12]} ({one['Driver']}, {one['Scope']})" for one in exact)
            raise Refused(
                f"several networks are called {self.name!r}, so that `docker stack deploy` takes "
                f"none: {told}",
                host=self.host,
                todo="on it: docker network rm, with the ID of the one that is not the Swarm's",
            )
        return facts_of(exact[0]) if exact else None

    def plan(self, facts: OverlayFacts | None) -> list[Change]:
        """Return the creation of the network, or nothing where it is as declared.

        Raises:
            Refused: A network of the name exists and differs: its fields cannot be changed, and
                creating it anew would cut off the services on it.
        """
        if facts is None:
            return [self._creation()]
        differences = self.differences(facts)
        if not differences:
            return []
        raise Refused(
            f"network {self.name!r} exists and is different: {'; '.join(differences)}",
            host=self.host,
            todo=f"declare it as it is, or take the services off it and run"
            f" docker network rm {self.name}",
        )

    def differences(self, facts: OverlayFacts) -> list[str]:
        """Return one sentence for each declared field that the network has otherwise."""
        if facts.driver == UNALLOCATED:
            return ["the Swarm has not allocated it; its leader's journalctl -u docker says why"]
        declared = OverlayFacts(
            driver="overlay",
            scope="swarm",
            attachable=self.attachable,
            encrypted=self.encrypted,
            subnet=self.subnet or facts.subnet,
            mtu=self.mtu if self.mtu is not None else facts.mtu,
        )
        pairs = {f.name: (getattr(facts, f.name), getattr(declared, f.name)) for f in fields(facts)}
        return [
            f"{name} is {seen!r}, declared {wanted!r}"
            for name, (seen, wanted) in pairs.items()
            if seen != wanted
        ]

    def _creation(self) -> Change:
        settings = [f"driver overlay, subnet {self.subnet or 'from the pool of the Swarm'}"]
        settings += ["attachable"] if self.attachable else []
        settings += ["encrypted"] if self.encrypted else []
        settings += [f"mtu {self.mtu}"] if self.mtu is not None else []
        return Change(
            host=self.host,
            resource=f"network {self.name}",
            action="create",
            before="",
            after=", ".join(settings),
            undo=f"docker network rm {self.name}",
            make=partial(_create, self),
        )


def facts_of(inspected: dict[str, Any]) -> OverlayFacts:
    """Return the facts in a network's inspection."""
    options = inspected.get("Options") or {}
    pools = (inspected.get("IPAM") or {}).get("Config") or []
    return OverlayFacts(
        driver=inspected["Driver"],
        scope=inspected["Scope"],
        attachable=inspected["Attachable"],
        encrypted="encrypted" in options,
        # One with IPv6 has a second pool, of which a site says nothing.
        subnet=", ".join(pool["Subnet"] for pool in pools if ":" not in pool["Subnet"]),
        mtu=int(options[MTU_OPTION]) if MTU_OPTION in options else None,
        internal=inspected["Internal"],
    )


def _create(overlay: Overlay, live: Live) -> None:
    # `docker network create -d overlay NAME`, as published, with the declared options.
    options = {"encrypted": ""} if overlay.encrypted else {}
    if overlay.mtu is not None:
        options[MTU_OPTION] = str(overlay.mtu)
    from docker.types import IPAMConfig, IPAMPool

    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=overlay.subnet)]) if overlay.subnet else None
    live.engine.create_network(
        overlay.name,
        driver="overlay",
        attachable=overlay.attachable,
        options=options or None,
        ipam=pool,
    )


_obeys: type[SwarmResource[OverlayFacts | None]] = Overlay
