"""An evaluation as a table, and the table as a file: `evaluation.csv`, a figure that is not a number left empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pandas as pd

from contracts.checks.evaluations import ALL, COLUMNS, FIGURES, validated_evaluation
from contracts.errors import Rejected
from inference.delivery.evaluation import Evaluation, Figures

TABLE_NAME: Final = "evaluation.csv"


def table_of(evaluation: Evaluation) -> pd.DataFrame:
    """One row per class and one for all, with the contract's columns and types."""
    rows = [asdict(row) for row in (*evaluation.classes, evaluation.overall)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"label": "str", "labels": "int64", **dict.fromkeys(FIGURES, "float64")})


def rows_of(table: pd.DataFrame) -> tuple[Figures, ...]:
    """The rows of a table that keeps its contract."""
    return tuple(
        Figures(label=str(row["label"]), labels=int(row["labels"]), **{name: float(row[name]) for name in FIGURES})
        for row in table.to_dict("records")
    )


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Writes the table for people and programs, figures to four digits."""
    file.write_text(table.to_csv(index=False, float_format="%.4f", lineterminator="\n"), encoding="utf-8")


def read_table(file: Path, *, classes: Sequence[str], of: str) -> pd.DataFrame:
    """The table in a file, if it keeps its contract.

    Raises:
        Rejected: there is no such table, or it breaks the contract; the message says where.
    """
    kinds = {"label": "str", "labels": "int64", **dict.fromkeys(FIGURES, "float64")}
    try:
        table = pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values={name: [""] for name in FIGURES})
    except FileNotFoundError as error:
        raise Rejected(f"{of} has no {file.name}: export the model again", code="evaluation_broken") from error
    except (ValueError, OSError) as error:
        raise Rejected(f"{file.name} of {of} is no evaluation table: {error}", code="evaluation_broken") from error
    return validated_evaluation(table, classes=classes, of=of)


def metrics_of(rows: Iterable[Mapping[Any, Any]]) -> dict[str, float]:
    """The figures of a table's rows by name, as a run logs them: `ap50/spur`; those of all without a label.

    A figure that is NaN or None is left out.
    """
    metrics: dict[str, float] = {}
    for row in rows:
        suffix = "" if row["label"] == ALL else f"/{row['label']}"
        for name in COLUMNS[1:]:
            if not pd.isna(row[name]):
                metrics[f"{name}{suffix}"] = float(row[name])
    return metrics
