"""One picture of many frames with their boxes drawn: what `sightline demo` shows at its end.

panels ──► a grid, four across, each at most 320 px wide, its title below ──► JPEG bytes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.errors import Rejected

Picture = NDArray[np.uint8]  # height x width x 3, BGR
Colour = tuple[int, int, int]  # BGR

COLUMNS: Final = 4
SIDE: Final = 320  # pixels
TITLE_HEIGHT: Final = 22
_LINE: Final = 14  # a label's height, pixels
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE: Final = 0.38
_INK: Final = (40, 40, 40)
_PAPER: Final = 245
# Told apart in print and by most colour-blind readers (Okabe and Ito's palette), BGR.
_PALETTE: Final = ((0, 94, 213), (178, 114, 0), (115, 158, 0), (167, 121, 204), (0, 159, 230), (233, 180, 86))


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One frame of the sheet."""

    title: str
    image: bytes  # JPEG or PNG
    labels: Sequence[str]
    confidences: Sequence[float]  # 0..1
    boxes: Sequence[float]  # x1 y1 x2 y2 per detection, pixels of the image


def contact_sheet(panels: Sequence[Panel]) -> bytes:
    """The sheet as JPEG. A frame that cannot be decoded is drawn as a grey panel that says so.

    Raises:
        Rejected: there is nothing to draw.
    """
    if not panels:
        raise Rejected("there is no frame to draw: send some first (`sightline send`)")
    labels = sorted({label for panel in panels for label in panel.labels})
    colours = {label: _PALETTE[number % len(_PALETTE)] for number, label in enumerate(labels)}
    tiles = [_tile(panel, colours) for panel in panels]
    columns = min(COLUMNS, len(tiles))
    blank = np.full_like(tiles[0], _PAPER)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    _, encoded = cv2.imencode(".jpg", np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return bytes(encoded)


def _tile(panel: Panel, colours: Mapping[str, Colour]) -> Picture:
    tile = np.full((SIDE + TITLE_HEIGHT, SIDE, 3), _PAPER, dtype=np.uint8)
    # The boxes are in the stored pixels, so an EXIF rotation is not applied.
    decoded = cv2.imdecode(np.frombuffer(panel.image, dtype=np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if decoded is None:
        cv2.rectangle(tile, (0, 0), (SIDE - 1, SIDE - 1), (200, 200, 200), cv2.FILLED)
        _write(tile, "not decodable", (8, SIDE // 2))
    else:
        scale = SIDE / max(decoded.shape[:2])
        small = cv2.resize(decoded, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:SIDE, :SIDE]
        _draw(small, panel, scale, colours)
        tile[: small.shape[0], : small.shape[1]] = small
    _write(tile, panel.title, (4, SIDE + 15))
    return tile


def _draw(picture: Picture, panel: Panel, scale: float, colours: Mapping[str, Colour]) -> None:
    corners = (np.asarray(panel.boxes, dtype=np.float64).reshape(-1, 4) * scale).round().astype(int)
    for label, (left, top, right, bottom) in zip(panel.labels, corners.tolist(), strict=True):
        cv2.rectangle(picture, (left, top), (right, bottom), colours[label], 2)
    texts = [f"{label} {confidence:.2f}" for label, confidence in zip(panel.labels, panel.confidences, strict=True)]
    widths = [cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)[0][0] for text in texts]
    places = places_of_labels(corners.tolist(), widths, width=picture.shape[1], height=picture.shape[0])
    for label, text, (left, top) in zip(panel.labels, texts, places, strict=True):
        _write(picture, text, (left, top + _LINE - 4), colours[label], outlined=True)


def places_of_labels(
    boxes: Sequence[Sequence[int]], widths: Sequence[int], *, width: int, height: int
) -> list[tuple[int, int]]:
    """Where each label's left upper corner goes: above its box, else below, else the nearest row that is free there.

    Args:
        boxes: left, top, right, bottom of each detection, pixels of the picture.
        widths: of each label, pixels.
        width: of the picture.
        height: of the picture.
    """
    taken: list[tuple[int, int, int]] = []  # left, right, top
    for (box_left, box_top, _, box_bottom), label_width in zip(boxes, widths, strict=True):
        left = max(0, min(box_left, width - label_width))
        lowest = max(0, height - _LINE)
        above, below = (max(0, min(row, lowest)) for row in (box_top - _LINE, box_bottom + 2))
        rows = (above, below, *(row for far in range(1, lowest + 1) for row in (above - far, above + far)))
        inside = (row for row in rows if 0 <= row <= lowest)
        top = next((row for row in inside if not _is_taken(taken, left, left + label_width, row)), above)
        taken.append((left, left + label_width, top))
    return [(left, top) for left, _, top in taken]


def _is_taken(taken: Sequence[tuple[int, int, int]], left: int, right: int, top: int) -> bool:
    return any(left < other[1] and other[0] < right and abs(top - other[2]) < _LINE for other in taken)


def _write(picture: Picture, text: str, at: tuple[int, int], colour: Colour = _INK, *, outlined: bool = False) -> None:
    if outlined:  # readable on dark copper too
        cv2.putText(picture, text, at, _FONT, _FONT_SCALE, (_PAPER,) * 3, 3, cv2.LINE_AA)
    cv2.putText(picture, text, at, _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)
