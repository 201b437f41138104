"""The gate set that people made: frames of gate blocks, labelled from an empty page; their images from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import numpy as np

from contracts.errors import Rejected
from contracts.settings import Settings
from inference.delivery.evaluation import Truth
from inference.delivery.gate_set import GateImage, GateSet
from inference.domain.promotion import ADVISED_BOARDS, REVIEWED
from inference.persistence.objects import FrameStore

_SOURCES: Final = "SELECT session_id::text, source FROM sessions WHERE session_id::text = ANY(%s)"


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
    def session_id(self) -> str:
        """Which camera process captured it."""
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
        with database.connection() as connection:
            sources = dict(connection.execute(_SOURCES, ([frame.session_id for frame in frames],)).fetchall())
    finally:
        database.close()
    is_any_set = settings.promotion.gate_sets == "any"
    return gate_set_of(frames, FrameStore(settings.s3).get, sources=sources, is_any_set=is_any_set)


def gate_set_of(
    frames: Iterable[ReviewedFrame],
    read: Callable[[str], bytes],
    *,
    sources: Mapping[str, str],
    is_any_set: bool = False,
) -> GateSet:
    """Reviewed frames as a gate set.

    Args:
        frames: with what counts as true in them.
        read: gives the image of an object key.
        sources: of the sessions, by id: boards of the simulator are known by its seed.
        is_any_set: a pass on simulated boards opens a promotion here, so that the message may name them.

    Raises:
        Rejected: there is no frame (gate_set_empty).
    """
    images = tuple(
        GateImage(
            name=frame.frame_id,
            sha256=frame.sha256,
            truth=_truth(frame.boxes),
            read=partial(read, frame.object_key),
            simulator_seed=simulator_seed(sources.get(frame.session_id, "")),
        )
        for frame in frames
    )
    if not images:
        boards = f", or judge on simulated boards with --boards {ADVISED_BOARDS}" if is_any_set else ""
        raise Rejected(
            "the gate set is empty: label frames for the gate (dashboard, POST /v1/reviews/claim with purpose gate), or "
            f"name a labelled folder with --labelled{boards}",
            code="gate_set_empty",
        )
    return GateSet(images=images, source=f"reviews of {len(images)} frames of gate blocks", kind=REVIEWED)


def simulator_seed(source: str) -> int | None:
    """The line that a session's source names; None where it is no simulator."""
    scheme, _, rest = source.partition(":")
    if scheme != "simulator":
        return None
    given = parse_qs(rest.removeprefix("?")).get("seed", ["0"])[-1]
    return int(given) if given.isdecimal() else None


def _truth(boxes: Sequence[ReviewedBox]) -> Truth:
    corners = np.array([one.box for one in boxes], np.float32).reshape(-1, 4)
    return Truth(labels=tuple(one.label for one in boxes), boxes=corners)
