"""Where a frame's image lies, computed from the frame alone, so that a redelivery ends as the same object.

    date=YYYY-MM-DD/camera=<camera_id>/<frame_id>.<jpg|png>      the date is captured_at's, in UTC

The layout is frozen: it may gain encodings, nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from contracts.errors import Rejected

EXTENSIONS: Final = {"jpeg": "jpg", "png": "png"}
CONTENT_TYPES: Final = {"jpeg": "image/jpeg", "png": "image/png"}


def object_key(*, captured_at: datetime, camera_id: str, frame_id: str, encoding: str) -> str:
    """The key of a frame's image in the frames bucket.

    Raises:
        Rejected: the encoding has no extension here.
    """
    extension = EXTENSIONS.get(encoding)
    if extension is None:
        raise Rejected(f"encoding {encoding!r} is not one of {sorted(EXTENSIONS)}", code="unknown_encoding")
    day = captured_at.astimezone(UTC).date().isoformat()
    return f"date={day}/camera={camera_id}/{frame_id}.{extension}"
