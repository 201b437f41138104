"""Simulated boards on disk, ready to train on.

    simulator (seed, index) ─► JPEG and back, as in the pipeline ─► at the model's size ─► images.npy + truth.npz

The boards are made once, by all cores, and read through the page cache afterwards. Training, held-out and golden
boards come from different seeds of the simulator: no board of one can turn up in another.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from rich.progress import track

from connectors.cameras.boards import CLASSES, Drift, encode_jpeg, simulate_board

TRAIN_SEED: Final = 101
HELD_OUT_SEED: Final = 203  # nothing is chosen by it
GOLDEN_SEED: Final = 104

BOARD_SIDE: Final = 640  # pixels; what the simulated camera sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Which boards a set is made of. Two sets of one recipe are equal."""

    seed: int
    count: int
    side: int  # pixels of the stored images
    is_training: bool  # more defects on a board and a little drift, so that a pass over the set teaches more


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSet:
    """Boards in memory-mapped files."""

    images: NDArray[np.uint8]  # [n, side, side]
    starts: NDArray[np.int64]  # [n + 1], where each board's boxes begin
    labels: NDArray[np.int64]  # [m], index of the class
    boxes: NDArray[np.float32]  # [m, 4] x1 y1 x2 y2 in pixels of the stored image

    def __len__(self) -> int:
        return len(self.images)

    def truth(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Labels and boxes of one board."""
        part = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return self.labels[part], self.boxes[part]


def open_boards(folder: Path, recipe: Recipe, *, processes: int = 2) -> BoardSet:
    """Opens the set in `folder`, making it first if it is not there or was made by another recipe."""
    marker = folder / "recipe.json"
    wanted = json.dumps(asdict(recipe))
    if not marker.exists() or marker.read_text() != wanted:
        _make(folder, recipe, processes)
        marker.write_text(wanted)
    truth = np.load(folder / "truth.npz")
    images = np.load(folder / "images.npy", mmap_mode="r")
    return BoardSet(images=images, starts=truth["starts"], labels=truth["labels"], boxes=truth["boxes"])


def _make(folder: Path, recipe: Recipe, processes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shape = (recipe.count, recipe.side, recipe.side)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    counts, labels, boxes = [], [], []
    # A forked child hangs in OpenCV once its parent has used OpenCV's threads: start fresh ones.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_be_gentle) as pool:
        made = pool.map(partial(_board, recipe), range(recipe.count), chunksize=32)
        for index, (image, ids, where) in enumerate(track(made, f"boards {folder.name}", total=recipe.count)):
            images[index] = image
            counts.append(len(ids))
            labels.append(ids)
            boxes.append(where)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    np.savez(folder / "truth.npz", starts=starts, labels=np.concatenate(labels), boxes=np.concatenate(boxes))
    images.flush()


def _be_gentle() -> None:
    os.nice(5)
    cv2.setNumThreads(1)


def _board(recipe: Recipe, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """One board as the model will see it: image [side, side], class indices [n], boxes [n, 4]."""
    rng = np.random.default_rng([recipe.seed, index, 99])
    size, defects, drift = BOARD_SIDE, (3, 12), Drift()
    if recipe.is_training:
        if rng.random() < 0.75:
            defects = (5, 22)
        if rng.random() < 0.25:
            drift = Drift(
                light=rng.uniform(-0.08, 0.08),
                blur=rng.uniform(0, 0.6),
                noise=rng.uniform(0, 0.03),
                threshold=rng.uniform(-0.06, 0.06),
            )
        if rng.random() < 0.12:
            size = recipe.side
    frame = simulate_board(recipe.seed, index, size=size, drift=drift, defects=defects)
    seen = simplejpeg.decode_jpeg(encode_jpeg(frame), colorspace="GRAY")[..., 0]
    if size != recipe.side:
        seen = cv2.resize(seen, (recipe.side, recipe.side), interpolation=cv2.INTER_AREA)
    ids = np.array([CLASSES.index(label) for label in frame.labels], np.int64)
    return seen, ids, frame.boxes * np.float32(recipe.side / size)
