"""Frames: ingestion by HTTP, and what was stored: POST and GET /v1/frames, …/image, …/trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from connectors.cameras.images import RejectedImage, captured_image
from contracts.identifiers import CAMERA_ID, from_milliseconds
from contracts.topics import MAX_IMAGE_BYTES
from contracts.validity import CLOCK_SKEW, LAST_STORABLE_MS
from inference.api.guard import GuardedRoute, bearer_of
from inference.api.identity import Identity
from inference.api.images import check_media_type, image_of, read_body
from inference.api.inputs import EARLIEST
from inference.api.openapi import IMAGE_BODY, problems
from inference.api.parts import Parts
from inference.api.problems import Problem

router = APIRouter(tags=["frames"], route_class=GuardedRoute)


# -- POST /v1/frames: by HTTP into the topic -------------------------------------------------------------------------
_FORM_BYTES: Final = 64 * 1024  # what a multipart body may hold beside its image
_LATEST: Final = from_milliseconds(LAST_STORABLE_MS)
_STATUS: Final = {"too_large": 413, "not_an_image": 415}  # of what a camera refuses; else 422


class TakenFrame(BaseModel):
    """A frame that the broker has: it will be stored and scored."""

    frame_id: str = Field(examples=["0198a5c2-7e10-7d3c-8f4e-1a2b3c4d5e6f"])
    session_id: str = Field(
        description="One per camera and process of the API", examples=["0198a5c2-0000-7000-8000-000000000000"]
    )
    sequence: int = Field(description="In the session, from 0")


@router.post(
    "/v1/frames",
    status_code=202,
    summary="Send a frame",
    openapi_extra=IMAGE_BODY,
    responses=problems(400, 408, 413, 415, 422),
)
async def send_frame(
    request: Request,
    camera_id: Annotated[
        str, Query(pattern=f"^{CAMERA_ID.pattern}$", description="Which camera took it", examples=["line-3.top"])
    ],
    captured_at: Annotated[
        AwareDatetime | None, Query(description="When the camera gave it; else the moment it is here")
    ] = None,
    source_time: Annotated[
        AwareDatetime | None,
        Query(description="What the source says, 1970 to 9999 in UTC; the time in the image's Exif wins"),
    ] = None,
) -> TakenFrame:
    """Takes one JPEG or PNG of at most 4 MiB into the pipeline, as the camera program does, byte for byte.

    202 once the broker has acknowledged the frame: from then on it is not lost. 503 `broker_away`: nothing was sent,
    send it again. 503 `unconfirmed`: the broker was silent for too long; the frame may still arrive, and sent again it
    becomes a second frame with an id of its own. 403 `camera_not_allowed`: the account sends as other cameras.
    """
    parts: Parts = request.app.state.parts
    bearer = bearer_of(request)
    _check_camera(bearer, camera_id, without_claim=parts.settings.auth.cameras_without_claim)
    media_type = check_media_type(request)
    _check_times(captured_at, source_time, retention=parts.settings.retention.period)
    body = await read_body(request, parts.bodies, limit=MAX_IMAGE_BYTES + _FORM_BYTES)
    image = captured_image(
        await image_of(request, body, media_type), name="by HTTP", source_time=source_time, captured_at=captured_at
    )
    if isinstance(image, RejectedImage):
        parts.ingest.reject(camera_id, image)
        raise Problem(_STATUS.get(image.code, 422), image.code, image.reason)
    taken = await parts.ingest.take(camera_id, image, account=bearer.subject)
    return TakenFrame(frame_id=taken.frame_id, session_id=taken.session_id, sequence=taken.sequence)


def _check_camera(bearer: Identity, camera_id: str, *, without_claim: Literal["all", "none"]) -> None:
    """Refuses a camera that the account is not for: with the role alone, any sender could speak for any camera."""
    allowed = bearer.cameras if bearer.cameras is not None else (("*",) if without_claim == "all" else ())
    if not any(fnmatchcase(camera_id, pattern) for pattern in allowed):
        raise Problem(
            403,
            "camera_not_allowed",
            f"{bearer.name} may not send as camera {camera_id}: an administrator adds it to the claim `cameras` of the "
            "account in Keycloak",
        )


def _check_times(captured_at: datetime | None, source_time: datetime | None, *, retention: timedelta) -> None:
    """Refuses what the validity rule would refuse later, in silence for who sent it."""
    now = datetime.now(UTC)
    if captured_at is not None and not now - retention < captured_at < now + CLOCK_SKEW:
        raise Problem(
            422,
            "captured_at_out_of_window",
            f"captured_at must lie between {retention.days} days ago and {CLOCK_SKEW.seconds // 60} minutes ahead: set "
            "the camera's clock, or leave it out",
        )
    if source_time is not None and not EARLIEST <= source_time <= _LATEST:
        raise Problem(422, "bad_source_time", "source_time lies before 1970 or after 9999, in UTC: leave it out")
