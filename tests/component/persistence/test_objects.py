from __future__ import annotations

import hashlib

import pytest
from pydantic import SecretStr

from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import S3Settings, Settings
from inference.persistence.objects import Digest, FrameStore, StoredObject, ensure_buckets
from tests.support.object_store import ObjectStoreServer

KEY = "date=2026-01-02/camera=line-1/019b7ca9-8f2e-7abc-8def-0123456789ab.jpg"


def put(store: FrameStore, key: str = KEY, image: bytes = b"image") -> None:
    store.put(key, image, content_type="image/jpeg", metadata={"sha256": hashlib.sha256(image).hexdigest()})


def test_an_object_is_read_back_byte_for_byte(s3: ObjectStoreServer) -> None:
    store = FrameStore(s3.settings)
    image = bytes(range(256)) * 4096
    put(store, image=image)
    sha256 = hashlib.sha256(image).hexdigest()
    assert store.get(KEY) == image
    assert store.digest(KEY) == Digest(size_bytes=len(image), sha256=sha256)
    assert store.head(KEY) == StoredObject(size_bytes=len(image), metadata={"sha256": sha256})


def test_a_missing_object_is_none_or_named(s3: ObjectStoreServer) -> None:
    store = FrameStore(s3.settings)
    missing = KEY.replace("line-1", "line-2")
    assert store.digest(missing) is None
    assert store.head(missing) is None
    store.delete(missing)
    with pytest.raises(Rejected, match=missing):
        store.get(missing)


def test_keys_and_folders_are_listed(s3: ObjectStoreServer) -> None:
    store = FrameStore(s3.settings)
    prefix = "date=2026-02-03/"
    keys = [f"{prefix}camera={camera}/{n}.jpg" for camera in ("a", "b") for n in range(3)]
    for key in keys:
        put(store, key)
    assert list(store.keys(prefix)) == keys
    assert list(store.keys(f"{prefix}camera=b/")) == keys[3:]
    assert store.folders(prefix) == [f"{prefix}camera=a/", f"{prefix}camera=b/"]


def test_buckets_are_created_once(s3: ObjectStoreServer) -> None:
    settings = Settings(s3=s3.settings.model_copy(update={"frames_bucket": "more-frames", "mlflow_bucket": "frames"}))
    assert ensure_buckets(settings) == ["more-frames"]
    assert ensure_buckets(settings) == []
    FrameStore(settings.s3).check()


def test_a_missing_bucket_and_a_bad_login_are_misconfigured(s3: ObjectStoreServer) -> None:
    nowhere = FrameStore(s3.settings.model_copy(update={"frames_bucket": "nowhere"}))
    for call in (nowhere.check, lambda: nowhere.digest(KEY), lambda: nowhere.get(KEY)):
        with pytest.raises(Misconfigured, match="FRAMES_BUCKET"):
            call()
    for changes in ({"access_key": "stranger"}, {"secret_key": SecretStr("wrong")}):
        with pytest.raises(Misconfigured, match="ACCESS_KEY") as caught:
            FrameStore(s3.settings.model_copy(update=changes)).check()
        assert "wrong" not in str(caught.value)


def test_a_store_that_is_away_is_transient_and_used_again_when_it_is_back(s3: ObjectStoreServer) -> None:
    store = FrameStore(s3.settings)
    put(store)
    s3.stop()
    for call in (store.check, lambda: store.get(KEY), lambda: store.digest(KEY), lambda: list(store.keys(""))):
        with pytest.raises(Transient, match="away"):
            call()
    s3.start()
    assert store.get(KEY) == b"image"


def test_the_settings_hold_whatever_the_machine_has_configured(
    s3: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "someone-elses")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone-elses")
    FrameStore(s3.settings).check()
    with pytest.raises(Transient):
        FrameStore(S3Settings(endpoint_url="http://127.0.0.1:9")).check()
