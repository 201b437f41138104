"""Boards of a set, turned, mirrored, moved and scaled, as training eats them.

BoardSet[chosen] ─► quarter turns, mirror ─► (jitter: scale, shift) ─► at the side that is trained at ─► batch
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.delivery.dataset import BoardSet

LEFT_OVER: Final = 0.6  # a box of which less remains in the image is not taught


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """How far a board is moved and scaled at random. Few boards need it; of simulated ones there are enough."""

    scale: float = 0.2  # 0.8 to 1.2 times
    shift: float = 0.1  # of the side, either way


def make_batch(
    boards: BoardSet,
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    side: int | None = None,
    jitter: Jitter | None = None,
) -> dict[str, NDArray[Any]]:
    """Takes boards out of the set, each turned by a quarter or mirrored at random: a board has no upside.

    Args:
        boards: the set.
        chosen: indices in it.
        rng: the same numbers give the same batch.
        side: of the batch's images, pixels; the set's own unless given.
        jitter: None leaves boards where they are.

    Returns: img [b, side, side] uint8; batch_idx, cls [m]; bboxes [m, 4] centre, width, height as shares of the side.
    """
    stored = boards.images.shape[1]
    side = side or stored
    images, index, labels, boxes = [], [], [], []
    for number, board in enumerate(chosen.tolist()):
        ids, where = boards.truth(board)
        turns, is_mirrored = int(rng.integers(4)), bool(rng.integers(2))
        image, where = turned(boards.images[board], where, turns, is_mirrored=is_mirrored)
        if jitter:
            image, where, kept = moved(image, where, jitter, rng)
            ids = ids[kept]
        images.append(resized(image, side))
        index.append(np.full(len(ids), number))
        labels.append(ids)
        boxes.append(where)
    every = np.concatenate(boxes) / stored
    centre, size = (every[:, :2] + every[:, 2:]) / 2, every[:, 2:] - every[:, :2]
    return {
        "img": np.stack(images),
        "batch_idx": np.concatenate(index),
        "cls": np.concatenate(labels),
        "bboxes": np.concatenate([centre, size], axis=1),
    }


def resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The square image at another side, shrunk as the letterbox shrinks in serving."""
    if image.shape[0] == side:
        return image
    how = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def turned(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], turns: int, *, is_mirrored: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Turns a square image and its boxes by `turns` quarters against the clock, then mirrors left and right."""
    side = image.shape[0]
    image = np.rot90(image, turns)
    for _ in range(turns % 4):
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([y1, side - x2, y2, side - x1], axis=1)
    if is_mirrored:
        image = image[:, ::-1]
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([side - x2, y1, side - x1, y2], axis=1)
    return image, boxes


def moved(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], jitter: Jitter, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """Scales a square image about its centre and shifts it; its edges go on where nothing is left of it.

    Returns: the image of the same size, the boxes that remain (clipped), and which of the given ones they are.
    """
    side = image.shape[0]
    scale = rng.uniform(1 - jitter.scale, 1 + jitter.scale)
    shift = rng.uniform(-jitter.shift, jitter.shift, 2) * side + (1 - scale) * side / 2
    # OpenCV's pixels have their centre at whole numbers, boxes count from the pixels' edges.
    matrix = np.array([[scale, 0, shift[0] + (scale - 1) / 2], [0, scale, shift[1] + (scale - 1) / 2]])
    placed = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    boxes = (boxes * scale + np.tile(shift, 2)).astype(np.float32)
    inside = boxes.clip(0, side)
    kept = _areas(inside) >= LEFT_OVER * _areas(boxes)
    return np.asarray(placed, np.uint8), inside[kept], kept


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)
