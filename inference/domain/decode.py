"""From an image's bytes to RGB pixels, or to the reason why there are none. Never raises, whatever the bytes.

    bytes ──read_header──► Header(encoding, width, height) ──decode──► [height, width, 3] uint8
                └── undecodable, unsupported, too_large ──┘

The header is read first, so that an image of 200 megapixels costs a few microseconds and no memory. EXIF orientation
is ignored: boxes are in pixels as stored.

    undecodable   empty, text, cut short, damaged: not a whole JPEG or PNG
    too_large     more pixels than the limit
    unsupported   a sound image of a kind that no camera of ours writes: CMYK, 12-bit or lossless JPEG, too many scans

A decoder never sees what it does not need: of a PNG only the chunks of one still picture reach it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
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
# Every scan is a pass over all pixels. A sequential image needs no more than one per component; of a progressive one
# encoders write about ten.
_MAX_PROGRESSIVE_SCANS: Final = 100
_MAX_SEGMENTS: Final = 10_000
_SCAN: Final = 0xDA
_SCAN_PAIR: Final = 0xDAFF  # its two bytes, as a little-endian number
_END: Final = 0xD9
_FIRST_WITH_LENGTH: Final = 0xC0
_MARKER: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # neither a byte of pixels, nor a restart, nor filling
_PNG_DEPTHS: Final = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
# The chunks of a still picture and what may precede each. Nothing else is given to the decoder: chunks of animations in
# an order of their own have made it read memory that is not there.
_PNG_BEFORE: Final[dict[bytes, frozenset[bytes]]] = {
    b"IHDR": frozenset({b""}),
    b"PLTE": frozenset({b"IHDR"}),
    b"tRNS": frozenset({b"IHDR", b"PLTE"}),
    b"IDAT": frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"}),
    b"IEND": frozenset({b"IDAT"}),
}
_OPTIONAL_CHUNK: Final = 0x20  # this bit of a kind's first letter: whoever does not know the chunk may skip it


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


def read_header(data: bytes, *, max_pixels: int, counts_scans: bool = True) -> Header | Status:
    """The image's header, or the status that can be told without a decoder.

    Args:
        data: the whole image.
        max_pixels: of an image that is decoded.
        counts_scans: False leaves out the one look that is taken at every byte, where `decode` follows anyway.
    """
    try:
        header = image_headers.read(data)
    except Rejected:
        return Status.UNDECODABLE
    if isinstance(header, JpegHeader):
        fault = _fault_of_jpeg(header) or (_fault_of_scans(header, data) if counts_scans else None)
    else:
        fault = _fault_of_png(header)
    if fault is not None:
        return fault
    if header.width * header.height > max_pixels:
        return Status.TOO_LARGE
    encoding = "jpeg" if isinstance(header, JpegHeader) else "png"
    return Header(encoding=encoding, width=header.width, height=header.height)


def _fault_of_jpeg(header: JpegHeader) -> Status | None:
    if header.has_stray_bytes or not header.components:
        return Status.UNDECODABLE
    if header.frame not in _SUPPORTED_FRAMES or header.bits != 8 or header.components not in {1, 3}:
        return Status.UNSUPPORTED
    return None


def _fault_of_scans(header: JpegHeader, data: bytes) -> Status | None:
    most = _MAX_PROGRESSIVE_SCANS if header.frame == _PROGRESSIVE else header.components
    return Status.UNSUPPORTED if _has_more_scans(data, most) else None


def _has_more_scans(data: bytes, most: int) -> bool:
    """Whether the image has more scans than that, not counting those of a thumbnail or of pictures behind its end."""
    # Of all that is asked of a header this alone looks at every byte: by pairs, at even and at odd places, since
    # bytes.count takes six times as long for it.
    pairs = [np.frombuffer(data, "<u2", (len(data) - odd) // 2, odd) for odd in (0, 1)]
    if sum(int(np.count_nonzero(each == _SCAN_PAIR)) for each in pairs) <= most:
        return False
    scans, at = 0, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or found[1][0] == _END:
            return False
        marker, at = found[1][0], found.end()
        scans += marker == _SCAN
        if scans > most:
            return True
        if marker != _SCAN and marker >= _FIRST_WITH_LENGTH:
            at += int.from_bytes(data[at : at + 2])
    return True


def _fault_of_png(header: PngHeader) -> Status | None:
    return None if header.depth in _PNG_DEPTHS.get(header.colour, ()) else Status.UNDECODABLE


def _decode_jpeg(data: bytes) -> Image | None:
    image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    return image


def _decode_png(data: bytes) -> Image | None:
    """16 bits become 8, a palette colours; transparency is dropped; of an animation the first picture is taken."""
    still = _still_png(data)
    if still is None:
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image: Image | None = cv2.imdecode(np.frombuffer(still, np.uint8), flags)
    return image


def _still_png(data: bytes) -> bytes | None:
    """The chunks of one still picture; None unless all are there, in order, each with its checksum.

    A gap is not left to the decoder: it would fill it with black. A picture without anything else is not copied.
    """
    kept: list[tuple[int, int]] = []  # spans of bytes
    at, previous, is_beside = len(PNG_SIGNATURE), b"", False
    for kind, after in _chunks(data):
        if kind in _PNG_BEFORE:
            if previous not in _PNG_BEFORE[kind] or (kind == previous == b"IDAT" and is_beside):
                return None
            kept.append((at, after))
            previous, is_beside = kind, False
        elif not kind[0] & _OPTIONAL_CHUNK:
            return None
        else:
            is_beside = True
        if kind == b"IEND":
            return data if _cover(kept, data) else PNG_SIGNATURE + b"".join(data[start:end] for start, end in kept)
        at = after
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind and end of each chunk, up to one that is cut short or has another checksum."""
    at, end = len(PNG_SIGNATURE), len(data)
    while at + 12 <= end:
        length = int.from_bytes(data[at : at + 4])
        after = at + 12 + length
        if after > end or zlib.crc32(memoryview(data)[at + 4 : after - 4]) != int.from_bytes(data[after - 4 : after]):
            return
        yield data[at + 4 : at + 8], after
        at = after


def _cover(spans: list[tuple[int, int]], data: bytes) -> bool:
    return len(PNG_SIGNATURE) + sum(end - start for start, end in spans) == len(data)
