"""A generated inspection line: bare circuit boards under a line-scan camera, with their true defects.

    (seed, index) ─► board_layout: copper ─► board_defects: copper with defects, labels, boxes
                  ─► camera: lamp, lens, noise, threshold (Drift) ─► SimulatedFrame ─► encode_jpeg

No I/O. The same seed, index and size give the same pixels and truth; drift changes what the camera sees and never which
board passes, so that a drifted line can be compared with a healthy one frame by frame. With `scratches` a kind that no
model has learned is added after the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from connectors.cameras.board_defects import KINDS, SCRATCH, place_defects
from connectors.cameras.board_layout import draw_board
from connectors.cameras.board_sheet import SIDE, Mask

CLASSES = KINDS
"""The six defect kinds, in the order of the demo model's classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How the line has moved away from the day it was set up. The defaults change nothing."""

    light: float = 0.0  # lamp's level, share of normal: -0.2 is 20 % darker; beyond about ±0.4 the image is lost
    uneven: float = 0.0  # how much darker the left edge is than the right one, share of normal
    blur: float = 0.0  # added to the lens, pixels (standard deviation)
    noise: float = 0.0  # of the sensor, share of full scale (standard deviation)
    threshold: float = 0.0  # added to the binarisation's 0.5, share of full scale
    scratches: float = 0.0  # scratches a board, on average: a new defect kind, labelled "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedFrame:
    """What the camera saw, and what was there."""

    image: NDArray[np.uint8]  # [height, width], 0 copper, 255 board
    labels: tuple[str, ...]  # n names of CLASSES (or "scratch")
    boxes: NDArray[np.float32]  # [n, 4] x1 y1 x2 y2 in pixels of the image


def simulate_board(
    seed: int, index: int, *, size: int = SIDE, drift: Drift | None = None, defects: tuple[int, int] = (3, 12)
) -> SimulatedFrame:
    """Makes the `index`-th board of the line `seed`: `defects` at least and at most, each kind as often as the others.

    A board with too little room gets fewer. `size` is the image's height and width in pixels: the same board, seen with
    fewer or more pixels.
    Raises ValueError for a negative seed or index and for a size below 32.
    """
    if seed < 0 or index < 0 or size < 32:
        raise ValueError(f"seed {seed} and index {index} must not be negative, size {size} must be at least 32")
    drift = drift or Drift()
    # One stream of random numbers per concern: drift must not change which board passes.
    layout, faults, optics, extra = (np.random.default_rng([seed, index, stream]) for stream in range(4))
    copper, labels, boxes = place_defects(faults, draw_board(layout), _kinds(faults, *defects))
    if drift.scratches > 0:
        scratches = [SCRATCH] * int(extra.poisson(drift.scratches))
        copper, more, where = place_defects(extra, copper, scratches)
        labels, boxes = [*labels, *more], np.vstack([boxes, where])
    image = _camera(optics, copper, size, drift)
    return SimulatedFrame(image=image, labels=tuple(labels), boxes=(boxes * (size / SIDE)).astype(np.float32))


def encode_jpeg(frame: SimulatedFrame, *, quality: int = 92) -> bytes:
    """The frame as a grey JPEG. The same frame gives the same bytes."""
    grey = np.ascontiguousarray(frame.image[..., None])
    return bytes(simplejpeg.encode_jpeg(grey, quality=quality, colorspace="GRAY"))


def _kinds(rng: np.random.Generator, fewest: int, most: int) -> list[str]:
    """How many defects a board has, and which: whole rounds of all kinds, so that none is rare."""
    middle = (fewest + most) / 2 - 0.7
    count = int(np.clip(round(rng.normal(middle, (most - fewest) / 4.3)), fewest, most))
    rounds = [rng.permutation(KINDS) for _ in range(-(-count // len(KINDS)))]
    return [str(kind) for kind in np.concatenate(rounds)[:count]]


def _camera(rng: np.random.Generator, copper: Mask, size: int, drift: Drift) -> NDArray[np.uint8]:
    """Scans a board line by line and binarises it.

    Returns: [size, size] uint8 of 0 and 255.
    """
    grey: NDArray[np.uint8] = np.uint8(215) - copper * np.uint8(175)
    # Two boards are not etched alike: the edge's roughness is the board's, not the camera's.
    rough = float(rng.uniform(0.1, 0.8))
    jitter = float(rng.choice([0.0, 0.25, 0.6]))  # pixels by which one line lies beside the next
    if jitter:
        columns = np.arange(SIDE, dtype=np.float32)
        shift = rng.standard_normal(SIDE, np.float32) * np.float32(jitter)
        rows = np.broadcast_to(columns[:, None], (SIDE, SIDE)).copy()
        grey = _grey(
            cv2.remap(grey, columns[None] + shift[:, None], rows, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        )
    grain = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE), np.uint8), (0, 0), sigmaX=1.0, sigmaY=0.6)
    lens = float(np.hypot(rng.uniform(0.75, 1.15), drift.blur))
    grey = _grey(cv2.addWeighted(cv2.GaussianBlur(grey, (0, 0), lens), 1.0, grain, rough, -127.5 * rough))
    if size != SIDE:
        grey = _grey(cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA if size < SIDE else cv2.INTER_LINEAR))
    if drift.light or drift.uneven or drift.noise > 0:
        lamp = np.linspace(1 + drift.light - drift.uneven, 1 + drift.light, size, dtype=np.float32)
        seen = grey * lamp[None] + rng.standard_normal((size, size), np.float32) * np.float32(255 * drift.noise)
        grey = _grey(seen.clip(0, 255))
    return _grey(cv2.threshold(grey, 255 * (0.5 + drift.threshold), 255, cv2.THRESH_BINARY)[1])


def _grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(values, np.uint8)
