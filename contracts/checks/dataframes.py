"""Rows to a DataFrame with the contract's types, and the value rules that the models share.

Avro      string   int     long    float     timestamp-millis      array
column    str      int32   int64   float32   datetime64[ms, UTC]   object, of lists
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import numpy as np
import pandas as pd

from contracts import schemas
from contracts.identifiers import milliseconds, milliseconds_of
from contracts.validity import LAST_STORABLE_MS, UNSTORABLE

WITHOUT: Final = frozenset({"image"})  # the one field of a topic that no table and no dataframe has
NAME_LENGTH: Final = 128  # the longest name, version, label, role and the like

_DTYPES: Final = {"int": "int32", "long": "int64", "float": "float32"}


def dataframe(topic: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of a topic's table, or its decoded records, as a DataFrame with the contract's columns and types.

    Args:
        topic: frames, predictions or sessions.
        rows: mappings by column; times as aware datetimes or as milliseconds, ids as text or UUID. Columns that the
            contract does not have are left out.

    Raises:
        KeyError, ValueError, OverflowError: a row does not have a column, or a value does not fit its type.
    """
    taken = list(rows)
    return pd.DataFrame(
        {
            field["name"]: _column(field["type"], [row[field["name"]] for row in taken])
            for field in schemas.latest(topic)["fields"]
            if field["name"] not in WITHOUT
        }
    )


def _column(declared: Any, values: list[Any]) -> pd.Series[Any]:
    branches = declared if isinstance(declared, list) else [declared]
    [kind] = [branch for branch in branches if branch != "null"]
    if isinstance(kind, dict) and "logicalType" in kind:
        ticks = np.array([_milliseconds(value) for value in values], dtype="datetime64[ms]")
        return pd.Series(ticks).dt.tz_localize("UTC")
    if isinstance(kind, dict):
        return pd.Series(values, dtype=object)
    if kind == "string":
        return pd.Series([None if value is None else _text(value) for value in values], dtype="str")
    return pd.Series(np.array(values, dtype=_DTYPES[kind]))


def _milliseconds(value: datetime | int | None) -> int | None:
    return milliseconds(value) if isinstance(value, datetime) else value


def _text(value: str | UUID) -> str:
    text = str(value)
    if UNSTORABLE.search(text):
        # Arrow could not hold half a surrogate pair, and NUL would be cut: neither is in any table.
        raise ValueError(f"{text[:40]!r} holds a character that Postgres cannot store")
    return text


def matches(column: pd.Series[Any], pattern: re.Pattern[str]) -> pd.Series[bool]:
    """Which values match the whole pattern; a missing one does."""
    return column.map(lambda text: _is_missing(text) or pattern.fullmatch(text) is not None).astype(bool)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value


def is_name(column: pd.Series[Any]) -> pd.Series[bool]:
    """Which values are text of 1 to 128 characters; a missing one is."""
    return has_length(column, NAME_LENGTH)


def has_length(column: pd.Series[Any], longest: int) -> pd.Series[bool]:
    """Which values are text of 1 to `longest` characters; a missing one is."""
    return column.map(lambda text: _is_missing(text) or 1 <= len(text) <= longest).astype(bool)


def is_storable_time(column: pd.Series[Any]) -> pd.Series[bool]:
    """Which times lie between the years 1970 and 9999; a missing one does."""
    ticks = column.astype("int64")
    return column.isna() | ((ticks >= 0) & (ticks <= LAST_STORABLE_MS))


def has_its_ids_time(rows: pd.DataFrame) -> pd.Series[bool]:
    """In which rows the time in frame_id is captured_at."""
    ticks = rows["captured_at"].astype("int64")
    return pd.Series(
        [_has_time(frame_id, tick) for frame_id, tick in zip(rows["frame_id"], ticks, strict=True)],
        index=rows.index,
        dtype=bool,
    )


def _has_time(frame_id: str, tick: int) -> bool:
    try:
        return milliseconds_of(frame_id) == tick
    except ValueError:
        return False


def numbers_are_finite(values: Sequence[Any]) -> bool:
    """Whether a list holds finite numbers only."""
    return bool(np.all(np.isfinite(np.asarray(values, dtype="float64"))))
