"""What routes take, bounded so that nothing behind them can be asked what it cannot answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Depends, Path, Query
from pydantic import AfterValidator

from contracts.identifiers import UUID7, milliseconds, milliseconds_of
from inference.api.guard import bearer_of
from inference.api.identity import Identity
from inference.api.parts import Parts, parts_of
from inference.domain.review import LONGEST_LABEL

UUID7_PATTERN: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
CAMERA_PATTERN: Final = "^[a-z0-9][a-z0-9._-]{0,62}$"
# No control character: Postgres cannot store NUL, and a label or name has no use for the others.
TEXT_PATTERN: Final = r"^[^\x00-\x1f\x7f]+$"
LARGEST_ID: Final = 2**63 - 1

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # no frame's id tells an earlier time
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def _in_utc(at: datetime) -> datetime:
    """A time without a zone is UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not EARLIEST <= aware <= _LATEST:
        raise ValueError("give a time between 1970 and 2200")
    return aware.astimezone(UTC)


Neighbours = Annotated[Parts, Depends(parts_of)]
Bearer = Annotated[Identity, Depends(bearer_of)]


def is_frame_id(text: str) -> bool:
    """Whether it is a UUIDv7 whose time can be told."""
    return UUID7.fullmatch(text) is not None and milliseconds_of(text) < milliseconds(_LATEST)


def _of_our_time(frame_id: str) -> str:
    if not UUID7.fullmatch(frame_id):
        raise ValueError("this is no frame's id: they are UUIDs of version 7, in small letters")
    if not is_frame_id(frame_id):
        raise ValueError("this is no frame's id: its time lies after 2200")
    return frame_id


AnyFrameId = Annotated[str, AfterValidator(_of_our_time)]
FrameId = Annotated[AnyFrameId, Path(pattern=UUID7_PATTERN, description="UUIDv7, lower-case")]
ReviewId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
LetterId = Annotated[
    str, Path(pattern=r"^[a-z0-9_.-]{1,80}:[0-9]{1,18}$", description="CONSUMER:OFFSET, such as frames_to_s3:17")
]
At = Annotated[datetime, AfterValidator(_in_utc)]

CameraName = Annotated[str | None, Query(pattern=CAMERA_PATTERN, description="Only this camera")]
Since = Annotated[At | None, Query(description="Then or later; ISO 8601, UTC where no zone is given")]
Until = Annotated[At | None, Query(description="Before then; ISO 8601, UTC where no zone is given")]
Limit = Annotated[int, Query(ge=1, le=200, description="At most so many")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before")]
LabelName = Annotated[str | None, Query(max_length=LONGEST_LABEL, pattern=TEXT_PATTERN)]
Word = Annotated[str | None, Query(max_length=100, pattern=TEXT_PATTERN)]
Confidence = Annotated[float | None, Query(ge=0, le=1, description="0..1")]
