"""Rows of `detections`: one per box, kept by a trigger from predictions."""

# mypy: disable-error-code="misc, untyped-decorator"
# pandera is read without its types, which disagree with themselves (see pyproject.toml).
from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from contracts.checks.dataframes import is_name, matches
from contracts.identifiers import CAMERA_ID, UUID7


class Detections(pa.DataFrameModel):
    """One row per box; ordinal is its position in the prediction's arrays, from 0."""

    frame_id: str
    model_name: str
    model_version: str
    ordinal: np.int32 = pa.Field(ge=0)
    camera_id: str
    captured_at: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"})
    label: str
    confidence: np.float32
    x1: np.float32  # pixels of the original image
    y1: np.float32
    x2: np.float32
    y2: np.float32

    class Config:
        """Nothing but these columns, with exactly these types; one row per frame, model, version and ordinal."""

        strict = True
        coerce = False
        unique = ["frame_id", "model_name", "model_version", "ordinal"]  # noqa: RUF012 - pandera reads a list

    @pa.check("frame_id")
    def is_uuid7(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805 - pandera's class methods
        """UUIDv7, lower case."""
        return matches(column, UUID7)

    @pa.check("camera_id")
    def is_camera_id(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """A camera's id."""
        return matches(column, CAMERA_ID)

    @pa.check("model_name", "model_version", "label")
    def is_a_name(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """1 to 128 characters."""
        return is_name(column)

    @pa.check("confidence", "x1", "y1", "x2", "y2")
    def is_finite(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """A number, not infinite."""
        return pd.Series(np.isfinite(column), index=column.index)
