"""Finding and comparing runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import (
    ALICE,
    BOB,
    CONTEXT,
    RUNS,
    archive_in,
    edit,
    run,
    signer,
)

from runbook.errors import BadInput
from runbook.records.archive.archive import Archive
from runbook.records.archive.statement import Context
from runbook.records.reading import compare, search
from runbook.records.reading.compare import Difference
from runbook.records.reading.search import Filter

FIRST, SECOND, LAST = RUNS
NEXT, AFTER_NEXT = "20261124T090000Z-lab-00000d", "20261125T090000Z-lab-00000e"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """The archive of three runs, and a failed one of another ticket on the next day."""
    records = archive_in(tmp_path)
    context = Context(ticket="INC-9", reason='a "quoted" reason')
    started = {"started": "2026-11-24T09:00:00.000Z", "finished": "2026-11-24T09:00:09.000Z"}
    run(Archive(records, signer(BOB)), NEXT, context=context, status="failed", steps=[], **started)
    return records


def ids(found: list[search.Run]) -> list[str]:
    return [run.run_id for run in found]


FORGED = {
    "empty": b"",
    "not UTF-8": b'{"a": "\xff"}',
    "a list": b"[]",
    "nested too deep": b"[" * 100_000,
    "without its keys": b"{}",
}


def forge(path: Path, key: str, value: object) -> None:
    """Have a statement say something else of one thing."""
    told = json.loads(path.read_text())
    told["predicate"][key] = value
    path.write_text(json.dumps(told))


class TestSelect:
    """Runs by what they were."""

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            (Filter(), [NEXT, LAST, SECOND, FIRST]),
            (Filter(operator=BOB), [NEXT, SECOND]),
            (Filter(ticket="INC-9"), [NEXT]),
            (Filter(outcome="changed"), [LAST, SECOND, FIRST]),
            (Filter(site="elsewhere"), []),
            (Filter(mode="apply", operator=ALICE), [LAST, FIRST]),
            (Filter(host="docker03", operator=ALICE), [LAST, FIRST]),
            (Filter(host="docker0"), []),
            (Filter(since="2026-11-24"), [NEXT]),
            (Filter(until="2026-11-23"), [LAST, SECOND, FIRST]),
            (Filter(since="2026-11-24T09:00:00Z", until="2026-11-24"), [NEXT]),
            (Filter(since="2026-11-24T09:00:01Z"), []),
        ],
    )
    def test_filter(self, records: Path, wanted: Filter, expected: list[str]) -> None:
        """Each part of a filter leaves out what it does not name; the newest comes first."""
        assert ids(search.select(records, wanted)) == expected

    def test_day(self) -> None:
        """A day is written like one."""
        with pytest.raises(BadInput, match="is no day or time"):
            Filter(since="yesterday")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("state_after_sha256", 10**40),
            ("signer", "\ud800"),
            ("reason", ["a"]),
            ("parameters", {"steps": [1]}),
            ("operator", {"principal": "a", "os_user": "\ud800"}),
        ],
    )
    def test_forged_value(self, records: Path, key: str, value: object) -> None:
        """A run whose statement says what no run's does is left out; the others are found."""
        forge(records / NEXT / "statement.json", key, value)
        assert ids(search.select(records)) == [LAST, SECOND, FIRST]

    @pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
    def test_forged_statement(self, records: Path, forged: bytes) -> None:
        """So is one whose statement is none."""
        (records / NEXT / "statement.json").write_bytes(forged)
        assert ids(search.select(records)) == [LAST, SECOND, FIRST]

    def test_not_an_archive(self, tmp_path: Path) -> None:
        """A folder without a ledger is none."""
        with pytest.raises(BadInput, match="is not an archive"):
            search.select(tmp_path)


class TestSearch:
    """Runs by words."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["INC-9"], [NEXT]),
            (["inc"], [NEXT]),
            (["bob@example"], [NEXT, SECOND]),
            (["frontend", "bob"], [SECOND]),
            (['"quoted"'], [NEXT]),
            (["overlay network"], [FIRST, LAST, SECOND]),
            (["docker03"], [NEXT, FIRST, LAST, SECOND]),
            (["OR"], []),
            (["absent*"], []),
        ],
    )
    def test_words(self, records: Path, words: list[str], expected: list[str]) -> None:
        """Every word must be there, as written or as the beginning of one; no syntax is needed."""
        assert sorted(ids(search.search(records, words))) == sorted(expected)

    def test_nothing(self, records: Path) -> None:
        """Without a word there is nothing to search for."""
        with pytest.raises(BadInput, match="no words"):
            search.search(records, ["", " "])


class TestFind:
    """One run by a part of its id."""

    def test_found(self, records: Path) -> None:
        """The whole id, its beginning, its end and the word last name a run."""
        for name in (NEXT, "20261124", "00000d", "last"):
            assert search.find(records, name).run_id == NEXT

    def test_ambiguous(self, records: Path) -> None:
        """Several runs, or none, are refused and named."""
        with pytest.raises(BadInput, match="names 3 runs: 20261123T130001Z"):
            search.find(records, "20261123")
        with pytest.raises(BadInput, match="no run is called"):
            search.find(records, "2025%")


class TestIndex:
    """The cache behind it."""

    @pytest.mark.parametrize(
        "damage", [Path.unlink, lambda path: path.write_bytes(b"not a database at all" * 200)]
    )
    def test_rebuilt(self, records: Path, damage: Callable[[Path], None]) -> None:
        """Gone or damaged, it is built anew and says the same."""
        before = search.select(records)
        damage(records / ".index.sqlite")

        assert search.select(records) == before

    def test_follows_the_folder(self, records: Path) -> None:
        """Runs that come and go come and go."""
        search.select(records)
        shutil.rmtree(records / LAST)
        run(Archive(records, signer(BOB)), AFTER_NEXT)

        assert set(ids(search.select(records))) == {AFTER_NEXT, NEXT, SECOND, FIRST}
        assert LAST not in ids(search.search(records, ["network"]))

    def test_copies_and_damage(self, records: Path) -> None:
        """A copied or damaged folder is no run here; verify names it."""
        shutil.copytree(records / FIRST, records / "copy")
        edit(records / LAST / "statement.json", '"predicate"', '"predicament"')

        assert ids(search.select(records)) == [NEXT, SECOND, FIRST]

    def test_read_only(self, records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An archive that cannot be written is searched all the same."""
        monkeypatch.setattr("runbook.records.reading.index.os.access", lambda *_: False)

        assert ids(search.search(records, ["INC-9"])) == [NEXT]
        assert not (records / ".index.sqlite").exists()


def snapshot(name: str, value: object) -> Callable[[Path], None]:
    """Return what replaces a snapshot before a run is closed."""
    return lambda folder: ((folder / name).write_text(json.dumps(value)) and None) or None


class TestDiff:
    """Two runs side by side."""

    @pytest.mark.parametrize(
        ("name", "forged"),
        [
            *((name, forged) for name in ("results.json", "statement.json") for forged in FORGED),
            ("before.json", "empty"),
            ("before.json", "nested too deep"),
            ("before.json", "a host of another shape"),
        ],
    )
    def test_forged(self, records: Path, name: str, forged: str) -> None:
        """A record that cannot be read is refused by its name, in one line and what to do."""
        (records / NEXT / name).write_bytes(FORGED.get(forged, b'{"docker01": 5}'))
        with pytest.raises(BadInput, match=rf"^{NEXT} cannot be read: ") as refused:
            compare.diff(records / FIRST, records / NEXT)
        assert "\n" not in refused.value.message
        assert f"records verify {NEXT}" in refused.value.todo

    def test_equal(self, records: Path) -> None:
        """Two runs with the same facts do not differ, whenever they ran."""
        assert compare.diff(records / FIRST, records / LAST) == ()

    def test_facts(self, records: Path) -> None:
        """What differs is named by fact, with both values; notebooks do not count."""
        found = {d.fact: (d.left, d.right) for d in compare.diff(records / FIRST, records / NEXT)}

        assert found["ticket"] == ("CHG-7", "INC-9")
        assert found["operator"] == (ALICE, BOB)
        assert found["counts/changed"] == (1, 0)
        assert found["results/network/status"] == ("changed", None)
        assert not [fact for fact in found if "ipynb" in fact or "started" in fact]

    def test_snapshots(self, records: Path) -> None:
        """Each leaf of a snapshot is a fact; what one run did not look at differs in nothing."""
        other = {"docker01": {"network frontend": {"driver": "overlay", "scope": "local"}}}
        run(
            Archive(records, signer(ALICE)),
            AFTER_NEXT,
            before_close=snapshot("after.json", other),
        )
        found = compare.diff(records / FIRST, records / AFTER_NEXT)

        assert Difference("after/docker01/network frontend/scope", "swarm", "local") in found
        assert not [d.fact for d in found if d.fact.startswith("after/gateway")]


class TestDrift:
    """What changed between runs."""

    def test_none(self, tmp_path: Path) -> None:
        """A run that finds what the one before left finds no drift."""
        archive = Archive(tmp_path)
        run(archive, FIRST)
        run(
            archive, SECOND, before_close=lambda f: shutil.copy(f / "after.json", f / "before.json")
        )  # type: ignore[arg-type,return-value]

        assert compare.drift(tmp_path) == ()

    def test_found(self, tmp_path: Path) -> None:
        """What a run finds otherwise than the one before left it was changed by neither."""
        archive = Archive(tmp_path)
        run(archive, FIRST)
        run(archive, SECOND)
        (drift,) = compare.drift(tmp_path)

        assert (drift.site, drift.left_by, drift.found_by) == ("lab", FIRST, SECOND)
        assert [difference.fact for difference in drift.differences] == [
            "docker01/network frontend/driver",
            "docker01/network frontend/exists",
            "docker01/network frontend/scope",
        ]

    def test_nested_too_deep(self, tmp_path: Path) -> None:
        """What no run writes is as if it had seen nothing; verify names it."""
        archive = Archive(tmp_path)
        run(archive, FIRST)
        run(archive, SECOND)
        deep = '{"a":' * 700 + "1" + "}" * 700
        for name in (FIRST, SECOND):
            for path in (tmp_path / name / "before.json", tmp_path / name / "after.json"):
                path.chmod(0o644)
                path.write_text('{"docker01":{"network frontend":' + deep + "}}")

        assert compare.drift(tmp_path) == ()

    def test_only_what_both_saw(self, tmp_path: Path) -> None:
        """A run of one step says nothing of the others, and does not make them forgotten."""
        archive = Archive(tmp_path)
        run(archive, FIRST)
        part = {"gateway": {"zone net": "eth0"}}

        def only_gateway(folder: Path) -> None:
            for name in ("before.json", "after.json"):
                (folder / name).write_text(json.dumps(part))

        run(archive, SECOND, before_close=only_gateway)
        assert compare.drift(tmp_path) == ()
        run(archive, LAST)
        (drift,) = compare.drift(tmp_path, Filter(site="lab"))
        assert drift.found_by == LAST
        assert "docker01/network frontend/driver" in [d.fact for d in drift.differences]

    def test_other_sites(self, tmp_path: Path) -> None:
        """Sites do not mix."""
        archive = Archive(tmp_path)
        run(archive, FIRST, context=CONTEXT)
        run(archive, SECOND, context=CONTEXT, site="other")

        assert compare.drift(tmp_path) == ()
