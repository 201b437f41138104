"""What the figures of an evaluation rest on, to be looked at: precision over recall, and who is taken for whom.

detections, truth ─► curves per class at IoU 0.5 ─────────► precision_recall.{png,json}
                  └► matched whatever the label, IoU 0.5 ─► confusion.{png,json}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.delivery.evaluation import Floats, Truth
from inference.domain.detections import Detections
from inference.domain.overlap import overlaps

IOU: Final = 0.5
NOTHING: Final = "nothing"  # found where nothing is, or nothing found where something is
_POINTS: Final = 200  # of a curve in a file

Seen = Sequence[tuple[Detections, Truth]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Precision and recall of one class as the confidence falls."""

    label: str
    confidence: Floats
    precision: Floats
    recall: Floats


def curves(seen: Seen, classes: Sequence[str]) -> list[Curve]:
    """One curve per class that has labels."""
    return [curve for label in classes if (curve := _curve(seen, label)) is not None]


def confusion(seen: Seen, classes: Sequence[str], *, confidence: float) -> NDArray[np.int64]:
    """Counts [n + 1, n + 1]: rows are what is there, columns what was found, the last of each is nothing."""
    place = {label: index for index, label in enumerate(classes)}
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for found, truth in seen:
        shown = np.flatnonzero(found.confidences >= confidence)
        pairs = _pairs(found.boxes[shown], truth.boxes)
        for number, index in enumerate(shown):
            there = pairs.get(number)
            row = len(classes) if there is None else place[truth.labels[there]]
            counts[row, place[found.labels[index]]] += 1
        for there in set(range(len(truth.labels))) - set(pairs.values()):
            counts[place[truth.labels[there]], len(classes)] += 1
    return counts


def write_figures(folder: Path, seen: Seen, classes: Sequence[str], *, confidence: float) -> None:
    """Writes curves and confusion into a folder, as JSON and as pictures."""
    known = [(found, _of_classes(truth, classes)) for found, truth in seen]
    found_curves, counts = curves(known, classes), confusion(known, classes, confidence=confidence)
    as_json = {
        one.label: {name: _thinned(getattr(one, name)) for name in ("confidence", "precision", "recall")}
        for one in found_curves
    }
    (folder / "precision_recall.json").write_text(json.dumps(as_json) + "\n", "utf-8")
    matrix = {"labels": [*classes, NOTHING], "rows": "true", "columns": "found", "counts": counts.tolist()}
    (folder / "confusion.json").write_text(json.dumps(matrix) + "\n", "utf-8")
    _draw_curves(folder / "precision_recall.png", found_curves)
    _draw_confusion(folder / "confusion.png", counts, [*classes, NOTHING])


def _of_classes(truth: Truth, classes: Sequence[str]) -> Truth:
    """Without labels that the model cannot know."""
    kept = [index for index, label in enumerate(truth.labels) if label in classes]
    return Truth(labels=tuple(truth.labels[index] for index in kept), boxes=truth.boxes[kept])


def _curve(seen: Seen, label: str) -> Curve | None:
    scores, hits, labels = [np.empty(0)], [np.empty(0, bool)], 0
    for found, truth in seen:
        mine = np.array([name == label for name in found.labels], bool)
        theirs = np.array([name == label for name in truth.labels], bool)
        labels += int(theirs.sum())
        confidences = found.confidences[mine].astype(np.float64)
        order = np.argsort(-confidences, kind="stable")
        pairs = _pairs(found.boxes[mine][order], truth.boxes[theirs])
        scores.append(confidences[order])
        hits.append(np.array([number in pairs for number in range(len(order))], bool))
    if not labels:
        return None
    score, hit = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(-score, kind="stable")
    true = np.cumsum(hit[order])
    ranks = np.arange(1, len(true) + 1)
    return Curve(label=label, confidence=score[order], precision=true / ranks, recall=true / labels)


def _pairs(found: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[int, int]:
    """Which detection (most confident first) takes which true box: the free one that it overlaps most, from IOU on."""
    overlap, pairs = overlaps(found, truth), {}
    if not overlap.size:
        return {}
    for row in range(len(overlap)):
        best = int(overlap[row].argmax())
        if overlap[row, best] >= IOU:
            pairs[row] = best
            overlap[:, best] = -1
    return pairs


def _thinned(values: Floats) -> list[float]:
    """At most _POINTS of them, the first and the last among these."""
    places = np.unique(np.linspace(0, max(len(values) - 1, 0), _POINTS).astype(np.intp))
    return [round(float(value), 4) for value in values[places]] if len(values) else []


def _draw_curves(file: Path, found: Sequence[Curve]) -> None:
    # The object interface: pyplot would pick a window system and keep every figure for ever.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for curve in found:
        axes.plot(curve.recall, curve.precision, label=curve.label)
    axes.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=f"precision over recall, IoU {IOU}"
    )
    if found:
        axes.legend(loc="lower left")
    figure.savefig(file, dpi=100)


def _draw_confusion(file: Path, counts: NDArray[np.int64], labels: Sequence[str]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.subplots()
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="found", ylabel="true", title=f"who is taken for whom, IoU {IOU}")
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(file, dpi=100)
