"""One frame's image as an answer: straight from the store, never held whole.

If-None-Match  the ETag is the sha256: same ──► 304
Range          one range ──► 206; outside ──► 416; several, or not understood ──► the whole, as RFC 9110 allows
"""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from contracts.errors import Rejected
from contracts.object_keys import CONTENT_TYPES
from inference.api.problems import Problem
from inference.persistence.frames import FrameRow
from inference.persistence.objects import FrameStore

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')

# For the routes' documentation.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The image's bytes, as captured",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in CONTENT_TYPES.values()},
    },
    206: {"description": "The bytes of the range"},
    304: {"description": "Unchanged: the ETag is the sha256 of the image"},
}


def answer(request: Request, store: FrameStore, frame: FrameRow) -> Response:
    """The image, a range of it, or the word that it is unchanged.

    Raises:
        Problem: 404, the store has no such object; 416.
        Transient: the store is away.
    """
    tag = f'"{frame.sha256}"'
    # A frame's image never changes; that it may be seen can: hence private, and not for long.
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=60",
        "X-Content-Type-Options": "nosniff",
    }
    if _is_known(request.headers.get("if-none-match"), frame.sha256):
        return Response(status_code=304, headers=headers)
    wanted = None
    if request.headers.get("if-range", tag) == tag:
        wanted = byte_range(request.headers.get("range"), frame.size_bytes)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {wanted[0]}-{wanted[1]}/{frame.size_bytes}"
    try:
        stream = store.stream(frame.object_key, wanted and f"bytes={wanted[0]}-{wanted[1]}")
    except Rejected as error:
        raise Problem(
            404, "no_image", f"the image of {frame.frame_id} is not stored: `sightline audit` says why"
        ) from error
    headers["Content-Length"] = str(stream.size_bytes)
    return StreamingResponse(
        iter(stream),
        status_code=200 if wanted is None else 206,
        headers=headers,
        media_type=CONTENT_TYPES.get(frame.encoding, "application/octet-stream"),
    )


def _is_known(header: str | None, sha256: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or sha256 in _ENTITY_TAG.findall(header)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that are asked for; None: all.

    Raises:
        Problem: 416, none of the bytes exists.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return None
    if first > last:
        raise Problem(
            416,
            "range_outside",
            f"the image has {size} bytes: ask for bytes among them, or leave Range out",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return first, last
