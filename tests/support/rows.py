"""Writes rows as the Debezium JDBC sink does: INSERT ... ON CONFLICT (key) DO UPDATE, one statement per record.

upsert(connection, "frames", a_frame(sequence=3))
upsert_batch(connection, "predictions", [a_prediction(...), ...])     pipelined, as a JDBC batch is
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.identifiers import from_milliseconds, milliseconds_of, new_id
from contracts.object_keys import object_key

KEYS = {
    "frames": ("frame_id",),
    "predictions": ("frame_id", "model_name", "model_version"),
    "sessions": ("session_id",),
}
UUIDS = frozenset({"frame_id", "session_id"})

SESSION_ID = "019b7c3e-0000-7000-8000-0000000000aa"
Row = dict[str, Any]


def now() -> datetime:
    """The time in whole milliseconds, as a camera captures."""
    return from_milliseconds(int(datetime.now(UTC).timestamp() * 1000))


def a_frame(image: bytes = b"image", **changes: Any) -> Row:
    """A row of frames, consistent in itself: id, time, digest, size and key fit together unless changed."""
    captured_at = changes.get("captured_at", now() - timedelta(minutes=5))
    row: Row = {
        "frame_id": new_id(captured_at),
        "camera_id": "line-1",
        "session_id": SESSION_ID,
        "sequence": 0,
        "captured_at": captured_at,
        "source_time": None,
        "width": 64,
        "height": 48,
        "encoding": "jpeg",
        "size_bytes": len(image),
        "sha256": hashlib.sha256(image).hexdigest(),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "kafka_partition": 0,
        "kafka_offset": changes.get("sequence", 0),
    } | changes
    row.setdefault(
        "object_key",
        object_key(
            captured_at=row["captured_at"],
            camera_id=row["camera_id"],
            frame_id=row["frame_id"],
            encoding=row["encoding"],
        ),
    )
    return row


def a_prediction(frame_id: str, **changes: Any) -> Row:
    captured_at = from_milliseconds(milliseconds_of(frame_id))
    return {
        "frame_id": frame_id,
        "camera_id": "line-1",
        "captured_at": captured_at,
        "model_name": "pcb-defects",
        "model_version": "1",
        "model_digest": "a" * 64,
        "role": "champion",
        "run_id": None,
        "engine": "openvino",
        "inferred_at": captured_at + timedelta(milliseconds=300),
        "latency_ms": 300.0,
        "status": "ok",
        "labels": ["open", "short"],
        "confidences": [0.5, 0.25],
        "boxes": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        "traceparent": None,
    } | changes


def a_session(**changes: Any) -> Row:
    """A closed session of one frame, unless changed."""
    ended = now() - timedelta(minutes=4)
    return {
        "session_id": SESSION_ID,
        "camera_id": "line-1",
        "source": "simulator:?seed=1",
        "started_at": ended - timedelta(minutes=2),
        "last_acknowledged": 0,
        "captured": 1,
        "rejected": 0,
        "closed_at": ended,
        "updated_at": ended,
    } | changes


def statement(table: str, columns: Sequence[str]) -> str:
    values = ",".join(f"CAST(%({name})s AS uuid)" if name in UUIDS else f"%({name})s" for name in columns)
    updates = ",".join(f"{name}=EXCLUDED.{name}" for name in columns if name not in KEYS[table])
    return (
        f"INSERT INTO {table} ({','.join(columns)}) VALUES ({values}) "
        f"ON CONFLICT ({','.join(KEYS[table])}) DO UPDATE SET {updates}"
    )


def upsert(connection: Any, table: str, row: Mapping[str, Any]) -> None:
    connection.execute(statement(table, list(row)), row)


def upsert_batch(connection: Any, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(statement(table, list(rows[0])), rows)
