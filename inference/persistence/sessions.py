"""Sessions without a close: who sends now, and who only seems to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contracts.topics import SESSION_SILENCE
from inference.persistence.database import Connection

_OPEN: Final = """
    SELECT session_id::text, camera_id, captured, extract(epoch FROM (now() AT TIME ZONE 'UTC') - updated_at)::float
    FROM sessions WHERE closed_at IS NULL ORDER BY updated_at DESC LIMIT 100
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """A session without a close."""

    session_id: str
    camera_id: str
    captured: int
    silent_seconds: float  # since its last news

    @property
    def is_silent(self) -> bool:
        """Whether the audit has stopped expecting more of it."""
        return self.silent_seconds > SESSION_SILENCE.total_seconds()


def open_sessions(connection: Connection) -> tuple[OpenSession, ...]:
    """The newest hundred of them, those with the latest news first."""
    return tuple(
        OpenSession(
            session_id=session_id, camera_id=camera_id, captured=captured, silent_seconds=max(0.0, round(silent, 1))
        )
        for session_id, camera_id, captured, silent in connection.execute(_OPEN)
    )


def warnings_about(sessions: Sequence[OpenSession]) -> list[str]:
    """Two live sessions of one camera number their frames side by side: most likely two machines share a name."""
    live = Counter(session.camera_id for session in sessions if not session.is_silent)
    return [
        f"camera {camera} has {count} open sessions: two senders share its name; give each its own --camera"
        for camera, count in sorted(live.items())
        if count > 1
    ]
