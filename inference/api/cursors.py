"""Where the next page begins, as clients carry it: opaque to them, strict when it comes back.

after("frames", frame_id) ──► text ──► read("frames", text) ──► frame_id, or 422 bad_cursor
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Final

from inference.api.inputs import is_frame_id
from inference.api.problems import Problem

_OFFSET_MAX: Final = 2**62
_LETTERS: Final = re.compile(r"[a-z0-9_.-]{1,80}")


def after_frame(frame_id: str) -> str:
    """The page of frames after this one."""
    return _write("f", frame_id)


def frame_of(cursor: str | None) -> str | None:
    """The frame after which a page begins."""
    value = _read("f", cursor)
    if value is not None and not (isinstance(value, str) and is_frame_id(value)):
        raise _bad()
    return value


def after_review(review_id: int) -> str:
    """The page of reviews after this one."""
    return _write("r", review_id)


def review_of(cursor: str | None) -> int | None:
    """The review after which a page begins."""
    value = _read("r", cursor)
    if value is not None and not _is_offset(value):
        raise _bad()
    return value  # type: ignore[no-any-return]


def after_letters(offsets: dict[str, int]) -> str:
    """The page of dead letters before these offsets, by consumer."""
    return _write("d", offsets)


def letters_of(cursor: str | None) -> dict[str, int]:
    """The offsets before which a page of dead letters looks, by consumer; empty: from the end."""
    value = _read("d", cursor)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        _LETTERS.fullmatch(name) and _is_offset(offset) for name, offset in value.items()
    ):
        raise _bad()
    return value


def _is_offset(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _OFFSET_MAX


def _write(kind: str, value: Any) -> str:
    text = json.dumps([kind, value], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _read(kind: str, cursor: str | None) -> Any:
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = json.loads(text)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _bad() from error
    if not isinstance(found, list) or len(found) != 2 or found[0] != kind or found[1] is None:
        raise _bad()
    return found[1]


def _bad() -> Problem:
    return Problem(422, "bad_cursor", "this cursor is none of ours: take `next` of the page before, or leave it out")
