"""What a source yields: an image ready to send, or why one is refused at the camera.

    bytes ──► captured_image ──► CapturedImage │ RejectedImage(code: empty | too_large | not_an_image | no_dimensions)

Refused is what could never become a frame. Broken pixels behind a sane header go on: the stream worker makes them a
prediction with that status, so that the accounting closes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from connectors.cameras.headers import NotAnImage, read_header
from contracts.topics import MAX_IMAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is really in a simulated image."""

    labels: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]  # x1 y1 x2 y2, pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedImage:
    """An encoded image, byte for byte as it will be stored."""

    name: str  # for messages: a file's name, a position
    image: bytes
    encoding: str  # jpeg | png
    width: int  # pixels
    height: int  # pixels
    source_time: datetime | None = None  # when the source says it was taken, UTC
    captured_at: datetime | None = None  # when a live source gave it, UTC; None: when it is submitted
    truth: Truth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedImage:
    """An image that was refused at the camera."""

    name: str
    code: str
    reason: str


Captured = CapturedImage | RejectedImage


def too_large(name: str, size: int) -> RejectedImage:
    """The refusal of an image over the limit, which it names."""
    return RejectedImage(
        name=name, code="too_large", reason=f"{size} bytes, the limit is {MAX_IMAGE_BYTES} bytes (4 MiB)"
    )


def captured_image(
    data: bytes,
    *,
    name: str,
    source_time: datetime | None = None,
    captured_at: datetime | None = None,
    truth: Truth | None = None,
) -> Captured:
    """Looks at the header only. The time in an image's Exif wins over `source_time`."""
    if not data:
        return RejectedImage(name=name, code="empty", reason="the file is empty")
    if len(data) > MAX_IMAGE_BYTES:
        return too_large(name, len(data))
    header = read_header(data)
    if isinstance(header, NotAnImage):
        return RejectedImage(name=name, code=header.code, reason=header.reason)
    return CapturedImage(
        name=name,
        image=data,
        encoding=header.encoding,
        width=header.width,
        height=header.height,
        source_time=header.taken_at or source_time,
        captured_at=captured_at,
        truth=truth,
    )


def storable(text: str) -> str:
    """The same text without what UTF-8 or Postgres cannot hold: file names may be any bytes."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def printable(text: str) -> str:
    """The same text for a terminal: a control character in a file's name is shown, never obeyed."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in storable(text))


def since_1970(seconds: float) -> datetime | None:
    """A file's time as UTC; None where it is no time that can be stored."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at if seconds >= 0 else None
