"""Rates over a time range: frames and detections by minute or hour, statuses, latencies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from contracts.times import as_stored
from inference.persistence.database import Connection

Step = Literal["minute", "hour"]

_RANGE: Final = (
    "frame_id >= uuid7_floor(%(since)s) AND frame_id < uuid7_floor(%(until)s) "
    "AND (%(camera)s::text IS NULL OR camera_id = %(camera)s)"
)
_FRAMES: Final = (
    f"SELECT date_trunc(%(step)s, captured_at), camera_id, count(*) FROM frames WHERE {_RANGE} "  # noqa: S608 - ours
    "GROUP BY 1, 2 ORDER BY 1, 2"
)
# One version of each frame counts, or a shadow would count everything twice: the champion of the time, else the newest.
_COUNTED: Final = (
    "SELECT DISTINCT ON (frame_id) frame_id, camera_id, captured_at, model_name, model_version, status, latency_ms, "  # noqa: S608
    f"role FROM predictions WHERE {_RANGE} AND model_name = %(model)s "
    "ORDER BY frame_id, role = 'champion' DESC, inferred_at DESC"
)
_DETECTIONS: Final = f"""
    WITH counted AS ({_COUNTED})
    SELECT date_trunc(%(step)s, captured_at), camera_id, label, count(*)
    FROM (SELECT * FROM detections WHERE {_RANGE} AND model_name = %(model)s) AS detections
    JOIN counted USING (frame_id, camera_id, captured_at, model_name, model_version)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""  # noqa: S608
_STATUSES: Final = f"WITH counted AS ({_COUNTED}) SELECT status, count(*) FROM counted GROUP BY 1 ORDER BY 1"  # noqa: S608
# latency_ms is from the capture on: what a batch job scores a day later says nothing about the stream.
_LATENCY: Final = f"""
    WITH counted AS ({_COUNTED})
    SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms::float),
        percentile_cont(0.99) WITHIN GROUP (ORDER BY latency_ms::float)
    FROM counted WHERE role = 'champion'
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCount:
    """Frames of one camera that were captured in one step."""

    at: datetime  # the step's begin
    camera_id: str
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionCount:
    """Boxes with one label in one camera's frames of one step."""

    at: datetime
    camera_id: str
    label: str
    detections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From capture to inference, of the stream's predictions."""

    frames: int
    p50_ms: float | None  # None: no frame
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """All of a range."""

    frames: list[FrameCount]
    detections: list[DetectionCount]
    statuses: dict[str, int]  # of the counted predictions
    latency: Latency


def statistics(
    connection: Connection, *, since: datetime, until: datetime, step: Step, camera: str | None, model: str
) -> Statistics:
    """Counts what was captured in [since, until)."""
    values = {
        "since": as_stored(since),
        "until": as_stored(until),
        "step": step,
        "camera": camera,
        "model": model,
    }
    latency = connection.execute(_LATENCY, values).fetchone() or (0, None, None)
    return Statistics(
        frames=[
            FrameCount(at=at, camera_id=camera_id, frames=count)
            for at, camera_id, count in connection.execute(_FRAMES, values)
        ],
        detections=[
            DetectionCount(at=at, camera_id=camera_id, label=label, detections=count)
            for at, camera_id, label, count in connection.execute(_DETECTIONS, values)
        ],
        statuses=dict(connection.execute(_STATUSES, values).fetchall()),
        latency=Latency(frames=latency[0], p50_ms=latency[1], p99_ms=latency[2]),
    )
