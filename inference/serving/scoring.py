"""From a batch of decoded frames to one prediction each.

batch ──engine──► detections ──► predictions
          └─ raises ─► frame by frame ─► raises for one ─► engine well? ─► that frame is unsupported
                                                             └─ no ─► Transient: the process starts again
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from contracts.errors import Transient
from contracts.logs import get_logger
from contracts.records import Record
from inference.domain.decode import Status
from inference.domain.detections import NOTHING, Detections
from inference.domain.letterbox import Image
from inference.engines import Engine
from inference.serving.served_models import ServedModel

BATCH: Final = "batch"  # the role of what a job wrote

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What became of one frame."""

    status: Status
    detections: Detections


def score(images: Sequence[Image | Status], engine: Engine) -> list[Scored]:
    """One outcome per image, in order. A status instead of an image is passed on; OK means that no pixels are needed.

    Raises:
        Transient: the engine itself is broken.
    """
    seen = [image for image in images if not isinstance(image, Status) or image is Status.OK]
    answers = iter(_infer(cast("list[Image]", seen), engine))
    return [
        Scored(status=image, detections=NOTHING)
        if isinstance(image, Status) and image is not Status.OK
        else next(answers)
        for image in images
    ]


def _infer(images: list[Image], engine: Engine) -> list[Scored]:
    if not images:
        return []
    try:
        return [Scored(status=Status.OK, detections=found) for found in engine.infer(images)]
    except Exception as error:  # noqa: BLE001 - what a model's runtime raises has no common root
        if len(images) > 1:
            _log.warning("batch_failed", frames=len(images), error=str(error), next="frame by frame")
            return [scored for image in images for scored in _infer([image], engine)]
        return [_judge(error, engine)]


def _judge(error: Exception, engine: Engine) -> Scored:
    """One image made the engine fail: was it the image?"""
    try:
        engine.warm_up()
    except Exception as worse:  # noqa: BLE001 - as above
        raise Transient(
            f"the engine {engine.name} fails on a plain image too ({worse}); starting again, look at the model if it "
            "goes on"
        ) from error
    _log.warning("frame_unsupported", error=str(error))
    return Scored(status=Status.UNSUPPORTED, detections=NOTHING)


def predictions(
    records: Sequence[Record], scored: Sequence[Scored], model: ServedModel, *, run_id: str | None = None
) -> list[Record]:
    """The records to send. Detections exist from now on: this is inferred_at.

    Args:
        records: of the frames, of which four fields are read: frame_id, camera_id, captured_at, traceparent.
        scored: the outcome of each.
        model: that saw them.
        run_id: of the batch run; None: the stream's.
    """
    inferred_at = time.time_ns() // 1_000_000
    version, engine = model.version, model.engine.name
    return [
        {
            "frame_id": record["frame_id"],
            "camera_id": record["camera_id"],
            "captured_at": record["captured_at"],
            "model_name": version.name,
            "model_version": version.version,
            "model_digest": version.digest,
            "role": model.role if run_id is None else BATCH,
            "run_id": run_id,
            "engine": engine,
            "inferred_at": inferred_at,
            "latency_ms": float(inferred_at - record["captured_at"]),
            "status": str(outcome.status),
            "labels": list(outcome.detections.labels),
            "confidences": outcome.detections.confidences.tolist(),
            "boxes": outcome.detections.boxes.ravel().tolist(),
            "traceparent": record["traceparent"],
        }
        for record, outcome in zip(records, scored, strict=True)
    ]
