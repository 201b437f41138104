"""The gate set that people made: frames of gate blocks, labelled from an empty page; their images from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from contracts.errors import Rejected
from contracts.settings import Settings
from inference.delivery.evaluation import Truth
from inference.delivery.gate_set import GateImage, GateSet
from inference.persistence.objects import FrameStore


class ReviewedBox(Protocol):
    """One thing that a person saw."""

    @property
    def label(self) -> str:
        """Its class."""
        ...

    @property
    def box(self) -> Sequence[float]:
        """x1 y1 x2 y2, pixels of the original image."""
        ...


class ReviewedFrame(Protocol):
    """A frame and what counts as true in it."""

    @property
    def frame_id(self) -> str:
        """UUIDv7."""
        ...

    @property
    def sha256(self) -> str:
        """Of the image."""
        ...

    @property
    def object_key(self) -> str:
        """Where the image lies."""
        ...

    @property
    def boxes(self) -> Sequence[ReviewedBox]:
        """All of them."""
        ...


def reviewed(settings: Settings) -> GateSet:
    """The gate set of the installation's own reviews.

    Raises:
        Rejected: nobody has labelled a frame of it yet (gate_set_empty).
        Transient: Postgres is away.
    """
    # Late: only this source of a gate set needs the pool.
    database: Any = import_module("inference.persistence.pool").Database(settings)
    try:
        frames = list(import_module("inference.persistence.labels").Snapshot(database, "gate").frames())
    finally:
        database.close()
    return gate_set_of(frames, FrameStore(settings.s3).get)


def gate_set_of(frames: Iterable[ReviewedFrame], read: Callable[[str], bytes]) -> GateSet:
    """Reviewed frames as a gate set; `read` gives the image of an object key."""
    images = tuple(
        GateImage(
            name=frame.frame_id, sha256=frame.sha256, truth=_truth(frame.boxes), read=partial(read, frame.object_key)
        )
        for frame in frames
    )
    if not images:
        raise Rejected(
            "the gate set is empty: label frames for the gate (dashboard, POST /v1/reviews/claim with purpose gate), or "
            "name a labelled folder with --labelled",
            code="gate_set_empty",
        )
    return GateSet(images=images, source=f"reviews of {len(images)} frames of gate blocks")


def _truth(boxes: Sequence[ReviewedBox]) -> Truth:
    corners = np.array([one.box for one in boxes], np.float32).reshape(-1, 4)
    return Truth(labels=tuple(one.label for one in boxes), boxes=corners)
