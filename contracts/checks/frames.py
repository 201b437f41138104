"""Rows of `frames`: the record without its image."""

# mypy: disable-error-code="misc, untyped-decorator"
# pandera is read without its types, which disagree with themselves (see pyproject.toml).
from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from contracts.checks.dataframes import has_its_ids_time, has_length, is_storable_time, matches
from contracts.errors import Rejected
from contracts.identifiers import CAMERA_ID, SHA256, TRACEPARENT, UUID, UUID7, from_milliseconds
from contracts.object_keys import object_key
from contracts.topics import MAX_IMAGE_BYTES
from contracts.validity import LAST_STORABLE_MS


class Frames(pa.DataFrameModel):
    """One row per frame; frame_id is unique."""

    frame_id: str = pa.Field(unique=True)
    camera_id: str
    session_id: str
    sequence: np.int64 = pa.Field(ge=0)
    captured_at: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"})
    source_time: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "ms", "tz": "UTC"}, nullable=True)
    width: np.int32 = pa.Field(ge=1)  # pixels
    height: np.int32 = pa.Field(ge=1)  # pixels
    encoding: str
    size_bytes: np.int32 = pa.Field(ge=1, le=MAX_IMAGE_BYTES)
    sha256: str
    object_key: str
    traceparent: str = pa.Field(nullable=True)

    class Config:
        """Nothing but these columns, with exactly these types."""

        strict = True
        coerce = False

    @pa.check("frame_id")
    def is_uuid7(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805 - pandera's class methods
        """UUIDv7, lower case."""
        return matches(column, UUID7)

    @pa.check("camera_id")
    def is_camera_id(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """A camera's id."""
        return matches(column, CAMERA_ID)

    @pa.check("session_id")
    def is_uuid(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """UUID, lower case."""
        return matches(column, UUID)

    @pa.check("sha256")
    def is_sha256(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """64 hexadecimal digits, lower case."""
        return matches(column, SHA256)

    @pa.check("traceparent")
    def is_traceparent(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """W3C trace context."""
        return matches(column, TRACEPARENT)

    @pa.check("encoding")
    def is_short(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """1 to 16 characters; which encodings exist is decided with the object key."""
        return has_length(column, 16)

    @pa.check("captured_at", "source_time")
    def is_storable(cls, column: pd.Series[Any]) -> pd.Series[bool]:  # noqa: N805
        """Between the years 1970 and 9999."""
        return is_storable_time(column)

    @pa.dataframe_check
    def frame_id_holds_captured_at(cls, rows: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        """The time in frame_id is captured_at."""
        return has_its_ids_time(rows)

    @pa.dataframe_check
    def object_key_is_computed(cls, rows: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        """object_key is the one computed from captured_at, camera_id, frame_id and encoding."""
        columns = ["captured_at", "camera_id", "frame_id", "encoding", "object_key"]
        ticks = rows["captured_at"].astype("int64")
        return pd.Series(
            [
                _is_key(tick, *rest)
                for tick, (_, *rest) in zip(ticks, rows[columns].itertuples(index=False), strict=True)
            ],
            index=rows.index,
            dtype=bool,
        )


def _is_key(tick: int, camera_id: str, frame_id: str, encoding: str, given: str) -> bool:
    if not 0 <= tick <= LAST_STORABLE_MS:
        return False
    try:
        expected = object_key(
            captured_at=from_milliseconds(tick), camera_id=camera_id, frame_id=frame_id, encoding=encoding
        )
    except Rejected:
        return False
    return given == expected
