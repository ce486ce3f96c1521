"""A place in S3-compatible storage, as boto3 reaches it; its errors are told as RunbookErrors.

Credentials, region and endpoint are found by boto3 itself. A message has no text of an error that
may quote them: the output of a credential process, a URL, a header.

Source: Amazon S3 API Reference, PutObject (If-None-Match, If-Match, Object Lock), HeadObject
(x-amz-checksum-mode) and Error Responses; boto3 guide, Credentials and Error handling.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from runbook.errors import BadInput, Refused, RunbookError, Unreachable

COMPLIANCE = "COMPLIANCE"
"""The retention that nobody can shorten, the owner of the account included."""

_TARGET = re.compile(r"s3://(?P<bucket>[A-Za-z0-9._-]+)(/(?P<prefix>.*))?")

_SETTINGS = "boto3 reads them from AWS_… variables and ~/.aws: keys, profile, region, endpoint"
_QUOTABLE = frozenset({"ConfigParseError", "ParamValidationError", "PartialCredentialsError"})
_QUOTABLE |= {"InvalidRegionError", "ProfileNotFound"}
_BAD_KEYS = frozenset({"ExpiredToken", "InvalidToken"})  # 400, where 403 would be expected
_TODO = {
    401: f"check the keys and what they may do; {_SETTINGS}",
    403: f"check the keys and what they may do; {_SETTINGS}",
    409: "something else writes there: copy again",
    412: "something else has written there since it was looked at: copy again",
    501: "choose a storage that knows conditional writes, SHA-256 checksums and Object Lock",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there.

    Attributes:
        checksum: Its SHA-256 as :func:`checksum` gives it; ``None`` where the storage has none. Of
            a file that was sent in parts it is that of the parts' digests.
        etag: Names this version of it.
        mode: Of its retention; ``None``: it has none.
    """

    checksum: str | None
    etag: str
    mode: str | None


class Bucket:
    """A bucket and the prefix of all names in it.

    Every method raises BadInput, Refused or Unreachable where the storage does not comply.

    Args:
        target: ``s3://BUCKET[/PREFIX]``.

    Raises:
        BadInput: The target or a setting of boto3 is wrong, or boto3 is not installed.
    """

    def __init__(self, target: str) -> None:
        matched = _TARGET.fullmatch(target)
        if matched is None:  # it is not repeated: somebody may have written a key into it
            raise BadInput("the target is not s3://BUCKET or s3://BUCKET/PREFIX")
        self.name, prefix = matched["bucket"], (matched["prefix"] or "").strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.where = f"s3://{self.name}/{self.prefix}".rstrip("/")
        self.client = _client(self.where)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def require_object_lock(self) -> None:
        """Return if files can be retained.

        Raises:
            Refused: They cannot.
        """
        try:
            with self._asking():
                self.client.get_object_lock_configuration(Bucket=self.name)
        except Refused as error:
            if "ObjectLockConfigurationNotFoundError" not in error.message:
                raise
            raise Refused(
                f"{self.where}: the bucket has no Object Lock, so that no file can be retained",
                todo="make a bucket with Object Lock, or copy without --retain-days",
            ) from error

    def names(self) -> frozenset[str]:
        """Return the names of all files."""
        with self._asking():
            listing = self.client.get_paginator("list_objects_v2")
            pages = listing.paginate(Bucket=self.name, Prefix=self.prefix)
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return frozenset(key.removeprefix(self.prefix) for key in keys)

    def stored(self, name: str) -> Stored:
        """Return what the storage knows of a file."""
        with self._asking(name):
            told = self.client.head_object(**self._key(name), ChecksumMode="ENABLED")
        return Stored(told.get("ChecksumSHA256"), told["ETag"], told.get("ObjectLockMode"))

    def content(self, name: str) -> bytes:
        """Return a file."""
        with self._asking(name), closing(self.client.get_object(**self._key(name))["Body"]) as body:
            content: bytes = body.read()
            return content

    def put(
        self, name: str, content: bytes, seen: Stored | None, until: datetime | None = None
    ) -> None:
        """Write a file.

        Args:
            name: Its name.
            content: All of it.
            seen: What it replaces; ``None``: there must be none.
            until: Until when nobody can remove it; ``None``: it is not retained.

        Raises:
            Refused: There is another file by now.
        """
        # In a header: the trailer that boto3 would send is not understood by every storage.
        more: dict[str, Any] = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": checksum(content)}
        more |= {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen.etag}
        if until is not None:
            more |= {"ObjectLockMode": COMPLIANCE, "ObjectLockRetainUntilDate": until}
        with self._asking(name):
            self.client.put_object(**self._key(name), Body=content, **more)

    def retain(self, name: str, until: datetime) -> None:
        """Let nobody remove a file until then."""
        retention = {"Mode": COMPLIANCE, "RetainUntilDate": until}
        with self._asking(name):
            self.client.put_object_retention(**self._key(name), Retention=retention)

    def _key(self, name: str) -> Mapping[str, str]:
        return {"Bucket": self.name, "Key": self.prefix + name}

    @contextmanager
    def _asking(self, name: str = "") -> Iterator[None]:
        from botocore.exceptions import (  # type: ignore[import-untyped]
            BotoCoreError,
            ClientError,
            ConnectionError,  # noqa: A004  # its name there
            FlexibleChecksumError,
            HTTPClientError,
        )

        where = f"{self.where}/{name}".rstrip("/")
        try:
            yield
        except ClientError as error:
            raise _answered(error.response, where) from error
        except (ConnectionError, HTTPClientError, RecursionError) as error:
            # botocore asks without end where everything is redirected, as from http to https.
            host = urlsplit(self.client.meta.endpoint_url).netloc.rpartition("@")[2]
            raise Unreachable(
                f"{where}: no answer from {host} ({type(error).__name__})",
                todo="check the network, and the endpoint in AWS_ENDPOINT_URL_S3 or ~/.aws/config",
            ) from error
        except FlexibleChecksumError as error:
            raise Refused(
                f"{where}: damaged: it is not what its own checksum says",
                todo="remove it there, if it may be removed, and copy again",
            ) from error
        except BotoCoreError as error:
            raise _unusable(error, where) from error


def checksum(content: bytes) -> str:
    """Return the SHA-256 as S3 writes it: in base64."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _client(where: str) -> Any:
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        todo = "install the extra: pip install 'edge-runbook[s3]'"
        raise BadInput("boto3, which speaks to S3, is not installed", todo=todo) from error
    try:
        # Its own session: the default one keeps the settings of its first use.
        return boto3.Session().client("s3")
    except (BotoCoreError, ValueError) as error:  # an endpoint that is no URL is a ValueError
        raise _unusable(error, where) from error


def _unusable(error: Exception, where: str) -> BadInput:
    kind = type(error).__name__
    quoted = f": {' '.join(str(error).split())}" if kind in _QUOTABLE else ""
    return BadInput(f"{where}: boto3 cannot use its settings ({kind}){quoted}", todo=_SETTINGS)


def _answered(response: Mapping[str, Any], where: str) -> RunbookError:
    status, told = response["ResponseMetadata"]["HTTPStatusCode"], response.get("Error", {})
    code, reason = told.get("Code") or str(status), told.get("Message") or "it says no more"
    text = f"{where}: S3 answers {code}: {reason}"
    said = "".join(character for character in text if character.isprintable())
    if code == "NoSuchBucket":
        return BadInput(f"{where}: there is no such bucket", todo="make it, or correct the name")
    if status >= 500 and status not in _TODO:
        return Unreachable(said, todo="copy again later")
    return Refused(said, todo=_TODO.get(403 if code in _BAD_KEYS else status, ""))
