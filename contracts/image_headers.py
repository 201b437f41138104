"""What a JPEG or PNG says before its pixels, read once for cameras and the stream worker alike.

    bytes ──► read ──► JpegHeader | PngHeader, or Rejected(code): not_an_image, no_dimensions

It reads what is written there and judges only whether there is a size: a camera asks for no more, the worker looks
closer. The formats are read after ITU-T T.81 (JPEG, annex B) and the PNG specification (11.2.1 IHDR).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contracts.errors import Rejected

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER: Final = struct.Struct(">I4sII")  # chunk length, chunk type, width, height
_PNG_HEADER_LENGTH: Final = 13
_PNG_LONGEST_SIDE: Final = 2**31 - 1

_JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length: TEM, RST0-7
_JPEG_STRAY: Final = frozenset({0x00, 0xD8})  # a byte of pixels, a second start: nothing that belongs before the frame
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC
_JPEG_ENDS: Final = frozenset({0xD9, 0xDA})  # EOI, SOS: no dimensions come after them
_JPEG_SIZE: Final = struct.Struct(">BHH")  # precision, height, width
_JPEG_APP1: Final = 0xE1
_EXIF: Final = b"Exif\0\0"
_FILLING: Final = re.compile(rb"\xff*")
# Four megabytes of empty segments would keep whoever reads them from all else for a second: the longest header that a
# camera or an editor writes has some hundreds, and one with Exif.
_MOST_SEGMENTS: Final = 10_000
_MOST_EXIF: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegHeader:
    """What precedes a JPEG's first scan."""

    width: int  # pixels, above 0
    height: int  # pixels, above 0
    frame: int  # the marker that begins the frame: how the pixels are coded, SOF0 = 0xC0
    bits: int  # per sample
    components: int  # 1 grey, 3 colour, 4 CMYK; 0 where the bytes end before it
    has_stray_bytes: bool  # between the segments; decoders that are lenient skip them
    exif: tuple[bytes, ...]  # the TIFF block of each Exif segment, of the first 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PngHeader:
    """What a PNG's first chunk says."""

    width: int  # pixels, above 0
    height: int  # pixels, above 0
    depth: int  # bits per sample; 0 where the bytes end before it
    colour: int  # 0 grey, 2 colour, 3 palette, 4 grey with alpha, 6 colour with alpha


def read(data: bytes) -> JpegHeader | PngHeader:
    """Tells the encoding by content, never by name, and reads the header.

    Raises:
        Rejected: neither JPEG nor PNG (not_an_image), or without a size (no_dimensions).
    """
    if data.startswith(PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(_JPEG_START):
        return _read_jpeg(data)
    raise Rejected("not JPEG or PNG by its content", code="not_an_image")


def _read_png(data: bytes) -> PngHeader:
    at = len(PNG_SIGNATURE)
    if len(data) < at + _PNG_HEADER.size:
        raise Rejected("a PNG that ends before its dimensions", code="no_dimensions")
    length, kind, width, height = _PNG_HEADER.unpack_from(data, at)
    if kind != b"IHDR" or length != _PNG_HEADER_LENGTH:
        raise Rejected("a PNG that does not begin with its header", code="no_dimensions")
    if not (0 < width <= _PNG_LONGEST_SIDE and 0 < height <= _PNG_LONGEST_SIDE):
        raise Rejected(f"a PNG of {width} x {height} pixels", code="no_dimensions")
    kind_at = at + _PNG_HEADER.size
    depth, colour = data[kind_at : kind_at + 2] if len(data) >= kind_at + 2 else (0, 0)
    return PngHeader(width=width, height=height, depth=depth, colour=colour)


def _read_jpeg(data: bytes) -> JpegHeader:
    exif: list[bytes] = []
    for marker, start, end, is_behind_stray in _segments(data):
        if marker == _JPEG_APP1 and data.startswith(_EXIF, start) and len(exif) < _MOST_EXIF:
            exif.append(data[start + len(_EXIF) : end])
        if marker in _JPEG_FRAMES and end - start >= _JPEG_SIZE.size:
            bits, height, width = _JPEG_SIZE.unpack_from(data, start)
            if not width or not height:
                raise Rejected(f"a JPEG of {width} x {height} pixels", code="no_dimensions")
            return JpegHeader(
                width=width,
                height=height,
                frame=marker,
                bits=bits,
                components=data[start + _JPEG_SIZE.size] if end - start > _JPEG_SIZE.size else 0,
                has_stray_bytes=is_behind_stray,
                exif=tuple(exif),
            )
    raise Rejected("a JPEG that ends before its dimensions", code="no_dimensions")


def _segments(data: bytes) -> Iterator[tuple[int, int, int, bool]]:
    """The marker segments up to the first scan: marker, start and end of what follows its length, within the data.

    The fourth says whether bytes that belong to no segment came before, here or earlier.

    Raises:
        Rejected: there are too many (no_dimensions).
    """
    position = 2
    is_stray = False
    for _ in range(_MOST_SEGMENTS):
        found = data.find(b"\xff", position)  # decoders skip stray bytes before a marker, and so do we
        is_stray |= found != position
        filled = _FILLING.match(data, found) if found >= 0 else None  # any number of them may fill up before a marker
        if filled is None or filled.end() == len(data) or data[filled.end()] in _JPEG_ENDS:
            return
        marker = data[filled.end()]
        position = filled.end() + 1
        if marker in _JPEG_STANDALONE or marker in _JPEG_STRAY:
            is_stray |= marker in _JPEG_STRAY
            continue
        length = int.from_bytes(data[position : position + 2])
        if position + 2 > len(data) or length < 2:
            return
        yield marker, position + 2, min(position + length, len(data)), is_stray
        position += length
    raise Rejected(f"a JPEG with more than {_MOST_SEGMENTS} segments before its dimensions", code="no_dimensions")
