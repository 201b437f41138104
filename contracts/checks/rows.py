"""Which rows of a topic's table break its contract, named.

rows ──dataframe, Frames | Predictions | Sessions──► Broken(row's key, what), ...     empty: all of them keep it
"""

# mypy: disable-error-code="misc"
# pandera is read without its types, which disagree with themselves (see pyproject.toml).
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from pandera.config import ValidationDepth, get_config_context
from pandera.errors import SchemaErrors

from contracts.checks.dataframes import dataframe
from contracts.checks.frames import Frames
from contracts.checks.predictions import Predictions
from contracts.checks.sessions import Sessions
from contracts.errors import Misconfigured

_MODELS: Final[Mapping[str, Any]] = {"frames": Frames, "predictions": Predictions, "sessions": Sessions}
_KEYS: Final = {
    "frames": ("frame_id",),
    "predictions": ("frame_id", "model_name", "model_version"),
    "sessions": ("session_id",),
}
_SHOWN: Final = 60  # characters of a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """One row and one thing that is wrong with it."""

    topic: str
    key: tuple[str, ...]  # the row's: frame_id, and of a prediction model and version
    what: str


def broken_rows(topic: str, rows: Sequence[Mapping[str, Any]]) -> list[Broken]:
    """What breaks the contract, in the order of the rows.

    Args:
        topic: frames, predictions or sessions.
        rows: as `dataframe` takes them.

    Raises:
        Misconfigured: pandera's validation was switched off by the environment: a check that checks nothing must not run.
    """
    refuse_when_switched_off()
    try:
        table = dataframe(topic, rows)
    except (KeyError, ValueError, OverflowError, TypeError) as error:
        if len(rows) == 1:
            return [_broken(topic, rows[0], f"{type(error).__name__}: {str(error)[:_SHOWN]}")]
        # One value that fits no column of its type keeps the others from being looked at: one by one, then.
        return [found for row in rows for found in broken_rows(topic, [row])]
    try:
        _MODELS[topic].validate(table, lazy=True)
    except SchemaErrors as errors:
        cases = sorted(_cases(errors, len(rows)), key=lambda case: case[0])
        return [_broken(topic, rows[place], what) for place, what in dict.fromkeys(cases)]
    return []


def refuse_when_switched_off() -> None:
    """Asserts that pandera checks what it is given.

    Raises:
        Misconfigured: the environment switched it off.
    """
    config = get_config_context()
    if not config.validation_enabled or config.validation_depth not in {None, ValidationDepth.SCHEMA_AND_DATA}:
        raise Misconfigured("pandera's validation is off: unset PANDERA_VALIDATION_ENABLED and _DEPTH")


def _cases(errors: SchemaErrors, count: int) -> Iterator[tuple[int, str]]:
    """Each failure as (place of the row, words); one of the whole table is every row's."""
    for case in errors.failure_cases.itertuples(index=False):
        is_of_column = case.schema_context == "Column"
        what = f"{case.column}: {case.check} ({str(case.failure_case)[:_SHOWN]})" if is_of_column else str(case.check)
        if pd.isna(case.index):
            yield from ((place, what) for place in range(count))
        else:
            yield int(case.index), what


def _broken(topic: str, row: Mapping[str, Any], what: str) -> Broken:
    return Broken(topic=topic, key=tuple(str(row.get(name)) for name in _KEYS[topic]), what=what)
