"""Secrets: references, what is shown of them, and what the process knows of them."""

from __future__ import annotations

import copy
import html
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.formatters import DisplayFormatter

from runbook.errors import BadInput
from runbook.masking import secret as module
from runbook.masking.secret import Registry, Secret

VALUE = "correct-horse-battery"
MASK = "[masked:edge.auth]"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What the process knows, empty at first."""
    registry = Registry()
    monkeypatch.setattr(module, "KNOWN", registry)
    return registry


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Secret:
    """A secret in the environment."""
    monkeypatch.setenv("EDGE_AUTH", VALUE)
    return Secret("edge.auth", "env:EDGE_AUTH")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A file with a secret that only its owner can read."""
    path = tmp_path / "auth"
    path.write_text(f"{VALUE}\n")
    path.chmod(0o600)
    return path


class TestShown:
    """What anybody sees of a secret."""

    @pytest.mark.parametrize(
        "show",
        [
            str,
            repr,
            ascii,
            format,
            html.escape,
            "{:>5}".format,
            lambda secret: f"{secret!s}",
            lambda secret: "%s" % secret,  # noqa: UP031
            lambda secret: json.loads(json.dumps(secret)),
            lambda secret: pickle.loads(pickle.dumps(secret)),  # noqa: S301
            lambda secret: secret.encode().decode(),
            lambda secret: "".join([secret]),
        ],
    )
    def test_is_its_name(self, secret: Secret, show: Callable[[Secret], str]) -> None:
        """Every form of text is the placeholder, also after it was revealed."""
        secret.reveal()

        assert show(secret) == MASK

    def test_in_a_notebook(self, secret: Secret) -> None:
        """Text and HTML of a cell's result are the placeholder."""
        data, _metadata = DisplayFormatter().format(secret)

        assert data == {"text/plain": MASK, "text/html": MASK}

    def test_holds_no_value(self, secret: Secret) -> None:
        """Neither the object nor its copies keep what they revealed."""
        secret.reveal()

        assert not hasattr(secret, "__dict__")
        assert VALUE not in str([getattr(secret, name) for name in Secret.__slots__])
        assert copy.deepcopy({"a": secret})["a"].reveal() == VALUE
        assert copy.copy(secret) is secret


class TestReveal:
    """Where values come from."""

    def test_is_known_before_it_is_used(self, secret: Secret, known: Registry) -> None:
        """The value is masked from the moment in which anybody has it."""
        assert known.values == ()
        assert secret.reveal() == VALUE
        assert known.values == ((VALUE, "edge.auth"),)

    def test_file(self, kept: Path) -> None:
        """The file's text without its line end; relative to a folder."""
        assert Secret("a", f"file:{kept.name}", folder=kept.parent).reveal() == VALUE

    def test_file_that_others_can_read(self, kept: Path) -> None:
        """It is refused, and the message says how to mend it."""
        kept.chmod(0o640)
        with pytest.raises(BadInput, match="mode 0640") as caught:
            Secret("a", f"file:{kept}").reveal()

        assert caught.value.todo == f"chmod 600 {kept}"

    @pytest.mark.parametrize(
        "reference", [VALUE, "", "env:", "vault:x", "file: x", f"{VALUE}\nenv:A"]
    )
    def test_no_reference(self, reference: str) -> None:
        """What is no reference may be the value, so it is not repeated."""
        with pytest.raises(BadInput) as caught:
            Secret("edge.auth", reference)

        assert "never by its value" in str(caught.value)
        assert VALUE not in str(caught.value)

    def test_name_that_cannot_be_shown(self) -> None:
        """A name is part of what is shown, so it has no brackets and no HTML."""
        with pytest.raises(ValueError, match="not a secret's name"):
            Secret("<b>", "env:A")


class TestRegistry:
    """The values that a process knows."""

    def test_short_values_are_refused(self, known: Registry) -> None:
        """A value under 8 characters is part of other words."""
        assert known.add("a", "admin12") is False
        assert known.add("a", "admin123") is True
        assert [value for value, _ in known.values] == ["admin123"]

    def test_listeners_hear_all(self, known: Registry) -> None:
        """A listener is told what is known and what becomes known, once."""
        heard: list[tuple[str, str]] = []
        known.add("early", VALUE)
        known.listen(lambda *told: heard.append(told))
        known.add("late", VALUE[::-1])
        known.add("late", VALUE[::-1])

        assert heard == [("early", VALUE), ("late", VALUE[::-1])]
        assert len(known) == 2

    def test_many_threads(self, known: Registry) -> None:
        """Nothing is lost when many reveal at once."""

        def add(thread: int) -> None:
            for number in range(100):
                known.add("n", f"value-{thread}-{number}")

        threads = [threading.Thread(target=add, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(known) == len(known.values) == 800
