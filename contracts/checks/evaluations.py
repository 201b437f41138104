"""An evaluation table: how good a model is, one row per class and one for all of them.

label      labels  ap50  ap50_95  precision  recall  ece
open          490  0.98     0.83       0.95    0.98  0.12
all          2792  0.97     0.83       0.94    0.96  0.11
"""

# mypy: disable-error-code="misc, untyped-decorator"
# pandera is read without its types, which disagree with themselves (see pyproject.toml).
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from contracts.checks.dataframes import is_name
from contracts.checks.rows import refuse_when_switched_off
from contracts.errors import Rejected

ALL: Final = "all"
COLUMNS: Final = ("label", "labels", "ap50", "ap50_95", "precision", "recall", "ece")
FIGURES: Final = COLUMNS[2:]
_MEAN_TOLERANCE: Final = 2e-3  # tables carry four digits
_NAMED: Final = 8  # problems in a message


class Evaluations(pa.DataFrameModel):
    """One row per label; a figure that nothing can be said about is NaN, and only then."""

    label: str = pa.Field(unique=True)
    labels: np.int64 = pa.Field(ge=0)  # true boxes
    ap50: np.float64 = pa.Field(ge=0, le=1, nullable=True)
    ap50_95: np.float64 = pa.Field(ge=0, le=1, nullable=True)
    precision: np.float64 = pa.Field(ge=0, le=1, nullable=True)
    recall: np.float64 = pa.Field(ge=0, le=1, nullable=True)
    ece: np.float64 = pa.Field(ge=0, le=1, nullable=True)

    class Config:
        """Nothing but these columns, with exactly these types."""

        strict = True
        coerce = False

    @pa.check("label")
    def is_a_name(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805 - pandera's class methods
        """1 to 128 characters."""
        return is_name(column)

    @pa.dataframe_check
    def one_row_is_over_all(cls, rows: pd.DataFrame) -> bool:  # noqa: N805
        """Exactly one row has the label all."""
        return int((rows["label"] == ALL).sum()) == 1

    @pa.dataframe_check
    def all_counts_every_label(cls, rows: pd.DataFrame) -> bool:  # noqa: N805
        """The labels of all are those of the classes together."""
        is_all = rows["label"] == ALL
        return bool(rows.loc[is_all, "labels"].sum() == rows.loc[~is_all, "labels"].sum())

    @pa.dataframe_check
    def figures_without_labels_are_nan(cls, rows: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        """ap50, ap50_95 and recall are NaN where there is no label, and nowhere else."""
        has_labels = rows["labels"] > 0
        fits = pd.Series(True, index=rows.index)
        for name in ("ap50", "ap50_95", "recall"):
            fits &= rows[name].notna() == has_labels
        return fits

    @pa.dataframe_check
    def figures_without_detections_are_nan(cls, rows: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        """Precision and calibration are NaN together, and only where nothing was found: recall is 0 or NaN there."""
        has_none = rows["precision"].isna()
        return (has_none == rows["ece"].isna()) & (~has_none | rows["recall"].isna() | (rows["recall"] == 0))

    @pa.dataframe_check
    def all_is_the_mean_of_the_classes(cls, rows: pd.DataFrame) -> bool:  # noqa: N805
        """ap50, ap50_95 and recall of all are the means over the classes that have labels."""
        is_all = rows["label"] == ALL
        counted = rows.loc[~is_all & (rows["labels"] > 0)]
        return all(
            bool(np.isclose(rows.loc[is_all, name].mean(), counted[name].mean(), atol=_MEAN_TOLERANCE, equal_nan=True))
            for name in ("ap50", "ap50_95", "recall")
        )


def validated_evaluation(table: pd.DataFrame, *, classes: Sequence[str], of: str) -> pd.DataFrame:
    """The table, if it keeps the contract.

    Args:
        table: as read or computed.
        classes: of the model, as in its model.json.
        of: whose table it is, for the message.

    Raises:
        Rejected: it breaks the contract (evaluation_broken); the message names what and where.
        Misconfigured: pandera's validation was switched off by the environment: a gate that checks nothing must not run.
    """
    refuse_when_switched_off()
    try:
        Evaluations.validate(table, lazy=True)
    except SchemaErrors as errors:
        raise _rejected(of, _problems(errors)) from errors
    named = set(table["label"]) - {ALL}
    problems = [f"class {label} of {side}" for label, side in _differing(named, set(classes))]
    if problems:
        raise _rejected(of, problems)
    return table


def _differing(named: set[str], classes: set[str]) -> list[tuple[str, str]]:
    missing = [(label, "model.json has no row") for label in sorted(classes - named)]
    return missing + [(label, "the table is not in model.json") for label in sorted(named - classes)]


def _problems(errors: SchemaErrors) -> list[str]:
    """In words, those of single columns first: what is wrong with a column is often why a row is."""
    columns, rows = [], []
    for case in errors.failure_cases.itertuples(index=False):
        where = f" in row {case.index}" if not pd.isna(case.index) else ""
        if case.schema_context == "Column":
            columns.append(f"{case.column}: {case.check}{where} ({str(case.failure_case)[:40]})")
        elif isinstance(case.check, str) and case.check.startswith("column_in"):
            columns.append(f"{case.check} ({case.failure_case})")
        else:
            rows.append(f"{case.check}{where}")
    return list(dict.fromkeys([*columns, *rows]))


def _rejected(of: str, problems: Sequence[str]) -> Rejected:
    more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return Rejected(
        f"the evaluation table of {of} breaks its contract: {'; '.join(problems[:_NAMED])}{more}; see "
        "contracts/checks/evaluations.py",
        code="evaluation_broken",
    )
