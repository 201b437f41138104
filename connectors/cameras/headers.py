"""What the first bytes of a JPEG or PNG say, read without decoding a pixel.

    bytes ──► read_header ──► Header(encoding, width, height, taken_at), or NotAnImage(code, reason)

A sane header is all a camera asks for: broken pixels behind it travel on, and the stream worker names them. Exif is read
after its version 2.32 (4.6, tags), the rest by contracts.image_headers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from contracts import image_headers
from contracts.errors import Rejected
from contracts.image_headers import PngHeader

_EXIF_IFD: Final = 0x8769
_EXIF_TAKEN: Final = 0x9003  # DateTimeOriginal, 2026:01:31 12:00:00
_EXIF_OFFSET: Final = 0x9011  # OffsetTimeOriginal, +02:00
_EXIF_MOST_ENTRIES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an image says about itself."""

    encoding: str  # jpeg | png
    width: int  # pixels
    height: int  # pixels
    taken_at: datetime | None = None  # Exif DateTimeOriginal, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnImage:
    """Why bytes are refused: a code to count by, a reason for a person."""

    code: str  # not_an_image | no_dimensions
    reason: str


def read_header(data: bytes) -> Header | NotAnImage:
    """Tells the encoding by content, never by name, and reads the dimensions. Never raises."""
    try:
        header = image_headers.read(data)
    except Rejected as rejected:
        return NotAnImage(code=rejected.code, reason=str(rejected))
    if isinstance(header, PngHeader):
        return Header(encoding="png", width=header.width, height=header.height)
    taken_at = next(filter(None, map(exif_time, header.exif)), None)
    return Header(encoding="jpeg", width=header.width, height=header.height, taken_at=taken_at)


def exif_time(tiff: bytes) -> datetime | None:
    """DateTimeOriginal of an Exif block, UTC; None where it has none or is broken.

    Exif without an offset tells the camera's local time: it is taken as this machine's.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        pointer = _entries(tiff, first, order).get(_EXIF_IFD)
        if pointer is None:
            return None
        (exif,) = struct.unpack(f"{order}I", pointer)
        entries = _entries(tiff, exif, order)
        taken = _text(tiff, entries.get(_EXIF_TAKEN), order, length=19)
        offset = _text(tiff, entries.get(_EXIF_OFFSET), order, length=6)
        return _parse(taken, offset)
    except (struct.error, ValueError, OverflowError, OSError):
        return None


def _entries(tiff: bytes, start: int, order: str) -> dict[int, bytes]:
    """A directory's tags with the four bytes that hold their value or its position."""
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    entries = {}
    for index in range(min(count, _EXIF_MOST_ENTRIES)):
        tag, _, _, value = struct.unpack_from(f"{order}HHI4s", tiff, start + 2 + 12 * index)
        entries[tag] = value
    return entries


def _text(tiff: bytes, value: bytes | None, order: str, *, length: int) -> str:
    if value is None:
        return ""
    (at,) = struct.unpack(f"{order}I", value)
    return tiff[at : at + length].decode("ascii")


def _parse(taken: str, offset: str) -> datetime | None:
    if not taken:
        return None
    local = datetime.strptime(taken, "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - the zone follows
    if offset[:1] in {"+", "-"}:
        hours, minutes = int(offset[1:3]), int(offset[4:6])
        shift = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
        local = local.replace(tzinfo=timezone(shift))
    at = local.astimezone(UTC)
    return at if at >= datetime(1970, 1, 1, tzinfo=UTC) else None
