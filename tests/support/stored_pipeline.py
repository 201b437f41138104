"""Both stores as the pipeline leaves them, and what the broker would say of the sessions.

pipeline.send(5, camera_id="line-1")     a closed session whose frames went the whole way
pipeline.audit()                         what the audit says of it
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from contracts.settings import Settings
from inference.persistence import connect
from inference.persistence.audit import Report, audit
from inference.persistence.audit.witness import Heard
from inference.persistence.objects import FrameStore
from tests.support.rows import Row, a_frame, a_prediction, a_session, now, upsert


@dataclass(kw_only=True)
class Pipeline:
    """Both stores, and what the broker would say."""

    settings: Settings
    store: FrameStore
    recent: list[Heard] = field(default_factory=list)

    def audit(self, **options: Any) -> Report:
        return audit(self.settings, **options)

    def execute(self, statement: str, *values: object) -> None:
        with connect(self.settings) as connection:
            connection.execute(statement, values)

    def put(self, row: Row, image: bytes) -> None:
        metadata = {"sha256": row["sha256"], "camera": row["camera_id"]}
        self.store.put(row["object_key"], image, content_type="image/jpeg", metadata=metadata)

    def send(self, count: int = 5, *, stored: Callable[[int], bool] = lambda _: True, **changes: Any) -> list[Row]:
        """A closed session whose frames went the whole way."""
        about = {name: changes[name] for name in ("session_id", "camera_id") if name in changes}
        started = changes.get("started_at", now() - timedelta(minutes=5))
        with connect(self.settings) as connection:
            upsert(connection, "sessions", a_session(**{"last_acknowledged": count - 1, "captured": count} | changes))
        return [self.deliver(n, captured_at=started + timedelta(seconds=n), **about) for n in range(count) if stored(n)]

    def deliver(self, sequence: int, **changes: Any) -> Row:
        image = f"image {sequence}".encode()
        row = a_frame(image, sequence=sequence, **changes)
        with connect(self.settings) as connection:
            upsert(connection, "frames", row)
            upsert(connection, "predictions", a_prediction(row["frame_id"], camera_id=row["camera_id"]))
        self.put(row, image)
        return row
