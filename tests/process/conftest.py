"""Fixtures that several subjects share: OpenSSH servers, connections, a storage, kernels."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from headless import own_temporary_files
from papermills import program  # noqa: F401  # a fixture
from servers import START_TIMEOUT_S, Client, Sshd, generate_key, run_sshd
from stores import (  # noqa: F401  # fixtures
    answering,
    locking,
    meanwhile,
    models,
    records,
    server,
    settings,
    store,
    witness,
)

from runbook.hosts.connection import Connection
from runbook.hosts.fleet import Fleet
from runbook.hosts.transcript import Transcript
from runbook.run import kernels


@pytest.fixture(scope="session")
def operator_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key that the servers accept."""
    path = tmp_path_factory.mktemp("operator") / "id_ed25519"
    generate_key(path, "ed25519")
    return path


@pytest.fixture(scope="session")
def start_sshd(
    tmp_path_factory: pytest.TempPathFactory, operator_key: Path
) -> Iterator[Callable[..., Sshd]]:
    """Start one more sshd: ``start_sshd("MaxSessions 1", kinds=("ecdsa",))``."""
    started: list[Sshd] = []

    def start(*arguments: Any, **options: Any) -> Sshd:
        folder, authorized = tmp_path_factory.mktemp("sshd"), operator_key.with_suffix(".pub")
        started.append(run_sshd(folder, authorized, *arguments, **options))
        return started[-1]

    yield start
    for sshd in started:
        sshd.process.terminate()
        sshd.process.wait(START_TIMEOUT_S)


@pytest.fixture(scope="session")
def sshd(start_sshd: Callable[..., Sshd]) -> Sshd:
    """An sshd that most tests share; the gateway, where there is one."""
    return start_sshd()


@pytest.fixture(scope="session")
def inner_sshd(start_sshd: Callable[..., Sshd]) -> Sshd:
    """Another sshd, to be reached through the first."""
    return start_sshd()


@pytest.fixture
def client(tmp_path: Path, operator_key: Path, sshd: Sshd, inner_sshd: Sshd) -> Client:
    """An operator whom both servers know, and who knows both."""
    client = Client(tmp_path)
    for suffix in ("", ".pub"):
        shutil.copy(f"{operator_key}{suffix}", f"{client.key}{suffix}")
    client.known_hosts.write_text(sshd.known_as() + inner_sshd.known_as())
    return client


@pytest.fixture
def fleet(client: Client, sshd: Sshd, inner_sshd: Sshd) -> Iterator[Fleet]:
    """A gateway that is host and jump host at once, with every other host behind it."""
    hosts = [f"docker0{n}" for n in (1, 2, 3, 4)]
    config = f"Host gateway\n  Port {sshd.port}\n"
    config += "".join(f"Host {host}\n  HostKeyAlias {host}\n" for host in hosts)
    config += f"Host docker*\n  Port {inner_sshd.port}\n  ProxyJump gateway\n"
    aliases = f"{','.join(hosts)} {inner_sshd.public_key()}\n"
    client.known_hosts.write_text(sshd.known_as() + aliases)
    with Fleet(client.site(config), Transcript(None)) as fleet:
        yield fleet


@pytest.fixture
def gateway(fleet: Fleet) -> Connection:
    """One open connection."""
    return fleet["gateway"]


@pytest.fixture
def quick_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels that load ahead only what small notebooks use, and leave nothing behind."""
    assert tmp_path.exists()  # made before temporary files go elsewhere
    monkeypatch.setattr(kernels, "PRELOAD", "json")
    with own_temporary_files():
        yield
