"""Reviews, append-only: saved, taken back, read. The newest one of a frame that nobody took back counts.

    save(connection, review) ──► checked against the frame ──► a row; the same request again: the same row
    undo(connection, id) ──────► a row that takes it back; again: the same row

The claim of who saves ends with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from contracts.errors import Rejected
from contracts.times import as_stored
from inference.domain.review import UNDONE, LabelledBox, Review, Verdict, as_single_precision, check
from inference.domain.split import part_of
from inference.persistence.database import Connection
from inference.persistence.expirations import SAVING_LOCK
from inference.persistence.frames import predictions_of
from inference.persistence.old_frames import COVERED

REQUEST_ID_REUSED: Final = "request_id_reused"

# A live frame that is written down as expiring has no object any more, or will not have it for long.
_FRAME: Final = f"""
    SELECT camera_id, session_id::text, sequence, width, height FROM kept_frames WHERE frame_id = %(frame_id)s::uuid
    UNION ALL
    SELECT camera_id, session_id::text, sequence, width, height FROM frames
    WHERE frame_id = %(frame_id)s::uuid AND NOT {COVERED}
"""  # noqa: S608 - texts of our own
_INSERT: Final = """
    INSERT INTO reviews (
        frame_id, camera_id, reviewer, reviewer_name, verdict, labels, boxes, model_version, purpose, request_id
    ) VALUES (
        %(frame_id)s::uuid, %(camera_id)s, %(reviewer)s, %(reviewer_name)s, %(verdict)s, %(labels)s::text[],
        %(boxes)s::real[], %(model_version)s, %(purpose)s, %(request_id)s
    )
    ON CONFLICT (reviewer, request_id) WHERE request_id IS NOT NULL DO NOTHING
    RETURNING review_id
"""
_SAME_REQUEST: Final = """
    SELECT review_id, frame_id = %(frame_id)s::uuid AND verdict = %(verdict)s AND purpose = %(purpose)s
        AND labels = %(labels)s::text[] AND boxes = %(boxes)s::real[]
        AND model_version IS NOT DISTINCT FROM %(model_version)s AND undoes IS NULL
    FROM reviews WHERE reviewer = %(reviewer)s AND request_id = %(request_id)s
"""
_UNDO: Final = """
    INSERT INTO reviews (
        frame_id, camera_id, reviewer, reviewer_name, verdict, labels, boxes, model_version, purpose, undoes
    )
    SELECT frame_id, camera_id, %(reviewer)s, %(reviewer_name)s, %(undone)s, '{}', '{}', model_version, purpose,
        review_id
    FROM reviews WHERE review_id = %(review_id)s
    ON CONFLICT (undoes) WHERE undoes IS NOT NULL DO NOTHING
    RETURNING review_id
"""
_COLUMNS: Final = (
    "review_id, frame_id::text, camera_id, reviewer, reviewer_name, reviewed_at, verdict, labels, boxes, "
    "model_version, purpose, undoes, "
    "(SELECT taken.review_id FROM reviews AS taken WHERE taken.undoes = said.review_id) AS undone_by"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRow:
    """One row of reviews."""

    review_id: int
    frame_id: str
    camera_id: str
    reviewer: str
    reviewer_name: str
    reviewed_at: datetime
    verdict: str
    labels: list[str]
    boxes: list[float]  # x1 y1 x2 y2 per label, pixels of the original image
    model_version: str | None
    purpose: str
    undoes: int | None  # the review that this row takes back
    undone_by: int | None  # the row that takes this one back

    def labelled(self) -> tuple[LabelledBox, ...]:
        """Labels and boxes, one by one."""
        return labelled(self.labels, self.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedReviews:
    """Which reviews a page holds. None: whatever it is."""

    limit: int
    before: int | None = None  # a review's id: only older ones
    frame_id: str | None = None
    reviewer: str | None = None
    camera: str | None = None
    verdict: str | None = None
    purpose: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def save(connection: Connection, review: Review, *, known_labels: Collection[str] | None = None) -> int:
    """Appends a review; the one way in, for people, label files and the seed of the gate set.

    Accepted boxes are copied from the prediction, so that the row says by itself what was accepted.

    Args:
        connection: the row is there when its transaction commits.
        review: what a person says.
        known_labels: those that may be used; None: any.

    Returns:
        Its id; that of the earlier one where the same reviewer sent the same request_id before.

    Raises:
        Rejected: no such frame (unknown_frame), no such prediction (no_prediction), another review with the same
            request_id (request_id_reused), or what `domain.review.check` says.
    """
    connection.execute(f"SELECT pg_advisory_xact_lock_shared({SAVING_LOCK})")
    row = connection.execute(_FRAME, {"frame_id": review.frame_id}).fetchone()
    if row is None:
        raise Rejected(f"there is no frame {review.frame_id}, or it is expiring", code="unknown_frame")
    camera_id, session_id, sequence, width, height = row
    part = part_of(camera_id, session_id, sequence)
    check(review, width=width, height=height, part=part, known_labels=known_labels)
    if review.verdict is Verdict.ACCEPTED:
        review = _with_accepted_boxes(connection, review)
    return _append(connection, review, camera_id)


def _with_accepted_boxes(connection: Connection, review: Review) -> Review:
    predictions = predictions_of(connection, [review.frame_id])[review.frame_id]
    seen = next((each for each in predictions if each.model_version == review.model_version), None)
    if seen is None or seen.status != "ok":
        raise Rejected(
            f"version {review.model_version} saw nothing in frame {review.frame_id}: label it as corrected or empty",
            code="no_prediction",
        )
    return replace(review, boxes=labelled(seen.labels, seen.boxes))


def _append(connection: Connection, review: Review, camera_id: str) -> int:
    values = {
        "frame_id": review.frame_id,
        "camera_id": camera_id,
        "reviewer": review.reviewer,
        "reviewer_name": review.reviewer_name,
        "verdict": review.verdict.value,
        "labels": [each.label for each in review.boxes],
        "boxes": [corner for each in review.boxes for corner in as_single_precision(each.box)],
        "model_version": review.model_version,
        "purpose": review.purpose.value,
        "request_id": review.request_id,
    }
    row = connection.execute(_INSERT, values).fetchone()
    if row is None:
        row = connection.execute(_SAME_REQUEST, values).fetchone()
        if row is None or not row[1]:
            raise Rejected("this request_id came before with another review: give each its own", code=REQUEST_ID_REUSED)
    connection.execute(
        "DELETE FROM review_claims WHERE frame_id = %(frame_id)s::uuid AND reviewer = %(reviewer)s", values
    )
    return int(row[0])


def was_sent(connection: Connection, reviewer: str, request_id: str) -> bool:
    """Whether this reviewer's request came before."""
    row = connection.execute(
        "SELECT FROM reviews WHERE reviewer = %s AND request_id = %s", (reviewer, request_id)
    ).fetchone()
    return row is not None


def undo(connection: Connection, review_id: int, *, reviewer: str, reviewer_name: str) -> int:
    """Takes a review back; an earlier one of the frame stands again.

    Returns:
        The id of the row that does it; that of the earlier one where it was taken back before.
    """
    values = {"review_id": review_id, "reviewer": reviewer, "reviewer_name": reviewer_name, "undone": UNDONE}
    row = connection.execute(_UNDO, values).fetchone()
    if row is None:
        row = connection.execute("SELECT review_id FROM reviews WHERE undoes = %s", (review_id,)).fetchone()
    if row is None:
        raise Rejected(f"there is no review {review_id}", code="unknown_review")
    return int(row[0])


def find(connection: Connection, review_id: int) -> ReviewRow | None:
    """One review; None when there is none."""
    query = f"SELECT {_COLUMNS} FROM reviews AS said WHERE review_id = %s"  # noqa: S608 - names of our own
    row = connection.execute(query, (review_id,)).fetchone()
    return None if row is None else _row(row)


def of_frame(connection: Connection, frame_id: str) -> list[ReviewRow]:
    """All that was said of a frame, newest first; also what was taken back."""
    return page(connection, WantedReviews(limit=1000, frame_id=frame_id))


def page(connection: Connection, wanted: WantedReviews) -> list[ReviewRow]:
    """Reviews, newest first."""
    tests = {
        "review_id < %(before)s": wanted.before,
        "frame_id = %(frame_id)s::uuid": wanted.frame_id,
        "reviewer = %(reviewer)s": wanted.reviewer,
        "camera_id = %(camera)s": wanted.camera,
        "verdict = %(verdict)s": wanted.verdict,
        "purpose = %(purpose)s": wanted.purpose,
        "reviewed_at >= %(since)s": wanted.since,
        "reviewed_at < %(until)s": wanted.until,
    }
    conditions = " AND ".join([test for test, value in tests.items() if value is not None] or ["TRUE"])
    query = (
        f"SELECT {_COLUMNS} FROM reviews AS said WHERE {conditions} "  # noqa: S608 - texts of our own
        "ORDER BY review_id DESC LIMIT %(limit)s"
    )
    values = {name: getattr(wanted, name) for name in WantedReviews.__dataclass_fields__}
    for name in ("since", "until"):
        values[name] = values[name] and as_stored(values[name])
    return [_row(row) for row in connection.execute(query, values)]


def labelled(labels: Sequence[str], boxes: Sequence[float]) -> tuple[LabelledBox, ...]:
    """Two columns as boxes, one by one."""
    return tuple(
        LabelledBox(label=label, box=(boxes[4 * n], boxes[4 * n + 1], boxes[4 * n + 2], boxes[4 * n + 3]))
        for n, label in enumerate(labels)
    )


def _row(row: Sequence[Any]) -> ReviewRow:
    return ReviewRow(**dict(zip(ReviewRow.__dataclass_fields__, row, strict=True)))
