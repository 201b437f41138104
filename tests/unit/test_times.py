from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from contracts.times import as_stored, instant


def test_an_instant_without_a_zone_is_utc() -> None:
    assert instant("2026-11-25T08:00") == datetime(2026, 11, 25, 8, tzinfo=UTC)
    assert instant(" 2026-11-25T08:00+01:00 ") == datetime(2026, 11, 25, 7, tzinfo=UTC)
    with pytest.raises(ValueError, match="yesterday"):
        instant("yesterday")


def test_an_instant_of_another_zone_is_stored_as_the_same_instant() -> None:
    east = datetime(2026, 11, 25, 8, tzinfo=timezone(timedelta(hours=1)))
    assert as_stored(east) == datetime(2026, 11, 25, 7)  # noqa: DTZ001 - as the columns have it
