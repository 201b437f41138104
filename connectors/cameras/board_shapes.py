"""The shapes of defects: strokes, blots, and how they become a piece of copper more or less.

    stroke (a line as a hand draws it), blot (an uneven spot) ─► drawn ─► Change: a mask in a window of the board

Nothing here looks at the board; whether a shape makes a defect is decided in `board_defects`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import cv2
import numpy as np

from connectors.cameras.board_sheet import SUBPIXEL, Mask, Points

MARGIN: Final = 10  # pixels of surroundings that a label includes on each side


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A piece of copper added or taken away, in a window of the board."""

    x: int
    y: int
    shape: Mask
    is_copper: bool


def stroke(rng: np.random.Generator, start: Points, end: Points, bend: float) -> Points:
    """A line as a hand would draw it: points between `start` and `end`, off by `bend` of its length."""
    count = int(rng.integers(2, 5))
    along = np.linspace(0, 1, count + 1)[:, None]
    path = start + (end - start) * along
    length = float(np.hypot(*(end - start)))
    path[1:-1] += rng.normal(0, 1, (count - 1, 2)) * (bend * length)
    return path


def blot(rng: np.random.Generator, centre: Points, ahead: Points, across: Points) -> Points:
    """The outline of an uneven spot."""
    angle = np.arange(11) * (2 * np.pi / 11)
    swell = rng.uniform(0.6, 1.2, (11, 1))
    outline: Points = centre + (np.cos(angle)[:, None] * ahead + np.sin(angle)[:, None] * across) * swell
    return outline


def drawn(rng: np.random.Generator, board: Mask, paths: list[Points], thick: float, *, is_copper: bool) -> Change:
    """Draws the paths as lines `thick` pixels wide, or as filled outlines when `thick` is 0, some of them frayed."""
    every = np.vstack(paths)
    pad = int(thick) + MARGIN
    x, y = (np.floor(every.min(axis=0)).astype(int) - pad).clip(0, board.shape[0] - 1).tolist()
    right, low = (np.ceil(every.max(axis=0)).astype(int) + pad).clip(1, board.shape[0]).tolist()
    shape: Mask = np.zeros((max(1, low - y), max(1, right - x)), np.uint8)
    for path in paths:
        fixed = np.asarray(np.round((path - [x, y]) * 2**SUBPIXEL), np.int32)
        if not thick:
            cv2.fillPoly(shape, [fixed], 1, cv2.LINE_8, SUBPIXEL)
            continue
        for a, b in pairwise(fixed):
            breadth = max(2, round(thick + rng.uniform(-1, 1)))
            cv2.line(shape, a.tolist(), b.tolist(), 1, breadth, cv2.LINE_8, SUBPIXEL)
    if rng.random() < 0.3:
        # Frayed: bits of the shape's rim are missing, its core stays, so that it remains what it is.
        core = cv2.erode(shape, np.ones((3, 3), np.uint8))
        shape &= core | (rng.random(shape.shape) < 0.6).astype(np.uint8)
    return Change(x=x, y=y, shape=shape, is_copper=is_copper)
