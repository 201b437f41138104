"""What was stored of frames: GET /v1/frames, /v1/frames/{frame_id}, …/image, …/trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from inference.api import cursors, stored_image
from inference.api.answers.frames import (
    FrameAnswer,
    FrameListed,
    FramePage,
    FrameWhole,
    PredictionAnswer,
    PredictionSummary,
    ReviewAnswer,
    TraceAnswer,
)
from inference.api.guard import GuardedRoute
from inference.api.inputs import (
    EARLIEST,
    Bearer,
    CameraName,
    Confidence,
    Cursor,
    FrameId,
    LabelName,
    Limit,
    Neighbours,
    Since,
    Until,
    Word,
)
from inference.api.openapi import problems
from inference.api.parts import Parts
from inference.api.problems import Problem, not_found
from inference.domain.split import part_of
from inference.persistence import frames, reviews
from inference.persistence.frames import FrameRow, PredictionRow, ReviewState
from inference.persistence.trace import trace

router = APIRouter(tags=["frames"], route_class=GuardedRoute)

_USUAL: Final = timedelta(days=1)
_LONGEST: Final = timedelta(days=31)
_MARGIN: Final = timedelta(minutes=10)  # for who counts the days from now and then turns pages


@router.get("/v1/frames")
def list_frames(
    parts: Neighbours,
    identity: Bearer,
    camera: CameraName = None,
    since: Since = None,
    until: Until = None,
    label: LabelName = None,
    min_confidence: Confidence = None,
    status: Word = None,
    version: Word = None,
    review: Annotated[ReviewState | None, Query(description="none, reviewed by somebody, or mine")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> FramePage:
    """Frames, newest first.

    label, min_confidence and status look at all predictions of a frame, or at those of `version` alone. With one of
    these, or `review`, the range is 31 days at most and a day unless `since` is given: the answer says from when.
    """
    if any(each is not None for each in (label, min_confidence, status, version, review)):
        since = _bounded(since, until)
    wanted = frames.Wanted(
        limit=limit + 1,
        before=cursors.frame_of(cursor),
        camera=camera,
        since=since,
        until=until,
        label=label,
        min_confidence=min_confidence,
        status=status,
        version=version,
        review=review,
        reviewer=identity.subject,
    )
    model = parts.settings.mlflow.model_name
    with parts.database.connection() as connection:
        rows = frames.page(connection, wanted, model=model)
        page, more = rows[:limit], len(rows) > limit
        predictions = frames.predictions_of(connection, [row.frame_id for row in page], model=model)
        champion = version or frames.champion_version(connection, model)
    listed = [
        FrameListed(prediction=_summary(predictions.get(row.frame_id, []), champion), **frame_values(parts, row))
        for row in page
    ]
    return FramePage(frames=listed, next=cursors.after_frame(page[-1].frame_id) if more else None, since=since)


def _bounded(since: datetime | None, until: datetime | None) -> datetime:
    """From when frames are looked at: none may fit, and then all of the range is read.

    Raises:
        Problem: 422, the range is too long.
    """
    end = until or datetime.now(UTC)
    begin = since or max(EARLIEST, end - _USUAL)
    if end - begin > _LONGEST + _MARGIN:
        reason = f"with a filter on predictions or reviews, `since` lies {_LONGEST.days} days before `until` at most"
        raise Problem(422, "bad_range", reason)
    return begin


def _summary(predictions: list[PredictionRow], champion: str | None) -> PredictionSummary | None:
    shown = frames.shown(predictions, champion)
    return None if shown is None else PredictionSummary.of(shown)


def frame_values(parts: Parts, row: FrameRow) -> dict[str, object]:
    """What every answer says of a frame, with a link to its image."""
    part = part_of(row.camera_id, row.session_id, row.sequence)
    return FrameAnswer.values(row, part=part, url=parts.tickets.url(row.frame_id))


@router.get("/v1/frames/{frame_id}", responses=problems(404))
def show_frame(frame_id: FrameId, parts: Neighbours) -> FrameWhole:
    """One frame with every prediction and every review."""
    with parts.database.connection() as connection:
        row = _found(frames.find(connection, frame_id), frame_id)
        predictions = frames.predictions_of(connection, [frame_id]).get(frame_id, [])
        said = reviews.of_frame(connection, frame_id)
    return FrameWhole(
        traceparent=row.traceparent,
        predictions=[PredictionAnswer.of(each) for each in predictions],
        reviews=[ReviewAnswer.of(each) for each in said],
        **frame_values(parts, row),
    )


@router.get(
    "/v1/frames/{frame_id}/image",
    response_class=Response,
    responses=problems(404, 416) | stored_image.RESPONSES,
)
def show_image(frame_id: FrameId, request: Request, parts: Neighbours) -> Response:
    """The image as it was captured: the whole of it, or one range of its bytes."""
    with parts.database.connection() as connection:
        row = _found(frames.find(connection, frame_id), frame_id)
    return stored_image.answer(request, parts.frames, row)


@router.get("/v1/frames/{frame_id}/trace", responses=problems(404))
def show_trace(frame_id: FrameId, parts: Neighbours) -> TraceAnswer:
    """One frame's whole life: record, object, row, predictions, refusals."""
    found = trace(parts.settings, frame_id)
    if not found.is_known:
        raise not_found(f"frame {frame_id}")
    return TraceAnswer.model_validate(found.as_document())


def _found(row: FrameRow | None, frame_id: str) -> FrameRow:
    if row is None:
        raise not_found(f"frame {frame_id}")
    return row
