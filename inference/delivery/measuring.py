"""A model measured by the platform: its own engine, its own processing, on the gate set.

    model folder ─► engine, keeping detections down to the curve's tail ─► evaluation table
                 └► engine as it serves, one image at a time ─► milliseconds an image

No figure of the data scientist's is used here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference.delivery.evaluate import TAIL
from inference.delivery.evaluation import Evaluation, Truth, evaluate
from inference.delivery.gate_set import GateImage, GateSet
from inference.domain.detections import Detections
from inference.domain.gate import Latency
from inference.domain.letterbox import Image
from inference.domain.model_spec import FILE_NAME, parse
from inference.engines import Engine, load

_LATENCY_IMAGES: Final = 40
_BATCH: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one model showed on the gate set."""

    evaluation: Evaluation
    latency: Latency


def measure(folder: Path, gate_set: GateSet, *, engine: str, threads: int) -> Measured:
    """Evaluates the model and times it.

    Raises:
        Misconfigured: there is no such engine, or it cannot run the model.
        Rejected: an image of the gate set cannot be read.
    """
    spec = parse((folder / FILE_NAME).read_bytes())
    seen = detections(folder, gate_set, engine=engine)
    pixels = [image for _, image in zip(range(_LATENCY_IMAGES), (image for _, image in gate_set.seen()), strict=False)]
    return Measured(
        evaluation=evaluate(seen, spec.classes, confidence=spec.confidence),
        latency=time_images(folder, pixels, engine=engine, threads=threads),
    )


def detections(folder: Path, gate_set: GateSet, *, engine: str) -> list[tuple[Detections, Truth]]:
    """What the model sees in each image down to a low confidence, beside the truth."""
    found: list[tuple[Detections, Truth]] = []
    # An engine cuts at the model's own confidence, and the curve needs what lies below.
    with opened(engine, folder, threads=0, confidence=TAIL) as running:
        for batch in _batches(gate_set.seen()):
            answers = running.infer([image for _, image in batch])
            found += [(answer, one.truth) for answer, (one, _) in zip(answers, batch, strict=True)]
    return found


def time_images(folder: Path, images: Sequence[Image], *, engine: str, threads: int) -> Latency:
    """How long one image takes the engine, from pixels to boxes: the median over the images."""
    taken = []
    with opened(engine, folder, threads=threads) as running:
        running.warm_up()
        for image in images:
            before = time.perf_counter()
            running.infer([image])
            taken.append((time.perf_counter() - before) * 1000)
    return Latency(engine=engine, threads=threads, median_ms=statistics.median(taken))


@contextmanager
def opened(kind: str, folder: Path, *, threads: int, confidence: float | None = None) -> Iterator[Engine]:
    """The engine, closed afterwards."""
    engine = load(kind, folder, threads=threads, confidence=confidence)
    try:
        yield engine
    finally:
        engine.close()


def _batches(items: Iterable[tuple[GateImage, Image]]) -> Iterator[list[tuple[GateImage, Image]]]:
    batch: list[tuple[GateImage, Image]] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
