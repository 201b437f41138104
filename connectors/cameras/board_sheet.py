"""The sheet a simulated board is drawn on, and the lines that a router would draw.

    polygon, line, disc ─► copper (640 x 640) and a coarse map of the room left ─► free? ─► the next part

Every part asks before it draws, so that copper of two nets keeps its clearance, as a design-rule check would have it.
Coordinates are pixels of a board of `SIDE` x `SIDE`, x to the right, y down; headings are eighths of a turn (0 is +x,
2 is +y), since boards are routed in steps of 45°.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin, tan

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 640  # pixels; what one image of the camera covers
CELL = 4  # pixels a side of one cell of the coarse map of the room left
SUBPIXEL = 4  # bits of fraction in the coordinates given to OpenCV

Mask = NDArray[np.uint8]  # 0 or 1
Points = NDArray[np.float64]  # [n, 2] x, y


class Sheet:
    """The copper drawn so far, and how far any place is from it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.copper: Mask = np.zeros((SIDE, SIDE), np.uint8)
        self._busy: Mask = np.zeros((SIDE // CELL, SIDE // CELL), np.uint8)
        self._room: NDArray[np.float32] | None = None
        # Boards never lie quite straight under the camera.
        angle = float(rng.normal(0, 0.004))
        self._tilt = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])

    # -- drawing -----------------------------------------------------------------------------------------------------
    def polygon(self, points: Points, value: int = 1) -> None:
        """Fills a polygon with copper, or with nothing (`value` 0)."""
        placed = self._placed(points)
        cv2.fillPoly(self.copper, [fixed_point(placed)], value, cv2.LINE_8, SUBPIXEL)
        if value:
            cv2.fillPoly(self._busy, [fixed_point(placed / CELL)], 1, cv2.LINE_8, SUBPIXEL)
            self._room = None

    def line(self, points: Points, width: float) -> None:
        """Draws a trace with round ends."""
        placed = self._placed(points)
        thick = max(1, round(width))
        cv2.polylines(self.copper, [fixed_point(placed)], False, 1, thick, cv2.LINE_8, SUBPIXEL)
        cv2.polylines(
            self._busy, [fixed_point(placed / CELL)], False, 1, max(1, round(width / CELL)), cv2.LINE_8, SUBPIXEL
        )
        self._room = None

    def disc(self, centre: Points, radius: float, value: int = 1) -> None:
        """Draws a round pad, or drills a hole (`value` 0)."""
        placed = self._placed(centre[None])
        fixed = fixed_point(placed)[0]
        cv2.circle(self.copper, fixed.tolist(), round(radius * 2**SUBPIXEL), value, -1, cv2.LINE_8, SUBPIXEL)
        if value:
            coarse = fixed_point(placed / CELL)[0]
            cv2.circle(self._busy, coarse.tolist(), round(radius / CELL * 2**SUBPIXEL), 1, -1, cv2.LINE_8, SUBPIXEL)
            self._room = None

    def add(self, copper: Mask) -> None:
        """Adds copper that was drawn elsewhere, [640, 640]."""
        self.copper |= copper
        self._busy |= np.asarray(
            cv2.resize(self.copper, self._busy.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8
        )
        self._room = None

    def _placed(self, points: Points) -> Points:
        half = SIDE / 2
        placed: Points = (points - half) @ self._tilt + half
        return placed

    # -- room --------------------------------------------------------------------------------------------------------
    def free(self, points: Points, radius: float) -> NDArray[np.bool_]:
        """Says for each point whether no copper lies within `radius` pixels. Outside the image there is room."""
        if self._room is None:
            # On an empty board OpenCV answers with the largest float: cap it, or it overflows.
            self._room = np.minimum(cv2.distanceTransform(1 - self._busy, cv2.DIST_L2, 3), SIDE)
        cells = (self._placed(points) / CELL).astype(np.intp)
        inside = ((cells >= 0) & (cells < SIDE // CELL)).all(axis=1)
        cells = cells.clip(0, SIDE // CELL - 1)
        room = self._room[cells[:, 1], cells[:, 0]] * CELL
        return (room >= radius + 2) | ~inside

    def is_free(self, corners: Points, clearance: float) -> bool:
        """Says whether a polygon's outline and middle keep their clearance."""
        outline = sample(np.vstack([corners, corners[:1]]), 6.0)[0]
        middle = corners.mean(axis=0)
        rings = [middle + (outline - middle) * share for share in (1.0, 0.66, 0.33)]
        return bool(self.free(np.vstack(rings), clearance).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The design rule of one board, in pixels."""

    width: float  # of a trace
    gap: float  # between two nets
    via: float  # radius of a via

    @property
    def pitch(self) -> float:
        """From the middle of one trace to the middle of the next."""
        return self.width + self.gap


def wander(rng: np.random.Generator, start: Points, heading: int, breadth: float) -> Points:
    """A path in steps of 45° that never turns back; no stretch is so short that a bundle `breadth` wide would fold."""
    shortest = breadth * tan(pi / 8) * 2 + 16
    points, lean = [start], 0
    for _ in range(int(rng.integers(1, 6))):
        points.append(points[-1] + unit(heading + lean) * (shortest + rng.exponential(90)))
        turn = int(rng.choice([-1, 1]))
        lean = lean - turn if abs(lean + turn) > 2 else lean + turn
    points.append(points[-1] + unit(heading + lean) * (rng.uniform(60, 900)))
    return np.array(points)


def offset(path: Points, distance: float) -> Points:
    """The path beside `path`, `distance` pixels to its right, bends mitred so that the distance stays the same."""
    along = np.diff(path, axis=0)
    along /= np.hypot(along[:, 0], along[:, 1])[:, None]
    normal = np.stack([-along[:, 1], along[:, 0]], 1)
    before, after = np.vstack([normal[:1], normal]), np.vstack([normal, normal[-1:]])
    mitre = (before + after) / (1 + (before * after).sum(axis=1, keepdims=True))
    moved: Points = path + mitre * distance
    return moved


def sample(path: Points, step: float) -> tuple[Points, Points]:
    """Points every `step` pixels along a path, and how far along each of them lies."""
    run = np.concatenate([[0.0], path_lengths(path)])
    at = np.arange(0, run[-1] + step, step).clip(0, run[-1])
    return np.stack([np.interp(at, run, path[:, 0]), np.interp(at, run, path[:, 1])], 1), at


def path_lengths(path: Points) -> Points:
    """How far along the path each point after the first lies."""
    step = np.diff(path, axis=0)
    run: Points = np.cumsum(np.hypot(step[:, 0], step[:, 1]))
    return run


def unit(heading: float) -> Points:
    """The direction of a heading in eighths of a turn."""
    return np.array([cos(heading * pi / 4), sin(heading * pi / 4)])


def unit_ring() -> Points:
    """Twelve points of a circle of radius 1."""
    angle = np.arange(12) * (pi / 6)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def box_corners(centre: Points, ahead: Points, across: Points) -> Points:
    """Corners of a rectangle from its centre and half sides."""
    sides = (-ahead - across, ahead - across, ahead + across, across - ahead)
    return np.array([centre + side for side in sides])


def chamfered(middle: Points, half: Points, cuts: Sequence[float] | Points) -> Points:
    """A rectangle with its corners cut at 45°."""
    points = []
    corners = ((-1, -1, False), (1, -1, True), (1, 1, False), (-1, 1, True))
    for (sx, sy, is_x_first), cut in zip(corners, cuts, strict=True):
        along_x = middle + half * [sx, sy] - np.array([sx * cut, 0.0])
        along_y = middle + half * [sx, sy] - np.array([0.0, sy * cut])
        points += [along_x, along_y] if is_x_first else [along_y, along_x]
    return np.array(points)


def fixed_point(points: Points) -> NDArray[np.int32]:
    """Points as OpenCV takes them with `SUBPIXEL` bits of fraction."""
    return np.asarray(np.round(points * 2**SUBPIXEL), np.int32)
