"""Golden frames: images beside the model with what it saw in them when it was exported (`golden/golden.json`).

An engine that runs the model must see the same, to the tolerance that the file states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import simplejpeg

from contracts.errors import Rejected
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.engines import Engine

GOLDEN_FILE: Final = Path("golden/golden.json")
_WHAT_NEXT: Final = "export the model again (`sightline model export`)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenFrame:
    """One image and what was seen in it."""

    name: str
    pixels: Image
    recorded: Detections


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """All of them."""

    frames: tuple[GoldenFrame, ...]
    pixels: float  # how far a box's corner may lie beside the recorded one
    confidence: float  # how far a confidence may differ


def read_golden(folder: Path) -> Golden:
    """The golden frames of a model folder.

    Raises:
        Rejected: they are missing, damaged, or hold no detection that could differ.
    """
    try:
        document = json.loads((folder / GOLDEN_FILE).read_text("utf-8"))
        golden = Golden(
            frames=tuple(_frame(folder / GOLDEN_FILE.parent, one) for one in document["images"]),
            pixels=float(document["tolerance"]["pixels"]),
            confidence=float(document["tolerance"]["confidence"]),
        )
    except OSError as error:
        raise _broken(f"cannot be read ({error.strerror}: {Path(str(error.filename)).name})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(f"are damaged ({type(error).__name__}: {error})") from error
    if not any(len(frame.recorded) for frame in golden.frames):
        raise _broken("hold no detection: nothing could differ")
    return golden


def differences(golden: Golden, engine: Engine) -> Iterator[str]:
    """Where the engine sees something else than was recorded, in words; none is right."""
    for frame in golden.frames:
        [seen] = engine.infer([frame.pixels])
        if (words := _difference(frame.recorded, seen, golden)) is not None:
            yield f"{frame.name}: {words}"


def _difference(recorded: Detections, seen: Detections, golden: Golden) -> str | None:
    if sorted(recorded.labels) != sorted(seen.labels):
        return f"{len(seen)} detections {sorted(seen.labels)}, recorded were {sorted(recorded.labels)}"
    # Two of nearly the same confidence may change places: each is compared with the nearest free one of its label.
    free = list(range(len(seen)))
    for label, confidence, box in zip(recorded.labels, recorded.confidences, recorded.boxes, strict=True):
        same = [index for index in free if seen.labels[index] == label]
        apart = [float(np.abs(seen.boxes[index] - box).max()) for index in same]
        nearest = same[int(np.argmin(apart))]
        free.remove(nearest)
        if min(apart) > golden.pixels:
            return f"{label} lies {min(apart):.2f} px beside where it was recorded, {golden.pixels} px are allowed"
        off = abs(float(seen.confidences[nearest]) - float(confidence))
        if off > golden.confidence:
            return f"{label} is {off:.4f} more or less confident than recorded, {golden.confidence} is allowed"
    return None


def _frame(folder: Path, entry: dict[str, Any]) -> GoldenFrame:
    content = (folder / entry["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{entry['file']} is not what its sha256 says")
    return GoldenFrame(
        name=entry["file"],
        pixels=simplejpeg.decode_jpeg(content, colorspace="RGB"),
        recorded=Detections(
            labels=tuple(entry["labels"]),
            confidences=np.array(entry["confidences"], np.float32),
            boxes=np.array(entry["boxes"], np.float32).reshape(-1, 4),
        ),
    )


def _broken(what: str) -> Rejected:
    return Rejected(f"the golden frames {what}: {_WHAT_NEXT}", code="golden_broken")
