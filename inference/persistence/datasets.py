"""A versioned data set from the object store, as a folder that training reads.

s3://BUCKET/datasets/<model>/<digest>/ ─► FOLDER/images/*, FOLDER/labels/*.txt (`x1 y1 x2 y2 type`) ─► manifest.json, last
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from connectors.cameras.boards import CLASSES
from contracts.errors import Misconfigured, Rejected
from contracts.settings import Settings
from inference.domain.dataset_manifest import MANIFEST, Image, Manifest, parse, pixel_labels, prefix_of
from inference.persistence.objects import FrameStore

_THREADS: Final = 8


def set_store(settings: Settings) -> FrameStore:
    """Of the bucket that data sets are written to."""
    return FrameStore(settings.s3, bucket=settings.s3.mlflow_bucket)


def uri_of(settings: Settings, digest: str) -> str:
    """The address of our model's data set."""
    return f"s3://{settings.s3.mlflow_bucket}/{prefix_of(settings.mlflow.model_name, digest)}"


def fetch_dataset(settings: Settings, uri: str, folder: Path, *, classes: Sequence[str] = CLASSES) -> Manifest:
    """Fetches the set; what is there already is kept.

    Args:
        settings: where the object store is.
        uri: as the export's result has it.
        folder: made; the set's own.
        classes: that training knows, in its order.

    Raises:
        Rejected: there is no such set (no_object), it is not what its digest says, or has a class that is not known.
        Misconfigured: the address is none.
        Transient: the object store is away.
    """
    where = urlsplit(uri)
    prefix = where.path.strip("/") + "/"
    if where.scheme != "s3" or not where.netloc or prefix == "/":
        raise Misconfigured(f"{uri} is no data set: give s3://BUCKET/datasets/MODEL/DIGEST, as export-labels says it")
    store = FrameStore(settings.s3, bucket=where.netloc)
    try:
        text = store.get(prefix + MANIFEST).decode()
        manifest = parse(text)
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for image in manifest.images:
            labels = pixel_labels(image, manifest.classes, classes)
            (folder / "labels" / f"{image.frame_id}.txt").write_text(labels, "utf-8")
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(partial(_fetch, store, prefix, folder), manifest.images))
        (folder / MANIFEST).write_text(text, "utf-8")
    finally:
        store.close()
    return manifest


def _fetch(store: FrameStore, prefix: str, folder: Path, image: Image) -> None:
    file = folder / image.file
    if file.is_file() and _sha256(file.read_bytes()) == image.sha256:
        return
    content = store.get(prefix + image.file)
    if _sha256(content) != image.sha256:
        raise Rejected(f"{image.file} is not what the data set's manifest says: export it again", code="dataset_broken")
    file.write_bytes(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
