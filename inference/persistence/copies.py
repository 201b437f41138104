"""Where else a camera's images lie: in data sets that export-labels wrote, and in the folders of trainings on this machine.

    a manifest names each image's key in the frames bucket, and with it the camera
    a set without one was never finished: its images are the camera's by their frames' rows

A set without some of its images is no longer what its digest says: erasing takes the whole of it, and what is labelled
of other cameras is exported anew. A training's folder is somebody's work: it is only named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contracts.errors import Rejected
from contracts.identifiers import UUID7
from contracts.settings import Settings
from inference.domain.dataset_manifest import MANIFEST, SETS
from inference.persistence.database import Connection
from inference.persistence.objects import FrameStore


def sets_with(connection: Connection, store: FrameStore, camera: str) -> list[str]:
    """The prefixes of the data sets that hold images of a camera.

    Args:
        connection: where frames of unfinished sets are looked up.
        store: of the bucket of the data sets.
        camera: whose.
    """
    prefixes = [prefix for model in store.folders(SETS) for prefix in store.folders(model)]
    return [prefix for prefix in prefixes if _holds(connection, store, prefix, camera)]


def delete_set(store: FrameStore, prefix: str) -> None:
    """Takes a data set away, its manifest last: a deletion that was interrupted is found again."""
    for keys in store.pages(prefix):
        store.delete_many([key for key in keys if key != prefix + MANIFEST])
    store.delete(prefix + MANIFEST)


def trainings_with(settings: Settings, camera: str) -> list[str]:
    """The folders of trainings on this machine that hold images of a camera."""
    manifests = sorted(settings.trainings.glob(f"*/*/{MANIFEST}"))
    return sorted({str(file.parents[1]) for file in manifests if _names(_read(file), camera)})


def _holds(connection: Connection, store: FrameStore, prefix: str, camera: str) -> bool:
    try:
        return _names(store.get(prefix + MANIFEST).decode(errors="replace"), camera)
    except Rejected:
        return any(_is_of(connection, keys, camera) for keys in store.pages(f"{prefix}images/"))


def _is_of(connection: Connection, keys: Iterable[str], camera: str) -> bool:
    stems = (key.rpartition("/")[2].partition(".")[0] for key in keys)
    ids = [stem for stem in stems if UUID7.fullmatch(stem)]
    found = connection.execute(
        "SELECT FROM all_frames WHERE camera_id = %s AND frame_id = ANY(%s::uuid[]) LIMIT 1", (camera, ids)
    )
    return found.fetchone() is not None


def _names(manifest: str, camera: str) -> bool:
    """Whether it names an image of the camera. Read without its digest: a damaged set holds images all the same."""
    try:
        images: list[dict[str, Any]] = json.loads(manifest)["images"]
        return any(f"/camera={camera}/" in str(image["source"]) for image in images)
    except (ValueError, KeyError, TypeError):
        return f"/camera={camera}/" in manifest


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="replace")
    except OSError:
        return ""
