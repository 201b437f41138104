"""The labels for training as a versioned data set in the object store.

    reviews of training blocks ─► manifest, its digest ─► there already? done
                                                       └► images (verified), labels, data.yaml ─► manifest.json, last

Killed in the middle, the next run goes on: what was copied is found by its sha256. Frames of gate blocks cannot be in
it: the query leaves them out, and the manifest refuses them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

from contracts.errors import Rejected
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.batch.job import Result, Say
from inference.domain.dataset_manifest import MANIFEST, Image, Manifest, manifest_of
from inference.domain.labelled import classes_of, yolo_index
from inference.domain.split import TRAIN
from inference.engines import read_spec
from inference.persistence.datasets import set_store, uri_of
from inference.persistence.labels import Snapshot
from inference.persistence.objects import FrameStore
from inference.persistence.pool import Database
from inference.registry.resolve import resolve

ABOUT: Final = "Writes the labels for training as a versioned data set."

_NAMED: Final = 10
_THREADS: Final = 8

_log = get_logger(__name__)


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """None: what is labelled for training is exported, and gate blocks never are."""


def run(settings: Settings, _given: argparse.Namespace, say: Say) -> Result:
    """Exports what is labelled now.

    Raises:
        Rejected: nothing is labelled yet; an image is missing or is not what its row says, the frames named.
        Transient: Postgres, the object store or MLflow is away.
    """
    manifest = labelled_now(settings, own_classes(settings))
    uri = uri_of(settings, manifest.digest)
    say(f"{len(manifest.images)} images, {manifest.boxes} boxes: data set {manifest.digest}")
    with _Copier(settings) as copier:
        is_new = copier.write(manifest)
    say(f"{'written' if is_new else 'there already'}: {uri}")
    _log.info("labels_exported", digest=manifest.digest, images=len(manifest.images), is_new=is_new)
    return Result(
        fields={
            "digest": manifest.digest,
            "uri": uri,
            "images": len(manifest.images),
            "labels": manifest.boxes,
            "classes": list(manifest.classes),
            "model": manifest.model,
            "is_new": is_new,
        }
    )


def own_classes(settings: Settings) -> Sequence[str]:
    """The champion's classes, in its model's order, and those that people may use beside them."""
    folder = resolve(settings, settings.mlflow.alias).folder
    assert folder is not None
    return classes_of(read_spec(folder).classes, settings.reviews.labels)


def labelled_now(settings: Settings, classes: Sequence[str]) -> Manifest:
    """What counts as labelled at this moment.

    Raises:
        Rejected: nothing does.
    """
    database = Database(settings)
    try:
        snapshot = Snapshot(database, TRAIN)
        every = classes_of(classes, snapshot.labels)
        return manifest_of(snapshot.frames(), every, model=settings.mlflow.model_name)
    finally:
        database.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missing:
    """A frame whose image cannot be copied, and why."""

    frame_id: str
    why: str


class _Copier:
    """Copies a set's files, the manifest last."""

    def __init__(self, settings: Settings) -> None:
        self._frames = FrameStore(settings.s3)
        self._sets = set_store(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.close()
        self._sets.close()

    def write(self, manifest: Manifest) -> bool:
        """Writes the set. False: it was there.

        Raises:
            Rejected: images are missing or are not what their rows say (images_missing), the frames named.
        """
        self._sets.check()
        if self._sets.head(manifest.prefix + MANIFEST) is not None:
            return False
        with ThreadPoolExecutor(_THREADS) as pool:
            answers = pool.map(lambda image: self._copy(manifest.prefix, image), manifest.images)
            missing = [answer for answer in answers if answer is not None]
        if missing:
            named = "; ".join(f"{one.frame_id} ({one.why})" for one in missing[:_NAMED])
            raise Rejected(
                f"{len(missing)} labelled frames have no image as their row says: {named}. `sightline audit` says more; "
                "take their reviews back to go on without them",
                code="images_missing",
            )
        self._put(f"{manifest.prefix}data.yaml", yolo_index(manifest.classes).encode(), "text/yaml")
        self._put(manifest.prefix + MANIFEST, manifest.document().encode(), "application/json")
        return True

    def _copy(self, prefix: str, image: Image) -> _Missing | None:
        self._put(f"{prefix}labels/{image.frame_id}.txt", image.labels.encode(), "text/plain")
        there = self._sets.head(prefix + image.file)
        if there is not None and there.metadata.get("sha256") == image.sha256:
            return None
        try:
            found = self._frames.get(image.source)
        except Rejected:
            return _Missing(frame_id=image.frame_id, why="no object")
        if hashlib.sha256(found).hexdigest() != image.sha256:
            return _Missing(frame_id=image.frame_id, why="other bytes")
        self._put(prefix + image.file, found, "image/png" if image.file.endswith(".png") else "image/jpeg")
        return None

    def _put(self, key: str, content: bytes, kind: str) -> None:
        metadata = {"sha256": hashlib.sha256(content).hexdigest()}
        self._sets.put(key, content, content_type=kind, metadata=metadata)
