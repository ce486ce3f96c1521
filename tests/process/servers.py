"""Real OpenSSH servers on loopback, and sites whose hosts are these servers."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from runbook.hosts.fleet import Fleet
from runbook.hosts.transcript import Transcript
from runbook.site import Site, SiteFile

LOOPBACK = "127.0.0.1"
MEGABYTES = 5_000_000  # more than the 2 MiB window of a channel
START_TIMEOUT_S = 10
SERVER_CONFIG = """\
{extra}
ListenAddress {address}
Port {port}
AuthorizedKeysFile {authorized}
LogLevel VERBOSE
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AcceptEnv LC_*
SetEnv HOME={folder} {environment}
{host_keys}
"""


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd and what a client needs to know of it."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """What it logged so far."""
        return (self.folder / "log").read_text()

    def public_key(self, kind: str = "ed25519") -> str:
        """Type and base64 of one of its host keys."""
        text = (self.folder / f"host_{kind}.pub").read_text()
        return " ".join(text.split()[:2])

    def known_as(self, kind: str = "ed25519") -> str:
        """The known hosts line that vouches for it."""
        return f"[{LOOPBACK}]:{self.port} {self.public_key(kind)}\n"


@dataclass(frozen=True, slots=True)
class Client:
    """The operator's side: a key, a known hosts file and an SSH configuration."""

    folder: Path

    @property
    def key(self) -> Path:
        """The operator's private key."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The operator's known hosts file."""
        return self.folder / "known_hosts"

    def site(self, config: str, timeout_s: int = 10) -> SiteFile:
        """A site that is reached with this SSH configuration."""
        path = self.folder / "ssh_config"
        path.write_text(f"{config}\n{self.defaults()}")
        return site_file(path, timeout_s)

    def defaults(self) -> str:
        """The part of the configuration that holds for every host."""
        return (
            f"Host *\n  HostName {LOOPBACK}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n"
        )


def site_file(ssh_config: Path | None, timeout_s: int = 10) -> SiteFile:
    """A small valid site: a gateway, three managers and a worker."""
    site = Site.model_validate(
        {
            "name": "unit",
            "lan": "10.0.0.0/24",
            "gateway": {"address": "10.0.0.254"},
            "managers": {
                f"docker0{n}": {"address": f"10.0.0.1{n}", "priority": 100 - n} for n in (1, 2, 3)
            },
            "workers": {"docker04": {"address": "10.0.0.14"}},
            "ssh": {"connect_timeout": timeout_s},
            "traefik": {"image": "traefik:v3.1", "dashboard": {"insecure": False}},
            "keepalived": {"vip": "10.0.0.100", "virtual_router_id": 51},
            "shorewall": {"forward": [{"port": 80}]},
        }
    )
    return SiteFile(
        path=Path("parameters/unit.yml"),
        site=site,
        settings=(),
        warnings=(),
        ssh_config_path=ssh_config,
    )


def only_host(client: Client, port: int, more: str = "", timeout_s: int = 10) -> Fleet:
    """A fleet whose gateway is on this port."""
    config = f"Host gateway\n  Port {port}\n{more}"
    return Fleet(client.site(config, timeout_s), Transcript(None))


def generate_key(path: Path, kind: str, passphrase: str = "") -> None:
    """Write a key pair, as an operator would."""
    size = ["-b", "2048"] if kind == "rsa" else []  # the smallest is the fastest to make
    command = ["ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True)


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def run_sshd(
    folder: Path,
    authorized: Path,
    extra: str = "",
    *,
    kinds: tuple[str, ...] = ("ed25519", "ecdsa"),
    environment: str = "",
) -> Sshd:
    """Start an sshd in a folder and wait until it accepts connections.

    Args:
        folder: Holds its files; also the home of whoever logs in.
        authorized: The public keys it accepts.
        extra: More lines for its configuration; they come first, and so take precedence.
        kinds: Types of its host keys, in the order it prefers them.
        environment: More variables for what it runs, as ``NAME=value``.

    """
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:/sbin")
    if program is None:
        pytest.fail("these tests need a real sshd; install it: apt-get install openssh-server")
    if os.geteuid() == 0 and sys.platform == "linux":
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as Debian's service does before it
    for kind in kinds:
        generate_key(folder / f"host_{kind}", kind)
    port, config = free_port(), folder / "sshd_config"
    keys = "\n".join(f"HostKey {folder}/host_{kind}" for kind in kinds)
    config.write_text(
        SERVER_CONFIG.format(
            address=LOOPBACK,
            port=port,
            authorized=authorized,
            folder=folder,
            host_keys=keys,
            extra=extra,
            environment=environment,
        )
    )
    process = subprocess.Popen([program, "-D", "-f", config, "-E", folder / "log"])
    server = Sshd(port, folder, process)
    wait_for_sshd(server)
    return server


def wait_for_sshd(server: Sshd) -> None:
    """Return once it accepts connections."""
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((LOOPBACK, server.port), timeout=1).close()
        except OSError:
            if server.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"sshd does not start: {server.log}")
            time.sleep(0.01)  # between two looks at the condition
        else:
            return
