"""Records of the topics as the codec takes them: times in milliseconds, valid unless a test changes something.

a_frame_record(camera_id="c1", sequence=3)      id, time, digest, size and key fit together unless given
a_prediction_record(frame)   a_session_record()
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from contracts.identifiers import from_milliseconds, new_id
from contracts.object_keys import object_key
from contracts.records import Record

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def a_frame_record(image: bytes = b"\xff\xd8 not really a picture \xff\xd9", **changes: Any) -> Record:
    captured_ms = changes.get("captured_at", now_ms())
    captured_at = from_milliseconds(captured_ms)
    record: Record = {
        "frame_id": new_id(captured_at),
        "camera_id": "c1",
        "session_id": new_id(captured_at),
        "sequence": 0,
        "captured_at": captured_ms,
        "source_time": None,
        "width": 64,
        "height": 48,
        "encoding": "jpeg",
        "size_bytes": len(image),
        "sha256": hashlib.sha256(image).hexdigest(),
        "traceparent": TRACEPARENT,
        "image": image,
    } | changes
    key = object_key(
        captured_at=captured_at,
        camera_id=record["camera_id"],
        frame_id=record["frame_id"],
        encoding=record["encoding"],
    )
    return {"object_key": key} | record


def a_prediction_record(frame: Record, **changes: Any) -> Record:
    return {
        "frame_id": frame["frame_id"],
        "camera_id": frame["camera_id"],
        "captured_at": frame["captured_at"],
        "model_name": "test-model",
        "model_version": "1",
        "model_digest": "0" * 64,
        "role": "batch",
        "run_id": "test",
        "engine": "fake",
        "inferred_at": frame["captured_at"] + 40,
        "latency_ms": 40.0,
        "status": "ok",
        "labels": ["open", "short"],
        "confidences": [0.9, 0.5],
        "boxes": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        "traceparent": TRACEPARENT,
    } | changes


def a_session_record(**changes: Any) -> Record:
    started_ms = now_ms()
    return {
        "session_id": new_id(from_milliseconds(started_ms)),
        "camera_id": "c1",
        "source": "a test",
        "started_at": started_ms,
        "last_acknowledged": -1,
        "captured": 0,
        "rejected": 0,
        "closed_at": None,
        "updated_at": started_ms,
    } | changes
