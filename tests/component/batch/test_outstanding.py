"""Which frames are scored, missing and outstanding, on a real Postgres: the planner and the job mean the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from contracts.settings import Settings
from inference.domain.scored import Selection
from inference.persistence.outstanding import frames_of, how_many
from sightline_airflow import planning
from tests.support.rows import Row, a_frame, a_prediction, now, upsert

MODEL = "pcb-defects"
AT = now() - timedelta(hours=5)


@pytest.fixture
def frame(connection: psycopg.Connection[Any]) -> Callable[..., str]:
    """Stores a frame's row, a few milliseconds after the one before; returns its id."""
    stored: list[Row] = []

    def kept(**changes: Any) -> str:
        captured_at = changes.pop("captured_at", AT + timedelta(milliseconds=5 * len(stored)))
        stored.append(a_frame(captured_at=captured_at, sequence=len(stored), **changes))
        upsert(connection, "frames", stored[-1])
        return str(stored[-1]["frame_id"])

    return kept


@pytest.fixture
def promote(connection: psycopg.Connection[Any]) -> Callable[..., None]:
    def done(version: str, at: datetime, *, state: str = "done") -> None:
        connection.execute(
            "INSERT INTO promotions (model, alias, version, state, done_at, approved_by, reason)"
            " VALUES (%s, 'champion', %s, %s, %s, 'a test', 'to see who reigned')",
            (MODEL, version, state, at.replace(tzinfo=None)),
        )

    return done


def a_selection(**changes: Any) -> Selection:
    values: dict[str, Any] = {"model": MODEL, "since": AT - timedelta(hours=1), "until": AT + timedelta(hours=1)}
    return Selection(**(values | changes))


def chosen(settings: Settings, selection: Selection) -> list[str]:
    """What the job would do, which is what the planner has planned, whatever the size of shards and pages."""
    found = [frame.frame_id for frame in frames_of(settings, selection)]
    assert [frame.frame_id for frame in frames_of(settings, selection, page=2)] == found
    assert how_many(settings, selection) == len(found)
    with psycopg.connect(settings.postgres.conninfo) as connection:
        assert connection.execute(*planning.remaining(selection)).fetchall() == [(len(found),)]
        for size in (1, 2, 100):
            shards = connection.execute(*planning.shards(selection, frames=size)).fetchall()
            assert [count for _, _, count in shards] == [
                len(found[at : at + size]) for at in range(0, len(found), size)
            ]
            planned = []
            for first, last, count in shards:
                part = [one.frame_id for one in frames_of(settings, replace(selection, first=first, last=last))]
                assert (part[0], part[-1], len(part)) == (first, last, count)
                planned += part
            assert planned == found
    return found


def test_a_frame_without_any_prediction_is_missing(database: Settings, frame: Any, promote: Any) -> None:
    promote("1", AT - timedelta(days=1))
    frames = [frame() for _ in range(5)]
    assert chosen(database, a_selection()) == frames


def test_a_frame_is_scored_by_who_was_champion_at_its_capture_or_later_and_by_nobody_else(
    database: Settings, connection: Any, frame: Any, promote: Any
) -> None:
    promote("1", AT - timedelta(days=3))
    promote("2", AT - timedelta(days=2))
    promote("3", AT + timedelta(minutes=5))
    promote("9", AT + timedelta(minutes=6), state="reverted")
    by = {version: frame() for version in ("1", "2", "3", "4", "9")}
    for version, frame_id in by.items():
        upsert(connection, "predictions", a_prediction(frame_id, model_version=version))
    # 1 reigned before, 4 never, 9 was taken back
    assert chosen(database, a_selection()) == [by["1"], by["4"], by["9"]]


def test_a_champion_that_came_back_counts_again(database: Settings, connection: Any, frame: Any, promote: Any) -> None:
    for version, days in (("1", -3), ("2", -2), ("1", -1)):
        promote(version, AT + timedelta(days=days))
    old, back = frame(), frame()
    upsert(connection, "predictions", a_prediction(old, model_version="2"))
    upsert(connection, "predictions", a_prediction(back, model_version="1"))
    assert chosen(database, a_selection()) == [old]


@pytest.mark.parametrize(
    "changes", [{"role": "batch", "run_id": "earlier"}, {"role": "challenger"}, {"status": "undecodable"}]
)
def test_it_does_not_count_who_wrote_it_nor_what_was_seen(
    database: Settings, connection: Any, frame: Any, promote: Any, changes: dict[str, Any]
) -> None:
    promote("1", AT - timedelta(days=1))
    upsert(connection, "predictions", a_prediction(frame(), **changes))
    assert chosen(database, a_selection()) == []


def test_another_models_predictions_do_not_score_a_frame(
    database: Settings, connection: Any, frame: Any, promote: Any
) -> None:
    promote("1", AT - timedelta(days=1))
    frame_id = frame()
    upsert(connection, "predictions", a_prediction(frame_id, model_name="another"))
    assert chosen(database, a_selection()) == [frame_id]


def test_without_a_ledger_the_version_of_the_alias_counts(database: Settings, connection: Any, frame: Any) -> None:
    first, second = frame(), frame()
    upsert(connection, "predictions", a_prediction(first, model_version="1"))
    upsert(connection, "predictions", a_prediction(second, model_version="2"))
    assert chosen(database, a_selection()) == [first, second]
    assert chosen(database, a_selection(champion="2")) == [first]


def test_frames_that_are_young_or_that_the_stream_has_yet_to_read_are_left_to_it(
    database: Settings, frame: Any
) -> None:
    read = frame(kafka_partition=0, kafka_offset=6)
    at_the_offset = frame(kafka_partition=0, kafka_offset=7)
    unread = frame(kafka_partition=1, kafka_offset=0)
    young = frame(kafka_partition=0, kafka_offset=5, captured_at=AT + timedelta(minutes=30))
    assert chosen(database, a_selection()) == [read, at_the_offset, unread, young]
    settled = {"captured_before": AT + timedelta(minutes=30)}
    assert chosen(database, a_selection(**settled)) == [read, at_the_offset, unread]
    assert chosen(database, a_selection(**settled, committed={0: 7})) == [read]
    assert chosen(database, a_selection(**settled, committed={})) == []


def test_the_range_holds_its_beginning_and_not_its_end(database: Settings, frame: Any) -> None:
    before, first, last, after = (frame(captured_at=AT + timedelta(milliseconds=shift)) for shift in (-1, 0, 999, 1000))
    assert chosen(database, a_selection(since=AT, until=AT + timedelta(seconds=1))) == [first, last]
    assert chosen(database, a_selection()) == [before, first, last, after]
    assert chosen(database, a_selection(since=AT, until=AT)) == []


def test_cameras_are_those_that_were_named(database: Settings, frame: Any) -> None:
    one, two = frame(camera_id="one"), frame(camera_id="two")
    frame(camera_id="three")
    assert chosen(database, a_selection(cameras=("one", "two"))) == [one, two]
    assert chosen(database, a_selection(cameras=("nobody",))) == []


def test_all_means_scored_ones_again_but_not_what_this_run_wrote(
    database: Settings, connection: Any, frame: Any, promote: Any
) -> None:
    promote("1", AT - timedelta(days=1))
    of_the_run, of_another, of_the_stream, older_version = (frame() for _ in range(4))
    upsert(connection, "predictions", a_prediction(of_the_run, role="batch", run_id="r"))
    upsert(connection, "predictions", a_prediction(of_another, role="batch", run_id="q"))
    upsert(connection, "predictions", a_prediction(of_the_stream))
    upsert(connection, "predictions", a_prediction(older_version, role="batch", run_id="r", model_version="0"))
    selection = a_selection(only="all", run_id="r", version="1")
    assert chosen(database, selection) == [of_another, of_the_stream, older_version]
    assert connection.execute(*planning.written(selection)).fetchall() == [(1,)]
    assert connection.execute(*planning.written(replace(selection, version=None))).fetchall() == [(2,)]
    assert chosen(database, a_selection(only="all")) == [of_the_run, of_another, of_the_stream, older_version]


def test_what_another_run_replaced_is_stored_all_the_same(database: Settings, connection: Any, frame: Any) -> None:
    frames, begun = [frame() for _ in range(4)], now() - timedelta(minutes=1)
    later, earlier = {"inferred_at": begun + timedelta(seconds=1)}, {"inferred_at": begun - timedelta(seconds=1)}
    upsert(connection, "predictions", a_prediction(frames[0], model_version="3", run_id="mine", **earlier))
    upsert(connection, "predictions", a_prediction(frames[1], model_version="3", run_id="other", **later))
    upsert(connection, "predictions", a_prediction(frames[2], model_version="3", run_id="other", **earlier))
    upsert(connection, "predictions", a_prediction(frames[3], model_version="4", run_id="other", **later))
    mine = a_selection(only="all", run_id="mine", version="3")
    assert chosen(database, mine) == frames[1:]
    assert chosen(database, replace(mine, replaced_since=begun)) == frames[2:]


def test_missing_through_a_version_that_never_reigned_is_done_once_per_run(
    database: Settings, connection: Any, frame: Any, promote: Any
) -> None:
    promote("1", AT - timedelta(days=1))
    done, open_ = frame(), frame()
    upsert(connection, "predictions", a_prediction(done, role="batch", run_id="r", model_version="7"))
    assert chosen(database, a_selection(run_id="r", version="7")) == [open_]
    assert chosen(database, a_selection(run_id="s", version="7")) == [done, open_]


def test_days_outside_of_the_range_are_not_looked_at(database: Settings, connection: Any, promote: Any) -> None:
    """Their partitions are left out of the plan, those of predictions too."""
    connection.execute("SELECT * FROM ensure_partitions('10 days', '2 days')")
    connection.execute("SET plan_cache_mode = force_custom_plan")
    sql, parameters = planning.remaining(a_selection(since=AT - timedelta(minutes=1), until=AT, run_id="r"))
    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {sql}", parameters).fetchall())
    day = f"{AT:%Y%m%d}"
    assert f"frames_{day}" in plan
    assert f"predictions_{day}" in plan
    other = f"{AT - timedelta(days=3):%Y%m%d}"
    assert other not in plan, plan
