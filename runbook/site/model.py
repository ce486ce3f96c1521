"""The declared site: what the operator wants, immutable and knowing nothing of SSH.

Every setting has the name the field uses for it (keepalived.conf(5), shorewall-rules(5), Traefik's
static configuration). Values are those of ``article.md`` where a default exists at all. What one
value may be is said here; what values must be to each other is in :mod:`runbook.site.rules`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from runbook.site.values import (
    FOLDER,
    INSTANCE,
    Address,
    Domain,
    Flag,
    HostName,
    Image,
    Interface,
    Port,
    Reference,
    SecretName,
    SiteName,
    StackName,
    Subnet,
    SwarmName,
    VrrpVersion,
    Zone,
)


class Declared(BaseModel):
    """Base of every part of a site: immutable, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Host(Declared):
    """A host of the LAN."""

    address: Address = Field(description="address on the LAN")


class Manager(Host):
    """A Swarm manager, which may hold the VIP."""

    priority: int = Field(
        strict=True, ge=1, le=254, description="VRRP priority; the highest living one holds the VIP"
    )
    interface: Interface | None = Field(
        default=None, description="LAN interface of this host, where it is not the common one"
    )


class Gateway(Host):
    """The Shorewall gateway between the net and the LAN."""

    name: HostName = Field(default="gateway", description="the gateway's host name")
    public_address: Address | None = Field(
        default=None,
        description="the gateway's net-side address; where set, only packets to it are forwarded",
    )


class Ssh(Declared):
    """How the hosts are reached."""

    config: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="OpenSSH client configuration, relative to this file; absent: what ssh reads",
    )
    connect_timeout: int = Field(
        default=10, strict=True, ge=1, le=120, description="longest wait for a connection, seconds"
    )


class Network(Declared):
    """The overlay network between Traefik and the applications."""

    name: SwarmName = Field(default="frontend", description="name of the overlay network")
    subnet: Subnet | None = Field(
        default=None, description="its subnet; absent: the Swarm takes one from its address pool"
    )
    attachable: Flag = Field(default=False, description="whether ordinary containers may join it")
    encrypted: Flag = Field(default=False, description="IPsec between the nodes")
    mtu: int | None = Field(
        default=None, strict=True, ge=576, le=9000, description="MTU of the overlay; absent: 1450"
    )


class Dashboard(Declared):
    """Traefik's dashboard and API, in one of three forms.

    ``insecure`` with ``port``: served to everybody on that port, as published in ``article.md``.
    ``host`` with ``users_secret``: served on the web port behind a password; the run makes the
    secret where ``users`` says what is in it. Neither: off.
    """

    insecure: Flag = Field(
        default=False,
        description="serve API and dashboard without a password on `port` (api.insecure)",
    )
    port: Port | None = Field(
        default=None, description="published port of the dashboard; only with `insecure`"
    )
    host: Domain | None = Field(
        default=None,
        description="virtual host of the guarded dashboard on the web port; not with `insecure`",
    )
    users_secret: SecretName | None = Field(
        default=None,
        description="Docker secret, in htpasswd format, that guards it; goes with `host`",
    )
    users: Reference | None = Field(
        default=None,
        description="where the htpasswd lines are of which `users_secret` is made: env:NAME, "
        "file:PATH, relative to this file, or command:WORDS; absent: it exists",
    )


class Traefik(Declared):
    """The Traefik stack, one instance a manager."""

    image: Image = Field(description="image with its tag, and its digest where pinned")
    stack: StackName = Field(default="traefik", description="name of the stack")
    folder: str = Field(
        default="~/traefik", pattern=FOLDER, description="folder of the recipe on the first manager"
    )
    replace_unmanaged: Flag = Field(
        default=False,
        description="replace a service of the stack's that somebody else deployed",
    )
    web_port: Port = Field(default=80, description="published port of the balanced traffic")
    refresh_seconds: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=300,
        description="how often Traefik asks the Swarm for services; absent: Traefik's 15",
    )
    dashboard: Dashboard = Field(
        default=Dashboard(), description="the dashboard and API; absent: off"
    )


class HealthCheck(Declared):
    """A keepalived track script: a manager whose Traefik does not answer gives the VIP away."""

    interval: int = Field(
        default=1, strict=True, ge=1, le=60, description="seconds between two checks"
    )
    fall: int = Field(default=2, strict=True, ge=1, le=10, description="failures until it is down")
    rise: int = Field(default=3, strict=True, ge=1, le=10, description="successes until it is up")


class Keepalived(Declared):
    """The floating IP and the VRRP instance that moves it."""

    vip: Address = Field(description="the floating IP")
    interface: Interface | None = Field(
        default=None,
        description="LAN interface of the managers; absent: found on each host from its address",
    )
    instance: str = Field(default="VI_1", pattern=INSTANCE, description="name of the vrrp_instance")
    virtual_router_id: int = Field(
        strict=True, ge=1, le=255, description="VRID, unique among the routers of the LAN"
    )
    version: VrrpVersion = Field(default=2, description="VRRP version")
    advert_int: float = Field(
        default=1,
        strict=True,
        ge=0.01,
        le=40,
        description="seconds between adverts; whole seconds in version 2",
    )
    health_check: HealthCheck | None = Field(
        default=None, description="gives the VIP away when Traefik does not answer; absent: none"
    )
    replace_unmanaged: Flag = Field(
        default=False,
        description="replace a keepalived.conf that somebody else wrote, after a backup",
    )


class Forward(Declared):
    """One DNAT rule on the gateway."""

    port: Port = Field(description="port on the gateway's net side")
    to_port: Port | None = Field(default=None, description="port on the VIP; absent: the same")
    source: tuple[Subnet, ...] = Field(
        default=(), description="net-side sources admitted; empty: everybody"
    )

    def admits(self, client: Address | None) -> bool:
        """Return whether a client comes through; one of unknown address only where all do."""
        if not self.source:
            return True
        return client is not None and any(client in network for network in self.source)


class Shorewall(Declared):
    """The gateway's forwarding."""

    net_zone: Zone = Field(default="net", description="zone of the outside")
    lan_zone: Zone = Field(default="loc", description="zone of the LAN")
    forward: tuple[Forward, ...] = Field(description="what is forwarded to the VIP")


class Demonstration(Declared):
    """The application that acceptance deploys for a moment and removes again."""

    image: Image = Field(description="an image that answers HTTP with the request's headers")
    port: Port = Field(default=80, description="port it listens on")
    host: Domain = Field(default="demo.test", description="virtual host to ask for")


class Acceptance(Declared):
    """What is proven, and from where."""

    client: HostName | None = Field(
        default=None,
        description="a host on the net side, reached by SSH; absent: this machine asks",
    )
    client_address: Address | None = Field(
        default=None, description="the address the application must see as the client's"
    )
    url_host: Domain | None = Field(
        default=None,
        description="the gateway's name or address for the client; absent: its public address",
    )
    demonstration: Demonstration | None = Field(
        default=None, description="the demonstration application; absent: it is not deployed"
    )


class Records(Declared):
    """What runs leave behind, and what they must bring."""

    key: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="SSH key that signs records, or its .pub where the agent holds it; "
        "relative to this file; RUNBOOK_KEY goes before it; neither: unsigned",
    )
    witness: Flag = Field(
        default=False, description="write the head of the ledger to the journal of the managers"
    )
    retention_days: int = Field(
        default=400,
        strict=True,
        ge=1,
        le=36500,
        description="for how many days records are kept before `runbook records prune` removes "
        "them",
    )
    require: tuple[Literal["signature", "ticket", "reason", "approval"], ...] = Field(
        default=(), description="what a run that changes something must have"
    )


class AcceptedRisk(Declared):
    """Something unsafe that the operator wants, and why."""

    risk: Literal["insecure-dashboard", "public-dashboard", "plain-http-password"] = Field(
        description="the API without a password on the LAN, or forwarded to the whole net; "
        "or its password in clear"
    )
    reason: str = Field(min_length=10, description="why it is accepted, for the record")


class Site(Declared):
    """A whole site, as one file (and those it extends) declares it."""

    name: SiteName = Field(description="name of the site")
    lan: Subnet = Field(description="subnet of the LAN")
    gateway: Gateway = Field(description="the Shorewall gateway")
    managers: dict[HostName, Manager] = Field(min_length=1, description="the Swarm's managers")
    workers: dict[HostName, Host] = Field(default={}, description="the Swarm's workers")
    ssh: Ssh = Field(default=Ssh(), description="how the hosts are reached")
    network: Network = Field(default=Network(), description="the overlay network")
    traefik: Traefik = Field(description="the Traefik stack")
    keepalived: Keepalived = Field(description="the floating IP")
    shorewall: Shorewall = Field(description="the gateway's forwarding")
    acceptance: Acceptance = Field(default=Acceptance(), description="the proof from outside")
    records: Records = Field(
        default=Records(), description="what runs leave behind, and what they must bring"
    )
    accepted_risks: tuple[AcceptedRisk, ...] = Field(
        default=(), description="what is unsafe but wanted"
    )

    @property
    def hosts(self) -> dict[str, Host]:
        """Every host by name: managers, workers, then the gateway."""
        return {**self.managers, **self.workers, self.gateway.name: self.gateway}

    @property
    def first_manager(self) -> str:
        """The manager through which the Swarm is asked and changed: the first declared one."""
        return next(iter(self.managers))

    @property
    def ordered_managers(self) -> dict[str, Manager]:
        """The managers by name, the first to hold the VIP first."""
        by_priority = sorted(self.managers.items(), key=lambda item: -item[1].priority)
        return dict(by_priority)
