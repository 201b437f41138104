"""Frame and session ids: UUIDv7, so that they sort by time and a frame's id tells its day.

frame_id   0198a5c2-7e10-7…   the first 48 bits are captured_at in milliseconds
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import uuid_utils

UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CAMERA_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds(at: datetime) -> int:
    """Whole milliseconds since 1970 of an aware time; what finer parts it has are dropped."""
    return (at - _EPOCH) // _MILLISECOND


def from_milliseconds(value: int) -> datetime:
    """The aware UTC time of milliseconds since 1970, exact (no floating point on the way)."""
    return _EPOCH + value * _MILLISECOND


def new_id(at: datetime) -> str:
    """A new UUIDv7 whose time is `at`, cut to the millisecond."""
    return str(uuid_utils.uuid7(nanoseconds=milliseconds(at) * 1_000_000))


def milliseconds_of(uuid7: str) -> int:
    """Milliseconds since 1970 in a UUIDv7's first 48 bits."""
    return int(uuid7[:8] + uuid7[9:13], 16)
