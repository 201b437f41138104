"""Writes contracts/vectors/validity.json, which the Python and the Java suite both read.

    python -m tests.support.validity_vectors > contracts/vectors/validity.json

Bytes stand as {"base64": ...}, numbers that JSON cannot hold as {"float": "nan"}. `broker_timestamp_ms` is the record's
LogAppendTime, `outcome` is "ok" or the code of the first rule that breaks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from typing import Any

CAPTURED_MS = 1_767_323_045_678  # 2026-01-02T03:04:05.678Z
BROKER_MS = CAPTURED_MS + 250
DAY_MS = 86_400_000
IMAGE = b"\xff\xd8\xff\xe0 not really a picture \xff\xd9"
SESSION_ID = "019b7c3e-0000-7000-8000-0000000000aa"


def uuid7(ms: int) -> str:
    digits = f"{ms:012x}"
    return f"{digits[:8]}-{digits[8:]}-7abc-8def-0123456789ab"


def frame(**changes: Any) -> dict[str, Any]:
    record = {
        "frame_id": uuid7(CAPTURED_MS),
        "camera_id": "line-1.top",
        "session_id": SESSION_ID,
        "sequence": 0,
        "captured_at": CAPTURED_MS,
        "source_time": None,
        "width": 640,
        "height": 480,
        "encoding": "jpeg",
        "size_bytes": len(IMAGE),
        "sha256": hashlib.sha256(IMAGE).hexdigest(),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "image": IMAGE,
    } | changes
    if "object_key" not in record:
        extension = {"jpeg": "jpg", "png": "png"}.get(record["encoding"], "bin")
        record["object_key"] = f"date=2026-01-02/camera={record['camera_id']}/{record['frame_id']}.{extension}"
    return record


def prediction(**changes: Any) -> dict[str, Any]:
    return {
        "frame_id": uuid7(CAPTURED_MS),
        "camera_id": "line-1.top",
        "captured_at": CAPTURED_MS,
        "model_name": "pcb-defects",
        "model_version": "7",
        "model_digest": "a" * 64,
        "role": "champion",
        "run_id": None,
        "engine": "openvino",
        "inferred_at": CAPTURED_MS + 300,
        "latency_ms": 300.0,
        "status": "ok",
        "labels": ["open", "short"],
        "confidences": [0.5, 0.25],
        "boxes": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        "traceparent": None,
    } | changes


def session(**changes: Any) -> dict[str, Any]:
    return {
        "session_id": SESSION_ID,
        "camera_id": "line-1.top",
        "source": "simulator:?seed=1",
        "started_at": CAPTURED_MS,
        "last_acknowledged": -1,
        "captured": 0,
        "rejected": 0,
        "closed_at": None,
        "updated_at": CAPTURED_MS,
    } | changes


def moved(ms: int, **changes: Any) -> dict[str, Any]:
    """A frame captured at another time, consistent in itself."""
    from datetime import UTC, datetime, timedelta

    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).date().isoformat()
    frame_id = uuid7(ms)
    return frame(
        frame_id=frame_id, captured_at=ms, object_key=f"date={day}/camera=line-1.top/{frame_id}.jpg", **changes
    )


FRAMES: list[tuple[str, dict[str, Any], str]] = [
    ("a frame", frame(), "ok"),
    ("a png", frame(encoding="png"), "ok"),
    ("no trace context", frame(traceparent=None), "ok"),
    ("a source time of 1970", frame(source_time=0), "ok"),
    ("a camera id of one letter", frame(camera_id="a"), "ok"),
    ("a camera id of 63 characters", frame(camera_id="c" * 63), "ok"),
    ("as old as the retention allows", moved(BROKER_MS - 90 * DAY_MS), "ok"),
    ("as early as the clock skew allows", moved(BROKER_MS + 600_000), "ok"),
    ("NUL in the camera id", frame(camera_id="a\x00b"), "unstorable_text"),
    ("NUL in the object key", frame(object_key="date=2026\x00"), "unstorable_text"),
    ("a time before 1970", frame(source_time=-1), "time_out_of_range"),
    ("a time after 9999", frame(source_time=253_402_300_800_000), "time_out_of_range"),
    ("captured_at beyond what a datetime holds", frame(captured_at=9_000_000_000_000_000), "time_out_of_range"),
    ("a frame id that is no UUID", frame(frame_id="frame-1"), "bad_id"),
    ("a frame id in upper case", frame(frame_id=uuid7(CAPTURED_MS).upper()), "bad_id"),
    ("a frame id of version 4", frame(frame_id="019b7c3e-3d6e-4abc-8def-0123456789ab"), "bad_id"),
    ("a frame id with a newline after it", frame(frame_id=uuid7(CAPTURED_MS) + "\n"), "bad_id"),
    ("an empty camera id", frame(camera_id=""), "bad_id"),
    ("a camera id of 64 characters", frame(camera_id="c" * 64), "bad_id"),
    ("a camera id with a slash", frame(camera_id="a/b"), "bad_id"),
    ("a camera id in upper case", frame(camera_id="Line"), "bad_id"),
    ("a camera id with a newline after it", frame(camera_id="line-1\n"), "bad_id"),
    ("a camera id with an accent", frame(camera_id="caméra"), "bad_id"),
    ("a session id that is no UUID", frame(session_id="today"), "bad_id"),
    ("a sha256 in upper case", frame(sha256=hashlib.sha256(IMAGE).hexdigest().upper()), "bad_id"),
    ("a trace context of another version", frame(traceparent="01-" + "0" * 32 + "-" + "0" * 16 + "-01"), "bad_id"),
    ("no encoding", frame(encoding=""), "bad_id"),
    ("no width", frame(width=0), "bad_number"),
    ("a negative height", frame(height=-1), "bad_number"),
    ("a negative sequence", frame(sequence=-1), "bad_number"),
    ("a frame id of another time", frame(frame_id=uuid7(CAPTURED_MS + 1)), "frame_time_mismatch"),
    ("a day older than the retention", moved(BROKER_MS - 91 * DAY_MS), "captured_at_out_of_window"),
    ("a millisecond older than the retention", moved(BROKER_MS - 90 * DAY_MS - 1), "captured_at_out_of_window"),
    ("a millisecond beyond the clock skew", moved(BROKER_MS + 600_001), "captured_at_out_of_window"),
    ("captured in 1970", moved(1000), "captured_at_out_of_window"),
    ("captured in 2100", moved(4_102_444_800_000), "captured_at_out_of_window"),
    ("an unknown encoding", frame(encoding="webp"), "unknown_encoding"),
    ("the key of another camera", frame(object_key="date=2026-01-02/camera=b/x.jpg"), "object_key_mismatch"),
    ("a key that climbs", frame(object_key="../../etc/passwd"), "object_key_mismatch"),
    (
        "the day in another time zone",
        frame(object_key=frame()["object_key"].replace("-02/", "-01/")),
        "object_key_mismatch",
    ),
    ("no image", frame(image=None), "image_missing"),
    ("an empty image", frame(image=b""), "image_missing"),
    ("a size that is not the image's", frame(size_bytes=1), "size_mismatch"),
    ("another image's digest", frame(sha256="0" * 64), "sha256_mismatch"),
    ("two faults: the earlier rule names it", frame(camera_id="A", width=0), "bad_id"),
]

PREDICTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("a prediction", prediction(), "ok"),
    ("nothing detected", prediction(labels=[], confidences=[], boxes=[]), "ok"),
    ("an undecodable frame", prediction(status="undecodable", labels=[], confidences=[], boxes=[]), "ok"),
    ("of a batch job", prediction(role="batch", run_id="manual__2026"), "ok"),
    ("a status of a later version", prediction(status="blurred"), "ok"),
    ("a label of 128 characters beyond the basic plane", prediction(labels=["\U0001f50d" * 128, "short"]), "ok"),
    ("NUL in a label", prediction(labels=["op\x00en", "short"]), "unstorable_text"),
    ("inferred after 9999", prediction(inferred_at=253_402_300_800_000), "time_out_of_range"),
    ("a frame id that is no UUID", prediction(frame_id="1"), "bad_id"),
    ("no model version", prediction(model_version=""), "bad_id"),
    ("a digest that is none", prediction(model_digest="sha256:1"), "bad_id"),
    ("a label of 129 characters", prediction(labels=["x" * 129, "short"]), "bad_id"),
    ("an empty label", prediction(labels=["", "short"]), "bad_id"),
    ("an empty run id", prediction(run_id=""), "bad_id"),
    ("a confidence that is no number", prediction(confidences=[float("nan"), 0.5]), "bad_number"),
    ("an infinite box", prediction(boxes=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, float("inf")]), "bad_number"),
    ("an infinite latency", prediction(latency_ms=float("-inf")), "bad_number"),
    ("a frame id of another time", prediction(captured_at=CAPTURED_MS + 1), "frame_time_mismatch"),
    ("a confidence too few", prediction(confidences=[0.5]), "unequal_arrays"),
    ("a coordinate too many", prediction(boxes=[1.0] * 9), "unequal_arrays"),
]

SESSIONS: list[tuple[str, dict[str, Any], str]] = [
    ("an open session", session(), "ok"),
    ("a closed session", session(last_acknowledged=119, captured=120, closed_at=CAPTURED_MS + 9), "ok"),
    ("NUL in the source", session(source="folder\x00"), "unstorable_text"),
    ("closed before 1970", session(closed_at=-1), "time_out_of_range"),
    ("a session id that is no UUID", session(session_id="s1"), "bad_id"),
    ("no source", session(source=""), "bad_id"),
    ("a source of 2049 characters", session(source="s" * 2049), "bad_id"),
    ("acknowledged before the first", session(last_acknowledged=-2), "bad_number"),
    ("fewer than none rejected", session(rejected=-1), "bad_number"),
]

KEY_FIELDS = {"frames": "camera_id", "predictions": "frame_id", "sessions": "session_id"}


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"float": str(value)}
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    return value


def vectors() -> list[dict[str, Any]]:
    found = []
    for contract, cases in (("frames", FRAMES), ("predictions", PREDICTIONS), ("sessions", SESSIONS)):
        key_field = KEY_FIELDS[contract]
        for name, record, outcome in cases:
            found.append(
                {
                    "name": name,
                    "contract": contract,
                    "key": record[key_field],
                    "broker_timestamp_ms": BROKER_MS,
                    "record": {field: _json_value(value) for field, value in record.items()},
                    "outcome": outcome,
                }
            )
        for name, key in (("another key", "other"), ("no key", None)):
            record = {"frames": frame, "predictions": prediction, "sessions": session}[contract]()
            found.append(
                {
                    "name": name,
                    "contract": contract,
                    "key": key,
                    "broker_timestamp_ms": BROKER_MS,
                    "record": {field: _json_value(value) for field, value in record.items()},
                    "outcome": "key_mismatch",
                }
            )
    return found


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, indent=1)
    sys.stdout.write("\n")
