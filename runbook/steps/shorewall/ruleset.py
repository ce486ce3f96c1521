"""A firewall as iptables-save(8) prints it, and which of its live rules are not Shorewall's.

Shorewall empties every table that it loads, so what another program keeps there (fail2ban's chains,
Docker's, a VPN's MASQUERADE) is lost by a reload unless somebody puts it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Chain = tuple[str, str]  # table, name
Ruleset = dict[Chain, list[str]]
"""The lines of each chain: first its declaration with the policy, then its rules, in order."""


def parsed(text: str) -> Ruleset:
    """Return the chains of what iptables-save printed, without counters."""
    rules: Ruleset = {}
    table = ""
    for line in text.split("\n"):  # not splitlines(): a comment may hold U+2028
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            name = line[1:].partition(" ")[0]
            rules[table, name] = [line]
        elif line.startswith("-A "):
            rules[table, line.split(" ", 2)[1]].append(line)
    return rules


def shown(rules: Ruleset) -> str:
    """Return the rules as text, chains in alphabetical order."""
    lines = []
    for table in sorted({table for table, _ in rules}):
        chains = [rules[chain] for chain in sorted(rules) if chain[0] == table]
        lines += [f"*{table}", *(line for chain in chains for line in chain[:1])]
        lines += [line for chain in chains for line in chain[1:]]
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Live:
    """The live rules, told apart.

    Attributes:
        own: What is Shorewall's: in its chains, and what it would load or has loaded.
        kept: For each chain its lines in order, and of each whether it is somebody else's.
    """

    own: Ruleset
    kept: dict[Chain, list[tuple[str, bool]]]

    @property
    def foreign(self) -> Ruleset:
        """Return the lines of others, by chain."""
        found = {
            chain: [line for line, other in lines if other] for chain, lines in self.kept.items()
        }
        return {chain: lines for chain, lines in found.items() if lines}


def told_apart(live: Ruleset, planned: Ruleset, loaded: Ruleset) -> Live:
    """Return which live rules are Shorewall's and which are somebody else's.

    Args:
        live: What the kernel has.
        planned: What Shorewall makes of its files.
        loaded: What Shorewall loaded last.
    """
    own: Ruleset = {}
    kept: dict[Chain, list[tuple[str, bool]]] = {}
    for chain, lines in live.items():
        if chain not in planned and chain not in loaded:
            kept[chain] = [(line, True) for line in lines]
            continue
        foreign = _foreign(lines, planned.get(chain, []), loaded.get(chain, []))
        kept[chain] = [(line, index in foreign) for index, line in enumerate(lines)]
        own[chain] = [line for line, other in kept[chain] if not other]
    return Live(own, kept)


def _foreign(live: Sequence[str], planned: Sequence[str], loaded: Sequence[str]) -> set[int]:
    # A line that is planned and missing in its place has been moved: that is no line of others.
    as_planned, as_loaded = _common(live, planned), _common(live, loaded)
    missing = Counter(planned) - Counter(live[index] for index in as_planned)
    rest = [n for n in range(1, len(live)) if n not in as_planned and n not in as_loaded]
    return {index for index in rest if not _taken(missing, live[index])}


def _common(one: Sequence[str], other: Sequence[str]) -> set[int]:
    """Return where in the first the lines stand that both have, in the same order."""
    for all_of, within in ((other, one), (one, other)):
        found = _each_in_turn(all_of, within)
        if found is not None:
            return set(found) if within is one else set(range(len(one)))
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return {
        index
        for block in matcher.get_matching_blocks()
        for index in range(block.a, block.a + block.size)
    }


def _each_in_turn(lines: Sequence[str], within: Sequence[str]) -> list[int] | None:
    """Return where the lines stand among others, or ``None`` where not all do, in this order."""
    found: list[int] = []
    for line in lines:
        try:
            found.append(within.index(line, found[-1] + 1 if found else 0))
        except ValueError:
            return None
    return found


def _taken(counts: Counter[str], line: str) -> bool:
    counts[line] -= 1
    return counts[line] >= 0


def with_foreign(present: Ruleset, planned: Ruleset, live: Live) -> Ruleset:
    """Return rules with what others had among the live ones, each in its place.

    Args:
        present: The rules to put them into: Shorewall's, and what others have put back already.
        planned: Those of them that are Shorewall's.
        live: The rules before, told apart.
    """
    tables = {table for table, _ in planned}
    result = {chain: list(lines) for chain, lines in present.items()}
    for chain, lines in live.kept.items():
        if chain in result:
            result[chain] = _placed(result[chain], planned.get(chain, []), lines)
        elif chain[0] in tables and chain not in live.own:
            result[chain] = [line for line, _ in lines]
    return result


def homeless(planned: Ruleset, live: Live) -> Ruleset:
    """Return the lines of others in chains that Shorewall had and no longer has."""
    return {c: lines for c, lines in live.foreign.items() if c in live.own and c not in planned}


def _placed(
    present: list[str], planned: Sequence[str], before: Sequence[tuple[str, bool]]
) -> list[str]:
    """Return a chain with the missing lines of others: each behind the line that it was behind.

    What stood at the end stays at the end; where nothing is left of Shorewall's own line before it,
    the one before that counts, and at last the head of the chain.
    """
    own = _common(present, planned)
    there = Counter(line for index, line in enumerate(present) if index not in own)
    last_own = max((n for n, (_, other) in enumerate(before) if not other), default=0)
    result, at = list(present), 0
    for index, (line, other) in enumerate(before):
        if not other or _taken(there, line):
            at = _behind(result, line, at)
        else:
            at = len(result) - 1 if index > last_own > 0 else at
            result.insert(at + 1, line)
            at += 1
    return result


def _behind(lines: list[str], line: str, at: int) -> int:
    return lines.index(line, at) if line in lines[at:] else at


def insertions(present: Ruleset, wanted: Ruleset) -> str:
    """Return what ``iptables-restore --noflush`` reads to add the lines that are missing."""
    text = ""
    for table in sorted({table for table, _ in wanted}):
        declared, added = [], []
        for (of, name), lines in wanted.items():
            there = present.get((of, name))
            if of == table and there is None:
                declared.append(f":{name} - [0:0]")
                added += lines[1:]
            elif of == table and there is not None:
                added += _inserted(name, there, lines)
        if declared or added:
            text += "".join(f"{line}\n" for line in [f"*{table}", *declared, *added, "COMMIT"])
    return text


def _inserted(name: str, present: Sequence[str], wanted: Sequence[str]) -> Iterable[str]:
    there = _common(wanted, present)
    for position, line in enumerate(wanted):
        if position not in there:
            yield f"-I {name} {position} {line.removeprefix(f'-A {name} ')}"


def names(foreign: Ruleset, planned: Ruleset) -> list[str]:
    """Return what a reload alone would lose, each in one line; a chain without its content."""
    tables = {table for table, _ in planned}
    found = []
    for (table, name), lines in sorted(foreign.items()):
        if table not in tables:
            continue
        if lines[0].startswith(":"):
            found.append(f"{table} chain {name}")
        else:
            found += [f"{table} {line.removeprefix('-A ')}" for line in lines]
    return found
