"""The contract of an evaluation table: what keeps it, and every way to break it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandera.config import config_context

from contracts.checks import validated_evaluation
from contracts.errors import Misconfigured, Rejected
from inference.delivery.evaluation import Truth, evaluate
from inference.delivery.tables import metrics_of, read_table, rows_of, table_of, write_table
from inference.domain.detections import NOTHING
from tests.support.evaluations import CLASSES, a_frame, a_row, a_table

NOTHING_FOUND = {"precision": math.nan, "recall": 0.0, "ece": math.nan, "ap50": 0.0, "ap50_95": 0.0}
NO_LABELS = {"labels": 0, "ap50": math.nan, "ap50_95": math.nan, "recall": math.nan}


def check(table: pd.DataFrame, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    return validated_evaluation(table, classes=classes, of="version 7")


def test_a_table_of_our_own_evaluation_keeps_the_contract() -> None:
    image = (NOTHING, Truth(labels=("open",), boxes=np.array([[0, 0, 9, 9]], np.float32)))
    table = table_of(evaluate([image], CLASSES))
    assert check(table) is table


@pytest.mark.parametrize("changes", [{}, NOTHING_FOUND, NO_LABELS], ids=["usual", "nothing found", "no labels"])
def test_figures_that_nothing_can_be_said_about_are_nan(changes: dict[str, float]) -> None:
    check(a_frame(a_table(a_row("open", **changes), a_row("short"))))


def changed(column: str, value: object, row: int = 0) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


BROKEN = {
    "a figure above 1": (changed("ap50", 1.2), "ap50"),
    "a negative figure": (changed("ece", -0.1), "ece"),
    "negative labels": (changed("labels", -1), "labels"),
    "no row for all": (lambda table: table.iloc[:2], "one_row_is_over_all"),
    "two rows for all": (lambda table: pd.concat([table, table.iloc[2:]], ignore_index=True), "label"),
    "two rows for a class": (lambda table: pd.concat([table, table.iloc[:1]], ignore_index=True), "label"),
    "a class missing": (lambda table: a_frame(a_table(a_row("open"))), "class short of model.json has no row"),
    "a foreign class": (changed("label", "dust"), "class dust of the table is not in model.json"),
    "a nameless class": (changed("label", ""), "label"),
    "NaN with labels": (changed("recall", math.nan), "figures_without_labels_are_nan"),
    "a figure without labels": (changed("labels", 0), "figures_without_labels_are_nan"),
    "precision alone NaN": (changed("precision", math.nan), "figures_without_detections_are_nan"),
    "recall without detections": (
        lambda table: changed("ece", math.nan)(changed("precision", math.nan)(table)),
        "figures_without_detections_are_nan",
    ),
    "labels that do not add up": (changed("labels", 81, row=2), "all_counts_every_label"),
    "all better than its classes": (changed("ap50_95", 0.9, row=2), "all_is_the_mean_of_the_classes"),
    "a column missing": (lambda table: table.drop(columns="ece"), "ece"),
    "a column more": (lambda table: table.assign(note="good"), "note"),
    "labels as float": (lambda table: table.astype({"labels": "float64"}), "int64"),
    "figures as text": (lambda table: table.astype({"ap50": "str"}), "float64"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_table_is_refused_and_says_where(name: str) -> None:
    breaking, words = BROKEN[name]
    with pytest.raises(Rejected, match="the evaluation table of version 7 breaks its contract") as refusal:
        check(breaking(a_frame()))
    assert words in str(refusal.value)
    assert (refusal.value.code, refusal.value.exit_code) == ("evaluation_broken", 65)


def test_a_gate_whose_contract_is_switched_off_does_not_run() -> None:
    with config_context(validation_enabled=False), pytest.raises(Misconfigured, match="PANDERA_VALIDATION_ENABLED"):
        check(a_frame())


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    table = a_frame(a_table(a_row("NA", **NO_LABELS), a_row("None", recall=0.1234)))
    write_table(tmp_path / "evaluation.csv", table)
    again = read_table(tmp_path / "evaluation.csv", classes=("NA", "None"), of="it")
    pd.testing.assert_frame_equal(again, table, atol=1e-4)
    assert rows_of(again)[1].recall == 0.1234


@pytest.mark.parametrize("text", ["", "label,labels\nopen,many\n", "\x00", "label\nall\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.csv").write_text(text)
    with pytest.raises(Rejected, match="evaluation"):
        read_table(tmp_path / "evaluation.csv", classes=CLASSES, of="it")


def test_a_missing_table_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"no evaluation\.csv: export the model again"):
        read_table(tmp_path / "evaluation.csv", classes=CLASSES, of="the demo model")


def test_metrics_are_named_by_class_and_leave_out_what_is_unknown() -> None:
    rows = a_frame(a_table(a_row("open", **NO_LABELS), a_row("short", ap50=0.5))).to_dict("records")
    metrics = metrics_of(rows)
    assert metrics["ap50/short"] == metrics["ap50"] == 0.5
    assert "ap50/open" not in metrics
    assert metrics["labels/open"] == 0
