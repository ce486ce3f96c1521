"""Where a host is and how it is reached, as the operator's own ``ssh`` would find out.

The OpenSSH client configuration decides; what it leaves open comes from the site (the address) or
from OpenSSH's own defaults. Source: ssh_config(5).
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import BadInput, Unreachable

SSH_PORT = 22
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
ASKING_S = 30  # "Match exec" and CanonicalizeHostname may take their time
ASKED_AT_ONCE = 20  # hosts
# What ssh names where no IdentityFile is configured, and the libraries here cannot use.
UNUSABLE = ("id_dsa", "id_xmss", "id_ecdsa_sk", "id_ed25519_sk", "id_mldsa44_ed25519")
HOP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^]]+\]|[^:/]+)(?::(?P<port>\d+))?/?$")

Options = Mapping[str, tuple[str, ...]]
"""What ``ssh -G`` prints: the values of each setting in lower case."""


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
        certificates: Certificates of the operator's keys, beside those named after their files.
        family: AddressFamily: which addresses of a name are tried, as ``socket`` calls it.
        source: BindAddress: where the connection comes from; empty where any will do.
        command: ProxyCommand, for the operator's shell; empty where there is none.
        revoked: RevokedHostKeys: files of keys that no host may have.

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
    certificates: tuple[Path, ...] = ()
    family: int = socket.AF_UNSPEC
    source: str = ""
    command: str = ""
    revoked: tuple[Path, ...] = ()

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
        if self.command:
            here += f" by {self.command}"
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


class SshConfig:
    """The operator's OpenSSH client configuration, as ``ssh -G`` explains it."""

    def __init__(self, path: Path | None, addresses: Mapping[str, str]) -> None:
        """Read the configuration.

        Args:
            path: The declared file, or ``None`` for the operator's and the machine's own.
            addresses: Address by host name, for hosts that have no HostName in the file.

        Raises:
            BadInput: The file cannot be read, or is not an OpenSSH client configuration.

        """
        self.path = path
        self._addresses = addresses
        self._lock = threading.Lock()
        hops = [Hop(host) for host in addresses]
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:  # all: mistakes show before any connection
            self._asked = dict(zip(hops, pool.map(self._ask, hops), strict=True))

    def endpoint(self, host: str, at: str | None = None) -> Endpoint:
        """Return where and how a host is reached.

        Args:
            host: Its name in the site.
            at: Another address to reach it at; it is known by its own all the same.

        Raises:
            BadInput: The configuration asks for something wrong or unsupported for this host.
            Unreachable: Its ProxyCommand leads to no other address.

        """
        return self._endpoint(Hop(host), jumps=None, trail=(), at=at)

    def _endpoint(
        self, hop: Hop, jumps: str | None, trail: tuple[Hop, ...], at: str | None = None
    ) -> Endpoint:
        if hop in trail:
            circle = " -> ".join(hop.host for hop in (*trail, hop))
            raise BadInput(f"ProxyJump goes in a circle: {circle}")
        options = self._options(hop)
        address, known_by_name = self._address(hop.host, _one(options, "hostname"))
        port, user = int(_one(options, "port")), _one(options, "user")
        alias = _one(options, "hostkeyalias")
        names = (address, hop.host) if known_by_name else (address,)
        tokens = _tokens(hop.host, address, port, user) | {"k": alias or hop.host}
        jumps = jumps or _expanded(_one(options, "proxyjump"), tokens, hop.host)
        command = "" if jumps else _one(options, "proxycommand")
        if command and _one(options, "proxyusefdpass") == "yes":
            raise BadInput(
                "ProxyUseFdpass is not supported: the ProxyCommand has to pass on what is sent",
                host=hop.host,
            )
        if _one(options, "knownhostscommand"):
            raise BadInput(
                "KnownHostsCommand is not supported: only files say which host keys are known",
                host=hop.host,
                todo=f"set KnownHostsCommand none for {hop.host} in the SSH configuration, and pin "
                "its key with `runbook trust SITE`",
            )
        if at and command and "%h" not in command:
            raise Unreachable(
                f"the ProxyCommand `{command}` has no %h, and so does not lead to {at}",
                host=hop.host,
                todo=f"write %h for the address in the ProxyCommand of {hop.host}",
            )
        timeout = _one(options, "connecttimeout")
        return Endpoint(
            host=hop.host,
            address=at or address,
            port=port,
            user=user,
            identities=_identities(options.get("identityfile", ()), tokens),
            identities_only=_one(options, "identitiesonly") == "yes",
            agent=_agent(options),
            known_as=(alias,) if alias else tuple(known_hosts_name(name, port) for name in names),
            user_known_hosts=_files(_one(options, "userknownhostsfile")),
            global_known_hosts=_files(_one(options, "globalknownhostsfile")),
            connect_timeout_s=float(timeout) if timeout else None,
            via=self._via(jumps, (*trail, hop)),
            certificates=_identities(options.get("certificatefile", ()), tokens),
            family=FAMILIES.get(_one(options, "addressfamily"), socket.AF_UNSPEC),
            source=_one(options, "bindaddress"),
            command=_expanded(command, tokens | {"h": at or address}, hop.host),
            revoked=_files(_one(options, "revokedhostkeys")),
        )

    def _via(self, jumps: str, trail: tuple[Hop, ...]) -> Endpoint | None:
        if not jumps:
            return None
        before, _, last = jumps.rpartition(",")
        # Those before the last hop lead to it, whatever its own ProxyJump says: ssh(1), -J.
        return self._endpoint(Hop.parse(last), before or None, trail)

    def _options(self, hop: Hop) -> Options:
        with self._lock:
            if hop not in self._asked:
                self._asked[hop] = self._ask(hop)
            return self._asked[hop]

    def _ask(self, hop: Hop) -> Options:
        command = ["ssh", "-GNT", *(["-F", str(self.path)] if self.path else [])]
        command += ["-l", hop.user] if hop.user else []
        command += ["-p", str(hop.port)] if hop.port else []
        try:
            done = subprocess.run(
                [*command, "--", hop.host],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                timeout=ASKING_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise BadInput("there is no ssh here", todo="install the OpenSSH client") from error
        except (OSError, ValueError) as error:  # ValueError: no program can be given such a name
            raise BadInput(f"`ssh -G {hop.host}` cannot be run: {error}", host=hop.host) from error
        except subprocess.TimeoutExpired as error:
            raise BadInput(
                f"`ssh -G {hop.host}` did not end within {ASKING_S} s", host=hop.host
            ) from error
        if done.returncode != 0:
            said = done.stderr.strip() or f"`ssh -G {hop.host}` gave {done.returncode}"
            raise BadInput(f"SSH configuration: {said}", host=hop.host)
        found: dict[str, tuple[str, ...]] = {}
        for line in done.stdout.splitlines():
            name, _, value = line.partition(" ")
            found[name] = (*found.get(name, ()), value)
        return found

    def _address(self, host: str, configured: str) -> tuple[str, bool]:
        # ssh answers the name itself, in lower case, where there is no HostName.
        if configured.lower() != host.lower() or host not in self._addresses:
            return configured, False
        return self._addresses[host], True


def _one(options: Options, name: str) -> str:
    value = options.get(name, ("",))[0]
    return "" if value.lower() == "none" else value


def _tokens(host: str, address: str, port: int, user: str) -> dict[str, str]:
    """Return what the tokens of ssh_config(5), TOKENS, stand for; ssh -G leaves some of them."""
    here, me = socket.gethostname(), pwd.getpwuid(os.getuid())
    return {
        "%": "%",
        "d": me.pw_dir,
        "h": address,
        "i": str(me.pw_uid),
        "L": here.partition(".")[0],
        "l": here,
        "n": host,
        "p": str(port),
        "r": user,
        "u": me.pw_name,
    }


def _expanded(text: str, tokens: Mapping[str, str], host: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found[1] not in tokens:
            raise BadInput(f'SSH configuration: "{text}": {found[0]} is not supported', host=host)
        return tokens[found[1]]

    return re.sub(r"%(.?)", replaced, text)


def _at_home(name: str) -> str:
    # The home that ssh means is the account's, whatever $HOME says.
    home = pwd.getpwuid(os.getuid()).pw_dir
    return home + name[1:] if re.match(r"~(/|$)", name) else os.path.expanduser(name)


def known_hosts_name(name: str, port: int) -> str:
    """Return how a known hosts file names a host on a port: sshd(8), SSH_KNOWN_HOSTS."""
    return name if port == SSH_PORT else f"[{name}]:{port}"


def _identities(names: tuple[str, ...], tokens: Mapping[str, str]) -> tuple[Path, ...]:
    known = (
        re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), _at_home(name))
        for name in names
        if name.lower() != "none"
    )
    paths = (Path(os.path.expandvars(name)) for name in known)
    return tuple(path for path in paths if path.name not in UNUSABLE or path.exists())


def _agent(options: Options) -> str | None:
    setting = options.get("identityagent", ("SSH_AUTH_SOCK",))[0]
    if setting == "SSH_AUTH_SOCK" or setting.startswith("$"):
        return os.environ.get(setting.removeprefix("$"))
    return None if setting.lower() == "none" else setting


def _files(setting: str) -> tuple[Path, ...]:
    # Printed with tokens expanded, but without quotes: a blank within a name is told by what
    # follows it, or is there.
    found: list[Path] = []
    for name in filter(None, re.split(r" (?=[/~])", setting)):
        whole, parts = Path(_at_home(name)), [Path(_at_home(word)) for word in name.split()]
        several = not whole.exists() and any(part.exists() for part in parts)
        found += parts if several else [whole]
    return tuple(found)
