"""How good are a model's boxes? Average precision, precision, recall and calibration, in plain numpy.

    per image: detections, truth ─► matched per class and IoU threshold ─► ranked by confidence over all images ─► AP

The rule is COCO's (cocodataset.org, "detection evaluation"): the most confident detection takes the free true box it
overlaps most, at thresholds 0.50, 0.55 … 0.95; AP is the precision, made monotonic, at 101 recalls from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.domain.detections import Detections
from inference.domain.overlap import overlaps

THRESHOLDS: Final = tuple(float(step) / 100 for step in range(50, 100, 5))
RECALLS: Final = np.linspace(0, 1, 101)
BINS: Final = 10  # of the calibration error

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What really is in one image."""

    labels: tuple[str, ...]
    boxes: NDArray[np.float32]  # [n, 4] x1 y1 x2 y2, pixels of the original image


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One row of the evaluation table. A figure that nothing can be said about is NaN: no true box, or no detection."""

    label: str  # a class, or "all": the mean over the classes that have true boxes
    labels: int  # true boxes
    ap50: float
    ap50_95: float
    precision: float  # at the model's own confidence threshold, IoU 0.5
    recall: float  # likewise
    ece: float  # expected calibration error, 0 is best


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Figures per class and over all."""

    images: int
    classes: tuple[Figures, ...]
    overall: Figures


def evaluate(
    images: Sequence[tuple[Detections, Truth]], classes: Sequence[str], *, confidence: float = 0.25
) -> Evaluation:
    """Compares detections with the truth.

    Args:
        images: for AP, give detections down to a low confidence (0.001): the curve needs its tail.
        classes: what is evaluated; other labels on either side are left out.
        confidence: where precision and recall are read.
    """
    rows = tuple(_figures(images, label, confidence) for label in classes)
    known = [row for row in rows if row.labels]
    # Precision and calibration say nothing about a class without detections: those are left out of the mean.
    overall = Figures(
        label="all",
        labels=sum(row.labels for row in rows),
        ap50=_mean([row.ap50 for row in known]),
        ap50_95=_mean([row.ap50_95 for row in known]),
        precision=_mean([row.precision for row in rows]),
        recall=_mean([row.recall for row in known]),
        ece=_mean([row.ece for row in rows]),
    )
    return Evaluation(images=len(images), classes=rows, overall=overall)


def match(overlap: Floats, thresholds: Sequence[float] = THRESHOLDS) -> NDArray[np.bool_]:
    """Which detections (rows, most confident first) find a true box (columns) of their own: [n, thresholds]."""
    hit = np.zeros((len(overlap), len(thresholds)), bool)
    if not overlap.size:
        return hit
    for index, threshold in enumerate(thresholds):
        free = overlap.copy()
        for row in range(len(free)):
            best = int(free[row].argmax())
            if free[row, best] >= threshold:
                hit[row, index] = True
                free[:, best] = -1
    return hit


def average_precision(is_hit: NDArray[np.bool_], labels: int) -> float:
    """Area under precision over recall.

    Args:
        is_hit: [n], for each detection, the most confident first, whether it found a true box.
        labels: how many true boxes there are; NaN is returned when there is none.
    """
    if not labels:
        return float("nan")
    hits = np.cumsum(is_hit)
    precision = hits / np.arange(1, len(hits) + 1)
    recall = hits / labels
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS - 1e-12)
    return float(np.append(envelope, 0.0)[place].mean())


def calibration_error(confidences: Floats, is_hit: NDArray[np.bool_]) -> float:
    """Mean distance between confidence and hit rate over ten equal bins, weighted by their detections; NaN for none."""
    if not len(confidences):
        return float("nan")
    bins = (confidences * BINS).astype(np.intp).clip(0, BINS - 1)
    error = 0.0
    for index in np.unique(bins):
        chosen = bins == index
        error += chosen.mean() * abs(confidences[chosen].mean() - is_hit[chosen].mean())
    return float(error)


def _figures(images: Sequence[tuple[Detections, Truth]], label: str, confidence: float) -> Figures:
    scores, hits, labels = [], [], 0
    for found, truth in images:
        mine = np.array([name == label for name in found.labels], bool)
        theirs = np.array([name == label for name in truth.labels], bool)
        labels += int(theirs.sum())
        order = np.argsort(-found.confidences[mine], kind="stable")
        scores.append(found.confidences[mine][order].astype(np.float64))
        hits.append(match(overlaps(found.boxes[mine][order], truth.boxes[theirs])))
    score = np.concatenate(scores) if scores else np.empty(0)
    hit = np.concatenate(hits) if hits else np.empty((0, len(THRESHOLDS)), bool)
    order = np.argsort(-score, kind="stable")
    score, hit = score[order], hit[order]
    aps = [average_precision(hit[:, index], labels) for index in range(len(THRESHOLDS))]
    shown = score >= confidence
    return Figures(
        label=label,
        labels=labels,
        ap50=aps[0],
        ap50_95=float(np.mean(aps)),
        precision=float(hit[shown, 0].mean()) if shown.any() else float("nan"),
        recall=float(hit[shown, 0].sum() / labels) if labels else float("nan"),
        ece=calibration_error(score[shown], hit[shown, 0]),
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
