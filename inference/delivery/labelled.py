"""Labelled images on disk, and which of them are kept apart to judge by.

    FOLDER/images/NAME.jpg | .png + FOLDER/labels/NAME.txt: a line `x1 y1 x2 y2 type` each, types from 1
        ─► layouts: images that show the same copper ─► whole layouts go to validation (about 10 %) or to training

A line sees the same board again and again: such images differ in their defects and in little else. Splitting by file
would put a board's twin into training and flatter the figures, so images are first gathered by layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from connectors.cameras.boards import CLASSES
from inference.delivery.dataset import BoardSet
from inference.delivery.evaluation import Truth
from inference.domain.decode import Status, decode
from inference.domain.letterbox import letterbox

Part = Literal["train", "validation", "all"]

THUMBNAIL: Final = 64  # pixels
SAME_LAYOUT: Final = 0.8  # correlation of two thumbnails at the best shift
_MOST_PIXELS: Final = 50_000_000
VALIDATION_SHARE: Final = 10  # one layout in so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One image and what is in it."""

    file: Path
    truth: Truth


def labelled_images(
    folder: Path, *, classes: Sequence[str] = CLASSES, part: Part = "all"
) -> Iterator[tuple[bytes, Truth]]:
    """Images of a labelled folder, or of one part of it, with their truth.

    Raises:
        FileNotFoundError: the folder holds no image, or one of them has no labels.
        ValueError: a line of a label file is no box, or of a type that is no class.
    """
    for one in read_labelled(folder, classes=classes, part=part):
        yield one.file.read_bytes(), one.truth


def read_labelled(folder: Path, *, classes: Sequence[str] = CLASSES, part: Part = "all") -> list[Labelled]:
    """As `labelled_images`, sorted by name, without the bytes."""
    files = sorted(file for kind in ("jpg", "png") for file in (folder / "images").glob(f"*.{kind}"))
    if not files:
        raise FileNotFoundError(f"no images/*.jpg or *.png in {folder}: name the folder that holds images/ and labels/")
    if part != "all":
        kept_apart = validation_names(files)
        files = [file for file in files if (file.stem in kept_apart) is (part == "validation")]
    return [Labelled(file=file, truth=_truth(folder / "labels" / f"{file.stem}.txt", classes)) for file in files]


def _truth(file: Path, classes: Sequence[str]) -> Truth:
    lines = [line.split() for line in file.read_text("utf-8").splitlines() if line.strip()]
    for line in lines:
        if len(line) != 5 or not line[4].isdigit() or not 1 <= int(line[4]) <= len(classes):
            raise ValueError(f"{file.name}: {' '.join(line)!r} is not `x1 y1 x2 y2 type`, type 1 to {len(classes)}")
    boxes = np.array([line[:4] for line in lines], np.float32).reshape(-1, 4)
    return Truth(labels=tuple(classes[int(line[4]) - 1] for line in lines), boxes=boxes)


def validation_names(files: Sequence[Path]) -> set[str]:
    """Stems of the images to judge by. The same files give the same answer; a layout is never torn apart."""
    groups = layouts(np.stack([_thumbnail(file) for file in files]))
    first = [files[group].stem for group in groups]  # a layout is named by its first image
    return {file.stem for file, name in zip(files, first, strict=True) if _draw(name) == 0}


def _draw(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % VALIDATION_SHARE


def _thumbnail(file: Path) -> NDArray[np.float32]:
    grey = _grey(file)
    return np.asarray(cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.float32)


def _grey(file: Path) -> NDArray[np.uint8]:
    if file.suffix == ".png":
        return np.asarray(cv2.cvtColor(_colour(file), cv2.COLOR_RGB2GRAY), np.uint8)
    grey: NDArray[np.uint8] = simplejpeg.decode_jpeg(file.read_bytes(), colorspace="GRAY")[..., 0]
    return grey


def _colour(file: Path) -> NDArray[np.uint8]:
    """Pixels as the pipeline reads them.

    Raises:
        ValueError: the file is no image.
    """
    if file.suffix != ".png":
        colour: NDArray[np.uint8] = simplejpeg.decode_jpeg(file.read_bytes(), colorspace="RGB")
        return colour
    image = decode(file.read_bytes(), max_pixels=_MOST_PIXELS)
    if isinstance(image, Status):
        raise ValueError(f"{file.name} is {image}")  # noqa: TRY004 - the value of its bytes is wrong
    return image


def layouts(thumbnails: NDArray[np.float32]) -> list[int]:
    """For each image [n, side, side], the first one that shows the same layout, directly or by way of others.

    Two images are of one layout when their correlation, at the shift that suits them best, is above SAME_LAYOUT.
    """
    flat = thumbnails - thumbnails.mean((1, 2), keepdims=True)
    flat /= np.sqrt((flat**2).sum((1, 2), keepdims=True)).clip(1e-6)
    waves = np.fft.rfft2(flat)
    first = list(range(len(flat)))
    for index in range(len(flat) - 1):
        shifted = np.fft.irfft2(waves[index] * np.conj(waves[index + 1 :]), s=flat.shape[1:])
        alike = index + 1 + np.flatnonzero(shifted.max((1, 2)) > SAME_LAYOUT)
        roots = {_root(first, index), *(_root(first, int(other)) for other in alike)}
        for root in roots:
            first[root] = min(roots)
    return [_root(first, index) for index in range(len(first))]


def _root(first: list[int], index: int) -> int:
    while first[index] != index:
        index = first[index]
    return index


def board_set(images: Sequence[Labelled], *, side: int, classes: Sequence[str] = CLASSES) -> BoardSet:
    """The images in memory, grey and square, as training reads them."""
    pixels = np.empty((len(images), side, side), np.uint8)
    labels, boxes = [], []
    for index, one in enumerate(images):
        colour = _colour(one.file)
        fitted, placed = letterbox(colour, width=side, height=side)
        pixels[index] = cv2.cvtColor(fitted, cv2.COLOR_RGB2GRAY)
        labels.append(np.array([classes.index(label) for label in one.truth.labels], np.int64))
        boxes.append(one.truth.boxes * placed.scale + np.array([placed.pad_x, placed.pad_y] * 2))
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in labels])]).astype(np.int64)
    return BoardSet(
        images=pixels,
        starts=starts,
        labels=np.concatenate(labels),
        boxes=np.concatenate(boxes).astype(np.float32),
    )
