"""What the first bytes of a JPEG or PNG say, read without decoding a pixel.

    bytes ──► read_header ──► Header(encoding, width, height, taken_at), or NotAnImage(code, reason)

A sane header is all a camera asks for: broken pixels behind it travel on, and the stream worker names them. The formats
are read after ITU-T T.81 (JPEG, annex B), the PNG specification (11.2.1 IHDR) and Exif 2.32 (4.6, tags).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER: Final = struct.Struct(">I4sII")  # chunk length, chunk type, width, height
_PNG_HEADER_LENGTH: Final = 13
_PNG_LARGEST_SIDE: Final = 2**31 - 1

_JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length: TEM, RST0-7, SOI
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC
_JPEG_ENDS: Final = frozenset({0xD9, 0xDA})  # EOI, SOS: no dimensions come after them
_JPEG_SIZE: Final = struct.Struct(">BHH")  # precision, height, width
_JPEG_APP1: Final = 0xE1

_EXIF: Final = b"Exif\0\0"
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
    if data.startswith(_PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(_JPEG_START):
        return _read_jpeg(data)
    return NotAnImage(code="not_an_image", reason="not JPEG or PNG by its content")


def _read_png(data: bytes) -> Header | NotAnImage:
    if len(data) < len(_PNG_SIGNATURE) + _PNG_HEADER.size:
        return NotAnImage(code="no_dimensions", reason="a PNG that ends before its dimensions")
    length, kind, width, height = _PNG_HEADER.unpack_from(data, len(_PNG_SIGNATURE))
    if kind != b"IHDR" or length != _PNG_HEADER_LENGTH:
        return NotAnImage(code="no_dimensions", reason="a PNG that does not begin with its header")
    if not (0 < width <= _PNG_LARGEST_SIDE and 0 < height <= _PNG_LARGEST_SIDE):
        return NotAnImage(code="no_dimensions", reason=f"a PNG of {width} x {height} pixels")
    return Header(encoding="png", width=width, height=height)


def _read_jpeg(data: bytes) -> Header | NotAnImage:
    taken_at: datetime | None = None
    for marker, start, end in _segments(data):
        if marker == _JPEG_APP1 and taken_at is None and data.startswith(_EXIF, start):
            taken_at = exif_time(data[start + len(_EXIF) : end])
        if marker in _JPEG_FRAMES and end - start >= _JPEG_SIZE.size:
            _, height, width = _JPEG_SIZE.unpack_from(data, start)
            if width and height:
                return Header(encoding="jpeg", width=width, height=height, taken_at=taken_at)
            return NotAnImage(code="no_dimensions", reason=f"a JPEG of {width} x {height} pixels")
    return NotAnImage(code="no_dimensions", reason="a JPEG that ends before its dimensions")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker segments up to the first scan: marker, start and end of what follows its length, within the data."""
    position = 2
    while True:
        position = data.find(b"\xff", position)  # decoders skip stray bytes before a marker, and so do we
        while 0 <= position < len(data) and data[position] == 0xFF:
            position += 1
        if position < 0 or position >= len(data) or data[position] in _JPEG_ENDS:
            return
        marker = data[position]
        position += 1
        if marker in _JPEG_STANDALONE or marker == 0:
            continue
        if position + 2 > len(data):
            return
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2:
            return
        yield marker, position + 2, min(position + length, len(data))
        position += length


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
