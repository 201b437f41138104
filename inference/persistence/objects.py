"""The frames bucket: images by the key that is computed from their frame.

store = FrameStore(settings.s3)
store.get(key)       the bytes, or Rejected(no_object)
store.stream(key)    the bytes as they come, all or a range
store.digest(key)    size and sha256 of the bytes, read in pieces, or None     what the audit compares
store.head(key)      size and metadata, or None                               what a quick audit compares
store.keys(prefix)   the keys below a prefix

the store is away, busy or broken          Transient
the login or a bucket does not fit         Misconfigured
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnectionError

from contracts.errors import Misconfigured, PipelineError, Rejected, Transient
from contracts.settings import S3Settings, Settings

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

BATCH: Final = 1000  # objects of one deletion; the protocol allows no more
CONNECTIONS: Final = 16  # requests at a time of one store; use no more threads than this

_STORE: Final = "the object store"  # for clients, who learn no address
_PIECE: Final = 256 * 1024
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_BUSY: Final = frozenset({"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "429"})

_STRANGE: Final = frozenset({"InvalidAccessKeyId", "XAdminUserNotFound"})  # whatever status a store gives them


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What an object's head says."""

    size_bytes: int
    metadata: Mapping[str, str]  # sha256, camera, captured_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What an object's bytes say."""

    size_bytes: int
    sha256: str  # lower-case hex


def make_client(settings: S3Settings) -> S3Client:
    """A client that fails quickly: who calls it decides about trying again. Safe for several threads."""
    # What holds is in the settings: no profile and no file of the machine's user has a say.
    alone = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
    alone["credentials_file"] = alone["config_file"]
    session = boto3.Session(
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        region_name=settings.region,
        botocore_session=botocore.session.Session(session_vars=alone),
    )
    return session.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=3,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=CONNECTIONS,
            # Stores other than Amazon's do not all know the trailing checksums that newer clients send.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class ObjectStream:
    """The bytes of one object on their way. Iterated once; errors are translated."""

    def __init__(self, body: StreamingBody, *, endpoint: str, size_bytes: int) -> None:
        self._body = body
        self._endpoint = endpoint
        self.size_bytes = size_bytes  # of what comes

    def __iter__(self) -> Iterator[bytes]:
        with translated(self._endpoint), self._body:
            yield from self._body.iter_chunks(_PIECE)


class FrameStore:
    """The images of frames. Every call raises Transient or Misconfigured as the module says."""

    def __init__(self, settings: S3Settings, *, bucket: str | None = None) -> None:
        """Asks nobody yet.

        Args:
            settings: where the object store is.
            bucket: another than that of the frames: copies of them lie in data sets too.
        """
        self._endpoint = settings.endpoint_url
        self._bucket = bucket or settings.frames_bucket
        self._client = make_client(settings)

    def get(self, key: str) -> bytes:
        """An object's bytes.

        Raises:
            Rejected: there is no such object (no_object).
        """
        with translated(self._endpoint):
            try:
                image: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
                return image
            except ClientError as error:
                if not _is_missing(error):
                    raise
                raise Rejected(f"there is no object {key}: `sightline audit` says why", code="no_object") from error

    def stream(self, key: str, byte_range: str | None = None) -> ObjectStream:
        """An object's bytes as they come, or a range of them.

        Args:
            key: of the object.
            byte_range: as in HTTP, such as bytes=0-99; it must lie inside the object.

        Raises:
            Rejected: there is no such object (no_object).
        """
        with translated(self._endpoint):
            wanted = {"Bucket": self._bucket, "Key": key} | ({"Range": byte_range} if byte_range else {})
            try:
                answer = self._client.get_object(**wanted)  # type: ignore[arg-type]
            except ClientError as error:
                if not _is_missing(error):
                    raise
                raise Rejected(f"there is no object {key}: `sightline audit` says why", code="no_object") from error
        return ObjectStream(answer["Body"], endpoint=self._endpoint, size_bytes=answer["ContentLength"])

    def digest(self, key: str) -> Digest | None:
        """Size and sha256 of an object's bytes; None when there is no such object."""
        with translated(self._endpoint):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise
            sha256, size = hashlib.sha256(), 0
            with body:
                for piece in body.iter_chunks(_PIECE):
                    sha256.update(piece)
                    size += len(piece)
        return Digest(size_bytes=size, sha256=sha256.hexdigest())

    def head(self, key: str) -> StoredObject | None:
        """An object's size and metadata; None when there is no such object."""
        with translated(self._endpoint):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise
        return StoredObject(size_bytes=answer["ContentLength"], metadata=answer["Metadata"])

    def put(self, key: str, image: bytes, *, content_type: str, metadata: Mapping[str, str]) -> None:
        """Writes an object, over one that is there. Frames come through the sink; this is for copies and tests."""
        with translated(self._endpoint):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=image, ContentType=content_type, Metadata=metadata
            )

    def delete(self, key: str) -> None:
        """Takes an object away; harmless when there is none."""
        with translated(self._endpoint):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def delete_many(self, keys: Sequence[str]) -> None:
        """Takes objects away, at most BATCH of them; harmless where there is none.

        Raises:
            Transient: some are still there.
        """
        if not keys:
            return
        with translated(self._endpoint):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        refused = answer.get("Errors", [])
        if refused:
            raise Transient(
                f"the object store at {self._endpoint} left {len(refused)} of {len(keys)} objects, the first one with "
                f"{refused[0].get('Code', 'no code')}"
            )

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys below a prefix, in order."""
        for page in self.pages(prefix):
            yield from page

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """The keys below a prefix, in order, as many at a time as one deletion takes; none is empty."""
        with translated(self._endpoint):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, PaginationConfig={"PageSize": BATCH}
            )
            for page in pages:
                if keys := [entry["Key"] for entry in page.get("Contents", ())]:
                    yield keys

    def folders(self, prefix: str) -> list[str]:
        """The parts of the keys up to the next slash after a prefix, in order."""
        with translated(self._endpoint):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, Delimiter="/"
            )
            return [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]

    def check(self) -> None:
        """Asks whether the bucket is there and the login is right. Call it before trusting that `head` found nothing.

        Raises:
            Misconfigured: it is not.
        """
        # Not head_bucket: an answer without a body cannot tell a strange login from a missing bucket.
        with translated(self._endpoint):
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()


def ensure_buckets(settings: Settings, *, also: Sequence[str] = ()) -> list[str]:
    """Creates the buckets that are missing.

    Args:
        settings: which they are.
        also: others, of who uses the same store.

    Returns:
        The names of those created.
    """
    client = make_client(settings.s3)
    with translated(settings.s3.endpoint_url):
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        wanted = (settings.s3.frames_bucket, settings.s3.mlflow_bucket, *also)
        missing = [name for name in wanted if name not in there]
        for name in missing:
            try:
                client.create_bucket(Bucket=name)
            except ClientError as error:
                if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise
    client.close()
    return missing


@contextmanager
def translated(endpoint: str) -> Iterator[None]:
    """Turns the S3 client's errors into ours; others pass."""
    try:
        yield
    except ClientError as error:
        raise _translate(error, endpoint) from error
    except (HTTPClientError, NoConnectionError, IncompleteReadError) as error:
        raise Transient(f"the object store at {endpoint} is away ({type(error).__name__})", store=_STORE) from error
    except BotoCoreError as error:
        raise Misconfigured(f"the object store at {endpoint} cannot be spoken to: {error}", store=_STORE) from error


def _translate(error: ClientError, endpoint: str) -> PipelineError:
    code = error.response.get("Error", {}).get("Code", "unknown")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return _no_bucket(endpoint)
    if status >= 500 or code in _BUSY:
        return Transient(f"the object store at {endpoint} answered {status} {code}", store=_STORE)
    if status in {401, 403} or code in _STRANGE:
        return Misconfigured(
            f"the object store at {endpoint} refuses the login ({code}): set SIGHTLINE_S3__ACCESS_KEY and __SECRET_KEY",
            store=_STORE,
        )
    return Misconfigured(
        f"the object store at {endpoint} answered {status} {code}: check SIGHTLINE_S3__ENDPOINT_URL", store=_STORE
    )


def _no_bucket(endpoint: str) -> Misconfigured:
    return Misconfigured(
        f"the object store at {endpoint} has no such bucket: `sightline up` creates it, or set "
        "SIGHTLINE_S3__FRAMES_BUCKET",
        store=_STORE,
    )


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in _MISSING
