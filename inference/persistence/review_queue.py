"""Who looks at which frame: claims, so that no two people label the same one.

    mine already ──────────────────────────────► the same frames again, kept for longer
    queue: the newest unreviewed frames of the training part, the most useful first ─┐
    gate:  frames of gate blocks, drawn at random ───────────────────────────────────┴─► locked, claimed

Queue claims hold no gate blocks: what a person saw there beside a prediction could be used by neither part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, Final

from contracts.settings import ReviewSettings
from inference.domain.detections import Detections
from inference.domain.review import Candidate, Purpose, rank
from inference.domain.split import TRAIN, Capture, draw_gate, part_of
from inference.persistence.database import Connection
from inference.persistence.frames import PredictionRow, champion_version, predictions_of, shown

Values = dict[str, Any]

_NEWEST: Final = 20_000  # among so many frames the last ones for the gate are looked for
_AFTER_ALL: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_DRAWS: Final = 1000  # about 200 of them in gate blocks
_NOW: Final = "(now() AT TIME ZONE 'UTC')"
_UNCLAIMED: Final = (
    f"NOT EXISTS (SELECT FROM review_claims AS held WHERE held.frame_id = frames.frame_id AND held.expires_at > {_NOW})"
)
_CANDIDATES: Final = f"""
    SELECT frame_id::text, camera_id, session_id::text, sequence FROM frames
    WHERE frame_id < %(before)s::uuid AND {_UNCLAIMED}
        AND (%(camera)s::text IS NULL OR camera_id = %(camera)s)
        AND NOT EXISTS (SELECT FROM standing_reviews AS said WHERE said.frame_id = frames.frame_id)
    ORDER BY frames.frame_id DESC LIMIT %(page)s
"""  # noqa: S608
# However old: a person took the review back, or a job asks for one, and nobody has said anything since.
_FLAGGED: Final = f"""
    SELECT frame_id::text FROM frames
    WHERE frame_id IN (
            SELECT frame_id FROM reviews WHERE undoes IS NOT NULL UNION SELECT frame_id FROM review_requests
        )
        AND {_UNCLAIMED} AND part_of(camera_id, session_id, sequence) = 'train'
        AND (%(camera)s::text IS NULL OR camera_id = %(camera)s)
        AND NOT EXISTS (SELECT FROM standing_reviews AS said WHERE said.frame_id = frames.frame_id)
    ORDER BY frames.frame_id DESC LIMIT %(limit)s
"""  # noqa: S608
# Nobody has labelled it for the gate, and who asks has never seen it with a prediction.
_FREE_FOR_GATE: Final = f"""
    {_UNCLAIMED} AND (%(camera)s::text IS NULL OR camera_id = %(camera)s)
    AND NOT EXISTS (
        SELECT FROM standing_reviews AS said WHERE said.frame_id = frames.frame_id AND said.purpose = 'gate'
    )
    AND NOT EXISTS (
        SELECT FROM reviews AS said WHERE said.frame_id = frames.frame_id AND said.reviewer = %(reviewer)s
    )
"""  # noqa: S608
_DRAWN: Final = f"""
    SELECT frame_id::text FROM frames
    JOIN unnest(%(sessions)s::uuid[], %(sequences)s::bigint[]) WITH ORDINALITY AS drawn (session, number, position)
        ON (frames.session_id, frames.sequence) = (drawn.session, drawn.number)
    WHERE {_FREE_FOR_GATE}
    GROUP BY frame_id ORDER BY min(drawn.position)
"""  # noqa: S608
_REST: Final = f"""
    SELECT frame_id::text FROM (SELECT * FROM frames ORDER BY frames.frame_id DESC LIMIT {_NEWEST}) AS frames
    WHERE {_FREE_FOR_GATE} AND part_of(camera_id, session_id, sequence) = 'gate' LIMIT %(limit)s
"""  # noqa: S608
# The lock keeps two claims of the same moment apart; a third party's claim, committed since, the INSERT notices.
_LOCK: Final = f"""
    SELECT frame_id::text FROM frames
    WHERE frame_id = ANY(%(ids)s::uuid[]) AND frame_id BETWEEN %(first)s::uuid AND %(last)s::uuid AND {_UNCLAIMED}
    ORDER BY array_position(%(ids)s::uuid[], frame_id) LIMIT 1
    FOR UPDATE OF frames SKIP LOCKED
"""  # noqa: S608
# Several are claimed in one transaction, and keep their order: hence the clock of the moment.
_CLAIM: Final = f"""
    INSERT INTO review_claims AS held (frame_id, reviewer, purpose, claimed_at, expires_at)
    VALUES (
        %(frame_id)s::uuid, %(reviewer)s, %(purpose)s, clock_timestamp() AT TIME ZONE 'UTC',
        {_NOW} + make_interval(secs => %(seconds)s)
    )
    ON CONFLICT (frame_id) DO UPDATE SET
        reviewer = EXCLUDED.reviewer, purpose = EXCLUDED.purpose, claimed_at = EXCLUDED.claimed_at, expires_at = EXCLUDED.expires_at
    WHERE held.expires_at <= {_NOW}
    RETURNING expires_at
"""  # noqa: S608
_HELD: Final = f"""
    UPDATE review_claims SET expires_at = {_NOW} + make_interval(secs => %(seconds)s)
    WHERE reviewer = %(reviewer)s AND purpose = %(purpose)s AND expires_at > {_NOW}
        AND (%(camera)s::text IS NULL OR EXISTS (
            SELECT FROM all_frames WHERE all_frames.frame_id = review_claims.frame_id AND camera_id = %(camera)s
        ))
        AND EXISTS (SELECT FROM all_frames WHERE all_frames.frame_id = review_claims.frame_id)
    RETURNING frame_id::text, claimed_at, expires_at
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A frame that one person works on."""

    frame_id: str
    expires_at: datetime


def claim(
    connection: Connection,
    settings: ReviewSettings,
    *,
    reviewer: str,
    purpose: Purpose,
    count: int,
    model: str,
    random: Random,
    camera: str | None = None,
) -> list[Claim]:
    """The frames that this person works on now, the first one first; at most `count`, fewer when no more wait.

    What the person holds already comes first, in the order in which it was claimed.
    """
    values: Values = {
        "reviewer": reviewer,
        "purpose": purpose.value,
        "seconds": settings.claim_seconds,
        "camera": camera,
        "limit": settings.candidates,
    }
    held = sorted(connection.execute(_HELD, values), key=lambda row: (row[1], row[0]))
    claims = [Claim(frame_id=frame_id, expires_at=expires_at) for frame_id, _, expires_at in held][:count]
    if len(claims) < count:
        if purpose is Purpose.GATE:
            ids = _drawn(connection, values, random)
        else:
            ids = _most_useful(connection, values, model=model, threshold=settings.threshold)
        claims += _take(connection, values, ids, count - len(claims))
    return claims


def holds(connection: Connection, *, frame_id: str, reviewer: str, purpose: Purpose) -> bool:
    """Whether this person has a claim on the frame. One that ran out still counts while nobody else took the frame."""
    row = connection.execute(
        "SELECT FROM review_claims WHERE frame_id = %s::uuid AND reviewer = %s AND purpose = %s",
        (frame_id, reviewer, purpose.value),
    ).fetchone()
    return row is not None


def _take(connection: Connection, values: Values, ids: Sequence[str], count: int) -> list[Claim]:
    """Claims the first `count` of these frames that are still free."""
    left = list(ids)
    taken: list[Claim] = []
    while left and len(taken) < count:
        row = connection.execute(_LOCK, {"ids": left, "first": min(left), "last": max(left)}).fetchone()
        if row is None:
            break
        frame_id = str(row[0])
        left.remove(frame_id)
        claimed = connection.execute(_CLAIM, values | {"frame_id": frame_id}).fetchone()
        if claimed is not None:
            taken.append(Claim(frame_id=frame_id, expires_at=claimed[0]))
    return taken


def _most_useful(connection: Connection, values: Values, *, model: str, threshold: float) -> list[str]:
    flagged = [str(row[0]) for row in connection.execute(_FLAGGED, values)]
    ids = list(dict.fromkeys([*flagged, *_newest_for_training(connection, values)]))
    champion = champion_version(connection, model)
    predictions = predictions_of(connection, ids, model=model)
    return rank(
        (
            _candidate(frame_id, predictions.get(frame_id, []), champion, is_flagged=frame_id in set(flagged))
            for frame_id in ids
        ),
        threshold=threshold,
    )


def _newest_for_training(connection: Connection, values: Values) -> list[str]:
    """The newest frames of training blocks that wait. The part is told here: in SQL each row would cost 7 µs."""
    found: list[str] = []
    before, wanted = _AFTER_ALL, values["limit"]
    while True:
        rows = connection.execute(_CANDIDATES, values | {"before": before, "page": wanted}).fetchall()
        found += [str(row[0]) for row in rows if part_of(row[1], row[2], row[3]) == TRAIN]
        if len(rows) < wanted or len(found) >= wanted:
            return found[:wanted]
        before = rows[-1][0]


def _candidate(frame_id: str, predictions: list[PredictionRow], champion: str | None, *, is_flagged: bool) -> Candidate:
    best = shown(predictions, champion)
    others = [each for each in predictions if each.role == "challenger" and each is not best]
    challenger = max(others, key=lambda each: each.inferred_at, default=None)
    return Candidate(frame_id=frame_id, champion=_seen(best), challenger=_seen(challenger), is_flagged=is_flagged)


def _seen(prediction: PredictionRow | None) -> Detections | None:
    if prediction is None or prediction.status != "ok":
        return None
    return Detections.of(prediction.labels, prediction.confidences, prediction.boxes)


def _drawn(connection: Connection, values: Values, random: Random) -> list[str]:
    """Gate frames in random order. Where chance finds none, few are left: then those, shuffled."""
    captures = [
        Capture(session_id=session_id, camera_id=camera_id, frames=frames)
        for session_id, camera_id, frames in connection.execute(
            "SELECT session_id::text, camera_id, last_acknowledged + 1 FROM sessions "
            "WHERE %(camera)s::text IS NULL OR camera_id = %(camera)s ORDER BY session_id",
            values,
        )
    ]
    drawn = draw_gate(captures, random, _DRAWS)
    places = {"sessions": [session for session, _ in drawn], "sequences": [sequence for _, sequence in drawn]}
    found = [str(row[0]) for row in connection.execute(_DRAWN, values | places)]
    if not found:
        found = [str(row[0]) for row in connection.execute(_REST, values)]
        random.shuffle(found)
    return found
