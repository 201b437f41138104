"""A bounded sample of a day's frames with what a version saw in them, the same one whenever it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from inference.persistence.database import Connection

# In the order of a hash of the id: without chance, and not the day's first hours alone.
_SAMPLE: Final = """
    SELECT frames.frame_id::text, frames.camera_id, frames.session_id::text, frames.sequence, frames.width,
        frames.height, frames.object_key, seen.labels, seen.confidences, seen.boxes
    FROM frames JOIN predictions AS seen ON seen.frame_id = frames.frame_id
    WHERE frames.frame_id >= uuid7_floor(%(since)s) AND frames.frame_id < uuid7_floor(%(until)s)
        AND seen.frame_id >= uuid7_floor(%(since)s) AND seen.frame_id < uuid7_floor(%(until)s)
        AND (seen.model_name, seen.model_version, seen.status) = (%(model)s, %(version)s, 'ok')
    ORDER BY md5(frames.frame_id::text) LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledFrame:
    """A frame and what the version saw in it."""

    frame_id: str
    camera_id: str
    session_id: str
    sequence: int
    width: int  # pixels
    height: int  # pixels
    object_key: str
    labels: list[str]
    confidences: list[float]  # 0..1
    boxes: list[float]  # x1 y1 x2 y2 per label, pixels of the original image


def sample(connection: Connection, *, model: str, version: str, day: date, most: int) -> list[SampledFrame]:
    """At most so many of the frames that were captured on that day (UTC) and that the version could look at."""
    begin = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - as in the tables: UTC without a zone
    given = {"model": model, "version": version, "since": begin, "until": begin + timedelta(days=1), "most": most}
    names = SampledFrame.__dataclass_fields__
    return [SampledFrame(**dict(zip(names, row, strict=True))) for row in connection.execute(_SAMPLE, given)]
