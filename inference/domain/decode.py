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

import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
import simplejpeg

from contracts import image_headers
from contracts.errors import Rejected
from contracts.image_headers import PNG_SIGNATURE, JpegHeader, PngHeader
from inference.domain.letterbox import Image

# Markers that begin a frame: the first three are the sequential and progressive Huffman kinds that cameras write.
_SUPPORTED_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE: Final = 0xC2
# A progressive image may hold any number of passes over all its pixels; encoders write about ten.
_MAX_SCANS: Final = 100
_PNG_DEPTHS: Final = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}


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
        header = image_headers.read(data)
    except Rejected:
        return Status.UNDECODABLE
    fault = _fault_of_jpeg(header, data) if isinstance(header, JpegHeader) else _fault_of_png(header)
    if fault is not None:
        return fault
    if header.width * header.height > max_pixels:
        return Status.TOO_LARGE
    encoding = "jpeg" if isinstance(header, JpegHeader) else "png"
    return Header(encoding=encoding, width=header.width, height=header.height)


def _fault_of_jpeg(header: JpegHeader, data: bytes) -> Status | None:
    if header.has_stray_bytes or not header.components:
        return Status.UNDECODABLE
    if header.frame not in _SUPPORTED_FRAMES or header.bits != 8 or header.components not in {1, 3}:
        return Status.UNSUPPORTED
    if header.frame == _PROGRESSIVE and data.count(b"\xff\xda") > _MAX_SCANS:
        return Status.UNSUPPORTED
    return None


def _fault_of_png(header: PngHeader) -> Status | None:
    return None if header.depth in _PNG_DEPTHS.get(header.colour, ()) else Status.UNDECODABLE


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
    at, end = len(PNG_SIGNATURE), len(data)
    while at + 12 <= end:
        length = int.from_bytes(data[at : at + 4])
        after = at + 12 + length
        if after > end or zlib.crc32(memoryview(data)[at + 4 : after - 4]) != int.from_bytes(data[after - 4 : after]):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = after
    return False
