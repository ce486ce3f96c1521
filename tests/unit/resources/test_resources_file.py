"""Files: what is planned for them, what of somebody else's is kept, and how they are replaced."""

from __future__ import annotations

from hashlib import sha256

import pytest
from fakes import done, recorded

from runbook.errors import Refused
from runbook.resources.file import BEGIN, END, File, FileFacts, is_ours, outside_block, with_block

OURS = "# Managed by runbook: test\n"
RULES = File("gateway", "/etc/shorewall/rules", "ours\n", block=True)
RECIPE = File("docker01", "~/traefik/traefik.yml", f"{OURS}new\n")
BLOCK = f"{BEGIN}\nours\n{END}\n"
OLD_BLOCK = f"{BEGIN}\nold\nold too\n{END}\n"


def block_of(content: str) -> str:
    """Return the content that a file with this content must have."""
    return RULES.declared(content)


class TestBlock:
    """A marked block in a file of somebody else's."""

    @pytest.mark.parametrize(
        ("present", "wanted"),
        [
            pytest.param(None, BLOCK, id="absent"),
            pytest.param("", BLOCK, id="empty"),
            pytest.param("a\nb\n", f"a\nb\n{BLOCK}", id="at the end"),
            pytest.param("a", f"a\n{BLOCK}", id="no final newline"),
            pytest.param("a\r\nb\r\n", f"a\r\nb\r\n{BLOCK}", id="CRLF"),
            pytest.param("\n\n  a\t\n\n", f"\n\n  a\t\n\n{BLOCK}", id="white space"),
            pytest.param("\udcff\n", f"\udcff\n{BLOCK}", id="not UTF-8"),
            pytest.param(f"a\n{OLD_BLOCK}b\n", f"a\n{BLOCK}b\n", id="in the middle"),
            pytest.param(f"{OLD_BLOCK}b", f"{BLOCK}b", id="at the beginning"),
            pytest.param(f"a\r\n{OLD_BLOCK}b\r\n", f"a\r\n{BLOCK}b\r\n", id="within CRLF"),
            pytest.param(OLD_BLOCK[:-1], BLOCK, id="end without newline"),
            pytest.param(f"a\n{BLOCK}b", f"a\n{BLOCK}b", id="equal"),
        ],
    )
    def test_keeps_every_foreign_byte(self, present: str | None, wanted: str) -> None:
        """Whatever is outside the block stays as it is, in its place."""
        assert wanted == RULES.declared(present)

    @pytest.mark.parametrize(
        "present",
        [
            pytest.param(f"# {BEGIN}\nforeign\n# {END}\nb\n", id="commented out"),
            pytest.param(f"{END}\nforeign\n{OLD_BLOCK}b\n", id="an end before"),
            pytest.param(f"x {BEGIN}\nforeign\n{OLD_BLOCK}b\n", id="a beginning within a line"),
            pytest.param(
                f"{BEGIN} of another kind\nforeign\n{OLD_BLOCK}b\n", id="longer beginning"
            ),
            pytest.param(f"{OLD_BLOCK}foreign\n{END}\nb\n", id="an end after"),
        ],
    )
    def test_what_only_looks_like_a_marker_is_foreign(self, present: str) -> None:
        """A marker is a whole line; text that has one within it is somebody else's."""
        kept = present.replace(OLD_BLOCK, "")
        merged = block_of(present)

        assert kept == merged.replace(BLOCK, "")
        assert merged.count(BLOCK) == 1

    @pytest.mark.parametrize(
        "present",
        [
            pytest.param(f"a\n{BEGIN}\nours\nforeign\n", id="no end"),
            pytest.param(f"{END}\n{BEGIN}\nours\nforeign\n", id="the end comes first"),
            pytest.param(f"{BEGIN}\nours\n{END} \nforeign\n", id="a blank after the end"),
            pytest.param(f"{BEGIN}\nours\n{END}of it\nforeign\n", id="a longer end"),
        ],
    )
    def test_without_its_end_is_refused(self, present: str) -> None:
        """Where the block ends cannot be told, so nothing is written; the way out is said."""
        with pytest.raises(Refused, match="a beginning and no end") as caught:
            block_of(present)

        assert caught.value.host == "gateway"
        assert END in caught.value.todo

    @pytest.mark.parametrize(
        ("present", "wanted"),
        [
            (f"a\r\n{BEGIN}\r\nold\r\n{END}\r\nb\r\n", f"a\r\n{BLOCK}b\r\n"),
            (f"a\n{BEGIN}\r\nold\n{END}\nb\n", f"a\n{BLOCK}b\n"),
        ],
    )
    def test_with_changed_line_ends_is_ours(self, present: str, wanted: str) -> None:
        """A block whose line ends an editor changed is replaced; there is never a second one."""
        assert wanted == block_of(present)

    @pytest.mark.parametrize("kept", ["", "a\n", "a", "a\nb\n", "a\r\n"])
    def test_empty_block_is_removed(self, kept: str) -> None:
        """With nothing to say there is no block, and what was there before is there again."""
        whole = with_block(kept, "ours\n")

        assert kept == with_block(whole, "").removesuffix("" if kept.endswith("\n") else "\n")
        assert with_block(kept, "") == kept

    def test_merging_twice_is_merging_once(self) -> None:
        """A second run finds what the first one wrote."""
        once = block_of("a\nb")

        assert once == block_of(once)

    def test_outside(self) -> None:
        """What is somebody else's can be looked at alone."""
        assert outside_block(f"a\n{OLD_BLOCK}b\n") == "a\nb\n"


class TestFourCases:
    """Absent, different, equal, unreadable."""

    def test_absent(self) -> None:
        """A file that is not there is created, and removed to undo that."""
        facts = RECIPE.read(recorded("traefik-absent")["recipe"])
        (change,) = RECIPE.plan(facts)

        assert facts == FileFacts(None)
        assert done([change]) == [(0, "docker01", "create", "file ~/traefik/traefik.yml")]
        assert (change.before, change.after) == ("", RECIPE.content)
        assert change.undo == "rm ~/traefik/traefik.yml"

    @pytest.mark.parametrize(
        ("file", "present", "backup"),
        [
            (RECIPE, f"{OURS}old\n", "~/.local/state/runbook/backups/traefik.yml.{}"),
            (RULES, "foreign\n", "/var/backups/runbook/rules.{}"),
        ],
    )
    def test_different(self, file: File, present: str, backup: str) -> None:
        """Another content is updated, and the backup that undoes it is named."""
        (change,) = file.plan(FileFacts(present, "0644", "root:root"))

        assert change.action == "update"
        assert (change.before, change.after) == (present, file.declared(present))
        kept = backup.format(sha256(present.encode()).hexdigest()[:12])
        assert change.undo == f"cp -p {kept} {file.path}"

    @pytest.mark.parametrize(
        ("file", "facts"),
        [
            (RECIPE, FileFacts(RECIPE.content, "0644", "gerard:gerard")),
            (RULES, FileFacts(f"a\n{BLOCK}", "0644", "root:root")),
            (RULES, FileFacts(f"a\n{BLOCK}", "0600", "bin:adm")),
        ],
    )
    def test_equal(self, file: File, facts: FileFacts) -> None:
        """Nothing is planned; permissions of somebody else's file are somebody else's too."""
        assert file.plan(facts) == []

    @pytest.mark.parametrize(
        "text",
        [
            "stat: cannot statx 'traefik/traefik.yml': Permission denied\n",
            "0600 root:root\nbase64: traefik/traefik.yml: Permission denied\n",
            "0755 root:root\nbase64: read error: Is a directory\n",
            "",
        ],
    )
    def test_unreadable(self, text: str) -> None:
        """What cannot be read is an error with what came back, never taken for another content."""
        with pytest.raises(Refused, match="cannot be read") as caught:
            RECIPE.read(text)
        assert caught.value.host == "docker01"

    def test_recorded_content(self) -> None:
        """Permissions, owner and content are those of the file."""
        seen = RULES.read(recorded("shorewall-gateway")["file"])

        assert (seen.mode, seen.owner) == ("0644", "root:root")
        assert "DNAT net loc:10.0.0.2:80 tcp 80\n" in (seen.content or "")


class TestWholeFile:
    """A file that is ours from the first to the last line."""

    def test_of_somebody_else_is_refused(self) -> None:
        """It is not replaced, and the line that hands it over is named."""
        with pytest.raises(Refused, match="not written by the runbook") as caught:
            RECIPE.plan(FileFacts("version: '3'\n", "0644", "gerard:gerard"))

        assert caught.value.host == "docker01"
        assert repr(OURS.strip()) in caught.value.todo

    def test_that_was_handed_over_is_replaced(self) -> None:
        """With that first line it counts as ours."""
        assert is_ours(OURS)
        assert len(RECIPE.plan(FileFacts(f"{OURS}version: '3'\n", "0644", "a:a"))) == 1

    def test_may_be_replaced_where_the_site_says_so(self) -> None:
        """``replace_unmanaged`` takes a whole file over, and a block loses what was around it."""
        foreign = FileFacts("foreign\n", "0644", "root:root")
        whole = File("docker01", "/etc/f", "ours\n", replace_unmanaged=True)
        block = File("docker01", "/etc/f", "ours\n", block=True, replace_unmanaged=True)

        assert [c.after for c in (*whole.plan(foreign), *block.plan(foreign))] == [
            "ours\n",
            BLOCK,
        ]

    @pytest.mark.parametrize(
        ("mode", "owner", "before"),
        [("0600", "root:root", "0600 root:root"), ("0644", "gerard:adm", "0644 gerard:adm")],
    )
    def test_permissions_and_owner(self, mode: str, owner: str, before: str) -> None:
        """A file with the right content and other permissions is a change of these alone."""
        file = File("docker01", "/etc/f", OURS)
        (change,) = file.plan(FileFacts(OURS, mode, owner))

        assert (change.before, change.after) == (before, "0644 root:root")

    def test_owner_at_home_is_the_operator(self) -> None:
        """A file below the home belongs to whoever logs in, and that is as it should be."""
        assert RECIPE.plan(FileFacts(RECIPE.content, "0644", "anybody:users")) == []
