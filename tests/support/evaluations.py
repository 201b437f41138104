"""Evaluation tables for tests of the gate: a_row, a_table; the least that a gate file holds: a_gate_text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from contracts.checks.evaluations import COLUMNS, FIGURES
from inference.delivery.evaluation import Figures

CLASSES = ("open", "short")


def a_row(label: str = "open", **changes: Any) -> Figures:
    values = {"labels": 40, "ap50": 0.9, "ap50_95": 0.7, "precision": 0.9, "recall": 0.9, "ece": 0.1}
    return Figures(label=label, **values | changes)


def a_table(*rows: Figures) -> tuple[Figures, ...]:
    """The rows and one for all of them."""
    rows = rows or tuple(a_row(label) for label in CLASSES)
    counted = [row for row in rows if row.labels]
    means = {name: _mean([getattr(row, name) for row in counted]) for name in FIGURES}
    return (*rows, Figures(label="all", labels=sum(row.labels for row in rows), **means))


def a_frame(rows: Sequence[Figures] | None = None) -> pd.DataFrame:
    """The same as a DataFrame."""
    taken = a_table() if rows is None else rows
    table = pd.DataFrame([{name: getattr(row, name) for name in COLUMNS} for row in taken], columns=list(COLUMNS))
    return table.astype({"label": "str", "labels": "int64", **dict.fromkeys(FIGURES, "float64")})


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


A_GATE = """
format = 1
[evidence]
min_labels_per_class = 30
[accuracy]
max_map50_95_drop = 0.01
min_recall = 0.8
min_recall_of = { short = 0.7 }
max_ece = 0.2
[latency]
engine = "openvino"
threads = 1
median_ms = 100
[watch]
frames = 500
minutes = 10
max_failed_share = 0.01
p99_ms = 2000
min_agreement = 0.7
detections_per_frame = [1, 15]
min_precision = 0.8
min_reviews = 30
"""
