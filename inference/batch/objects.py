"""From a frame's row to its pixels: the object's bytes, the same as were captured, decoded as the stream does.

object ──bytes──► sha256 is the row's ──► header ──► pixels | undecodable, too_large, unsupported
  │                  └─ it is not ──────► Lost(object_differs)
  └─ there is none ─────────────────────► Lost(no_object)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from contracts.errors import Rejected, Transient
from inference.domain.decode import Status, decode, read_header
from inference.domain.letterbox import Image
from inference.persistence.outstanding import FrameToScore

# A store that stumbles once must not end a job of an hour; one that is away does.
_WAITS_SECONDS: Final = (0.5, 2.0)


class Store(Protocol):
    """What images are read from."""

    def get(self, key: str) -> bytes:
        """An object's bytes. Raises Rejected: there is none; Transient: the store is away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The frame has no image any more: it gets no prediction, and is named."""

    reason: str  # no_object | object_differs


Seen = Image | Status


def read(store: Store, frame: FrameToScore, *, sleep: Callable[[float], None] = time.sleep) -> bytes | Lost:
    """The bytes that were captured. Any thread may call it.

    Raises:
        Transient: the store is away, also after some waiting.
    """
    for wait in (*_WAITS_SECONDS, None):
        try:
            data = store.get(frame.object_key)
        except Rejected as error:
            return Lost(reason=error.code)
        except Transient:
            if wait is None:
                raise
            sleep(wait)
        else:
            is_same = hashlib.sha256(data).hexdigest() == frame.sha256
            return data if is_same else Lost(reason="object_differs")
    raise AssertionError("the last round returns or raises")


def see(data: bytes, *, max_pixels: int, needs_pixels: bool) -> Seen:
    """The pixels, or the status that the prediction gets; OK where the engine needs no pixels."""
    if needs_pixels:
        return decode(data, max_pixels=max_pixels)
    header = read_header(data, max_pixels=max_pixels)
    return header if isinstance(header, Status) else Status.OK
