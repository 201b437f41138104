from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Rejected
from contracts.identifiers import UUID7, from_milliseconds, milliseconds, milliseconds_of, new_id
from contracts.object_keys import object_key
from contracts.records import Frame
from contracts.schemas import latest, without_logical_types
from tests.support import validity_vectors

TIMES = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(TIMES)
def test_a_frame_id_holds_its_capture_time_to_the_millisecond(at: datetime) -> None:
    frame_id = new_id(at)
    assert UUID7.fullmatch(frame_id)
    assert milliseconds_of(frame_id) == milliseconds(at)


@given(TIMES)
def test_milliseconds_come_back_as_the_same_time_cut_to_the_millisecond(at: datetime) -> None:
    assert from_milliseconds(milliseconds(at)) == at.replace(microsecond=at.microsecond // 1000 * 1000)


def test_ids_of_one_millisecond_differ() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert len({new_id(at) for _ in range(10_000)}) == 10_000


def test_the_object_keys_day_is_utc_wherever_the_camera_stands() -> None:
    at = datetime(2026, 1, 3, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    key = object_key(captured_at=at, camera_id="line-1", frame_id="f", encoding="jpeg")
    assert key == "date=2026-01-02/camera=line-1/f.jpg"


def test_an_encoding_without_an_extension_is_rejected() -> None:
    with pytest.raises(Rejected, match="webp"):
        object_key(captured_at=datetime.now(UTC), camera_id="c", frame_id="f", encoding="webp")


def test_a_record_comes_back_as_the_same_typed_value() -> None:
    record = validity_vectors.frame(source_time=5)
    frame = Frame.from_record(record)
    assert frame.captured_at == from_milliseconds(validity_vectors.CAPTURED_MS)
    assert frame.to_record() == record


def test_a_field_of_a_later_schema_version_is_left_out_of_the_typed_value() -> None:
    record = validity_vectors.frame()
    assert Frame.from_record(record | {"gain": 2.0}).to_record() == record


def test_the_codecs_schema_has_times_as_plain_numbers() -> None:
    assert "logicalType" not in str(without_logical_types(latest("frames")))
