"""What people said, counted, and as frames with labels for training or the gate.

train   the newest standing review of a frame in a training block
gate    the newest standing review from an empty page of a frame in a gate block
all     the newest standing review of every frame
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from contracts.times import as_stored
from inference.domain.labelled import LabelledFrame
from inference.persistence.database import Connection
from inference.persistence.pool import Database
from inference.persistence.reviews import labelled

Parts = Literal["train", "gate", "all"]

PAGE: Final = 500

# Reviews up to a bound only: an export reads page by page, and what is said meanwhile is not in it.
_STANDING: Final = """
    SELECT DISTINCT ON (said.frame_id) said.*
    FROM reviews AS said
    WHERE said.undoes IS NULL AND said.review_id <= %(bound)s
        AND (%(part)s <> 'gate' OR said.purpose = 'gate')
        AND NOT EXISTS (
            SELECT FROM reviews AS taken WHERE taken.undoes = said.review_id AND taken.review_id <= %(bound)s
        )
"""
_PAGE: Final = f"""
    SELECT frames.frame_id::text, frames.camera_id, frames.session_id::text, frames.sequence, frames.captured_at,
        frames.width, frames.height, frames.object_key, frames.sha256,
        part_of(frames.camera_id, frames.session_id, frames.sequence), said.review_id, said.reviewer,
        said.reviewer_name, said.reviewed_at, said.verdict, said.purpose, said.labels, said.boxes
    FROM ({_STANDING} AND said.frame_id > %(after)s::uuid ORDER BY said.frame_id, said.review_id DESC) AS said
    JOIN all_frames AS frames ON frames.frame_id = said.frame_id
    WHERE said.verdict <> 'unusable'
        AND (%(part)s = 'all' OR part_of(frames.camera_id, frames.session_id, frames.sequence) = %(part)s)
    ORDER BY said.frame_id LIMIT %(limit)s
"""  # noqa: S608 - texts of our own
_USED: Final = f"""
    SELECT DISTINCT label FROM ({_STANDING} ORDER BY said.frame_id, said.review_id DESC) AS said,
        unnest(said.labels) AS label
"""  # noqa: S608
_NIL: Final = "00000000-0000-0000-0000-000000000000"

_COUNTED: Final = """
    WITH counted AS (
        SELECT DISTINCT ON (said.frame_id) said.*,
            part_of(frames.camera_id, frames.session_id, frames.sequence) AS part
        FROM standing_reviews AS said JOIN all_frames AS frames ON frames.frame_id = said.frame_id
        WHERE (%(since)s::timestamp IS NULL OR said.reviewed_at >= %(since)s)
        ORDER BY said.frame_id, said.purpose = 'gate' DESC, said.review_id DESC
    )
"""
_OF_GATE: Final = "part = 'gate' AND purpose = 'gate'"
_USE: Final = f"CASE WHEN part = 'train' THEN 'train' WHEN {_OF_GATE} THEN 'gate' ELSE 'neither' END"
_BOXES: Final = "SELECT label, count(*) FROM counted, unnest(counted.labels) AS label WHERE {} GROUP BY 1 ORDER BY 1"
_REVIEWERS: Final = "SELECT reviewer, max(reviewer_name), count(*) FROM counted GROUP BY 1 ORDER BY 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCounts:
    """How many reviews count, and what they hold."""

    labels: dict[str, int]  # boxes by label
    gate_labels: dict[str, int]  # those of the gate set
    reviewers: dict[str, tuple[str, int]]  # subject: name, frames
    cameras: dict[str, int]  # frames
    verdicts: dict[str, int]  # frames
    train_frames: int  # reviewed, in training blocks
    gate_frames: int  # reviewed from an empty page, in gate blocks
    other_frames: int  # reviewed otherwise, in gate blocks: used by neither part


def counts(connection: Connection, *, since: datetime | None) -> LabelCounts:
    """Counts the reviews that count."""
    values = {"since": since and as_stored(since)}

    def pairs(query: str) -> dict[Any, int]:
        return dict(connection.execute(_COUNTED + query, values).fetchall())

    uses = pairs(f"SELECT {_USE}, count(*) FROM counted GROUP BY 1")  # noqa: S608 - texts of our own
    reviewers = connection.execute(_COUNTED + _REVIEWERS, values)
    return LabelCounts(
        labels=pairs(_BOXES.format("TRUE")),
        gate_labels=pairs(_BOXES.format(_OF_GATE)),
        reviewers={reviewer: (name, count) for reviewer, name, count in reviewers},
        cameras=pairs("SELECT camera_id, count(*) FROM counted GROUP BY 1 ORDER BY 1"),
        verdicts=pairs("SELECT verdict, count(*) FROM counted GROUP BY 1 ORDER BY 1"),
        train_frames=uses.get("train", 0),
        gate_frames=uses.get("gate", 0),
        other_frames=uses.get("neither", 0),
    )


def waiting(connection: Connection, *, since: datetime) -> dict[str, int]:
    """Frames captured since then that nobody has reviewed, by part."""
    rows = connection.execute(
        # By block first: a part costs 7 µs to tell.
        "SELECT part_of(camera_id, session_id, 50 * block), sum(frames)::bigint FROM ("
        "SELECT camera_id, session_id, sequence / 50 AS block, count(*) AS frames FROM frames "
        "WHERE frame_id >= uuid7_floor(%s) "
        "AND NOT EXISTS (SELECT FROM standing_reviews AS said WHERE said.frame_id = frames.frame_id) "
        "GROUP BY 1, 2, 3) AS blocks GROUP BY 1",
        (as_stored(since),),
    )
    return dict(rows.fetchall())


class Snapshot:
    """The labels of one moment: read again, they are the same. Holds no connection between two pages."""

    def __init__(self, database: Database, part: Parts) -> None:
        self._database = database
        self._part = part
        with database.connection() as connection:
            row = connection.execute("SELECT coalesce(max(review_id), 0) FROM reviews").fetchone()
            self._values = {"bound": row[0] if row else 0, "part": part}
            self.labels = [label for (label,) in connection.execute(_USED, self._values)]

    def frames(self) -> Iterator[LabelledFrame]:
        """The labelled frames, in order of their capture."""
        after = _NIL
        while True:
            with self._database.connection() as connection:
                values = self._values | {"after": after, "limit": PAGE}
                rows = connection.execute(_PAGE, values).fetchall()
            yield from map(_labelled_frame, rows)
            if len(rows) < PAGE:
                return
            after = rows[-1][0]


def _labelled_frame(row: tuple[Any, ...]) -> LabelledFrame:
    *values, labels, boxes = row
    names = [name for name in LabelledFrame.__dataclass_fields__ if name != "boxes"]
    return LabelledFrame(**dict(zip(names, values, strict=True)), boxes=labelled(labels, boxes))
