"""Puts defects into a mask of copper, and says exactly where.

    copper ─► places (edges with their normal, local width and gap) ─► one defect after the other
           ─► each checked by what it does to the copper around it ─► copper, labels, boxes

A defect counts only when it is what its name says. In the window around it an open parts a piece of copper, a short
joins two, a spot of copper is a new piece, a pin-hole a new hole; mousebite and spur change the outline and leave the
number of pieces alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from connectors.cameras.board_shapes import MARGIN, Change, blot, drawn, stroke
from connectors.cameras.board_sheet import Mask, Points

KINDS: Final = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
SCRATCH: Final = "scratch"  # the kind that appears only with drift; no model of ours has learned it
BORDER: Final = 16  # pixels at the image's edge without defects
REACH: Final = 80  # longest way looked along a normal, pixels
TRIES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Edges of copper: position, normal into the copper, and how far it is to the other side."""

    at: Points  # [n, 2]
    normal: Points  # [n, 2], unit length
    width: NDArray[np.intp]  # [n], pixels of copper along the normal
    gap: NDArray[np.intp]  # [n], pixels without copper against the normal


def place_defects(
    rng: np.random.Generator, copper: Mask, kinds: list[str]
) -> tuple[Mask, list[str], NDArray[np.float32]]:
    """Puts about one defect per entry of `kinds` into a copy of `copper`.

    A kind that finds no place on this board is replaced by another one, or left out on an empty board.

    Returns: the new mask, the labels, boxes [n, 4] x1 y1 x2 y2 in pixels.
    """
    board = copper.copy()
    places = find_places(rng, board)
    labels: list[str] = []
    boxes: list[tuple[int, int, int, int]] = []
    for wanted in kinds:
        others = [kind for kind in rng.permutation(KINDS) if kind != wanted] if wanted in KINDS else []
        for kind in [wanted, *others]:
            box = _try_kind(rng, board, places, kind, boxes)
            if box is not None:
                labels.append(str(kind))
                boxes.append(box)
                break
    return board, labels, np.array(boxes, np.float32).reshape(-1, 4)


def find_places(rng: np.random.Generator, board: Mask, count: int = 500) -> Places:
    """Samples `count` edge pixels and measures along their normals."""
    edge = board & ~cv2.erode(board, np.ones((3, 3), np.uint8), borderValue=1)
    edge[:BORDER] = edge[-BORDER:] = 0
    edge[:, :BORDER] = edge[:, -BORDER:] = 0
    flat = np.flatnonzero(edge)
    if not len(flat):
        nowhere, nothing = np.zeros((0, 2)), np.zeros(0, np.intp)
        return Places(at=nowhere, normal=nowhere, width=nothing, gap=nothing)
    y, x = np.divmod(rng.choice(flat, count), board.shape[1])
    soft = cv2.GaussianBlur(board * 255, (0, 0), 2.0)
    slope_x, slope_y = cv2.Sobel(soft, cv2.CV_16S, 1, 0)[y, x], cv2.Sobel(soft, cv2.CV_16S, 0, 1)[y, x]
    slope = np.stack([slope_x, slope_y], 1).astype(np.float64)
    steep = np.hypot(slope[:, 0], slope[:, 1])
    keep = steep > 60
    at, normal = np.stack([x, y], 1).astype(np.float64)[keep], slope[keep] / steep[keep, None]
    return Places(at=at, normal=normal, width=_way(board, at, normal, 1), gap=_way(board, at, -normal, 0))


def _way(board: Mask, at: Points, direction: Points, value: int) -> NDArray[np.intp]:
    """How many pixels along `direction` the board keeps `value`, beginning beside the edge; REACH when for ever."""
    side = board.shape[0] - 1
    steps = np.arange(2, REACH + 1)
    way = np.rint(at[:, None] + direction[:, None] * steps[:, None]).astype(np.intp).clip(0, side)
    other = board[way[..., 1], way[..., 0]] != value
    return np.where(other.any(axis=1), other.argmax(axis=1) + 2, REACH)


def _try_kind(
    rng: np.random.Generator, board: Mask, places: Places, kind: str, boxes: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    """Draws one defect into `board` if a place is found, and returns its box."""
    for _ in range(TRIES):
        change = MAKERS[kind](rng, board, places)
        if change is None:
            return None
        box = _box(board, change)
        if box is None or any(_is_crowded(box, other) for other in boxes) or not _is_true(board, change, kind):
            continue
        window = board[change.y : change.y + change.shape.shape[0], change.x : change.x + change.shape.shape[1]]
        if change.is_copper:
            window |= change.shape
        else:
            window &= 1 - change.shape
        return box
    return None


def _box(board: Mask, change: Change) -> tuple[int, int, int, int] | None:
    """The box of the pixels that change, with the margin a label has; None when hardly any does."""
    height, width = change.shape.shape
    window = board[change.y : change.y + height, change.x : change.x + width]
    changed = change.shape & (1 - window if change.is_copper else window)
    if int(changed.sum()) < 20:
        return None
    x, y, w, h = cv2.boundingRect(changed)
    side = board.shape[0]
    left, top = change.x + x, change.y + y
    return max(0, left - MARGIN), max(0, top - MARGIN), min(side, left + w + MARGIN), min(side, top + h + MARGIN)


def _is_crowded(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two boxes share more than a rim."""
    w = min(one[2], other[2]) - max(one[0], other[0])
    h = min(one[3], other[3]) - max(one[1], other[1])
    return w > MARGIN * 0.6 and h > MARGIN * 0.6


def _is_true(board: Mask, change: Change, kind: str) -> bool:
    """Whether the change does to the copper around it what the kind's name says.

    It has to stay true with every edge a pixel further out or in, or the lens would make something else of it.
    """
    if kind == SCRATCH:
        return True
    height, width = change.shape.shape
    before = board[change.y : change.y + height, change.x : change.x + width]
    after = before | change.shape if change.is_copper else before & (1 - change.shape)
    pixel = np.ones((3, 3), np.uint8)
    for edge in (None, cv2.erode, cv2.dilate):
        old, new = (before, after) if edge is None else (edge(before, pixel), edge(after, pixel))
        if not _is_kind(kind, _pieces(new, 8) - _pieces(old, 8), _pieces(1 - new, 4) - _pieces(1 - old, 4)):
            return False
    return True


def _is_kind(kind: str, more_pieces: int, more_holes: int) -> bool:
    if kind in ("open", "copper"):
        return more_pieces > 0
    if kind == "short":
        return more_pieces < 0
    if kind == "pin-hole":
        return more_pieces == 0 and more_holes > 0
    return more_pieces == 0 and more_holes == 0


def _pieces(mask: Mask, connectivity: int) -> int:
    return int(cv2.connectedComponents(mask, connectivity=connectivity)[0])


# -- one function per kind -------------------------------------------------------------------------------------------
def _open(rng: np.random.Generator, board: Mask, places: Places) -> Change | None:
    index = _pick(rng, (places.width >= 4) & (places.width <= 64) & (places.gap >= 6), 1 / (4 + places.width))
    if index is None:
        return None
    at, normal, width = places.at[index], places.normal[index], float(places.width[index])
    tangent = np.array([-normal[1], normal[0]])
    slant = tangent * width * rng.normal(0, 0.35)
    start, end = at - normal * 4 - slant / 2, at + normal * (width + 3) + slant / 2
    style = rng.random()
    if style < 0.45:  # a clean cut
        strokes = [stroke(rng, start, end, 0.05)]
        thick = rng.uniform(5, 9 + min(width, 20) * 0.25)
    elif style < 0.8:  # a ragged line
        strokes = [stroke(rng, start, end, 0.2)]
        thick = rng.uniform(3, 6)
    else:  # two lines side by side
        beside = tangent * rng.uniform(3, 6)
        strokes = [stroke(rng, start - beside, end - beside, 0.1), stroke(rng, start + beside, end + beside, 0.1)]
        thick = rng.uniform(2.5, 4)
    return drawn(rng, board, strokes, thick, is_copper=False)


def _short(rng: np.random.Generator, board: Mask, places: Places) -> Change | None:
    index = _pick(rng, (places.gap >= 5) & (places.gap <= 66), 1 / (10 + places.gap))
    if index is None:
        return None
    at, normal, gap = places.at[index], places.normal[index], float(places.gap[index])
    slant = np.array([-normal[1], normal[0]]) * gap * rng.normal(0, 0.2)
    bend = 0.05 if rng.random() < 0.5 else 0.15
    strokes = [stroke(rng, at + normal * 3, at - normal * (gap + 3) + slant, bend)]
    return drawn(rng, board, strokes, rng.uniform(3.5, 9), is_copper=True)


def _mousebite(rng: np.random.Generator, board: Mask, places: Places) -> Change | None:
    index = _pick(rng, (places.width >= 7) & (places.gap >= 4), np.ones(len(places.width)))
    if index is None:
        return None
    at, normal, width = places.at[index], places.normal[index], float(places.width[index])
    depth = min(rng.uniform(4, 14), width - 3.5)
    tangent = np.array([-normal[1], normal[0]])
    if rng.random() < 0.6:
        shape = [blot(rng, at + normal * depth * 0.25, normal * depth * 0.75, tangent * rng.uniform(4, 9))]
        return drawn(rng, board, shape, 0, is_copper=False)
    lean = tangent * rng.uniform(-8, 8)
    strokes = [stroke(rng, at - normal * 3, at + normal * depth + lean, 0.15)]
    return drawn(rng, board, strokes, rng.uniform(3, 6), is_copper=False)


def _spur(rng: np.random.Generator, board: Mask, places: Places) -> Change | None:
    index = _pick(rng, places.gap >= 9, np.ones(len(places.width)))
    if index is None:
        return None
    at, normal, gap = places.at[index], places.normal[index], float(places.gap[index])
    length = min(rng.uniform(6, 17), gap - 4)
    tangent = np.array([-normal[1], normal[0]])
    if rng.random() < 0.3:
        shape = [blot(rng, at - normal * length * 0.3, normal * length * 0.7, tangent * rng.uniform(3.5, 7))]
        return drawn(rng, board, shape, 0, is_copper=True)
    tip = at - normal * length + tangent * rng.uniform(-7, 7)
    strokes = [stroke(rng, at + normal * 3, tip, 0.12)]
    if rng.random() < 0.2:
        strokes.append(stroke(rng, tip, tip + tangent * rng.uniform(-8, 8), 0.1))
    return drawn(rng, board, strokes, rng.uniform(3.5, 7.5), is_copper=True)


def _copper(rng: np.random.Generator, board: Mask, _: Places) -> Change | None:
    return _island(rng, board, is_copper=True)


def _pin_hole(rng: np.random.Generator, board: Mask, _: Places) -> Change | None:
    return _island(rng, board, is_copper=False)


def _island(rng: np.random.Generator, board: Mask, *, is_copper: bool) -> Change | None:
    """A spot of copper in the open, or a hole inside copper: a blot, a scribble, a bent piece."""
    radius = rng.uniform(4.5, 10) if is_copper else rng.uniform(4, 9.5)
    radius *= 1.6 if rng.random() < 0.1 else 1.0
    centre = _spot(rng, board, round(radius * 0.8 + 4), 0 if is_copper else 1)
    if centre is None:
        return None
    angle = rng.uniform(0, np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-ahead[1], ahead[0]])
    style = rng.random()
    if style < 0.55:
        spot = blot(rng, centre, ahead * radius, across * radius * rng.uniform(0.5, 1))
        return drawn(rng, board, [spot], 0, is_copper=is_copper)
    if style < 0.8:
        corner = centre + across * radius * rng.uniform(-0.5, 0.5)
        ends = centre - ahead * radius, centre + ahead * radius
        strokes = [stroke(rng, ends[0], corner, 0.1), stroke(rng, corner, ends[1], 0.1)]
        if rng.random() < 0.4:
            strokes.append(stroke(rng, corner, centre + across * radius, 0.1))
    else:
        strokes = [centre + rng.uniform(-0.7, 0.7, (int(rng.integers(4, 8)), 2)) * radius]
    return drawn(rng, board, strokes, rng.uniform(3, 5.5), is_copper=is_copper)


def _scratch(rng: np.random.Generator, board: Mask, _: Places) -> Change | None:
    angle, length = rng.uniform(0, np.pi), rng.uniform(70, 260)
    centre = rng.uniform(60, board.shape[0] - 60, 2)
    half = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    return drawn(rng, board, [stroke(rng, centre - half, centre + half, 0.02)], rng.uniform(2.5, 4), is_copper=False)


MAKERS: Final[dict[str, Callable[[np.random.Generator, Mask, Places], Change | None]]] = {
    "open": _open,
    "short": _short,
    "mousebite": _mousebite,
    "spur": _spur,
    "copper": _copper,
    "pin-hole": _pin_hole,
    SCRATCH: _scratch,
}


def _pick(rng: np.random.Generator, allowed: NDArray[np.bool_], weight: NDArray[np.float64]) -> int | None:
    weight = weight * allowed
    total = weight.sum()
    return int(rng.choice(len(weight), p=weight / total)) if total > 0 else None


def _spot(rng: np.random.Generator, board: Mask, radius: int, value: int) -> Points | None:
    """A place whose surroundings within `radius` (as a square, looked at on eight points) all have `value`."""
    side = board.shape[0]
    low = BORDER + radius
    spots = rng.integers(low, side - low, (400, 2))
    ring = np.array([(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]) * radius
    around = spots[:, None] + ring
    good = (board[around[..., 1], around[..., 0]] == value).all(axis=1)
    if not good.any():
        return None
    found: Points = spots[int(good.argmax())].astype(np.float64)
    return found
