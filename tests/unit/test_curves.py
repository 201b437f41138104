from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inference.delivery.curves import confusion, curves, write_figures
from inference.delivery.evaluation import Truth
from inference.domain.detections import NOTHING, Detections

CLASSES = ("open", "short")
Box = tuple[float, float, float, float]
HERE: Box = (0, 0, 10, 10)
THERE: Box = (50, 50, 60, 60)


def found(*each: tuple[str, float, Box]) -> Detections:
    return Detections(
        labels=tuple(label for label, _, _ in each),
        confidences=np.array([confidence for _, confidence, _ in each], np.float32),
        boxes=np.array([box for _, _, box in each], np.float32).reshape(-1, 4),
    )


def truth(*each: tuple[str, Box]) -> Truth:
    boxes = np.array([box for _, box in each], np.float32).reshape(-1, 4)
    return Truth(labels=tuple(label for label, _ in each), boxes=boxes)


def test_precision_falls_and_recall_rises_as_the_confidence_falls() -> None:
    seen = [
        (found(("open", 0.9, HERE), ("open", 0.3, THERE)), truth(("open", HERE))),
        (found(("open", 0.6, HERE)), truth(("open", HERE))),
    ]
    [curve] = curves(seen, CLASSES)  # nothing is short, so it has no curve
    assert curve.label == "open"
    assert curve.confidence == pytest.approx([0.9, 0.6, 0.3])
    assert curve.recall.tolist() == [0.5, 1.0, 1.0]
    assert curve.precision == pytest.approx([1.0, 1.0, 2 / 3])


def test_a_class_that_is_never_found_has_an_empty_curve() -> None:
    [curve] = curves([(NOTHING, truth(("short", HERE)))], CLASSES)
    assert (curve.label, len(curve.recall)) == ("short", 0)


def test_who_is_taken_for_whom() -> None:
    seen = [
        (found(("short", 0.9, HERE), ("open", 0.8, THERE)), truth(("open", HERE))),  # a mix-up and a false alarm
        (found(("open", 0.9, HERE)), truth(("open", HERE), ("short", THERE))),  # one found, one missed
        (found(("open", 0.1, HERE)), truth()),  # below the threshold
    ]
    # rows: open, short, nothing; columns likewise
    assert confusion(seen, CLASSES, confidence=0.25).tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_curves_and_confusion_are_written_for_people_and_programs(tmp_path: Path) -> None:
    seen = [(found(("open", 0.9, HERE)), truth(("open", HERE), ("dust", THERE)))]  # the model cannot know dust
    write_figures(tmp_path, seen, CLASSES, confidence=0.25)
    assert json.loads((tmp_path / "precision_recall.json").read_text())["open"]["recall"] == [1.0]
    matrix = json.loads((tmp_path / "confusion.json").read_text())
    assert matrix["labels"] == ["open", "short", "nothing"]
    assert matrix["counts"] == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    for name in ("precision_recall.png", "confusion.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
