"""Does an engine see in the golden images what the export saw?

    golden/golden.json   {"format": 1, "tolerance": {"pixels": 1.0, "confidence": 0.01},
                          "images": [{"file": "00.jpg", "sha256": ..., "labels": [...], "confidences": [...],
                                      "boxes": [[x1, y1, x2, y2], ...]}, ...]}
    golden/00.jpg ─► engine ─► every recorded detection there, within the tolerance, and no other

Detections of nearly one confidence may change places between engines, so their order does not count.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from contracts.errors import Misconfigured, Rejected
from inference.domain.decode import Status, decode
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.engines import Engine

GOLDEN: Final = Path("golden") / "golden.json"
FORMAT: Final = 1
MISMATCH: Final = "golden_mismatch"
# A tolerance that accepts everything is no check.
LOOSEST_PIXELS: Final = 16.0
LOOSEST_CONFIDENCE: Final = 0.2
_MOST_PIXELS: Final = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenImage:
    """One image and what the export saw in it."""

    name: str
    image: Image
    seen: Detections


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A model's golden images."""

    pixels: float  # the most that a box's side may move
    confidence: float  # the most that a confidence may move
    images: tuple[GoldenImage, ...]


def read(folder: Path) -> Golden:
    """The golden images of the model in that folder.

    Raises:
        Misconfigured: they are missing, damaged, or cannot fail.
    """
    try:
        document = json.loads((folder / GOLDEN).read_bytes())
        if document["format"] != FORMAT:
            raise Misconfigured(f"{GOLDEN} has format {document['format']}, not {FORMAT}: export the model again")
        golden = Golden(
            pixels=float(document["tolerance"]["pixels"]),
            confidence=float(document["tolerance"]["confidence"]),
            images=tuple(_image(folder, entry) for entry in document["images"]),
        )
    except OSError as error:
        raise Misconfigured(f"the model lacks {GOLDEN.parent}/{Path(error.filename).name}: deliver it again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Misconfigured(
            f"{GOLDEN} does not fit ({type(error).__name__}: {error}): export the model again"
        ) from error
    for value, loosest in ((golden.pixels, LOOSEST_PIXELS), (golden.confidence, LOOSEST_CONFIDENCE)):
        if not (math.isfinite(value) and 0 < value <= loosest):
            raise Misconfigured(f"{GOLDEN} tolerates {value}, which is no check; at most {loosest}: export it again")
    if not sum(len(one.seen) for one in golden.images):
        raise Misconfigured(f"{GOLDEN} holds no detection, so it checks nothing: export the model again")
    return golden


def _image(folder: Path, entry: dict[str, Any]) -> GoldenImage:
    name = Path(entry["file"]).name
    content = (folder / GOLDEN.parent / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise Misconfigured(f"{GOLDEN.parent}/{name} is not the image that {GOLDEN.name} speaks of: deliver it again")
    image = decode(content, max_pixels=_MOST_PIXELS)
    if isinstance(image, Status):
        raise Misconfigured(f"{GOLDEN.parent}/{name} is {image}: export the model again")
    seen = Detections.of(entry["labels"], entry["confidences"], entry["boxes"])
    return GoldenImage(name=name, image=image, seen=seen)


def check(engine: Engine, golden: Golden) -> None:
    """Runs the golden images through the engine, one by one and all at once.

    Raises:
        Rejected: it sees something else (code golden_mismatch).
    """
    images = [one.image for one in golden.images]
    alone = [engine.infer([image])[0] for image in images]
    for how, answers in (("alone", alone), ("in one batch", engine.infer(images))):
        difference = first_difference(golden, answers)
        if difference is not None:
            raise Rejected(
                f"{engine.name} does not see in the golden images ({how}) what the export saw: {difference}. Export the "
                "model again for this engine, or look for what changed in it",
                code=MISMATCH,
            )


def first_difference(golden: Golden, answers: Sequence[Detections]) -> str | None:
    """What the first image that differs shows, in words; None where all agree within the tolerance."""
    if len(answers) != len(golden.images):
        return f"{len(answers)} answers to {len(golden.images)} images"
    for one, found in zip(golden.images, answers, strict=True):
        if sorted(found.labels) != sorted(one.seen.labels):
            return f"{one.name}: {_counted(found)}, recorded {_counted(one.seen)}"
        left = list(range(len(found)))
        for index, label in enumerate(one.seen.labels):
            at = _like(one.seen, index, found, left, golden)
            if at is None:
                return f"{one.name}: no {label} where {one.seen.boxes[index].tolist()} was recorded"
            left.remove(at)
    return None


def _like(seen: Detections, index: int, found: Detections, left: Sequence[int], golden: Golden) -> int | None:
    """Of the detections that are left, the nearest within the tolerance."""
    moved = {at: float(np.abs(found.boxes[at] - seen.boxes[index]).max()) for at in left}
    fits = [
        at
        for at in left
        if found.labels[at] == seen.labels[index]
        and moved[at] <= golden.pixels
        and abs(float(found.confidences[at]) - float(seen.confidences[index])) <= golden.confidence
    ]
    return min(fits, key=moved.__getitem__, default=None)


def _counted(detections: Detections) -> str:
    return f"{len(detections)} detections ({', '.join(sorted(set(detections.labels))) or 'none'})"
