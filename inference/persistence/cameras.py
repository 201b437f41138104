"""The cameras: their last frame, how fast they send, whether they send now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from inference.persistence.database import Connection

MINUTE_SECONDS: Final = 60

# A camera is known by its sessions. The last frame is read by the index on camera and time, one look per camera.
_CAMERAS: Final = """
    WITH known AS (SELECT camera_id, max(updated_at) AS news_at FROM sessions GROUP BY camera_id)
    SELECT
        known.camera_id, known.news_at, last.frame_id::text, last.captured_at, coalesce(recent.frames, 0),
        current.session_id::text, current.source, current.started_at, current.captured
    FROM known
    LEFT JOIN LATERAL (
        SELECT frame_id, captured_at FROM frames WHERE frames.camera_id = known.camera_id
        ORDER BY captured_at DESC LIMIT 1
    ) AS last ON TRUE
    LEFT JOIN (
        SELECT camera_id, count(*) AS frames FROM frames
        WHERE frame_id >= uuid7_floor((now() AT TIME ZONE 'UTC') - interval '1 minute') GROUP BY camera_id
    ) AS recent ON recent.camera_id = known.camera_id
    LEFT JOIN LATERAL (
        SELECT session_id, source, started_at, captured FROM sessions
        WHERE sessions.camera_id = known.camera_id AND closed_at IS NULL ORDER BY updated_at DESC LIMIT 1
    ) AS current ON TRUE
    ORDER BY known.camera_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCapture:
    """A camera's session without a close."""

    session_id: str
    source: str
    started_at: datetime
    captured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera as the tables know it."""

    camera_id: str
    news_at: datetime  # of its newest session
    last_frame_id: str | None
    last_captured_at: datetime | None
    frames_per_second: float  # stored, captured in the last minute
    session: OpenCapture | None


def cameras(connection: Connection) -> list[Camera]:
    """All of them, by name."""
    return [
        Camera(
            camera_id=camera_id,
            news_at=news_at,
            last_frame_id=frame_id,
            last_captured_at=captured_at,
            frames_per_second=round(recent / MINUTE_SECONDS, 2),
            session=None
            if session_id is None
            else OpenCapture(session_id=session_id, source=source, started_at=started_at, captured=captured),
        )
        for camera_id, news_at, frame_id, captured_at, recent, session_id, source, started_at, captured in (
            connection.execute(_CAMERAS)
        )
    ]
