"""Claims, reviews and label counts as asked and answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from inference.api.answers.frames import FrameAnswer, PredictionAnswer, ReviewAnswer
from inference.api.inputs import CAMERA_PATTERN, TEXT_PATTERN, UUID7_PATTERN, AnyFrameId
from inference.domain.review import LONGEST_LABEL, MOST_BOXES, Purpose, Verdict

_LARGEST_SIDE = 1_000_000.0
Pixel = Annotated[float, Field(ge=0, le=_LARGEST_SIDE, allow_inf_nan=False)]


class ClaimRequest(BaseModel):
    """Asks for frames to review."""

    model_config = ConfigDict(extra="forbid")

    purpose: Purpose = Field(
        default=Purpose.QUEUE, description="queue: the most useful frames; gate: drawn at random, without predictions"
    )
    count: int = Field(
        default=1, ge=1, le=10, description="How many to hold at once; more than one lets a page load the next ahead"
    )
    camera: str | None = Field(default=None, pattern=CAMERA_PATTERN, description="Only this camera's")


class ClaimedFrame(FrameAnswer):
    """A frame that is kept for who claimed it."""

    expires_at: datetime = Field(description="From then on others may claim it; a new claim keeps it for longer")
    predictions: list[PredictionAnswer] | None = Field(
        description="What models saw, the one to start from first; null with purpose gate: an empty page"
    )


class ClaimAnswer(BaseModel):
    """The frames to review now."""

    purpose: Purpose
    frames: list[ClaimedFrame] = Field(description="In the order to review them; fewer than asked: no more wait")


class BoxGiven(BaseModel):
    """One thing that a person sees."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(min_length=1, max_length=LONGEST_LABEL, pattern=TEXT_PATTERN)
    box: tuple[Pixel, Pixel, Pixel, Pixel] = Field(
        description="x1, y1, x2, y2 in pixels of the original image, kept as 32-bit floats"
    )


class ReviewGiven(BaseModel):
    """One person's word on a frame."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    frame_id: Annotated[AnyFrameId, Field(pattern=UUID7_PATTERN)]
    verdict: Verdict = Field(
        description="accepted: the boxes of model_version, as they are (send none); corrected: these boxes; "
        "empty: nothing is there; unusable: nobody can say"
    )
    boxes: list[BoxGiven] = Field(default=[], max_length=MOST_BOXES)
    model_version: str | None = Field(
        default=None, min_length=1, max_length=100, pattern=TEXT_PATTERN, description="Whose prediction the person saw"
    )
    purpose: Purpose = Field(default=Purpose.QUEUE, description="gate: only for a frame that was claimed with it")
    request_id: str = Field(
        pattern="^[A-Za-z0-9._-]{1,64}$", description="The client's own, such as a UUID: sent again, it changes nothing"
    )


class ReviewPage(BaseModel):
    """Reviews, newest first."""

    reviews: list[ReviewAnswer]
    next: str | None = Field(description="The cursor of the next page; null: this was the last")


class ReviewerCount(BaseModel):
    """What one person did."""

    reviewer: str = Field(description="The subject of the token")
    reviewer_name: str
    frames: int = Field(description="Whose counting review is this person's")


class Progress(BaseModel):
    """How far reviewing is."""

    train_frames: int = Field(description="Reviewed frames of training blocks")
    gate_frames: int = Field(description="Frames of gate blocks, reviewed from an empty page")
    other_frames: int = Field(description="Frames of gate blocks, reviewed otherwise: neither set uses them")
    waiting_train_frames: int = Field(description="Captured since `waiting_since` and not reviewed, training blocks")
    waiting_gate_frames: int = Field(description="Captured since `waiting_since` and not reviewed, gate blocks")
    waiting_since: datetime


class LabelsAnswer(BaseModel):
    """Labels in numbers. The newest review of a frame that nobody took back counts."""

    classes: list[str] = Field(description="That a review may use, in the order of the export")
    labels: dict[str, int] = Field(description="Boxes by label")
    gate_labels: dict[str, int] = Field(description="Boxes by label in the gate set")
    reviewers: list[ReviewerCount]
    cameras: dict[str, int] = Field(description="Reviewed frames by camera")
    verdicts: dict[str, int] = Field(description="Reviewed frames by verdict")
    progress: Progress
