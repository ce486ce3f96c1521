"""Masking: known values in every form, unknown ones by rule, and what must stay readable."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import random
import shlex
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from runbook.masking.gate import Leak, gate
from runbook.masking.redact import Masker, strip_ansi
from runbook.masking.secret import Registry

CANARY = "Tr0ub4dor&3 'x' \"y\""
DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def known() -> Registry:
    """What is known: one value with every awkward character."""
    registry = Registry()
    registry.add("canary", CANARY)
    return registry


@pytest.fixture
def masker(known: Registry) -> Masker:
    """A masker of the canary."""
    return Masker(known)


def b64(text: str) -> str:
    """Return a text in base64."""
    return base64.b64encode(text.encode()).decode()


def go(value: str) -> str:
    """Return JSON as Go writes it."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


CAUGHT: dict[str, Callable[[str], str]] = {
    "raw": lambda v: f"login with {v}, please",
    "json": json.dumps,
    "json, not ascii": lambda v: json.dumps({"a": [v]}, ensure_ascii=False),
    "json in json": lambda v: json.dumps(json.dumps(v)),
    "json of go": go,
    "repr": repr,
    "repr of a text around it": lambda v: repr(f"it's {v}"),
    "repr of both quotes": lambda v: repr(f'it\'s "{v}"'),
    "repr of a mapping": lambda v: repr({"a": v}),
    "repr of bytes": lambda v: repr(v.encode()),
    "url": quote,
    "url, all quoted": lambda v: quote(v, safe=""),
    "url, form": quote_plus,
    "html": html.escape,
    "html, text only": lambda v: html.escape(v, quote=False),
    "html of markupsafe": lambda v: (
        html.escape(v).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    ),
    "html in json": lambda v: json.dumps(html.escape(v)),
    "shell": shlex.quote,
    "bash tracing": lambda v: "'" + v.replace("'", "'\\''") + "'",
    "yaml": lambda v: "'" + v.replace("'", "''") + "'",
    "compose": lambda v: v.replace("$", "$$"),
    "hex": lambda v: v.encode().hex(),
    "HEX": lambda v: v.encode().hex().upper(),
    "reversed": lambda v: v[::-1],
    "coloured": lambda v: f"\x1b[31m{v[:4]}\x1b[0m\x1b[1;32m{v[4:]}\x1b[0m",
    "coloured in json": lambda v: json.dumps(f"\x1b[31m{v[:4]}\x1b[0m{v[4:]}"),
    "hyperlink within, in json": lambda v: json.dumps(f"{v[:5]}\x1b]8;;http://x\x1b\\{v[5:]}"),
    "hyperlink within": lambda v: f"{v[:5]}\x1b]8;;http://x\x1b\\{v[5:]}",
}
BASE64: dict[str, Callable[[str], str]] = {
    "base64": b64,
    "base64, one before": lambda v: b64(f"u{v}"),
    "base64, two before": lambda v: b64(f"u:{v}\n"),
    "base64 of a URL": lambda v: b64(v).replace("+", "-").replace("/", "_"),
}
NOT_CAUGHT: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "spaced": " ".join,
    "truncated": lambda v: v[:-3],
    "compressed": lambda v: gzip.compress(v.encode(), mtime=0).hex(),
    "hashed": lambda v: hashlib.sha256(v.encode()).hexdigest(),
    "hex with colons": lambda v: v.encode().hex(":"),
    "base64 in lines": lambda v: "\n".join(b64(v)[i : i + 8] for i in range(0, 80, 8)),
    "json three times": lambda v: json.dumps(json.dumps(json.dumps(f'"{v}'))),
}


def values(count: int) -> Iterator[str]:
    """Yield random secrets with awkward characters, the same in every run of the tests."""
    draw = random.Random(20261123)  # noqa: S311
    alphabet = string.ascii_letters + string.digits + string.punctuation + " éß€"
    for _ in range(count):
        text = "".join(draw.choices(alphabet, k=draw.randint(8, 40)))
        yield f"a{text}{draw.choice(alphabet[:62])}"


class TestKnownValues:
    """300 random secrets in every form."""

    @pytest.mark.parametrize("form", CAUGHT)
    def test_is_caught(self, form: str) -> None:
        """Nothing of the value is left but what stood around it."""
        for value in values(300):
            known = Registry()
            known.add("canary", value)
            masked = Masker(known).mask(CAUGHT[form](value))

            assert "[masked:canary]" in masked, value
            assert CAUGHT[form](value).strip("\"'") not in masked
            assert value not in strip_ansi(masked)

    @pytest.mark.parametrize("form", BASE64)
    def test_base64_leaves_its_edges(self, form: str) -> None:
        """At most three characters remain on either side, beyond those of what is before it."""
        for value in values(300):
            known = Registry()
            known.add("canary", value)
            left = Masker(known).mask(BASE64[form](value)).split("[masked:canary]")

            assert len(left) == 2, value
            assert max(map(len, left)) <= 6

    @pytest.mark.parametrize("form", NOT_CAUGHT)
    def test_known_limits(self, form: str) -> None:
        """These forms pass: whoever finds a way to catch one moves it up."""
        passed = 0
        for value in values(300):
            known = Registry()
            known.add("canary", value)
            written = NOT_CAUGHT[form](value)
            passed += Masker(known).mask(written) == written

        assert passed > 150

    def test_lines_of_a_long_value(self) -> None:
        """Each line of 8 or more characters is masked by itself, and PEM's own lines are not."""
        key = f"-----BEGIN OURS-----\n{'k' * 40}\nshort\n{'l' * 40}\n-----END OURS-----"
        known = Registry()
        known.add("key", key)
        masker = Masker(known)

        assert masker.mask(f"+{'l' * 40}\n") == "+[masked:key]\n"
        assert masker.mask(key) == "[masked:key]"
        assert masker.mask("-----BEGIN OURS-----\nshort") == "-----BEGIN OURS-----\nshort"

    def test_short_values(self) -> None:
        """A value under 8 characters is masked by its key alone."""
        known = Registry()
        known.add("auth_pass", "admin")
        masker = Masker(known)

        assert masker.mask("administrator") == "administrator"
        assert masker.mask("auth_pass admin") == "auth_pass [masked:auth_pass]"
        assert masker.mask_json({"auth_pass": "admin"}) == {"auth_pass": "[masked:auth_pass]"}

    def test_the_longer_value_comes_first(self) -> None:
        """A value within another one leaves no rest of it."""
        known = Registry()
        known.add("short", "hunter2hunter2")
        known.add("long", "xx-hunter2hunter2-yy")

        assert Masker(known).mask("xx-hunter2hunter2-yy") == "[masked:long]"

    def test_what_becomes_known_later(self, known: Registry, masker: Masker) -> None:
        """A value is masked from the moment in which it is known."""
        assert masker.mask("later-on-known") == "later-on-known"
        known.add("late", "later-on-known")
        assert masker.mask("later-on-known") == "[masked:late]"

    def test_two_runs_do_not_mix(self) -> None:
        """A masker knows the values of its own registry only."""
        one, other = Registry(), Registry()
        one.add("one", "value-of-one")
        other.add("other", "value-of-other")

        assert Masker(one).mask("value-of-other") == "value-of-other"
        assert Masker(other).mask("value-of-other") == "[masked:other]"

    def test_colours_stay_where_they_hide_nothing(self, masker: Masker) -> None:
        """A coloured text keeps its colours, around a masked value too."""
        assert masker.mask("\x1b[31mred\x1b[0m") == "\x1b[31mred\x1b[0m"
        assert masker.mask(f"\x1b[31m{CANARY}\x1b[0m") == "\x1b[31m[masked:canary]\x1b[0m"


HASH = "a" * 53
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIq\nAAAA\n-----END EC PRIVATE KEY-----"
UNKNOWN = {
    f"docker swarm join --token SWMTKN-1-{'3ab' * 16}-{'8vx' * 8} 10.0.0.11:2377": "swarm-token",
    f"SWMKEY-1-{'7c37Cc86' * 5}": "swarm-key",
    f"x{PEM}y": "private-key",
    json.dumps(PEM): "private-key",
    f"admin:$2y$05${HASH}": "password-hash",
    f"- traefik...users=admin:$$2y$$05$${HASH}": "password-hash",
    f"admin:$apr1$abcdefgh${'b' * 22}": "password-hash",
    f"root:$6$rounds=5000$saltsalt${'c' * 86}:19000:0": "password-hash",
    f"root:$y$j9T$saltsaltsalt${'d' * 43}:19000:0": "password-hash",
    "  auth_pass hunter2\n}": "auth_pass",
    "git clone https://bob:hunter2@example.org/x.git": "url-password",
    f"https://{'ghp' * 9}@example.org/x.git": "url-token",
    "curl -H 'Authorization: Bearer hunter2'": "authorization",
    f"Authorization: Basic {b64('bob:hunter2')}": "authorization",
    "sent Bearer abcdef0123456789": "authorization",
    json.dumps({"auths": {"r": {"auth": b64("bob:hunter2")}}}): "docker-auth",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{'s' * 43}": "jwt",
    "AKIA" + "IOSFODNN7EXAMPLE": "aws-key",
    "aws_secret_access_key = hunter2/hunter2": "aws_secret_access_key",
    "DB_PASSWORD=hunter2": "DB_PASSWORD",
    'password: "hun\\"ter2"': "password",
    'token: str = "hunter2"': "token",
    "{'api_key': 'hunter2'}": "api_key",
    "{&quot;password&quot;: &quot;hunter2&quot;}": "password",
    json.dumps(json.dumps({"client_secret": "hunter2"})): "client_secret",
    'password="cut off hunter2': "password",
    "mysql --password hunter2 -u root": "option",
}


class TestUnknownValues:
    """Secrets that nobody told us of."""

    @pytest.mark.parametrize("text", UNKNOWN)
    def test_is_caught(self, text: str) -> None:
        """Each is replaced by the name of its kind, and by nothing else when masked again."""
        masker = Masker(Registry())
        masked = masker.mask(text)

        assert f"[masked:{UNKNOWN[text]}]" in masked
        assert "hunter2" not in masked
        assert b64("bob:hunter2") not in masked
        assert HASH not in masked
        assert "MHcC" not in masked
        assert masker.mask(masked) == masked

    def test_a_key_ends_where_it_ends(self) -> None:
        """Text after a private key stays, even where the key's end was cut off."""
        cut = PEM.rpartition("\n")[0].replace("AAAA", "A" * 64)
        masker = Masker(Registry())

        assert masker.mask(f"{PEM}\nthe rest {PEM}!") == (
            "[masked:private-key]\nthe rest [masked:private-key]!"
        )
        assert masker.mask(f"{cut}\n\nAnd then all is well again.").endswith(
            "And then all is well again."
        )

    @pytest.mark.parametrize(
        "text",
        [
            '"Secrets": [{"File": {"Name": "users"}, "SecretID": "x1y2", "SecretName": "users"}]',
            "secrets:\n  - traefik_users\n",
            "POSTGRES_PASSWORD_FILE=/run/secrets/db",
            "users_secret: traefik_users",
            "token_name=x token_version=3 secret_names: a",
            "password: env:DB_PASSWORD",
            "DB_URL=postgres://app:${DB_PASSWORD}@db/app",
            "password: None, token: null",
            "def login(token: str) -> None:",
            "sudo: a password is required",
            "PasswordAuthentication no",
            "deploy ALL=(ALL:ALL) NOPASSWD: ALL",
            "Basic authentication guards it",
            "docker service create --secret users",
            "ssh://root@10.0.0.11:22",
            "image traefik:v3.7@sha256:" + "9f86d081" * 8,
            "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU docker01 (ED25519)",
            "ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS\n"
            "ixq1q7pcg9ze2qi7nxh7lbfrk *   docker01   Ready     Active         Leader\n",
            "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        ],
    )
    def test_stays_readable(self, text: str) -> None:
        """Names, versions, references, digests and tables are what auditors need."""
        assert Masker(Registry()).mask(text) == text

    def test_recorded_output_stays_readable(self) -> None:
        """Nothing in what the lab's hosts answered is taken for a secret."""
        masker = Masker(Registry())
        recorded = sorted((DATA / "recorded").iterdir())

        assert len(recorded) > 20
        for path in recorded:
            assert masker.mask(path.read_text()) == path.read_text()


class TestJson:
    """Plain values: journals, transcripts, results, plans."""

    def test_texts_keys_and_numbers(self) -> None:
        """Masked wherever they are, and the rest keeps its type."""
        known = Registry()
        known.add("n", "1234567890")
        value = {"a": [1234567890, True, None, 1.5], "x 1234567890": ("1234567890", {"b": 2})}

        assert Masker(known).mask_json(value) == {
            "a": ["[masked:n]", True, None, 1.5],
            "x [masked:n]": ["[masked:n]", {"b": 2}],
        }

    def test_keys_that_become_the_same(self, masker: Masker) -> None:
        """Neither entry is lost."""
        masked = masker.mask_json({CANARY: 1, html.escape(CANARY): 2})

        assert masked == {"[masked:canary]": 1, "[masked:canary]'": 2}

    def test_by_key(self, masker: Masker) -> None:
        """A key makes secrets of texts and numbers, in lists too, and not of names or objects."""
        value = {
            "password": "a",
            "DB_PASS": 7,
            "api_tokens": ["a", "b"],
            "auth": "dXNlcjpwYXNz",
            "SecretName": "users",
            "JoinTokens": {"Version": 3},
            "has_password": True,
            "token": None,
            "secret": "",
        }

        assert masker.mask_json(value) == value | {
            "password": "[masked:password]",
            "DB_PASS": "[masked:DB_PASS]",
            "api_tokens": ["[masked:api_tokens]"] * 2,
            "auth": "[masked:docker-auth]",
        }

    def test_command_lines(self, masker: Masker) -> None:
        """The word after an option that asks for a secret is masked."""
        argv = ["mysql", "--password", "a", "--user", "root", "--secret", "users"]

        assert masker.mask_json({"argv": argv})["argv"] == [
            *argv[:2],
            "[masked:option]",
            *argv[3:],
        ]

    def test_is_not_changed_itself(self, masker: Masker) -> None:
        """What is masked is a copy."""
        value = {"a": [CANARY]}
        masker.mask_json(value)

        assert value == {"a": [CANARY]}


class TestBytes:
    """What another program wrote."""

    def test_every_other_byte_stays(self, masker: Masker) -> None:
        """Line ends and what is no UTF-8 are kept."""
        assert masker.mask_bytes(b"\xff " + CANARY.encode() + b"\r\n") == (
            b"\xff [masked:canary]\r\n"
        )


class TestGate:
    """The last look before a record is published."""

    @pytest.fixture
    def record(self, tmp_path: Path) -> Path:
        """A record without secrets."""
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "00.ipynb").write_text('{"cells": [], "metadata": {}}')
        (tmp_path / "results.json").write_text('{"password": null, "token": "[masked:token]"}')
        return tmp_path

    def test_clean(self, record: Path, masker: Masker) -> None:
        """Nothing is found in what is clean, placeholders included."""
        assert gate(record, masker) == ()

    @pytest.mark.parametrize("form", [*CAUGHT, *BASE64])
    def test_planted(self, record: Path, masker: Masker, form: str) -> None:
        """A planted miss is found in every form, and only its file and name are said."""
        write = (CAUGHT | BASE64)[form]
        (record / "source" / "planted.txt").write_text(f"before\n{write(CANARY)}\nafter")

        assert gate(record, masker) == (Leak("source/planted.txt", "canary"),)

    def test_spread_over_chunks(self, record: Path, masker: Masker) -> None:
        """A notebook is searched as its reader sees it, too."""
        chunks = [
            {"output_type": "stream", "name": name, "text": [text]}
            for name, text in (("stdout", CANARY[:6]), ("stderr", "x"), ("stdout", CANARY[6:]))
        ]
        notebook: dict[str, Any] = {"cells": [{"outputs": chunks}], "metadata": {}}
        (record / "10.ipynb").write_text(json.dumps(notebook))

        assert gate(record, masker) == (Leak("10.ipynb", "canary"),)

    def test_unmistakable_shapes(self, record: Path, masker: Masker) -> None:
        """What nobody registered is found where its shape leaves no doubt."""
        (record / "a.txt").write_text(f"SWMTKN-1-{'3ab' * 16}-{'8vx' * 8}")
        (record / "b.txt").write_text("password=not-in-doubt")

        assert gate(record, masker) == (Leak("a.txt", "swarm-token"),)

    def test_names_of_files(self, record: Path, known: Registry) -> None:
        """A file's name is searched, and masked in what is said."""
        known.add("plain", "plain-secret")
        (record / "of-plain-secret.txt").touch()
        (record / "plain-secret").mkdir()

        assert gate(record, Masker(known)) == (
            Leak("[masked:plain]", "plain"),
            Leak("of-[masked:plain].txt", "plain"),
        )

    def test_what_cannot_be_searched(
        self, record: Path, masker: Masker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Links, notebooks that are none and files that cannot be read do not pass."""
        (record / "link").symlink_to(record / "results.json")
        (record / "folder").symlink_to(record / "source")
        (record / "20.ipynb").write_text('{"cells": [')
        (record / "locked").touch()
        read = Path.read_bytes

        def refuse(path: Path) -> bytes:
            if path.name == "locked":  # modes do not stop root
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", refuse)

        assert gate(record, masker) == (
            Leak("20.ipynb", "(not a notebook)"),
            Leak("folder", "(not a plain file)"),
            Leak("link", "(not a plain file)"),
            Leak("locked", "(not readable)"),
        )

    def test_no_folder(self, tmp_path: Path, masker: Masker) -> None:
        """A folder that is not there does not pass."""
        assert gate(tmp_path / "none", masker) == (Leak(".", "(not readable)"),)
