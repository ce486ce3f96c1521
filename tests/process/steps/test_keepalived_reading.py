"""What keepalived reads of its configuration: the probe, run by a real shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runbook.errors import Refused
from runbook.steps.keepalived import reading


class TestRead:
    """What keepalived reads, as its own program would."""

    @staticmethod
    def read(folder: Path, config_id: str = "docker02") -> list[reading.Statement]:
        """Return what is read from the folder's keepalived.conf, by the snippet itself."""
        script = reading.probe(f"{folder}/keepalived.conf")
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        lines = reading.lines_of_others("docker02", said.stdout + said.stderr)
        return reading.statements("docker02", lines, config_id)

    @pytest.mark.parametrize(
        "include",
        [
            "include conf.d/web.conf",
            "include conf.d/*.conf",
            "includer {nothing,conf.d}/w*.conf # theirs",
            "  includea\tconf.d/[uvw]eb.conf",
            "include conf.d/deeper/up.conf",
            "$WHERE=conf.d\ninclude ${WHERE}/web.conf",
        ],
    )
    def test_includes(self, tmp_path: Path, include: str) -> None:
        """Files, patterns, braces, variants, and what an included file includes itself."""
        (tmp_path / "conf.d" / "deeper").mkdir(parents=True)
        (tmp_path / "keepalived.conf").write_text(f"{include}\nglobal_defs {{\n}}\n")
        (tmp_path / "conf.d" / "web.conf").write_text("# web\nvrrp_instance WEB {\n}\n")
        (tmp_path / "conf.d" / "deeper" / "up.conf").write_text("include ../web.conf\n")
        web, ours = self.read(tmp_path)

        assert (web.words, web.line.path, web.line.number) == (
            ("vrrp_instance", "WEB"),
            f"{tmp_path}/conf.d/web.conf",
            2,
        )
        assert (ours.keyword, ours.line.number) == ("global_defs", include.count("\n") + 2)

    @pytest.mark.parametrize(
        ("include", "read"),
        [
            ("@docker02 include web.conf", ["WEB"]),
            ("  @^docker03\tinclude web.conf", ["WEB"]),
            ("@docker03 include web.conf", []),
        ],
    )
    def test_includes_for_a_host(self, tmp_path: Path, include: str, read: list[str]) -> None:
        """A file that is included by a line for one host is read there, and nowhere else."""
        (tmp_path / "keepalived.conf").write_text(f"{include}\n")
        (tmp_path / "web.conf").write_text("vrrp_instance WEB {\n@docker03 priority 3\n}\n")

        found = self.read(tmp_path)
        assert [statement.words[1] for statement in found] == read
        assert [inner for statement in found for inner in statement.inner] == []

    def test_a_file_that_includes_itself(self, tmp_path: Path) -> None:
        """It is read once, as is a folder in which it matches its own pattern."""
        (tmp_path / "keepalived.conf").write_text("include *.conf\nvrrp_instance A {\n}\n")
        (tmp_path / "other.conf").write_text("vrrp_instance B {\n}\n")

        assert [s.words[1] for s in self.read(tmp_path)] == ["B", "A"]

    @pytest.mark.parametrize(
        ("text", "vrid"),
        [
            ("$ID=51\nvrrp_instance A {\n virtual_router_id $ID\n}\n", ["51"]),
            ("$ID=5\nvrrp_instance A {\n virtual_router_id ${ID}1\n}\n", ["51"]),
            ("$B= \\\n virtual_router_id 51 \\\n priority 3\nvrrp_instance A {\n$B\n}\n", ["51"]),
            ("vrrp_instance A {\n@docker02 virtual_router_id 51\n}\n", ["51"]),
            ("vrrp_instance A {\n@docker03 virtual_router_id 51\n}\n", []),
            ("vrrp_instance A {\n@^docker03 virtual_router_id 51\n}\n", ["51"]),
            ("vrrp_instance A {\n@^docker02 virtual_router_id 51\n}\n", []),
            ("vrrp_instance A\n{ virtual_router_id 51 }\n", ["51"]),
            ('vrrp_instance A {\n notify "/x { # y" \n virtual_router_id 51\n}\n', ["51"]),
            ("vrrp_instance A {\n virtual_router_id 51#52\n}\n", ["51"]),
            ("$ID=5${X} # x\nvrrp_instance A {\n$X=1\n virtual_router_id $ID\n}\n", ["51"]),
            (
                "$B= \\\n@docker02 virtual_router_id ${ID} \\\n@docker03 priority 3 \\\n}\n"
                "@docker02 $ID=51\nvrrp_instance A {\n$B\n",
                ["51"],
            ),
            (
                "@docker02 $B= \\\n virtual_router_id 51 \\\n priority 3\n"
                "vrrp_instance A {\n$B\n}\n",
                ["51"],
            ),
            (
                "vrrp_instance A {\n notify ${_PWD}/x${_ENV Y}.sh\n virtual_router_id 51\n}\n",
                ["51"],
            ),
        ],
    )
    def test_statements(self, tmp_path: Path, text: str, vrid: list[str]) -> None:
        """Parameters, lines for one host, blocks in any layout, quotes and comments."""
        (tmp_path / "keepalived.conf").write_text(text)
        (instance,) = self.read(tmp_path)

        assert [value for _, value in instance.values("virtual_router_id")] == vrid

    @pytest.mark.parametrize(
        "line",
        [
            "~SEQ(ID, 1, 254) $B",
            "@docker02 ~LST(ID, 51, 52) $B",
            "$INCLUDE=include *.conf\n$INCLUDE",
            "$A=${B}\n$B=$A $A\n$A",
        ],
    )
    def test_what_is_not_known(self, tmp_path: Path, line: str) -> None:
        """What cannot be told is never taken for nothing; its place is named."""
        (tmp_path / "keepalived.conf").write_text(f"{line}\n")
        number = line.count("\n") + 1
        with pytest.raises(Refused, match=rf"line {number}: what `.*` amounts to is not known"):
            self.read(tmp_path)
        (tmp_path / "keepalived.conf").write_text("@docker03 ~SEQ(ID, 1, 254) $B\n")
        assert self.read(tmp_path) == []

    def test_a_block_without_an_end(self, tmp_path: Path) -> None:
        """Ours would be read as a part of it, so its place is named."""
        (tmp_path / "keepalived.conf").write_text("! theirs\nvrrp_instance A {\n priority 3\n")
        with pytest.raises(Refused, match=r"keepalived.conf, line 2: a block that has no end"):
            self.read(tmp_path)

    def test_nothing_is_there(self, tmp_path: Path) -> None:
        """Without a file there is nothing to read; without an answer that is an error."""
        assert self.read(tmp_path) == []
        with pytest.raises(Refused, match="cannot be read: sh: perl: not found"):
            reading.lines_of_others("docker02", "sh: perl: not found\n")
