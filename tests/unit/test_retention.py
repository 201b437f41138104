from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from contracts.errors import Misconfigured
from contracts.settings import RetentionSettings
from inference.batch.expire import rule_of
from inference.domain.retention import Found, Rule, plan

NOW = datetime(2026, 6, 30, 13, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RULE = Rule(days=90, cameras={"short": 7})
START = date(2026, 4, 1)  # 90 days before the 30th of June


def seen(day: date, camera: str = "line-1", frames: int = 10, **changes: Any) -> Found:
    given = {"size_bytes": frames * 100, "reviewed": 0, "reviewed_bytes": 0} | changes
    return Found(day=day, camera_id=camera, frames=frames, **given)


def days(portions: Any) -> list[tuple[date, list[str] | None]]:
    return [(portion.day, portion.cameras) for portion in portions]


def test_the_day_on_which_the_retention_begins_stays_and_the_one_before_goes() -> None:
    made = plan([seen(START), seen(START - DAY)], [], rule=RULE, now=NOW, limit=None)
    assert days(made.portions) == [(START - DAY, None)]
    assert made.portions[0].frames == 10


def test_nothing_younger_than_the_retention_is_in_a_portion_whatever_the_hour() -> None:
    for hour in range(24):
        now = NOW.replace(hour=hour)
        for camera, kept in (("line-1", 90), ("short", 7)):
            counted = [seen((now - n * DAY).date(), camera) for n in range(120)]
            made = plan(counted, [], rule=RULE, now=now, limit=None)
            newest = max(portion.day for portion in made.portions)
            ends = datetime.combine(newest + DAY, datetime.min.time(), tzinfo=UTC)
            assert now - ends >= timedelta(days=kept)
            assert now - ends < timedelta(days=kept + 1)


def test_a_camera_with_fewer_days_loses_its_own_frames_of_a_day_that_stays() -> None:
    day = date(2026, 6, 1)
    made = plan([seen(day), seen(day, "short")], [], rule=RULE, now=NOW, limit=None)
    assert days(made.portions) == [(day, ["short"])]
    assert not made.portions[0].is_whole_day


def test_reviewed_frames_are_not_counted_among_those_that_go() -> None:
    made = plan([seen(START - DAY, reviewed=3, reviewed_bytes=300)], [], rule=RULE, now=NOW, limit=None)
    assert made.portions[0].frames == 7


def test_a_day_without_frames_goes_with_its_partition_once_it_is_old_enough() -> None:
    made = plan([], [START - 2 * DAY, START, START + DAY], rule=RULE, now=NOW, limit=None)
    assert days(made.portions) == [(START - 2 * DAY, None)]


def test_the_limit_ends_a_run_at_a_day_and_one_day_always_goes() -> None:
    counted = [seen(START - n * DAY) for n in (3, 1, 2)]
    made = plan(counted, [], rule=RULE, now=NOW, limit=20)
    assert [portion.day for portion in made.portions] == [START - 3 * DAY, START - 2 * DAY]
    assert [portion.day for portion in made.later] == [START - DAY]
    assert len(plan(counted, [], rule=RULE, now=NOW, limit=1).portions) == 1


def test_cameras_that_were_not_named_are_left_and_no_partition_goes() -> None:
    rule = Rule(days=90, only=frozenset({"line-1"}))
    counted = [seen(START - DAY), seen(START - DAY, "line-2")]
    made = plan(counted, [START - DAY], rule=rule, now=NOW, limit=None)
    assert days(made.portions) == [(START - DAY, ["line-1"])]
    assert not made.portions[0].is_whole_day


def test_a_camera_never_stays_longer_than_all() -> None:
    assert Rule(days=30, cameras={"a": 90}).first_day_of("a", NOW) == Rule(days=30).first_day(NOW)


def test_the_options_of_a_run_win_over_the_settings() -> None:
    retention = RetentionSettings(days=90, cameras={"a": 7, "b": 7})
    assert rule_of(retention, ["a"], [3]) == Rule(days=90, cameras={"a": 3, "b": 7}, only=frozenset({"a"}))
    assert rule_of(retention, [], []) == Rule(days=90, cameras={"a": 7, "b": 7})


@pytest.mark.parametrize(
    ("cameras", "kept", "says"),
    [
        (["a"], [91], "from 1 to 90"),
        (["a"], [0], "from 1 to 90"),
        (["a", "b"], [3], "once for each"),
        (["A b"], [], "no camera's name"),
    ],
)
def test_options_that_do_not_fit_are_refused(cameras: list[str], kept: list[int], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        rule_of(RetentionSettings(), cameras, kept)


@pytest.mark.parametrize("cameras", [{"a": 91}, {"a": 0}, {"A b": 3}])
def test_a_setting_that_keeps_a_camera_longer_or_names_none_is_refused(cameras: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cameras"):
        RetentionSettings(days=90, cameras=cameras)
