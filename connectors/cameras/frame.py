"""An image becomes a frame: its ids, digest, object key and trace."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from connectors.cameras.images import CapturedImage
from contracts.identifiers import from_milliseconds, milliseconds, new_id
from contracts.object_keys import object_key
from contracts.records import Frame


def make_frame(image: CapturedImage, *, camera_id: str, session_id: str, sequence: int, now: datetime) -> Frame:
    """The frame of an image, captured when its live source says so, else now (aware, UTC)."""
    captured_at = from_milliseconds(milliseconds(image.captured_at or now))
    frame_id = new_id(captured_at)
    return Frame(
        frame_id=frame_id,
        camera_id=camera_id,
        session_id=session_id,
        sequence=sequence,
        captured_at=captured_at,
        source_time=image.source_time,
        width=image.width,
        height=image.height,
        encoding=image.encoding,
        size_bytes=len(image.image),
        sha256=hashlib.sha256(image.image).hexdigest(),
        object_key=object_key(captured_at=captured_at, camera_id=camera_id, frame_id=frame_id, encoding=image.encoding),
        traceparent=_new_trace(),
        image=image.image,
    )


def _new_trace() -> str:
    """W3C trace context: a frame's capture is the root span of its own, sampled trace."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
