"""The review queue: POST /v1/reviews/claim, POST /v1/reviews, …/undo, GET /v1/reviews."""

from __future__ import annotations

from random import SystemRandom
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Query

from contracts.errors import Rejected
from inference.api import cursors
from inference.api.answers.frames import PredictionAnswer, ReviewAnswer
from inference.api.answers.reviews import ClaimAnswer, ClaimedFrame, ClaimRequest, ReviewGiven, ReviewPage
from inference.api.guard import GuardedRoute
from inference.api.inputs import (
    UUID7_PATTERN,
    Bearer,
    CameraName,
    Cursor,
    Limit,
    Neighbours,
    ReviewId,
    Since,
    Until,
    Word,
)
from inference.api.openapi import problems
from inference.api.permissions import Role
from inference.api.problems import Problem, not_found
from inference.api.routes.stored_frames import frame_values
from inference.domain.review import LabelledBox, Purpose, Review, Verdict
from inference.persistence import frames, review_queue, reviews
from inference.persistence.database import Connection

router = APIRouter(tags=["reviews"], route_class=GuardedRoute)

_RANDOM: Final = SystemRandom()
# What the rows say rather than the request: other statuses than 422.
_STATUSES: Final = {"unknown_frame": 404, reviews.REQUEST_ID_REUSED: 409}


@router.post("/v1/reviews/claim")
def claim(parts: Neighbours, identity: Bearer, asked: Annotated[ClaimRequest | None, Body()] = None) -> ClaimAnswer:
    """The next frames to review, kept for who asks; asked again, the same ones until they are reviewed."""
    asked = asked or ClaimRequest()
    model = parts.settings.mlflow.model_name
    with parts.database.connection() as connection:
        claims = review_queue.claim(
            connection,
            parts.settings.reviews,
            reviewer=identity.subject,
            purpose=asked.purpose,
            count=asked.count,
            model=model,
            random=_RANDOM,
            camera=asked.camera,
        )
        rows = [(each, frames.find(connection, each.frame_id)) for each in claims]
        shown = _shown(connection, [each.frame_id for each in claims], asked.purpose, model)
    answers = [
        ClaimedFrame(expires_at=each.expires_at, predictions=shown.get(each.frame_id), **frame_values(parts, row))
        for each, row in rows
        if row is not None
    ]
    return ClaimAnswer(purpose=asked.purpose, frames=answers)


def _shown(connection: Connection, ids: list[str], purpose: Purpose, model: str) -> dict[str, list[PredictionAnswer]]:
    """The predictions to start from, the champion's first; none where the page must be empty."""
    if purpose is Purpose.GATE:
        return {}
    champion = frames.champion_version(connection, model)
    found = frames.predictions_of(connection, ids, model=model)
    answers: dict[str, list[PredictionAnswer]] = {}
    for frame_id in ids:
        rows = found.get(frame_id, [])
        first = frames.shown(rows, champion)
        ordered = [] if first is None else [first, *(row for row in rows if row is not first)]
        answers[frame_id] = [PredictionAnswer.of(row) for row in ordered]
    return answers


@router.post("/v1/reviews", status_code=201, responses=problems(404, 409))
def save(given: ReviewGiven, parts: Neighbours, identity: Bearer) -> ReviewAnswer:
    """Saves a review. Sent again with the same request_id it changes nothing and answers the same."""
    review = Review(
        frame_id=given.frame_id,
        reviewer=identity.subject,
        reviewer_name=identity.name,
        verdict=given.verdict,
        boxes=tuple(LabelledBox(label=each.label, box=each.box) for each in given.boxes),
        purpose=given.purpose,
        model_version=given.model_version,
        request_id=given.request_id,
    )
    known_labels = frozenset(parts.classes()) | frozenset(parts.settings.reviews.labels) if review.boxes else None
    with parts.database.connection() as connection:
        _require_gate_claim(connection, review)
        try:
            review_id = reviews.save(connection, review, known_labels=known_labels)
        except Rejected as error:
            if error.code not in _STATUSES:
                raise
            raise Problem(_STATUSES[error.code], error.code, str(error)) from error
        return _answer(connection, review_id)


def _require_gate_claim(connection: Connection, review: Review) -> None:
    """The gate set is drawn by chance: nobody picks its frames."""
    if review.purpose is not Purpose.GATE:
        return
    if review_queue.holds(connection, frame_id=review.frame_id, reviewer=review.reviewer, purpose=Purpose.GATE):
        return
    if review.request_id is not None and reviews.was_sent(connection, review.reviewer, review.request_id):
        return
    raise Problem(
        409,
        "not_claimed",
        "frames of the gate set are drawn at random: claim with purpose gate, then save what you got",
    )


@router.post("/v1/reviews/{review_id}/undo", responses=problems(404, 409))
def undo(review_id: ReviewId, parts: Neighbours, identity: Bearer) -> ReviewAnswer:
    """Takes back one's own review; an administrator takes back any. Again: the same answer."""
    with parts.database.connection() as connection:
        row = reviews.find(connection, review_id)
        if row is None:
            raise not_found(f"review {review_id}")
        if row.reviewer != identity.subject and Role.ADMIN not in identity.roles:
            raise Problem(403, "not_yours", "this is another person's review: an administrator can take it back")
        if row.undoes is not None:
            raise Problem(409, "is_undo", "this row takes a review back: save a new review instead")
        undone_by = reviews.undo(connection, review_id, reviewer=identity.subject, reviewer_name=identity.name)
        return _answer(connection, undone_by)


def _answer(connection: Connection, review_id: int) -> ReviewAnswer:
    row = reviews.find(connection, review_id)
    if row is None:
        raise not_found(f"review {review_id}")
    return ReviewAnswer.of(row)


@router.get("/v1/reviews")
def list_reviews(
    parts: Neighbours,
    identity: Bearer,
    frame_id: Annotated[str | None, Query(pattern=UUID7_PATTERN, description="Only of this frame")] = None,
    camera: CameraName = None,
    reviewer: Word = None,
    mine: Annotated[bool, Query(description="Only what the bearer of the token said")] = False,
    verdict: Annotated[Verdict | None, Query()] = None,
    purpose: Annotated[Purpose | None, Query()] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ReviewPage:
    """Reviews, newest first: also those that were taken back, and the rows that do it."""
    tests: dict[str, Any] = {"frame_id": frame_id, "camera": camera, "since": since, "until": until}
    wanted = reviews.WantedReviews(
        limit=limit + 1,
        before=cursors.review_of(cursor),
        reviewer=identity.subject if mine else reviewer,
        verdict=verdict and verdict.value,
        purpose=purpose and purpose.value,
        **tests,
    )
    with parts.database.connection() as connection:
        rows = reviews.page(connection, wanted)
    page, more = rows[:limit], len(rows) > limit
    return ReviewPage(
        reviews=[ReviewAnswer.of(row) for row in page],
        next=cursors.after_review(page[-1].review_id) if more else None,
    )
