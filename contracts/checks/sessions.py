"""Rows of `sessions`: what each camera process captured, the audit's witness."""

# mypy: disable-error-code="misc, untyped-decorator"
# pandera is read without its types, which disagree with themselves (see pyproject.toml).
from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from contracts.checks.dataframes import has_length, is_storable_time, matches
from contracts.identifiers import CAMERA_ID, UUID


class Sessions(pa.DataFrameModel):
    """One row per session."""

    session_id: str = pa.Field(unique=True)
    camera_id: str
    source: str  # without credentials
    started_at: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"})
    last_acknowledged: np.int64 = pa.Field(ge=-1)
    captured: np.int64 = pa.Field(ge=0)
    rejected: np.int64 = pa.Field(ge=0)
    closed_at: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"}, nullable=True)
    updated_at: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"})

    class Config:
        """Nothing but these columns, with exactly these types."""

        strict = True
        coerce = False

    @pa.check("session_id")
    def is_uuid(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805 - pandera's class methods
        """UUID, lower case."""
        return matches(column, UUID)

    @pa.check("camera_id")
    def is_camera_id(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """A camera's id."""
        return matches(column, CAMERA_ID)

    @pa.check("source")
    def is_source(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """1 to 2048 characters."""
        return has_length(column, 2048)

    @pa.check("started_at", "closed_at", "updated_at")
    def is_storable(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """Between the years 1970 and 9999."""
        return is_storable_time(column)
