"""The report says what was cut, what that left, and what is wrong."""

from __future__ import annotations

from pathlib import Path

from chaos import report

CUT = {
    "key": "1",
    "met": True,
    "state": "drifted",
    "host": "gateway",
    "text": "sh -c 'a | b\nc'",
    "moment": "running",
    "fault": "timeout",
    "status": 1,
    "left": ["gateway configs"],
    "clean": [0],
    "seconds": 31.4,
    "violations": [],
}
BAD = CUT | {
    "key": "2",
    "clean": [3, 0],
    "violations": ["the clean run ended with 3", "left behind: x"],
}


def test_page_counts_and_lists() -> None:
    page = report.page([CUT, BAD, CUT | {"key": "3", "met": False}], seed=5)
    assert "2 cuts by seed 5, 1 with violations; 1 converged in one run. 1 were not met." in page
    assert "- 1 times: left behind\n" in page
    assert "| running | 2 (1 bad) |" in page
    row = (
        "drifted | gateway | `sh -c 'a ¦ b c'` | running | timeout | 1 | gateway configs | 1 | 31 |"
    )
    assert f"| 1 | {row}  |" in page


def test_command_is_shown_without_what_opens_every_script() -> None:
    text = 'sh -s f0 <<< test "$1" = f0 || exit 97\nprintf f0; {\nexec cat /etc/f </dev/null\n}'
    assert "`exec cat /etc/f </dev/null }`" in report.page([CUT | {"text": text}], seed=5)


def test_lines_are_read_back_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    assert report.read(path) == []
    report.append(path, CUT)
    report.append(path, BAD)
    with path.open("a") as file:
        file.write('{"key": "4')
    assert report.read(path) == [CUT, BAD]
