"""From a request's body to an image's bytes, or to the answer that says why not.

    body ──read_body──► bytes ──image_of──► image ──check──► header
             │             │                   └── 413 too_large · 415 unsupported · 422 undecodable
             │             └── 415 unsupported_media_type · 422 no_image
             └── 408 slow_request (edge) · 413 body_too_large · 503 busy

What counts is the content, never its declared type: a PNG sent as image/jpeg is taken as the PNG it is. 413 stands for
anything too large, in bytes or in pixels; 415 for a sound image of a kind that is not served (GIF, WebP, CMYK); 422
for what is no whole image.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from inference.api.problems import Problem
from inference.domain.decode import Header, Status, read_header

BUFFERED_BYTES: Final = 256 * 1024 * 1024  # of bodies being read, per process
_RAW: Final = frozenset({"", "image/jpeg", "image/jpg", "image/png", "application/octet-stream"})
_MULTIPART: Final = "multipart/form-data"
_FIELD: Final = "image"
_FIELD_BYTES: Final = 4096  # of a field that is no file
_CHARSETS: Final = frozenset(
    {b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1"}
)  # others may take hours
_OTHER_KINDS: Final = (
    (b"GIF8", "GIF"), (b"RIFF", "WebP or another RIFF kind"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"%PDF", "PDF"),
)  # fmt: skip


class Bodies:
    """Bounds the memory of bodies that are being read: a slow client holds what it has sent so far, and no more."""

    def __init__(self, limit_bytes: int = BUFFERED_BYTES) -> None:
        self._left = limit_bytes

    @contextmanager
    def room(self) -> Iterator[_Room]:
        """Room for one body; given back at the end."""
        room = _Room(self)
        try:
            yield room
        finally:
            self._left += room.taken

    def take(self, size: int) -> None:
        """Reserves bytes.

        Raises:
            Problem: 503, too many bodies are being read.
        """
        if size > self._left:
            raise Problem(503, "busy", "too many large bodies are being read: try again", headers={"Retry-After": "1"})
        self._left -= size


class _Room:
    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.taken = 0

    def take(self, size: int) -> None:
        self._bodies.take(size)
        self.taken += size


async def read_body(request: Request, bodies: Bodies, *, limit: int) -> bytes:
    """The whole body, given up as soon as it is too large, whatever its declared length says. Edge bounds the time.

    Raises:
        Problem: 413 or 503.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise body_too_large(limit)
    pieces: list[bytes] = []
    size = 0
    try:
        with bodies.room() as room:
            async for piece in request.stream():
                if not piece:  # the last one: joined with the first, the whole body would be copied
                    continue
                size += len(piece)
                if size > limit:
                    raise body_too_large(limit)
                room.take(len(piece))
                pieces.append(piece)
    except ClientDisconnect as error:
        raise Problem(400, "disconnected", "the connection ended before the body did") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def body_too_large(limit: int) -> Problem:
    """413, the limit named."""
    return Problem(413, "body_too_large", f"the body has more than {limit} bytes: send a smaller image")


def check_media_type(request: Request) -> str:
    """The body's declared media type, one of those that are read.

    Raises:
        Problem: 415.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _RAW and media_type != _MULTIPART:
        raise Problem(
            415,
            "unsupported_media_type",
            f"a body of type {media_type[:80]} is not read: send the image's bytes as image/jpeg, image/png or "
            f"application/octet-stream, or multipart/form-data with a field {_FIELD}",
            headers={"Accept": "image/jpeg, image/png, application/octet-stream, multipart/form-data"},
        )
    return media_type


async def image_of(request: Request, body: bytes, media_type: str) -> bytes:
    """The image in a body: the body itself, or its field `image`.

    Raises:
        Problem: 422, there is none in the form.
    """
    return body if media_type != _MULTIPART else await _of_form(request, body)


async def _of_form(request: Request, body: bytes) -> bytes:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    _, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise Problem(422, "bad_form", "the multipart body does not fit: its charset is not utf-8")
    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=16, max_part_size=_FIELD_BYTES)
    parser.spool_max_size = len(body)  # in memory: the body is bounded already
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:
        reason = getattr(error, "message", "it cannot be read")
        raise Problem(422, "bad_form", f"the multipart body does not fit: {reason}") from error
    try:
        found = form.get(_FIELD)
        if not isinstance(found, UploadFile):
            raise Problem(422, "no_image", f"the form has no file in its field {_FIELD}")
        return await found.read()
    finally:
        await form.close()


def check(image: bytes, *, max_pixels: int) -> Header:
    """The image's header: microseconds, whatever it claims. A JPEG's scans are counted where it is decoded.

    Raises:
        Problem: 413, 415 or 422.
    """
    header = read_header(image, max_pixels=max_pixels, counts_scans=False)
    if isinstance(header, Status):
        raise refused(header, image, max_pixels=max_pixels)
    return header


def refused(status: Status, image: bytes, *, max_pixels: int) -> Problem:
    """The answer to an image that the engine will not see."""
    if status is Status.TOO_LARGE:
        return Problem(413, "too_large", f"the image has more than {max_pixels} pixels: send a smaller one")
    if status is Status.UNSUPPORTED:
        return Problem(
            415,
            "unsupported_image",
            "a JPEG of a kind that is not served (CMYK, 12 bits, lossless): save it as RGB or grey",
        )
    if not image:
        return Problem(422, "empty", "the image has no bytes")
    other = next((kind for start, kind in _OTHER_KINDS if image.startswith(start)), None)
    if other is not None:
        return Problem(415, "unsupported_image", f"{other} is not served: send JPEG or PNG")
    return Problem(422, "undecodable", "not a whole JPEG or PNG: it is cut short, damaged, or something else")
