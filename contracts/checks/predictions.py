"""Rows of `predictions`: what one model version saw in one frame."""

# mypy: disable-error-code="misc, untyped-decorator"
# pandera is read without its types, which disagree with themselves (see pyproject.toml).
from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from contracts.checks.dataframes import (
    NAME_LENGTH,
    has_its_ids_time,
    is_name,
    is_storable_time,
    matches,
    numbers_are_finite,
)
from contracts.identifiers import CAMERA_ID, SHA256, TRACEPARENT, UUID7


class Predictions(pa.DataFrameModel):
    """One row per frame, model and version."""

    frame_id: str
    camera_id: str
    captured_at: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"})
    model_name: str
    model_version: str
    model_digest: str
    role: str
    run_id: str = pa.Field(nullable=True)
    engine: str
    inferred_at: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"})
    latency_ms: np.float32
    status: str
    labels: object  # list of str
    confidences: object  # list of float, 0..1
    boxes: object  # list of float, x1 y1 x2 y2 per label, pixels of the original image
    traceparent: str = pa.Field(nullable=True)

    class Config:
        """Nothing but these columns, with exactly these types; one row per frame, model and version."""

        strict = True
        coerce = False
        unique = ["frame_id", "model_name", "model_version"]  # noqa: RUF012 - pandera reads a list

    @pa.check("frame_id")
    def is_uuid7(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805 - pandera's class methods
        """UUIDv7, lower case."""
        return matches(column, UUID7)

    @pa.check("camera_id")
    def is_camera_id(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """A camera's id."""
        return matches(column, CAMERA_ID)

    @pa.check("model_digest")
    def is_sha256(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """64 hexadecimal digits, lower case."""
        return matches(column, SHA256)

    @pa.check("traceparent")
    def is_traceparent(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """W3C trace context."""
        return matches(column, TRACEPARENT)

    @pa.check("model_name", "model_version", "role", "run_id", "engine", "status")
    def is_a_name(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """1 to 128 characters."""
        return is_name(column)

    @pa.check("captured_at", "inferred_at")
    def is_storable(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """Between the years 1970 and 9999."""
        return is_storable_time(column)

    @pa.check("latency_ms")
    def is_finite(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """A number, not infinite."""
        return pd.Series(np.isfinite(column), index=column.index)

    @pa.check("labels")
    def are_names(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """Each label has 1 to 128 characters."""
        return column.map(lambda labels: all(_is_label(label) for label in labels)).astype(bool)

    @pa.check("confidences", "boxes")
    def are_finite(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """Numbers, none of them infinite."""
        return column.map(numbers_are_finite).astype(bool)

    @pa.dataframe_check
    def frame_id_holds_captured_at(cls, rows: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        """The time in frame_id is captured_at."""
        return has_its_ids_time(rows)

    @pa.dataframe_check
    def arrays_fit(cls, rows: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        """One confidence and four coordinates per label."""
        labels = rows["labels"].map(len)
        return (rows["confidences"].map(len) == labels) & (rows["boxes"].map(len) == 4 * labels)


def _is_label(label: object) -> bool:
    return isinstance(label, str) and 1 <= len(label) <= NAME_LENGTH and "\x00" not in label
