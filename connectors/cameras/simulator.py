"""The generated inspection line as a source, with the truth of each image.

simulator:                           endless, the healthy line 0
simulator:?seed=7&size=320&start=100 line 7, 320 pixels square, from its 101st board on
simulator:?light=-0.2&scratches=0.5  how the line has drifted (connectors.cameras.boards.Drift)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from itertools import count
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from connectors.cameras.boards import Drift, encode_jpeg, simulate_board
from connectors.cameras.images import Captured, Truth, captured_image
from contracts.errors import Rejected

PREFIX: Final = "simulator:"
_WHOLE: Final = {"seed": 0, "size": 640, "start": 0}
_DRIFT: Final = tuple(field.name for field in fields(Drift))
_SIZES: Final = range(32, 4097)
_Number = TypeVar("_Number", int, float)


class SimulatorSource:
    """Boards of one line, one after the other, for ever."""

    is_live = False
    length: int | None = None

    def __init__(self, text: str, *, jpeg_quality: int) -> None:
        given = _parameters(text)
        whole = {name: _number(int, name, given.get(name, str(default))) for name, default in _WHOLE.items()}
        self._seed, self._size, self._start = whole["seed"], whole["size"], whole["start"]
        if self._seed < 0 or self._start < 0 or self._size not in _SIZES:
            raise Rejected(
                f"simulator: seed and start must not be negative, size from {_SIZES.start} to {_SIZES.stop - 1}",
                code="unknown_source",
            )
        self._drift = Drift(**{name: _number(float, name, given[name]) for name in _DRIFT if name in given})
        self._quality = jpeg_quality
        self.description = text

    def images(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:  # noqa: ARG002
        """Board after board, until `stop`."""
        for index in count(self._start):
            if stop.is_set():
                return
            board = simulate_board(self._seed, index, size=self._size, drift=self._drift)
            x1, y1, x2, y2 = board.boxes.T.tolist() if len(board.boxes) else ([], [], [], [])
            yield captured_image(
                encode_jpeg(board, quality=self._quality),
                name=f"board {index}",
                truth=Truth(labels=board.labels, boxes=tuple(zip(x1, y1, x2, y2, strict=True))),
            )


def _parameters(text: str) -> Mapping[str, str]:
    rest = text.removeprefix(PREFIX)
    try:
        given = dict(parse_qsl(rest.removeprefix("?"), keep_blank_values=True, strict_parsing=bool(rest)))
    except ValueError as error:
        raise Rejected(f"{text}: write simulator:?name=value&name=value", code="unknown_source") from error
    known = (*_WHOLE, *_DRIFT)
    strangers = sorted(set(given) - set(known))
    if strangers:
        raise Rejected(
            f"simulator: does not know {', '.join(strangers)}; it knows {', '.join(known)}", code="unknown_source"
        )
    return given


def _number(kind: Callable[[str], _Number], name: str, text: str) -> _Number:
    try:
        value = kind(text)
    except ValueError as error:
        raise Rejected(f"simulator: {name} must be a number, not {text!r}", code="unknown_source") from error
    if not math.isfinite(value):
        raise Rejected(f"simulator: {name} must be finite", code="unknown_source")
    return value
