"""Frames, predictions and cameras as answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from inference.persistence.cameras import Camera
from inference.persistence.frames import FrameRow, PredictionRow
from inference.persistence.reviews import ReviewRow


class BoxAnswer(BaseModel):
    """One thing in a frame."""

    label: str
    confidence: float | None = Field(default=None, description="0..1; null: a person said so")
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels of the original image")


class PredictionAnswer(BaseModel):
    """What one model version saw in a frame."""

    model_name: str
    model_version: str
    model_digest: str = Field(description="sha256 of the artefact that ran, lower-case hex")
    role: str = Field(description="champion, challenger or batch: what it ran as")
    run_id: str | None = Field(description="The batch job's run; null from the stream")
    engine: str
    inferred_at: datetime
    latency_ms: float = Field(description="Milliseconds from capture to inference")
    status: str = Field(description="ok, undecodable, too_large or unsupported")
    boxes: list[BoxAnswer]

    @classmethod
    def of(cls, row: PredictionRow) -> PredictionAnswer:
        """From its row."""
        boxes = [
            BoxAnswer(label=label, confidence=confidence, box=box)
            for label, confidence, box in zip(row.labels, row.confidences, row.corners, strict=True)
        ]
        return cls(boxes=boxes, **_shared(cls, row, without={"boxes"}))


class PredictionSummary(BaseModel):
    """The prediction that a list shows of a frame."""

    model_version: str
    role: str
    inferred_at: datetime
    latency_ms: float = Field(description="Milliseconds from capture to inference")
    status: str
    counts: dict[str, int] = Field(description="Boxes by label")
    highest_confidence: float | None = Field(description="0..1; null: no box")

    @classmethod
    def of(cls, row: PredictionRow) -> PredictionSummary:
        """From its row."""
        counts: dict[str, int] = {}
        for label in row.labels:
            counts[label] = counts.get(label, 0) + 1
        return cls(
            counts=counts,
            highest_confidence=max(row.confidences, default=None),
            **_shared(cls, row, without={"counts", "highest_confidence"}),
        )


class ImageLink(BaseModel):
    """Where the image is."""

    url: str = Field(description="Relative to the API; needs no token and is good for a minute")
    sha256: str = Field(description="Of the bytes, lower-case hex")
    size_bytes: int


class FrameAnswer(BaseModel):
    """One captured image."""

    frame_id: str = Field(description="UUIDv7: its first 48 bits are captured_at")
    camera_id: str
    session_id: str
    sequence: int = Field(description="In the session, from 0")
    captured_at: datetime
    source_time: datetime | None = Field(description="Position in a video, EXIF or file time; null: unknown")
    width: int = Field(description="Pixels")
    height: int = Field(description="Pixels")
    encoding: str = Field(description="jpeg or png")
    object_key: str = Field(description="In the frames bucket")
    part: str = Field(description="train or gate, for ever: which set its labels may feed")
    image: ImageLink

    @classmethod
    def values(cls, row: FrameRow, *, part: str, url: str) -> dict[str, Any]:
        """What every kind of frame answer has of its row."""
        image = ImageLink(url=url, sha256=row.sha256, size_bytes=row.size_bytes)
        own = _shared(FrameAnswer, row, without={"image", "part"})
        return {"image": image, "part": part, **own}


class FrameListed(FrameAnswer):
    """A frame in a list."""

    prediction: PredictionSummary | None = Field(
        description="Of the version asked for; else the champion's, or of one that ran as champion; null: none yet"
    )


class FramePage(BaseModel):
    """Frames, newest first."""

    frames: list[FrameListed]
    next: str | None = Field(description="The cursor of the next page; null: this was the last")
    since: datetime | None = Field(
        default=None, description="From when frames were looked at, to be given with `next`; null: from the first"
    )


class ReviewAnswer(BaseModel):
    """One person's word on a frame."""

    review_id: int
    frame_id: str
    camera_id: str
    reviewer: str = Field(description="The subject of the reviewer's token")
    reviewer_name: str
    reviewed_at: datetime
    verdict: str = Field(description="accepted, corrected, empty or unusable; undone: it takes `undoes` back")
    purpose: str = Field(description="queue or gate")
    model_version: str | None = Field(description="Whose prediction the person saw")
    boxes: list[BoxAnswer]
    undoes: int | None = Field(description="The review that this one takes back")
    undone_by: int | None = Field(description="The review that takes this one back; null: it stands")

    @classmethod
    def of(cls, row: ReviewRow) -> ReviewAnswer:
        """From its row."""
        boxes = [BoxAnswer(label=each.label, box=each.box) for each in row.labelled()]
        return cls(boxes=boxes, **_shared(cls, row, without={"boxes"}))


class FrameWhole(FrameAnswer):
    """A frame with all that models and people said of it."""

    traceparent: str | None = Field(description="W3C trace context of its way through the pipeline")
    predictions: list[PredictionAnswer] = Field(description="Oldest inference first")
    reviews: list[ReviewAnswer] = Field(description="Newest first; also those that were taken back")


class TracedEvent(BaseModel):
    """Something that happened to a frame."""

    at: datetime
    event: str


class TraceAnswer(BaseModel):
    """One frame's whole life, as `sightline trace --json` prints it. Rows are as in their tables."""

    is_known: bool = Field(description="Whether anything knows the frame")
    frame_id: str
    captured_at: datetime = Field(description="From the id")
    row: dict[str, Any] | None
    is_in_topic: bool | None = Field(description="Whether the topic still holds its record; null: nobody knows")
    object: dict[str, Any] | None = Field(description="The image where it should lie, its bytes just read")
    predictions: list[dict[str, Any]]
    session: dict[str, Any] | None
    conflicts: list[dict[str, Any]]
    expirations: list[dict[str, Any]]
    letters: list[dict[str, Any]] = Field(description="Where the frame or a prediction of it was refused")
    notes: list[str] = Field(description="What could not be asked")
    timeline: list[TracedEvent] = Field(description="Oldest first")


class SessionAnswer(BaseModel):
    """A camera's session without a close."""

    session_id: str
    source: str = Field(description="Without credentials")
    started_at: datetime
    captured: int = Field(description="Frames")


class CameraAnswer(BaseModel):
    """One camera."""

    camera_id: str
    news_at: datetime = Field(description="Of its newest session")
    last_frame_id: str | None = Field(description="The newest that is stored; null: none is")
    last_captured_at: datetime | None
    last_image_url: str | None = Field(description="As image.url of a frame")
    frames_per_second: float = Field(description="Stored, captured in the last minute")
    session: SessionAnswer | None = Field(description="The open session with the latest news; null: none is open")

    @classmethod
    def of(cls, camera: Camera, image_url: str | None) -> CameraAnswer:
        """From what the tables know."""
        session = camera.session and SessionAnswer(**_shared(SessionAnswer, camera.session))
        return cls(
            session=session, last_image_url=image_url, **_shared(cls, camera, without={"session", "last_image_url"})
        )


class CamerasAnswer(BaseModel):
    """All cameras, by name."""

    cameras: list[CameraAnswer]


def _shared(model: type[BaseModel], row: object, *, without: set[str] | frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields of a model that a row has by the same names."""
    return {name: getattr(row, name) for name in model.model_fields if name not in without}
