"""From an image's bytes to RGB pixels, or to the reason why there are none. Never raises, whatever the bytes.

    bytes ──read_header──► Header(encoding, width, height) ──decode──► [height, width, 3] uint8
                └── undecodable, unsupported, too_large ──┘

The header is read first, so that an image of 200 megapixels costs a few microseconds and no memory. EXIF orientation
is ignored: boxes are in pixels as stored.

    undecodable   empty, text, cut short, damaged: not a whole JPEG or PNG
    too_large     more pixels than the limit
    unsupported   a sound image of a kind that no camera of ours writes: CMYK, 12-bit or lossless JPEG
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
import simplejpeg

from inference.domain.letterbox import Image

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_START: Final = b"\xff\xd8"
# Markers that begin a frame: the first three are the sequential and progressive Huffman kinds that cameras write.
_SUPPORTED_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_PROGRESSIVE: Final = 0xC2
# A progressive image may hold any number of passes over all its pixels; encoders write about ten.
_MAX_SCANS: Final = 100
_PNG_DEPTHS: Final = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_LONGEST_SIDE: Final = 2**31 - 1


class Status(StrEnum):
    """The outcome of one image, as predictions carry it."""

    OK = "ok"
    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an image says about itself before its pixels."""

    encoding: str  # jpeg | png, by its first bytes, whatever the record says
    width: int  # pixels
    height: int  # pixels


def decode(data: bytes, *, max_pixels: int) -> Image | Status:
    """The image as RGB, or the status that its prediction gets."""
    header = read_header(data, max_pixels=max_pixels)
    if isinstance(header, Status):
        return header
    try:
        image = _decode_jpeg(data) if header.encoding == "jpeg" else _decode_png(data)
    except (ValueError, RuntimeError, OverflowError, MemoryError, cv2.error):
        return Status.UNDECODABLE
    # A decoder that answers another size than the header promised has been led astray.
    if image is None or image.shape != (header.height, header.width, 3) or image.dtype != np.uint8:
        return Status.UNDECODABLE
    return image


def read_header(data: bytes, *, max_pixels: int) -> Header | Status:
    """The image's header, or the status that can be told from it alone."""
    try:
        if data.startswith(_JPEG_START):
            header = _jpeg_header(data)
        elif data.startswith(_PNG_SIGNATURE):
            header = _png_header(data)
        else:
            return Status.UNDECODABLE
    except (IndexError, struct.error):  # the bytes end inside the header
        return Status.UNDECODABLE
    if isinstance(header, Header) and header.width * header.height > max_pixels:
        return Status.TOO_LARGE
    return header


def _jpeg_header(data: bytes) -> Header | Status:
    """Walks the segments (marker, length, content) to the one that begins the frame."""
    at = 2
    while True:
        if data[at] != 0xFF:
            return Status.UNDECODABLE
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAMES:
            return _jpeg_frame(data, at, marker)
        elif marker in {0x00, 0xD9, 0xDA}:  # pixels or the end before any frame
            return Status.UNDECODABLE
        else:
            length = int.from_bytes(data[at + 2 : at + 4])
            if length < 2:
                return Status.UNDECODABLE
            at += 2 + length


def _jpeg_frame(data: bytes, at: int, marker: int) -> Header | Status:
    bits, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
    if not width or not height or not components:
        return Status.UNDECODABLE
    if marker not in _SUPPORTED_FRAMES or bits != 8 or components not in {1, 3}:
        return Status.UNSUPPORTED
    if marker == _PROGRESSIVE and data.count(b"\xff\xda") > _MAX_SCANS:
        return Status.UNSUPPORTED
    return Header(encoding="jpeg", width=width, height=height)


def _png_header(data: bytes) -> Header | Status:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if (length, kind) != (13, b"IHDR") or not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE):
        return Status.UNDECODABLE
    if depth not in _PNG_DEPTHS.get(colour, ()):
        return Status.UNDECODABLE
    return Header(encoding="png", width=width, height=height)


def _decode_jpeg(data: bytes) -> Image | None:
    image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    return image


def _decode_png(data: bytes) -> Image | None:
    """16 bits become 8, a palette colours; transparency is dropped; of an animation the first picture is taken."""
    if not _is_whole_png(data):
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image: Image | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return image


def _is_whole_png(data: bytes) -> bool:
    """Whether every chunk is there with its checksum, up to the end chunk: the decoder would fill gaps with black."""
    at, end = len(_PNG_SIGNATURE), len(data)
    while at + 12 <= end:
        length = int.from_bytes(data[at : at + 4])
        after = at + 12 + length
        if after > end or zlib.crc32(memoryview(data)[at + 4 : after - 4]) != int.from_bytes(data[after - 4 : after]):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = after
    return False
