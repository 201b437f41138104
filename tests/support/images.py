"""Small images and files, built byte by byte where a test needs an odd one."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import simplejpeg


def jpeg(width: int = 64, height: int = 48, *, shade: int = 90) -> bytes:
    pixels = np.full((height, width, 3), shade, dtype=np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=90, colorspace="BGR")


def png(width: int = 64, height: int = 48) -> bytes:
    rows = (b"\0" + bytes(width)) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def huge_png(width: int, height: int) -> bytes:
    """A PNG that claims its size and holds no pixels."""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def with_exif_time(image: bytes, taken: str, offset: str | None = None, *, order: str = "<") -> bytes:
    """A JPEG with DateTimeOriginal, and OffsetTimeOriginal where one is given."""
    texts = [(0x9003, taken.encode() + b"\0")] + ([(0x9011, offset.encode() + b"\0")] if offset else [])
    first = 8 + 2 + 12 + 4  # behind the TIFF header and a directory of one entry
    directory = struct.pack(f"{order}H", len(texts))
    data = b""
    behind = first + 2 + 12 * len(texts) + 4
    for tag, text in texts:
        directory += struct.pack(f"{order}HHII", tag, 2, len(text), behind + len(data))
        data += text
    tiff = (
        (b"II" if order == "<" else b"MM")
        + struct.pack(f"{order}HI", 42, 8)
        + struct.pack(f"{order}HHHIII", 1, 0x8769, 4, 1, first, 0)
        + directory
        + struct.pack(f"{order}I", 0)
        + data
    )
    body = b"Exif\0\0" + tiff
    return image[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + image[2:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
