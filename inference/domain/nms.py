"""From a YOLO head's raw output to boxes in the original image.

    raw [4 + classes, anchors] ──best class ≥ confidence──► candidates ──per class NMS──► undo letterbox ──► clip

Rows 0 to 3 are centre x, centre y, width, height in pixels of the model's input; the others are scores 0..1 per class.
Suppression is per class and done here, not in the exported graph: a graph with NMS answers row 0 of a batch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from inference.domain.detections import NOTHING, Detections, Float32
from inference.domain.letterbox import Letterbox

# Of an output where most anchors fire (a broken model), only so many are compared: the time stays bounded.
MAX_CANDIDATES: Final = 4000


def decode_yolo(
    raw: Float32,
    placed: Letterbox,
    *,
    classes: Sequence[str],
    width: int,
    height: int,
    confidence: float,
    iou: float,
    max_detections: int,
) -> Detections:
    """The detections in one image, the most confident first.

    Args:
        raw: [4 + len(classes), anchors] float32, one image's row of the model's output.
        placed: how the image lay in the model's input.
        classes: their names in the order of the scores.
        width: of the original image, pixels; boxes are clipped to it.
        height: of the original image, pixels; boxes are clipped to it.
        confidence: the least score of a detection, above 0.
        iou: boxes of one class that overlap more than this are one detection.
        max_detections: the most that are returned.

    Raises:
        ValueError: the output's rows do not fit the classes.
    """
    if raw.ndim != 2 or raw.shape[0] != 4 + len(classes):
        raise ValueError(f"the output is {raw.shape}, but {len(classes)} classes need [{4 + len(classes)}, anchors]")
    chosen, scores, labels = _candidates(raw, confidence)
    if not len(chosen):
        return NOTHING
    centre_size = chosen.T
    corner_size = np.concatenate([centre_size[:, :2] - centre_size[:, 2:] / 2, centre_size[:, 2:]], axis=1)
    # cv2's stubs name sequences only; arrays are taken, and without a copy per element.
    survivors = cv2.dnn.NMSBoxesBatched(corner_size.astype(np.float64), scores, labels, 0.0, iou)  # type: ignore[arg-type]
    kept = np.asarray(survivors, dtype=np.intp).reshape(-1)
    boxes = _in_original(corner_size[kept], placed, width=width, height=height)
    # A box that lay in the padding alone is nothing once clipped.
    inside = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero()[0][:max_detections]
    kept = kept[inside]
    return Detections(
        labels=tuple(classes[label] for label in labels[kept]), confidences=scores[kept], boxes=boxes[inside]
    )


def _candidates(raw: Float32, confidence: float) -> tuple[Float32, Float32, np.ndarray[tuple[int], np.dtype[np.int32]]]:
    """Geometry [4, n], score [n] and class [n] of the anchors whose best class is confident, best first."""
    best = raw[4:].max(axis=0)
    anchors = (best >= confidence).nonzero()[0]  # a score that is not a number is not confident
    anchors = anchors[np.argsort(-best[anchors], kind="stable")[:MAX_CANDIDATES]]
    geometry = raw[:4, anchors]
    usable = np.isfinite(geometry).all(axis=0)
    if not usable.all():
        anchors, geometry = anchors[usable], geometry[:, usable]
    return geometry, best[anchors], raw[4:, anchors].argmax(axis=0).astype(np.int32)


def _in_original(corner_size: Float32, placed: Letterbox, *, width: int, height: int) -> Float32:
    """Boxes (x, y, w, h in the model's input) as x1 y1 x2 y2 in the original image, clipped."""
    boxes = np.concatenate([corner_size[:, :2], corner_size[:, :2] + corner_size[:, 2:]], axis=1)
    boxes -= np.array([placed.pad_x, placed.pad_y] * 2, np.float32)
    boxes /= np.float32(placed.scale)
    return boxes.clip(0, np.array([width, height] * 2, np.float32))
