"""Copying an archive to S3 where that fails, and what it says."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from archives import BOB
from botocore.exceptions import ClientError
from stores import (
    ALL,
    BUCKET,
    FILES,
    FIRST,
    LAST,
    NEXT,
    OTHERS,
    SECRET,
    TARGET,
    Answering,
    Store,
    copied_once,
    post,
    refusal,
    small_run,
)
from typer.testing import CliRunner

from runbook.cli.records import app
from runbook.errors import BadInput, ChangeFailed, Refused, RunbookError
from runbook.records.archive.chain import Chains
from runbook.records.copies.storage import copy
from runbook.records.verify.verify import verify


class TestCutShort:
    """A copy that ends before it is done."""

    def test_no_ledger(self, store: Store, records: Path, tmp_path: Path) -> None:
        """No ledger arrives before the last record has; the next copy sends the rest."""
        store.deny("s3:PutObject", f"{BUCKET}/edge/{LAST}/statement.json")
        error = refusal(records)
        arrived = store.names()
        store.client.delete_bucket_policy(Bucket=BUCKET)
        rest = copy(records, TARGET)

        assert isinstance(error, ChangeFailed)
        assert error.message.startswith(f"cut short: s3://{BUCKET}/edge/{LAST}/statement.json: ")
        assert "403" in error.message
        assert "sends the rest" in error.todo
        assert f"edge/{FIRST}/statement.json" in arrived
        assert not [name for name in arrived if "ledger" in name]
        assert rest == (ALL - len(arrived), len(arrived))
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_old_ledger(self, store: Store, records: Path, tmp_path: Path) -> None:
        """The ledgers that were there still name no run that is not."""
        copy(records, TARGET)
        small_run(records)
        store.deny("s3:PutObject", f"{BUCKET}/edge/{NEXT}/statement.json")
        refusal(records)
        there = store.download(tmp_path / "downloaded")

        assert NEXT not in Chains(there).runs("closed")
        assert (there / NEXT / "results.json").exists()

    def test_nothing_sent(self, store: Store, records: Path) -> None:
        """Where not even the first file could be sent, nothing was changed, and that is said."""
        store.deny("s3:PutObject", f"{BUCKET}/*")
        error = refusal(records)

        assert type(error) is Refused
        assert "what they may do" in error.todo

    def test_somebody_else(
        self,
        store: Store,
        records: Path,
        meanwhile: Callable[[Callable[[], object]], None],
    ) -> None:
        """What somebody else has written in the meantime is not overwritten, old or new."""
        name = f"edge/ledger/{BOB}.jsonl"
        meanwhile(lambda: store.put(name, b"theirs\n"))
        new = refusal(records)
        store.put(name, b"")
        small_run(records)
        meanwhile(lambda: store.put(name, b"theirs\n"))
        old = refusal(records)

        for error in (new, old):
            assert "PreconditionFailed" in error.message
            assert "the next copy sends the rest" in error.todo
        assert store.get(name) == b"theirs\n"

    def test_removed_meanwhile(
        self,
        store: Store,
        records: Path,
        meanwhile: Callable[[Callable[[], object]], None],
    ) -> None:
        """Ledgers are not sent where a record is not there any more."""
        copy(records, TARGET)
        small_run(records)
        name = f"edge/{FIRST}/after.json"
        meanwhile(lambda: store.client.delete_object(Bucket=BUCKET, Key=name))
        error = refusal(records)

        assert isinstance(error, ChangeFailed)
        assert f"not any more: {FIRST}/after.json" in error.message
        assert NEXT.encode() not in store.get(f"edge/ledger/{BOB}.jsonl")

    def test_file_vanishes(
        self,
        store: Store,
        records: Path,
        meanwhile: Callable[[Callable[[], object]], None],
    ) -> None:
        """A file that is gone once its turn comes is named."""
        meanwhile((records / "allowed_signers").unlink)
        error = refusal(records)

        assert f"{records / 'allowed_signers'} cannot be read" in error.message
        assert not [name for name in store.names() if "ledger" in name]


class TestRetention:
    """Object Lock."""

    def test_locked(self, store: Store, records: Path, locking: str) -> None:
        """Nobody can remove a file of a run; ledgers are not locked, as they are replaced."""
        copied = copy(records, f"s3://{locking}", retain_days=30)
        told = store.head(f"{FIRST}/statement.json", locking)
        left = told["ObjectLockRetainUntilDate"] - datetime.now(UTC)

        assert copied == (ALL, 0)
        assert told["ObjectLockMode"] == "COMPLIANCE"
        assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
        for name, (version,) in store.versions(locking).items():
            one = {"Bucket": locking, "Key": name, "VersionId": version}
            if name in OTHERS:
                store.client.delete_object(**one)
                continue
            with pytest.raises(ClientError, match="AccessDenied"):
                store.client.delete_object(**one, BypassGovernanceRetention=True)
        assert len(store.names(locking)) == FILES

    def test_no_object_lock(self, store: Store, records: Path) -> None:
        """A bucket that cannot retain files is refused before anything is sent."""
        error = refusal(records, retain_days=30)

        assert isinstance(error, Refused)
        assert "ObjectLockConfigurationNotFoundError" in error.message
        assert store.names() == set()


def closed_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


class TestErrors:
    """Every error of boto3 is told as one of ours, without a secret."""

    @pytest.mark.parametrize(
        "target",
        ["records", "s3://", "s3:///edge", "http://records/edge", f"s3://key:{SECRET}@records"],
    )
    @pytest.mark.usefixtures("settings")
    def test_target(self, records: Path, target: str) -> None:
        """What is no target is not repeated either: it may hold a key."""
        error = refusal(records, target)

        assert isinstance(error, BadInput)
        assert error.message == "the target is not s3://BUCKET or s3://BUCKET/PREFIX"

    def test_no_archive(self, tmp_path: Path) -> None:
        """A folder without a ledger is none."""
        with pytest.raises(BadInput, match="is not an archive"):
            copy(tmp_path, TARGET)

    def test_no_boto3(self, records: Path, settings: pytest.MonkeyPatch) -> None:
        """Without boto3 the extra is named."""
        settings.setitem(sys.modules, "boto3", None)
        error = refusal(records)

        assert isinstance(error, BadInput)
        assert "pip install 'edge-runbook[s3]'" in error.message

    def test_no_bucket(self, store: Store, records: Path) -> None:
        """A bucket that is not there is named."""
        error = refusal(records, "s3://absent/edge")

        assert type(error) is Refused
        assert error.message.startswith("s3://absent/edge: S3 fails: NoSuchBucket ")

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"AWS_ENDPOINT_URL_S3": "nonsense"}, "ValueError"),
            ({"AWS_ENDPOINT_URL_S3": f"http://u:{SECRET}@127.0.0.1:99999"}, "EndpointResolution"),
            ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "NoCredentialsError"),
            ({"AWS_SECRET_ACCESS_KEY": ""}, "PartialCredentialsError"),
            ({"AWS_PROFILE": "absent"}, "ProfileNotFound"),
            ({"AWS_DEFAULT_REGION": "no region!"}, "InvalidRegionError"),
            ({"AWS_RETRY_MODE": "never"}, "InvalidRetryModeError"),
        ],
    )
    def test_settings(
        self, records: Path, settings: pytest.MonkeyPatch, wrong: dict[str, str], why: str
    ) -> None:
        """A setting that boto3 cannot use is told by its kind, and where it is read from."""
        for name, value in wrong.items():
            settings.setenv(name, value)
        error = refusal(records)

        assert type(error) is Refused
        assert why in error.message
        assert "~/.aws" in error.todo

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            ("[default\n", "ConfigParseError"),
            (f"[default]\ncredential_process = sh -c 'echo {SECRET} >&2; exit 1'\n", "Retrieval"),
            (f"[default]\ncredential_process = echo {SECRET}\n", "JSONDecodeError"),
        ],
    )
    def test_config_file(
        self, records: Path, settings: pytest.MonkeyPatch, config: str, why: str
    ) -> None:
        """So is a file of settings; what a credential process prints is not repeated."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            settings.delenv(name)
        Path(os.environ["AWS_CONFIG_FILE"]).write_text(config)
        error = refusal(records)

        assert type(error) is Refused
        assert why in error.message
        assert "~/.aws" in error.todo

    def test_session_token(self, records: Path, settings: pytest.MonkeyPatch) -> None:
        """A token that is no header is not repeated, which the HTTP client does."""
        settings.setenv("AWS_SESSION_TOKEN", f"{SECRET}\nmore")

        assert "HTTPClientError" in refusal(records).message

    def test_unreachable(self, records: Path, settings: pytest.MonkeyPatch) -> None:
        """A storage that does not answer is named without what its URL may hold."""
        port = closed_port()
        settings.setenv("AWS_ENDPOINT_URL_S3", f"http://somebody:{SECRET}@127.0.0.1:{port}")
        error = refusal(records)

        assert type(error) is Refused
        assert "EndpointConnectionError" in error.message
        assert "check endpoint" in error.todo

    def test_keys(self, store: Store, records: Path) -> None:
        """Keys that the storage does not know are refused by it."""
        post(f"{store.url}/moto-api/reset-auth", b"0")
        try:
            error = refusal(records)
        finally:
            post(f"{store.url}/moto-api/reset-auth", b"inf")

        assert type(error) is Refused
        assert "S3 fails: InvalidAccessKeyId" in error.message
        assert "~/.aws" in error.todo

    def test_denied(self, store: Store, records: Path) -> None:
        """What the keys may not do is refused before anything is sent."""
        before = copied_once(store, records)
        small_run(records)
        store.deny("s3:*", f"{BUCKET}/edge/{FIRST}/*")
        error = refusal(records)

        assert type(error) is Refused
        assert "what they may do" in error.todo
        assert store.versions() == before

    @pytest.mark.parametrize(
        "told",
        [
            (503, "SlowDown"),
            (501, "NotImplemented"),
            (400, "ExpiredToken"),
            (409, "ConditionalRequestConflict"),
            (400, "Any\x9b\u2028thing"),
        ],
    )
    def test_answers(
        self,
        records: Path,
        answering: Answering,
        settings: pytest.MonkeyPatch,
        told: tuple[int, str],
    ) -> None:
        """What the storage answers is told; the terminal is not its to control."""
        status, code = told
        text = f"<Error><Code>{code}</Code><Message>in words</Message></Error>"
        settings.setenv("AWS_ENDPOINT_URL_S3", answering(status, text))
        error = refusal(records)
        printable = "".join(character for character in code if character.isprintable())

        assert type(error) is Refused
        assert error.message == f"{TARGET}: S3 fails: {printable} in words"

    @pytest.mark.parametrize(
        "answer",
        [
            (200, "<html><p>Welcome</html>", Refused),
            (200, "{}", Refused),
            (200, "cut off", Refused),
            (302, "", Refused),
            (404, "<html>There is no such page</html>", Refused),
            (200, "", ChangeFailed),
        ],
    )
    def test_no_storage(
        self,
        records: Path,
        answering: Answering,
        settings: pytest.MonkeyPatch,
        answer: tuple[int, str, type[RunbookError]],
    ) -> None:
        """A web server that is no storage is found out, even one that takes everything."""
        status, text, kind = answer
        settings.setenv("AWS_ENDPOINT_URL_S3", answering(status, text))

        assert type(refusal(records)) is kind


class TestCommand:
    """``runbook records copy``."""

    def test_line(self, store: Store, records: Path, locking: str) -> None:
        """One line tells how many files were sent, how many were there, and where."""

        def line(*words: str) -> str:
            arguments = ["copy", *words, "--archive", str(records)]
            done = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return done.output

        target = f"s3://{locking}/edge"
        assert line(target) == f"{ALL} files sent, 0 were there already: {target}\n"
        assert line(target, "--retain-days", "30") == (
            f"0 files sent, {ALL} were there already: {target}\n"
        )

    @pytest.mark.parametrize("days", ["-1", "0", "36501", "1000000000000"])
    def test_days(self, records: Path, days: str) -> None:
        """Days for which nothing can be retained are wrong."""
        arguments = ["copy", TARGET, "--archive", str(records), "--retain-days", days]
        done = CliRunner().invoke(app, arguments)

        assert done.exit_code == 2
        assert "Invalid value for '--retain-days'" in done.output

    def test_help(self) -> None:
        """The help says where keys and endpoint come from."""
        shown = CliRunner().invoke(app, ["copy", "--help"], env={"COLUMNS": "120"}).output

        for word in ("s3://BUCKET/PREFIX", "AWS_ENDPOINT_URL_S3", "~/.aws", "--retain-days"):
            assert word in shown
