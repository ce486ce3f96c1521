"""A file in place: what the script of a change does to a real folder."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from fakes import Command, FakeFleet, live, local, parameters

from runbook.changes import Change
from runbook.errors import Refused, RunbookError
from runbook.hosts.live import Live
from runbook.hosts.ssh.command import CommandFailed
from runbook.resources.file import BEGIN, END, File, FileFacts

OURS = "# Managed by runbook: test\n"
RULES = File("gateway", "/etc/shorewall/rules", "ours\n", block=True)
RECIPE = File("docker01", "~/traefik/traefik.yml", f"{OURS}new\n")
BLOCK = f"{BEGIN}\nours\n{END}\n"


class TestFourCases:
    """Absent, different, equal, unreadable."""

    @pytest.mark.parametrize(
        ("path", "fixed"), [("/proc/sys/kernel/osrelease", True), ("rules", False)]
    )
    def test_what_not_even_root_may_write(self, tmp_path: Path, path: str, fixed: bool) -> None:
        """It is refused while planning, unless it is already as declared."""
        (tmp_path / "rules").write_text("theirs\n")
        file = File("gateway", str(tmp_path / path), "ours\n", block=True)
        said = subprocess.run(["sh", "-c", file.probe], capture_output=True, text=True, check=True)
        facts = file.read(said.stdout)

        assert (facts.fixed, len(facts.mode)) == (fixed, 4)
        declared = replace(facts, content=file.declared(facts.content))
        assert file.plan(declared) == []
        if not fixed:
            assert len(file.plan(facts)) == 1
            return
        with pytest.raises(Refused, match=rf"^gateway: {path} is immutable, or on a read-only"):
            file.plan(facts)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The operator's home, and every host's."""
    return tmp_path


@pytest.fixture
def site(home: Path) -> Live:
    """A site whose hosts all are this machine."""
    return live(parameters("article"), local(home))


def change_of(file: File, site: Live) -> Change:
    """Return the one change that a file needs after it was really read."""
    text = site.gather({file.host: {"file": file.probe}}, sudo=False)[file.host]["file"]
    (change,) = file.plan(file.read(text))
    return change


class TestInstall:
    """The change itself, made by a real shell in a folder of this machine."""

    def test_new_file(self, home: Path, site: Live) -> None:
        """Folder and file are made, with the declared permissions and nothing else beside it."""
        change_of(RECIPE, site).make(site)
        written = home / "traefik" / "traefik.yml"

        assert written.read_text() == RECIPE.content
        assert written.stat().st_mode & 0o7777 == 0o644
        assert [path.name for path in written.parent.iterdir()] == ["traefik.yml"]

    def test_second_reading_plans_nothing(self, site: Live) -> None:
        """What was written is what is declared."""
        change_of(RECIPE, site).make(site)

        with pytest.raises(ValueError, match="not enough values"):
            change_of(RECIPE, site)

    def test_keeps_the_old_file(self, home: Path, site: Live) -> None:
        """The replaced content is in the backup folder, under a name that tells it."""
        (home / "traefik").mkdir()
        (home / "traefik" / "traefik.yml").write_text(f"{OURS}old\n")
        change = change_of(RECIPE, site)
        change.make(site)
        (backup,) = (home / ".local/state/runbook/backups").iterdir()

        assert backup.read_text() == f"{OURS}old\n"
        assert backup.name == f"traefik.yml.{sha256(backup.read_bytes()).hexdigest()[:12]}"
        assert change.undo == f"cp -p ~/.local/state/runbook/backups/{backup.name} {RECIPE.path}"

    def test_replaces_it_at_one_moment(self, home: Path, site: Live) -> None:
        """Whoever has the old file open reads it to its end: the new one is another inode."""
        path = home / "traefik" / "traefik.yml"
        path.parent.mkdir()
        path.write_text(f"{OURS}old\n")
        with path.open() as reader:
            change_of(RECIPE, site).make(site)

            assert reader.read() == f"{OURS}old\n"
            assert os.fstat(reader.fileno()).st_ino != path.stat().st_ino

    def test_every_byte_travels(self, home: Path, site: Live) -> None:
        """Line ends, quotes, and bytes that are no UTF-8 arrive as they were read."""
        path = home / "f"
        path.write_bytes(b"\xff'\"$(id)\\\r\nno newline")
        change_of(File("docker01", "~/f", "ours\n", block=True), site).make(site)

        assert path.read_bytes() == b"\xff'\"$(id)\\\r\nno newline\n" + BLOCK.encode()

    def test_path_is_one_word(self, home: Path, site: Live) -> None:
        """A folder may have blanks and quotes in its name."""
        change_of(File("docker01", "~/it's a $f/x y", OURS), site).make(site)

        assert (home / "it's a $f" / "x y").read_text() == OURS

    def test_its_own_check_is_asked_first(self, home: Path, site: Live) -> None:
        """A content that the file's program refuses never reaches the path."""
        check = 'grep -q wanted "$1" || { echo line 1: not wanted; exit 1; }'
        file = File("docker01", "~/f", "bad\n", block=True, check=check)
        (home / "f").write_text("foreign\n")

        with pytest.raises(CommandFailed, match="its own check says: line 1: not wanted"):
            change_of(file, site).make(site)
        assert (home / "f").read_text() == "foreign\n"
        assert [path.name for path in home.iterdir()] == ["f"]

    def test_check_that_agrees(self, home: Path, site: Live) -> None:
        """The check is given the new content, complete."""
        file = File("docker01", "~/f", "wanted\n", block=True, check='grep -q wanted "$1"')
        change_of(file, site).make(site)

        assert (home / "f").read_text() == f"{BEGIN}\nwanted\n{END}\n"

    def test_content_that_is_cut(self, home: Path) -> None:
        """Of a content that does not arrive whole, nothing is installed, and nothing is left."""
        (home / "f").write_text("foreign\n")
        answer = local(home)

        def cut(command: Command) -> subprocess.CompletedProcess[str]:
            half = command.stdin[: len(command.stdin) // 8 * 4]  # still base64
            return answer(replace(command, stdin=half) if "install" in command.argv else command)

        for length in (0, 1, 100_000):
            file = File("docker01", "~/f", "x" * length + "\n", block=True)
            with pytest.raises(CommandFailed, match="f did not arrive whole and is not replaced"):
                change_of(file, live(parameters("article"), cut)).make(
                    live(parameters("article"), cut)
                )
            assert (home / "f").read_text() == "foreign\n"
            assert [path.name for path in home.iterdir()] == ["f"]

    @pytest.mark.parametrize("meanwhile", ["other\n", "", None])
    def test_changed_meanwhile(self, home: Path, site: Live, meanwhile: str | None) -> None:
        """A file that is no longer what the plan was made from is left alone."""
        (home / "f").write_text("foreign\n")
        change = change_of(File("docker01", "~/f", "ours\n", block=True), site)
        (home / "f").unlink() if meanwhile is None else (home / "f").write_text(meanwhile)

        with pytest.raises(Refused, match="changed by somebody else"):
            change.make(site)
        assert [path.read_text() for path in home.iterdir()] == [meanwhile] * (
            meanwhile is not None
        )

    def test_made_meanwhile(self, home: Path, site: Live) -> None:
        """So is one that was not there."""
        change = change_of(File("docker01", "~/f", OURS), site)
        (home / "f").write_text("foreign\n")

        with pytest.raises(Refused, match="changed by somebody else"):
            change.make(site)
        assert (home / "f").read_text() == "foreign\n"

    def test_changed_during_its_check(self, home: Path, site: Live) -> None:
        """Somebody may also be quicker than the check."""
        (home / "f").write_text("foreign\n")
        file = File("docker01", "~/f", "ours\n", block=True, check="echo quick > f")

        with pytest.raises(Refused, match="changed by somebody else"):
            change_of(file, site).make(site)
        assert (home / "f").read_text() == "quick\n"

    def test_what_a_killed_script_left(self, home: Path, site: Live) -> None:
        """A file that a killed script left beside is removed, and nobody else's."""
        for name in (".f.runbook.AbC123", ".f.swp", "f.runbook.txt"):
            (home / name).write_text("left\n")
        change_of(File("docker01", "~/f", OURS), site).make(site)

        assert sorted(path.name for path in home.iterdir()) == [".f.swp", "f", "f.runbook.txt"]

    @pytest.mark.parametrize("name", ["HUP", "INT", "PIPE", "TERM"])
    def test_ended_by_a_signal(self, home: Path, site: Live, name: str) -> None:
        """A script that is told to end leaves the old file and nothing beside it."""
        (home / "f").write_text("foreign\n")
        file = File("docker01", "~/f", "ours\n", block=True, check=f"kill -{name} $PPID")

        with pytest.raises(CommandFailed):
            change_of(file, site).make(site)
        assert [path.name for path in home.iterdir()] == ["f"]
        assert (home / "f").read_text() == "foreign\n"

    def test_beside_it_is_hidden(self, home: Path, site: Live) -> None:
        """A program that reads the whole folder meanwhile sees no second file."""
        folder = home / "conf.d"
        folder.mkdir()
        file = File("docker01", "~/conf.d/f", OURS, check='[ "$(echo conf.d/*)" = "conf.d/*" ]')
        change_of(file, site).make(site)

        assert (folder / "f").read_text() == OURS

    def test_through_a_link(self, home: Path, site: Live) -> None:
        """What a link leads to is replaced, and the link stays."""
        (home / "real").mkdir()
        (home / "real" / "f").write_text("foreign\n")
        (home / "f").symlink_to("real/f")
        change_of(File("docker01", "~/f", "ours\n", block=True), site).make(site)

        assert (home / "f").is_symlink()
        assert (home / "real" / "f").read_text() == "foreign\n" + BLOCK
        assert [path.name for path in (home / "real").iterdir()] == ["f"]

    def test_permissions_behind_a_link(self, home: Path, site: Live) -> None:
        """A link's own are not those of the file, which keeps what it had."""
        (home / "real").write_text("foreign\n")
        (home / "real").chmod(0o640)
        (home / "f").symlink_to("real")
        change_of(File("docker01", "~/f", "ours\n", block=True), site).make(site)

        assert (home / "real").stat().st_mode & 0o7777 == 0o640

    def test_no_regular_file(self, home: Path) -> None:
        """A folder or a pipe in its place is no file to replace."""
        (home / "f").mkdir()
        site = live(parameters("article"), local(home))
        (change,) = File("docker01", "~/f", OURS).plan(FileFacts(None))

        with pytest.raises(CommandFailed, match="f is not a regular file"):
            change.make(site)

    def test_as_root_outside_the_home(self) -> None:
        """A system file is written by root, for root, with a backup of root's."""
        fleet = FakeFleet()
        (change,) = RULES.plan(FileFacts(None))
        change.make(live(parameters("article"), fleet))
        (command,) = fleet.commands

        assert (command.host, command.sudo) == ("gateway", True)
        assert command.argv[4:] == (
            "/etc/shorewall/rules",
            "0644",
            "root:root",
            "",
            "",
            sha256(change.after.encode()).hexdigest(),
            "absent",
        )

    def test_owner_is_kept_without_its_name(self) -> None:
        """An owner whom the host no longer knows by a name has no name to be given."""
        fleet = FakeFleet()
        (change,) = RULES.plan(FileFacts("foreign\n", "0640", "UNKNOWN:UNKNOWN"))
        change.make(live(parameters("article"), fleet))
        (command,) = fleet.commands

        assert command.argv[5:7] == ("0640", "")

    def test_failure_names_the_host(self) -> None:
        """A full disk is an error of that host, with what was said."""

        def full(command: Command) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command.argv, 1, "", "No space left on device")

        (change,) = RULES.plan(FileFacts(None))
        with pytest.raises(RunbookError, match="No space left") as caught:
            change.make(live(parameters("article"), full))
        assert caught.value.host == "gateway"
