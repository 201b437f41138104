"""What the tables say about frames, live and kept: pages of them, one of them, and what models saw in them.

page(connection, wanted)          newest first, by keyset: no page costs more than the one before it
find(connection, frame_id)        one row, or None
predictions_of(connection, ids)   of a page's frames, by frame
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from contracts.identifiers import from_milliseconds, milliseconds_of
from contracts.times import as_stored
from inference.domain import scored
from inference.persistence.database import Connection

ReviewState = Literal["none", "reviewed", "mine"]

_COLUMNS: Final = (
    "frames.frame_id::text, frames.camera_id, frames.session_id::text, frames.sequence, frames.captured_at, "
    "frames.source_time, frames.width, frames.height, frames.encoding, frames.size_bytes, frames.sha256, "
    "frames.object_key, frames.traceparent"
)
_STANDS: Final = "FROM standing_reviews AS said WHERE said.frame_id = frames.frame_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRow:
    """One row of frames or kept_frames, without the record's place in the topic."""

    frame_id: str
    camera_id: str
    session_id: str
    sequence: int
    captured_at: datetime
    source_time: datetime | None
    width: int  # pixels
    height: int  # pixels
    encoding: str
    size_bytes: int
    sha256: str
    object_key: str
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """What one model version saw in one frame."""

    frame_id: str
    model_name: str
    model_version: str
    model_digest: str
    role: str
    run_id: str | None
    engine: str
    inferred_at: datetime
    latency_ms: float
    status: str
    labels: list[str]
    confidences: list[float]  # 0..1
    boxes: list[float]  # x1 y1 x2 y2 per label, pixels of the original image

    @property
    def corners(self) -> list[tuple[float, float, float, float]]:
        """The boxes, one by one."""
        flat = self.boxes
        return [(flat[n], flat[n + 1], flat[n + 2], flat[n + 3]) for n in range(0, len(flat), 4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which frames a page holds. None: whatever it is."""

    limit: int
    before: str | None = None  # a frame's id: only older ones
    camera: str | None = None
    since: datetime | None = None  # captured then or later
    until: datetime | None = None  # captured before
    label: str | None = None  # some box of some prediction has it
    min_confidence: float | None = None  # some box (with the label, where one is asked for) has at least this
    status: str | None = None  # of some prediction
    version: str | None = None  # a prediction of this version is there, and label, confidence and status are its own
    review: ReviewState | None = None
    reviewer: str | None = None  # who asks, for `mine`


def page(connection: Connection, wanted: Wanted, *, model: str) -> list[FrameRow]:
    """Frames, newest first."""
    conditions = ["TRUE"]
    if wanted.before is not None:
        conditions.append("frames.frame_id < %(before)s::uuid")
    if wanted.camera is not None:
        conditions.append("frames.camera_id = %(camera)s")
        if wanted.before is not None:  # the same bound for the index on camera and time
            conditions.append("frames.captured_at <= %(before_at)s")
    if wanted.since is not None:
        conditions.append("frames.frame_id >= uuid7_floor(%(since)s)")
    if wanted.until is not None:
        conditions.append("frames.frame_id < uuid7_floor(%(until)s)")
    if wanted.review == "none":
        conditions.append(f"NOT EXISTS (SELECT {_STANDS})")
    elif wanted.review == "reviewed":
        conditions.append(f"EXISTS (SELECT {_STANDS})")
    elif wanted.review == "mine":
        conditions.append(f"EXISTS (SELECT {_STANDS} AND said.reviewer = %(reviewer)s)")
    # captured_at is the time in frame_id, so both orders are one; each has an index that gives it.
    order = "frames.frame_id DESC" if wanted.camera is None else "frames.captured_at DESC, frames.frame_id DESC"
    # Each side by its own index; over the view, every page would look into every day.
    sides = [
        f"(SELECT {_COLUMNS} FROM {prefix}frames AS frames WHERE {' AND '.join(tests)} "  # noqa: S608 - texts of our own
        f"ORDER BY {order} LIMIT %(limit)s)"
        for prefix, tests in (
            ("", [*conditions, *_prediction_conditions(wanted, "")]),
            ("kept_", [*conditions, *_prediction_conditions(wanted, "kept_")]),
        )
    ]
    query = f"{' UNION ALL '.join(sides)} ORDER BY captured_at DESC, frame_id DESC LIMIT %(limit)s"
    rows = connection.execute(query, _values(wanted, model))
    return [_frame(row) for row in rows]


def _prediction_conditions(wanted: Wanted, prefix: str) -> list[str]:
    of_version = " AND each.model_version = %(version)s" if wanted.version is not None else ""
    found = []
    if wanted.label is not None or wanted.min_confidence is not None:
        test = " AND each.label = %(label)s" if wanted.label is not None else ""
        test += " AND each.confidence >= %(min_confidence)s::real" if wanted.min_confidence is not None else ""
        found.append(_exists(f"{prefix}detections", of_version + test))
    if wanted.status is not None:
        found.append(_exists(f"{prefix}predictions", f"{of_version} AND each.status = %(status)s"))
    if wanted.version is not None and not found:
        found.append(_exists(f"{prefix}predictions", of_version))
    return found


def _exists(table: str, test: str) -> str:
    return (
        f"EXISTS (SELECT FROM {table} AS each WHERE each.frame_id = frames.frame_id "
        f"AND each.model_name = %(model)s{test})"
    )


def _values(wanted: Wanted, model: str) -> dict[str, Any]:
    before_at = None if wanted.before is None else from_milliseconds(milliseconds_of(wanted.before))
    return {
        "limit": wanted.limit,
        "before": wanted.before,
        "before_at": _plain(before_at),
        "camera": wanted.camera,
        "since": _plain(wanted.since),
        "until": _plain(wanted.until),
        "label": wanted.label,
        "min_confidence": wanted.min_confidence,
        "status": wanted.status,
        "version": wanted.version,
        "reviewer": wanted.reviewer,
        "model": model,
    }


def _plain(at: datetime | None) -> datetime | None:
    """As in the tables: UTC without a zone."""
    return None if at is None else as_stored(at)


def find(connection: Connection, frame_id: str) -> FrameRow | None:
    """One frame; None when there is no such row."""
    query = f"SELECT {_COLUMNS} FROM all_frames AS frames WHERE frame_id = %s::uuid"  # noqa: S608 - as above
    row = connection.execute(query, (frame_id,)).fetchone()
    return None if row is None else _frame(row)


def _frame(row: Sequence[Any]) -> FrameRow:
    names = FrameRow.__dataclass_fields__
    return FrameRow(**dict(zip(names, row, strict=True)))


def predictions_of(
    connection: Connection, frame_ids: Sequence[str], *, model: str | None = None
) -> dict[str, list[PredictionRow]]:
    """All predictions of these frames, oldest inference first each; of one model only, where one is named."""
    found: dict[str, list[PredictionRow]] = defaultdict(list)
    if not frame_ids:
        return found
    # Bounded on its own, so that only the days in question are read.
    rows = connection.execute(
        "SELECT frame_id::text, model_name, model_version, model_digest, role, run_id, engine, inferred_at, "
        "latency_ms, status, labels, confidences, boxes FROM all_predictions "
        "WHERE frame_id = ANY(%(ids)s::uuid[]) AND frame_id BETWEEN %(first)s::uuid AND %(last)s::uuid "
        "AND (%(model)s::text IS NULL OR model_name = %(model)s) ORDER BY inferred_at, model_version",
        {"ids": list(frame_ids), "first": min(frame_ids), "last": max(frame_ids), "model": model},
    )
    names = PredictionRow.__dataclass_fields__
    for row in rows:
        found[row[0]].append(PredictionRow(**dict(zip(names, row, strict=True))))
    return found


def shown(predictions: Iterable[PredictionRow], champion: str | None) -> PredictionRow | None:
    """The one to show of a frame: the champion's; else one that ran as champion; else any; the newest of several."""
    return max(
        predictions,
        key=lambda each: (each.model_version == champion, each.role == "champion", each.inferred_at),
        default=None,
    )


def champion_version(connection: Connection, model: str) -> str | None:
    """The champion by the ledger; None where the ledger names none (profile core)."""
    row = connection.execute(*scored.champion(model)).fetchone()
    return None if row is None else str(row[0])
