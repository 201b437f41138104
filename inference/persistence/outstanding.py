"""The frames that a batch run has to do, page by page, by the condition that the planner uses too.

Selection ──► how_many
          └─► frames_of: FrameToScore, FrameToScore, ...    in order of capture
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.settings import Settings
from inference.domain import scored
from inference.domain.scored import Selection
from inference.persistence.database import connect

PAGE: Final = 2_000  # rows

_COLUMNS: Final = "frame_id::text, camera_id, captured_at, width, height, sha256, object_key, traceparent"
_FROM_THE_START: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameToScore:
    """What a job has to know about a frame."""

    frame_id: str
    camera_id: str
    captured_at: datetime  # UTC
    width: int  # pixels
    height: int  # pixels
    sha256: str  # of the object's bytes
    object_key: str
    traceparent: str | None


def how_many(settings: Settings, selection: Selection) -> int:
    """How many frames are outstanding. Raises Transient, Misconfigured as database.connect."""
    with connect(settings) as connection:
        [(frames,)] = connection.execute(*scored.count(selection)).fetchall()
    return int(frames)


def how_many_written(settings: Settings, selection: Selection) -> int:
    """How many of them this run has written already. Raises as how_many."""
    with connect(settings) as connection:
        [(frames,)] = connection.execute(*scored.written(selection)).fetchall()
    return int(frames)


def frames_of(settings: Settings, selection: Selection, *, page: int = PAGE) -> Iterator[FrameToScore]:
    """Every frame once, read as it is needed. Raises Transient, Misconfigured as database.connect."""
    condition, parameters = scored.outstanding(selection)
    query = (
        f"SELECT {_COLUMNS} FROM frames WHERE frame_id > %(after)s::uuid AND {condition} "  # noqa: S608 - constants
        "ORDER BY frame_id LIMIT %(page)s"
    )
    names = tuple(FrameToScore.__dataclass_fields__)
    after = _FROM_THE_START
    while True:
        with connect(settings) as connection:
            rows = connection.execute(query, parameters | {"after": after, "page": page}).fetchall()
        frames = [FrameToScore(**dict(zip(names, row, strict=True))) for row in rows]
        yield from frames
        if len(frames) < page:
            return
        after = frames[-1].frame_id
