"""What a run sends has the same name in every run."""

from __future__ import annotations

import pytest
from chaos.inject.naming import Numbering, lasting


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("POST /configs/kpj8kxp6qn5fgf8cyuwxgrq1u/update?version=39", "POST /configs/"
         "fkv4foqi6yeuav1e0bzenmd25/update?version=7"),
        (r"printf '\n76fc52cbe418a626 %s'", r"printf '\nd8315aa23cb85e34 %s'"),
        ("run 20261128T093256Z-chaos-4ad434 began", "run 20261128T101112Z-chaos-00ff12 began"),
        ("at 2026-11-28T09:33:43.584Z", "at 2026-11-28T10:00:00.000Z"),
    ],
)  # fmt: skip
def test_what_differs_from_run_to_run_is_no_part_of_it(one: str, other: str) -> None:
    assert one != other
    assert lasting(one) == lasting(other)


def test_what_is_declared_is_a_part_of_it() -> None:
    assert lasting("DNAT net loc:10.0.0.2:80 tcp 80") != lasting("DNAT net loc:10.0.0.3:80 tcp 80")
    assert lasting("cat /etc/keepalived/keepalived.conf") == "cat /etc/keepalived/keepalived.conf"


def test_number_counts_the_same_on_one_host() -> None:
    numbering = Numbering()
    sent = [("a", "hostname"), ("b", "hostname"), ("a", "date"), ("a", "hostname")]
    assert [numbering.name(*each).number for each in sent] == [0, 0, 0, 1]
