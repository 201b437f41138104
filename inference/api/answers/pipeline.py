"""How the pipeline is, as answered: connectors, lag, sessions, rates, the audit, dead letters."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ConnectorAnswer(BaseModel):
    """One sink."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    state: str = Field(description="Connect's word, or ABSENT")
    tasks: list[str] = Field(description="The state of each task")
    reason: str = Field(description="Of a failure, else empty")


class LagAnswer(BaseModel):
    """How far a consumer group is behind on a topic."""

    model_config = ConfigDict(from_attributes=True)

    group: str
    topic: str
    records: int


class FlowAnswer(BaseModel):
    """What the broker tells."""

    model_config = ConfigDict(from_attributes=True)

    lags: list[LagAnswer]
    frames_per_second: float = Field(description="Over the last minute, by the broker's clock")
    dead_letters: dict[str, int] = Field(description="Records by topic, as far as kept")


class OpenSessionAnswer(BaseModel):
    """A session without a close."""

    model_config = ConfigDict(from_attributes=True)

    session_id: str
    camera_id: str
    captured: int = Field(description="Frames")
    silent_seconds: float = Field(description="Since its last news")


class PipelineAnswer(BaseModel):
    """What could not be asked is null, with the reason in `away`."""

    is_well: bool = Field(description="Nothing is away and every sink runs with all its tasks")
    connectors: list[ConnectorAnswer] | None
    flow: FlowAnswer | None
    open_sessions: list[OpenSessionAnswer] | None
    away: list[str]
    warnings: list[str]
    asked_at: datetime = Field(description="An answer may be two seconds old: many askers ask once")


class FrameCountAnswer(BaseModel):
    """Frames of one camera in one step."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime = Field(description="The step's begin")
    camera_id: str
    frames: int


class DetectionCountAnswer(BaseModel):
    """Boxes with one label in one camera's frames of one step."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime = Field(description="The step's begin")
    camera_id: str
    label: str
    detections: int


class LatencyAnswer(BaseModel):
    """From capture to inference, of the stream's predictions."""

    model_config = ConfigDict(from_attributes=True)

    frames: int
    p50_ms: float | None = Field(description="Milliseconds; null: no frame")
    p99_ms: float | None = Field(description="Milliseconds; null: no frame")


class StatisticsAnswer(BaseModel):
    """Counts of [since, until). One prediction of each frame counts: the champion's, else the newest."""

    since: datetime
    until: datetime
    step: Literal["minute", "hour"]
    frames: list[FrameCountAnswer]
    detections: list[DetectionCountAnswer]
    statuses: dict[str, int] = Field(description="Predictions by status")
    latency: LatencyAnswer


class NamedAnswer(BaseModel):
    """One frame that is not plainly stored, and what it is instead."""

    session_id: str
    camera_id: str
    sequence: int | None = Field(description="null: the whole session")
    frame_id: str | None = Field(description="null: nobody knows it")
    problem: str = Field(description="Its name; for a dead letter the letter's id")
    detail: str


class UnreadableAnswer(BaseModel):
    """A dead letter that tells no frame."""

    letter_id: str
    origin: str = Field(description="topic/partition/offset of the refused record, or unknown")
    reason: str


class AuditedSession(BaseModel):
    """What became of one session's acknowledged frames."""

    session_id: str
    camera_id: str
    source: str
    state: str = Field(description="closed, open or in progress")
    started_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    captured: int
    rejected: int
    first_sequence: int = Field(description="Judged from here")
    last_acknowledged: int = Field(description="-1: nothing")
    acknowledged: int = Field(description="Sequences judged")
    stored: int
    dead_lettered: int
    expired: int
    pending: int = Field(description="On their way")
    problem_count: int


class AuditAnswer(BaseModel):
    """As `sightline audit --quick --json` prints it: the objects' metadata are compared, their bytes stay unread."""

    is_closed: bool = Field(description="Every acknowledged frame is accounted for")
    judged_at: datetime
    is_quick: bool
    acknowledged: int
    stored: int
    dead_lettered: int
    expired: int
    pending: int = Field(description="On their way")
    problem_count: int
    problems: list[NamedAnswer] = Field(description="The first thousand of each session; all are counted")
    pending_frames: list[NamedAnswer]
    dead_letters: list[NamedAnswer]
    unreadable_dead_letters: list[UnreadableAnswer]
    objects_without_row: list[str] = Field(description="Keys; a clue where rows are missing")
    sessions: list[AuditedSession]


class OriginAnswer(BaseModel):
    """Where a refused record lay."""

    topic: str | None
    partition: int | None
    offset: int | None


class LetterAnswer(BaseModel):
    """One refused record."""

    id: str = Field(description="CONSUMER:OFFSET")
    consumer: str
    code: str = Field(description="Of the reason; other: what failed is not ours and gave none")
    reason: str
    origin: OriginAnswer
    stage: str = Field(description="What the consumer was doing")
    exception: str
    refused_at: datetime
    key: str | None
    size_bytes: int = Field(description="Of the record's value")
    replayed_from: str | None = Field(description="The dead letter it came from, when it was refused again")


class LetterPage(BaseModel):
    """Dead letters, newest first."""

    counts: dict[str, int] = Field(description="All that are kept, by consumer")
    dead_letters: list[LetterAnswer]
    next: str | None = Field(description="The cursor of older ones; null: there are none. A page may be empty before")


class ImageFigures(BaseModel):
    """The image inside a record, which is not shown."""

    size_bytes: int
    sha256: str


class LetterWhole(LetterAnswer):
    """One refused record with its headers and, where it can be decoded, its fields."""

    headers: dict[str, str | None]
    sha256_of_value: str
    record: dict[str, Any] | None = Field(description="Without the image; null: it cannot be decoded")
    image: ImageFigures | None = None
    undecodable: str | None = Field(default=None, description="Why it cannot be decoded")
    begins_with: str | None = Field(default=None, description="The first 64 bytes of its value in hex")


class ReplayRequest(BaseModel):
    """How a record is sent once more."""

    model_config = ConfigDict(extra="forbid")

    edit: dict[str, Any] | None = Field(
        default=None,
        description="Fields that replace those of the record; null: as it is. The image is corrected on the command "
        "line only",
    )


class ReplayAnswer(BaseModel):
    """What became of it. Every consumer writes by upsert: replaying twice stores nothing twice."""

    id: str
    is_replayed: bool
    reason: str = Field(description="Why not")
    topic: str | None = Field(description="Where the record lies now")
    partition: int | None
    offset: int | None
