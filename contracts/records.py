"""The records of the topics as typed values. Field by field the same as avro/<topic>/v1.avsc; a contract test compares.

    Frame ──to_record()──► {"frame_id": ..., "captured_at": 1763884800000, ...} ──Avro──► topic
    Frame ◄──from_record()── the same mapping

A mapping holds times as whole milliseconds since 1970 (see schemas.without_logical_types), a value as aware datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Self

from contracts.identifiers import from_milliseconds, milliseconds

Record = dict[str, Any]


class _AvroRecord:
    """What the three have in common: the way to and from the mapping that a codec reads and writes."""

    __slots__ = ()
    TIMES: ClassVar[frozenset[str]]

    def to_record(self) -> Record:
        """The mapping to encode."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        for name in self.TIMES:
            if record[name] is not None:
                record[name] = milliseconds(record[name])
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The typed value of a decoded and valid mapping. Fields of later schema versions are left out."""
        values = {field.name: record[field.name] for field in fields(cls)}  # type: ignore[arg-type]
        for name in cls.TIMES:
            if values[name] is not None:
                values[name] = from_milliseconds(values[name])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame(_AvroRecord):
    """One captured image and everything known about it."""

    TIMES: ClassVar[frozenset[str]] = frozenset({"captured_at", "source_time"})

    frame_id: str  # UUIDv7 of captured_at
    camera_id: str
    session_id: str
    sequence: int  # in the session, from 0
    captured_at: datetime  # UTC, whole milliseconds
    source_time: datetime | None = None  # UTC
    width: int  # pixels
    height: int  # pixels
    encoding: str  # jpeg | png
    size_bytes: int
    sha256: str  # of image, lower-case hex
    object_key: str
    traceparent: str | None = None
    image: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(_AvroRecord):
    """What one model version saw in one frame."""

    TIMES: ClassVar[frozenset[str]] = frozenset({"captured_at", "inferred_at"})

    frame_id: str
    camera_id: str
    captured_at: datetime  # UTC
    model_name: str
    model_version: str
    model_digest: str  # sha256 of the artefact that ran
    role: str  # champion | challenger | batch
    run_id: str | None = None
    engine: str
    inferred_at: datetime  # UTC
    latency_ms: float  # inferred_at - captured_at
    status: str  # ok | undecodable | too_large | unsupported
    labels: list[str]
    confidences: list[float]  # 0..1
    boxes: list[float]  # x1 y1 x2 y2 per detection, pixels of the original image
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(_AvroRecord):
    """What one camera process captured."""

    TIMES: ClassVar[frozenset[str]] = frozenset({"started_at", "closed_at", "updated_at"})

    session_id: str
    camera_id: str
    source: str  # without credentials
    started_at: datetime  # UTC
    last_acknowledged: int  # -1 at first
    captured: int
    rejected: int
    closed_at: datetime | None = None  # UTC
    updated_at: datetime  # UTC


RECORD_TYPES: dict[str, type[Frame | Prediction | Session]] = {
    "frames": Frame,
    "predictions": Prediction,
    "sessions": Session,
}
