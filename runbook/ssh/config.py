"""Where a host is and how it is reached, as the operator's own ``ssh`` would find out.

The OpenSSH client configuration decides; what it leaves open comes from the site (the address) or
from OpenSSH's own defaults. Source: ssh_config(5).
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko

from runbook.errors import BadInput

SSH_PORT = 22
INCLUDE_DEPTH = 16  # READCONF_MAX_DEPTH of OpenSSH's readconf.c
DEFAULT_IDENTITIES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
USER_KNOWN_HOSTS = "~/.ssh/known_hosts\t~/.ssh/known_hosts2"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts\t/etc/ssh/ssh_known_hosts2"
TOKENS = {
    setting: [percent for percent in percents if percent != "%l"]
    for setting, percents in paramiko.SSHConfig.TOKENS_BY_CONFIG_KEY.items()
}
LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+?)\s*$")
HOP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^]]+\]|[^:/]+)(?::(?P<port>\d+))?/?$")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One host with everything needed to log in to it.

    Args:
        host: Its name in the site, or in ProxyJump.
        address: The name or address that is connected to.
        port: The port of its sshd.
        user: The remote user.
        identities: Private key files in the order they are tried; not all of them need to exist.
        identities_only: Whether keys of the agent that are not among them stay unused.
        agent: Socket of the agent, or ``None`` where none is used.
        known_as: Its names in the known hosts files; the first is the one to write.
        user_known_hosts: The operator's known hosts files.
        global_known_hosts: The machine's known hosts files.
        connect_timeout_s: ConnectTimeout in seconds, or ``None`` where it is not configured.
        via: The jump host it is reached through, or ``None``.

    """

    host: str
    address: str
    port: int
    user: str
    identities: tuple[Path, ...]
    identities_only: bool
    agent: str | None
    known_as: tuple[str, ...]
    user_known_hosts: tuple[Path, ...]
    global_known_hosts: tuple[Path, ...]
    connect_timeout_s: float | None
    via: Endpoint | None

    @property
    def place(self) -> str:
        """The address with its port, as messages show it."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"

    @property
    def login(self) -> tuple[str, ...]:
        """The same for two endpoints exactly when one connection serves both."""
        here = f"{self.user}@{self.place}"
        if self.known_as[0] != known_hosts_name(self.address, self.port):
            here += f" as {self.known_as[0]}"  # HostKeyAlias: each alias has a key to answer for
        return (*self.via.login, here) if self.via else (here,)


@dataclass(frozen=True, slots=True)
class Hop:
    """One entry of ProxyJump: ``[user@]host[:port]`` or ``ssh://[user@]host[:port]``."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Hop:
        """Return the hop that one part of a ProxyJump list names.

        Raises:
            BadInput: It does not have that form.

        """
        found = HOP.match(text.strip())
        if found is None:
            raise BadInput(f'"{text}" is not a jump host of the form [user@]host[:port]')
        port = found["port"]
        return cls(found["host"].strip("[]"), found["user"], int(port) if port else None)


class ConfigFile(paramiko.SSHConfig):
    """paramiko's reader without ``%l``: it asks DNS for that, whether or not anything uses it."""

    TOKENS_BY_CONFIG_KEY = TOKENS


class SshConfig:
    """The operator's OpenSSH client configuration, read once."""

    def __init__(self, path: Path | None, addresses: Mapping[str, str]) -> None:
        """Read the configuration.

        Args:
            path: The declared file, or ``None`` for ``~/.ssh/config``, which need not exist.
            addresses: Address by host name, for hosts that have no HostName in the file.

        Raises:
            BadInput: The file cannot be read, or is not an OpenSSH client configuration.

        """
        self.path = path or Path("~/.ssh/config").expanduser()
        self._addresses = addresses
        lines = _lines(self.path) if path or self.path.exists() else iter(())
        try:
            self._parsed = ConfigFile.from_text("\n".join(lines))
        except OSError as error:
            raise BadInput(f"SSH configuration {self.path}: {error.strerror}") from error
        except (paramiko.ConfigParseError, ValueError) as error:
            raise BadInput(f"SSH configuration {self.path}: {error}") from error

    def endpoint(self, host: str) -> Endpoint:
        """Return where and how a host is reached.

        Args:
            host: Its name in the site.

        Raises:
            BadInput: The configuration asks for something wrong or unsupported for this host.

        """
        return self._endpoint(Hop(host), jumps=None, trail=())

    def _endpoint(self, hop: Hop, jumps: str | None, trail: tuple[Hop, ...]) -> Endpoint:
        if hop in trail:
            circle = " -> ".join(hop.host for hop in (*trail, hop))
            raise BadInput(f"{self.path}: ProxyJump goes in a circle: {circle}")
        options = self._options(hop.host)
        address, known_by_name = self._address(hop.host, options)
        port = hop.port or self._number(hop.host, options, "port") or SSH_PORT
        names = (address, hop.host) if known_by_name else (address,)
        alias = options.get("hostkeyalias")
        return Endpoint(
            host=hop.host,
            address=address,
            port=port,
            user=hop.user or options.get("user") or _local_user(),
            identities=_identities(options),
            identities_only=options.get("identitiesonly", "no").lower() == "yes",
            agent=_agent(options.get("identityagent", "SSH_AUTH_SOCK")),
            known_as=(alias,) if alias else tuple(known_hosts_name(name, port) for name in names),
            user_known_hosts=_files(options.get("userknownhostsfile", USER_KNOWN_HOSTS)),
            global_known_hosts=_files(options.get("globalknownhostsfile", GLOBAL_KNOWN_HOSTS)),
            connect_timeout_s=self._number(hop.host, options, "connecttimeout"),
            via=self._via(jumps or options.get("proxyjump", "none"), (*trail, hop)),
        )

    def _via(self, jumps: str, trail: tuple[Hop, ...]) -> Endpoint | None:
        if jumps.lower() == "none":
            return None
        before, _, last = jumps.rpartition(",")
        # Those before the last hop lead to it, whatever its own ProxyJump says: ssh(1), -J.
        return self._endpoint(Hop.parse(last), before or None, trail)

    def _options(self, host: str) -> dict[str, str]:
        try:
            options: dict[str, str] = self._parsed.lookup(host)
        except paramiko.ssh_exception.CouldNotCanonicalize as error:
            raise BadInput(f'"{error}" has no canonical name', host=host) from error
        if options.get("proxycommand") and "proxyjump" not in options:
            raise BadInput(
                f"{self.path} reaches it with ProxyCommand, which is not supported",
                host=host,
                todo="name the jump host with ProxyJump instead",
            )
        return options

    def _address(self, host: str, options: Mapping[str, str]) -> tuple[str, bool]:
        configured = options["hostname"]  # lookup() answers the name itself where there is none
        if configured != host or host not in self._addresses:
            return configured, False
        return self._addresses[host], True

    def _number(self, host: str, options: Mapping[str, str], name: str) -> int | None:
        value = options.get(name)
        if value is None or value == "none":
            return None
        if not value.isdigit():
            raise BadInput(f'{self.path}: {name} "{value}" is not a number', host=host)
        return int(value)


def known_hosts_name(name: str, port: int) -> str:
    """Return how a known hosts file names a host on a port: sshd(8), SSH_KNOWN_HOSTS."""
    return name if port == SSH_PORT else f"[{name}]:{port}"


def _local_user() -> str:
    import getpass

    return getpass.getuser()


def _identities(options: Mapping[str, str]) -> tuple[Path, ...]:
    names = options.get("identityfile", DEFAULT_IDENTITIES)  # a list, where it is there at all
    return tuple(Path(name).expanduser() for name in names if name.lower() != "none")


def _agent(setting: str) -> str | None:
    if setting.lower() == "none":
        return None
    if setting == "SSH_AUTH_SOCK":
        return os.environ.get(setting)
    return os.path.expanduser(os.path.expandvars(setting))


def _files(setting: str) -> tuple[Path, ...]:
    home = str(Path.home())
    names = (name.replace("%d", home) for name in setting.split("\t") if name.lower() != "none")
    return tuple(Path(name).expanduser() for name in names)


def _lines(path: Path, scope: str = "", depth: int = 0) -> Iterator[str]:
    """Yield a configuration with its Include files in place, which paramiko does not know.

    Args:
        path: The file.
        scope: The criteria of the block the file is included from; they hold for all of it.
        depth: How many files include this one.

    """
    if depth > INCLUDE_DEPTH:
        raise ValueError(f"Include is nested more than {INCLUDE_DEPTH} deep at {path}")
    block = scope
    for line in path.read_text(encoding="utf-8").splitlines():
        found = LINE.match(line)
        key, value = (found[1].lower(), found[2]) if found else ("", "")
        if key == "include":
            yield from _included(value, block, depth)
            yield f"Match {block}" if block else "Host *"
        elif key in ("host", "match"):
            block = f"{scope} {_criteria(key, value, scope)}".strip()
            yield f"Match {block}" if scope else line
        elif key in ("userknownhostsfile", "globalknownhostsfile"):
            # Several names, each perhaps quoted: only paramiko's lack of a list makes this a tab.
            yield f"{key} " + "\t".join(shlex.split(value))
        else:
            yield line


def _included(patterns: str, block: str, depth: int) -> Iterator[str]:
    for pattern in shlex.split(patterns):
        # Relative names are below ~/.ssh, wherever the including file is: ssh_config(5), Include.
        place = os.path.join("~/.ssh", pattern) if not pattern.startswith("~") else pattern
        for name in sorted(glob.glob(os.path.expanduser(place))):
            yield from _lines(Path(name), block, depth + 1)


def _criteria(key: str, value: str, scope: str) -> str:
    """Return the Match criteria that a Host or Match line adds to those of its scope."""
    if key == "host":
        return f'originalhost "{",".join(shlex.split(value))}"'
    return "" if scope and value.lower() == "all" else value  # paramiko takes "all" only alone
