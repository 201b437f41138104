"""The one validity rule: a record is refused by every consumer or by none.

    decoded record ──► violation(topic, record, key, broker time) ──► None, or Violation(code, detail)

The Connect plugin's ValidRecord applies the same rule in Java; vectors/validity.json is read by both test suites. The
checks run in this order and the first failure wins, so that all name the same reason:

    key_mismatch, unstorable_text, time_out_of_range, bad_id, bad_number, frame_time_mismatch, then for frames
    captured_at_out_of_window, unknown_encoding, object_key_mismatch, image_missing, size_mismatch, too_large,
    sha256_mismatch, and for predictions unequal_arrays
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from contracts.errors import Rejected
from contracts.identifiers import CAMERA_ID, SHA256, TRACEPARENT, UUID, UUID7, from_milliseconds, milliseconds_of
from contracts.object_keys import object_key
from contracts.records import RECORD_TYPES
from contracts.topics import KEY_FIELDS, MAX_IMAGE_BYTES

RETENTION: Final = timedelta(days=90)
CLOCK_SKEW: Final = timedelta(minutes=10)
LAST_STORABLE_MS: Final = 253_402_300_799_999  # the end of the year 9999: what Python, Postgres and Java all hold


def _text(longest: int) -> re.Pattern[str]:
    return re.compile(f".{{1,{longest}}}", re.DOTALL)


_NAME: Final = _text(128)
_PATTERNS: Final[dict[str, dict[str, re.Pattern[str]]]] = {
    "frames": {
        "frame_id": UUID7,
        "camera_id": CAMERA_ID,
        "session_id": UUID,
        "sha256": SHA256,
        "traceparent": TRACEPARENT,
        "encoding": _text(16),
        "object_key": _text(1024),
    },
    "predictions": {
        "frame_id": UUID7,
        "camera_id": CAMERA_ID,
        "model_digest": SHA256,
        "traceparent": TRACEPARENT,
        "run_id": _NAME,
        "model_name": _NAME,
        "model_version": _NAME,
        "role": _NAME,
        "engine": _NAME,
        "status": _NAME,
        "labels": _NAME,
    },
    "sessions": {"session_id": UUID, "camera_id": CAMERA_ID, "source": _text(2048)},
}
_MINIMA: Final[dict[str, dict[str, int]]] = {
    "frames": {"width": 1, "height": 1, "size_bytes": 1, "sequence": 0},
    "predictions": {},
    "sessions": {"last_acknowledged": -1, "captured": 0, "rejected": 0},
}
_FLOATS: Final[dict[str, tuple[str, ...]]] = {
    "frames": (),
    "predictions": ("latency_ms", "confidences", "boxes"),
    "sessions": (),
}


# NUL is the one character that Postgres text cannot hold; half a surrogate pair is no character at all.
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Why a record is refused: a code that tests and tables use, and a detail for a person."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def violation(
    topic: str,
    record: Mapping[str, Any],
    *,
    key: str | None,
    broker_time_ms: int,
    retention: timedelta = RETENTION,
) -> Violation | None:
    """The first rule that a decoded record breaks, or None.

    Args:
        topic: frames, predictions or sessions.
        record: the decoded value, times in milliseconds since 1970.
        key: the record's key.
        broker_time_ms: the record's own timestamp (LogAppendTime), never the reader's clock, so that all consumers
            agree whenever they run.
        retention: how old a frame may be at the broker.
    """
    checks = _checks(topic, record, key=key, broker_time_ms=broker_time_ms, retention=retention)
    return next(checks, None)


def _checks(
    topic: str, record: Mapping[str, Any], *, key: str | None, broker_time_ms: int, retention: timedelta
) -> Iterator[Violation]:
    key_field = KEY_FIELDS[topic]
    if key != record[key_field]:
        yield Violation(code="key_mismatch", detail=f"the record's key is not its {key_field}")
    yield from _unstorable(topic, record)
    yield from _patterns(topic, record)
    yield from _numbers(topic, record)
    if topic in {"frames", "predictions"} and milliseconds_of(record["frame_id"]) != record["captured_at"]:
        yield Violation(code="frame_time_mismatch", detail="the time in frame_id is not captured_at")
    if topic == "frames":
        yield from _frame(record, broker_time_ms, retention)
    elif topic == "predictions":
        detections = len(record["labels"])
        if len(record["confidences"]) != detections or len(record["boxes"]) != 4 * detections:
            yield Violation(
                code="unequal_arrays",
                detail=f"{detections} labels, {len(record['confidences'])} confidences, {len(record['boxes'])} "
                "box coordinates (4 per label)",
            )


def _values(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


def _unstorable(topic: str, record: Mapping[str, Any]) -> Iterator[Violation]:
    for name, value in record.items():
        if any(isinstance(text, str) and UNSTORABLE.search(text) for text in _values(value)):
            yield Violation(code="unstorable_text", detail=f"{name} holds a character that Postgres cannot store")
    for name in sorted(RECORD_TYPES[topic].TIMES):
        value = record[name]
        if value is not None and not 0 <= value <= LAST_STORABLE_MS:
            yield Violation(code="time_out_of_range", detail=f"{name} is not between the years 1970 and 9999")


def _patterns(topic: str, record: Mapping[str, Any]) -> Iterator[Violation]:
    for name, pattern in _PATTERNS[topic].items():
        for text in _values(record[name]):
            if not pattern.fullmatch(text):
                yield Violation(code="bad_id", detail=f"{name} {text[:80]!r} does not match its pattern")


def _numbers(topic: str, record: Mapping[str, Any]) -> Iterator[Violation]:
    for name, least in _MINIMA[topic].items():
        if record[name] < least:
            yield Violation(code="bad_number", detail=f"{name} is {record[name]}, the least is {least}")
    for name in _FLOATS[topic]:
        if not all(math.isfinite(number) for number in _values(record[name])):
            yield Violation(code="bad_number", detail=f"{name} holds a number that is not finite")


def _frame(record: Mapping[str, Any], broker_time_ms: int, retention: timedelta) -> Iterator[Violation]:
    captured_ms: int = record["captured_at"]
    earliest = broker_time_ms - retention // timedelta(milliseconds=1)
    latest = broker_time_ms + CLOCK_SKEW // timedelta(milliseconds=1)
    captured_at = from_milliseconds(captured_ms)
    if not earliest <= captured_ms <= latest:
        yield Violation(
            code="captured_at_out_of_window",
            detail=f"captured_at {captured_at.isoformat()} is more than {retention.days} days before, or more than "
            f"{CLOCK_SKEW} after, the broker's time",
        )
    try:
        expected = object_key(
            captured_at=captured_at,
            camera_id=record["camera_id"],
            frame_id=record["frame_id"],
            encoding=record["encoding"],
        )
    except Rejected as error:
        yield Violation(code=error.code, detail=str(error))
    else:
        if record["object_key"] != expected:
            yield Violation(code="object_key_mismatch", detail=f"object_key is not {expected}")
    yield from _image(record)


def _image(record: Mapping[str, Any]) -> Iterator[Violation]:
    image: bytes | None = record["image"]
    if not image:
        yield Violation(code="image_missing", detail="the record holds no image")
        return
    if len(image) != record["size_bytes"]:
        yield Violation(
            code="size_mismatch", detail=f"size_bytes is {record['size_bytes']}, the image has {len(image)}"
        )
    if len(image) > MAX_IMAGE_BYTES:
        yield Violation(code="too_large", detail=f"the image has {len(image)} bytes, the limit is {MAX_IMAGE_BYTES}")
    if hashlib.sha256(image).hexdigest() != record["sha256"]:
        yield Violation(code="sha256_mismatch", detail="sha256 is not that of the image's bytes")
