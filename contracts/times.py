"""Instants as people write them and as the tables hold them.

ISO 8601 ──instant──► aware; without a zone it is UTC          aware ──as_stored──► UTC, without a zone
"""

from __future__ import annotations

from datetime import UTC, datetime


def instant(text: str) -> datetime:
    """An instant that somebody wrote.

    Raises:
        ValueError: it is none.
    """
    at = datetime.fromisoformat(text.strip())
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def as_stored(at: datetime) -> datetime:
    """An aware instant as the columns of type timestamp(6) have it."""
    return at.astimezone(UTC).replace(tzinfo=None)
