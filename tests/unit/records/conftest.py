"""A real storage on loopback, which boto3 reaches as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from botocore.loaders import JSONFileLoader
from moto.server import ThreadedMotoServer
from stores import BUCKET, SECRET, Answering, Store, post, template

POLL_S = 0.01  # how often a server looks whether it is to end


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a storage."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module")
def models() -> Iterator[None]:
    """Let boto3 parse its description of S3 once, not for every client: half of the time."""
    load = JSONFileLoader.load_file
    parsed = cache(lambda path: load(JSONFileLoader(), path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: parsed(path))
        yield


@pytest.fixture(scope="module")
def witness(server: str, models: None) -> Iterator[Any]:
    """Another client than that of the copy."""
    keys = {"aws_access_key_id": "somebody", "aws_secret_access_key": SECRET}
    client = boto3.Session(**keys, region_name="us-east-1").client("s3", endpoint_url=server)
    yield client
    client.close()


@pytest.fixture
def settings(
    server: str, models: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> pytest.MonkeyPatch:
    """The settings of boto3, to be changed."""
    values = {
        "AWS_ENDPOINT_URL_S3": server,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws-credentials"),
    }
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def store(server: str, settings: pytest.MonkeyPatch, witness: Any) -> Store:
    """An empty storage, with a bucket that keeps every version."""
    post(f"{server}/moto-api/reset")
    witness.create_bucket(Bucket=BUCKET)
    kept = {"Status": "Enabled"}
    witness.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=kept)
    return Store(server, witness)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of three runs with few files."""
    return Path(shutil.copytree(template(), tmp_path / "records"))


@pytest.fixture
def locking(store: Store) -> str:
    """A bucket with Object Lock."""
    store.client.create_bucket(Bucket="locking", ObjectLockEnabledForBucket=True)
    return "locking"


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something just before the first file is sent."""
    waiting: list[Callable[[], object]] = []

    class Session(boto3.Session):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.events.register("before-send.s3.PutObject", self._first)

        def _first(self, **_: Any) -> None:
            with suppress(IndexError):  # the other threads come here as well
                action = waiting.pop()
                action()

    def set_session(action: Callable[[], object]) -> None:
        waiting.append(action)
        monkeypatch.setattr(boto3, "Session", Session)

    return set_session


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Start a web server that gives every request the same answer."""
    started: list[tuple[ThreadingHTTPServer, Thread]] = []

    def start(status: int, text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                content = text.encode()
                self.send_response(status)
                self.send_header("Location", "/")
                self.send_header("Content-Length", str(len(content) + (text == "cut off")))
                self.end_headers()
                self.wfile.write(content)

            do_HEAD = do_PUT = do_GET  # noqa: N815  # likewise

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(POLL_S,))
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()
