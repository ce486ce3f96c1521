"""What a site and its connections answer together: many readings in one command a host."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from fakes import STARTED, Command, FakeConnection, FakeFleet, Recordings, live, local, parameters

from runbook.errors import RunbookError
from runbook.hosts.live import Live, decoded


@pytest.fixture
def here(tmp_path: Path) -> Live:
    """A site whose hosts all are this machine."""
    return live(parameters("article"), local(tmp_path))


class TestGather:
    """Named snippets, for which each host is asked once."""

    def test_one_command_a_host(self) -> None:
        """However many snippets, each host is asked once, as root unless told otherwise."""
        fleet = FakeFleet(Recordings({h: {"a": "1", "b": "2"} for h in ("docker01", "docker02")}))
        site = live(parameters("article"), fleet)
        probes = {host: {"a": "x", "b": "y"} for host in ("docker01", "docker02")}

        site.gather(probes)
        site.gather(probes, sudo=False)

        assert [(c.host, c.argv, c.sudo) for c in fleet.commands] == [
            ("docker01", ("sh", "-s"), True),
            ("docker02", ("sh", "-s"), True),
            ("docker01", ("sh", "-s"), False),
            ("docker02", ("sh", "-s"), False),
        ]

    def test_says_when_the_command_started(self) -> None:
        """The time of a reading is that of its command, in UTC."""
        answer = Recordings({"docker01": {"a": "1"}})

        seen = live(parameters("article"), answer).gather({"docker01": {"a": "x"}})

        assert seen["docker01"].started == STARTED

    @pytest.mark.parametrize(("said", "told"), [("read", [("docker01", "read")]), ("", [])])
    def test_progress(self, said: str, told: list[tuple[str, str]]) -> None:
        """Whoever watches is told of each host that was read, where there is something to say."""
        heard: list[tuple[str | None, str]] = []
        site = live(parameters("article"), Recordings({"docker01": {"a": "1"}}))
        watched = Live(site.site_file, site.fleet, lambda host, text: heard.append((host, text)))

        watched.gather({"docker01": {"a": "x"}}, said=said)

        assert told == heard

    def test_half_an_answer_is_an_error(self, here: Live) -> None:
        """Where the shell itself ended, nothing that it said before is taken for the whole."""

        def killed(command: Command) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command.argv, 0, "\nfence a\nhalf", "no space")

        with pytest.raises(RunbookError, match=r"^docker01: no space.*half-way.*half") as caught:
            live(parameters("article"), killed).gather({"docker01": {"a": "x"}})
        assert caught.value.host == "docker01"


class TestLive:
    """The site and the way to it."""

    def test_manager(self) -> None:
        """Swarm commands go to the first declared manager."""
        assert live(parameters("article")).manager == "docker01"

    def test_engine_is_that_of_the_manager(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is opened on that manager's connection, once."""
        opened: list[str] = []

        def engine(connection: FakeConnection) -> object:
            opened.append(connection.host)
            return object()

        monkeypatch.setattr("runbook.hosts.docker.api.engine", engine)
        site = live(parameters("article"))
        del vars(site)["engine"]

        assert site.engine is site.engine
        assert opened == ["docker01"]


class TestDecoded:
    """Content that travelled as base64."""

    @pytest.mark.parametrize("content", [b"", b"a\r\nb", "ñ\n".encode(), b"\xff\xfe\x00"])
    def test_every_byte_comes_back(self, content: bytes) -> None:
        """Line ends, text in UTF-8 and bytes that are none survive the way there and back."""
        text = decoded(base64.b64encode(content).decode())

        assert text.encode("utf-8", "surrogateescape") == content
