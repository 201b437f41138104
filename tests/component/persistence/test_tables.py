from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config

from contracts import schemas
from contracts.errors import Misconfigured, Transient
from contracts.identifiers import new_id
from contracts.settings import PostgresSettings, Settings
from inference.persistence import connect, ensure_partitions, migrate
from inference.persistence.database import open_connection
from inference.persistence.schema import MIGRATIONS
from tests.support.postgres import PostgresServer, free_port
from tests.support.rows import a_frame, a_prediction, a_session, now, upsert, upsert_batch

AVRO_TO_POSTGRES = {
    "string": "text",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "timestamp-millis": "timestamp without time zone",
    "array of string": "text[]",
    "array of float": "real[]",
}
NATIVE_UUIDS = {"frame_id", "session_id"}
AVRO_ONLY = {"image"}
TABLE_ONLY = {"kafka_partition", "kafka_offset"}
DAY = timedelta(days=1)


def avro_type(declared: Any) -> tuple[str, bool]:
    if isinstance(declared, list):
        [branch] = [branch for branch in declared if branch != "null"]
        return avro_type(branch)[0], True
    if isinstance(declared, dict):
        if declared["type"] == "array":
            return f"array of {declared['items']}", False
        return declared.get("logicalType", declared["type"]), False
    return declared, False


@pytest.mark.parametrize("table", ["frames", "predictions", "sessions", "kept_frames", "kept_predictions"])
def test_the_table_has_the_columns_of_the_contract(database: Settings, table: str) -> None:
    topic = table.removeprefix("kept_")
    with connect(database) as connection:
        columns = connection.execute(
            "SELECT attname, format_type(atttypid, NULL), NOT attnotnull FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (table,),
        ).fetchall()
    found = {name: (kind, is_nullable) for name, kind, is_nullable in columns if name not in TABLE_ONLY}
    expected = {}
    for field in schemas.latest(topic)["fields"]:
        if field["name"] not in AVRO_ONLY:
            kind, is_nullable = avro_type(field["type"])
            expected[field["name"]] = ("uuid" if field["name"] in NATIVE_UUIDS else AVRO_TO_POSTGRES[kind], is_nullable)
    assert found == expected
    assert {name for name, _, _ in columns} - set(found) == (TABLE_ONLY if topic == "frames" else set())


@pytest.mark.parametrize("table", ["frames", "predictions", "detections"])
def test_what_is_kept_and_what_unites_both_have_the_columns_of_the_live_table_in_its_order(
    database: Settings, table: str
) -> None:
    with connect(database) as connection:
        live, kept, both = (
            connection.execute(
                "SELECT column_name, data_type, udt_name FROM information_schema.columns WHERE table_name = %s "
                "ORDER BY ordinal_position",
                (f"{prefix}{table}",),
            ).fetchall()
            for prefix in ("", "kept_", "all_")
        )
    assert live
    assert kept == both == live


def test_a_database_with_rows_of_the_revision_before_is_upgraded_and_keeps_them(postgres: PostgresServer) -> None:
    settings = postgres.new_database()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: open_connection(settings.postgres), poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    ensure_partitions(settings)
    frames = [a_frame(sequence=n, captured_at=now() - n * DAY) for n in range(3)]
    with connect(settings) as connection:
        upsert_batch(connection, "frames", frames)
        upsert_batch(connection, "predictions", [a_prediction(row["frame_id"]) for row in frames])
        before = connection.execute("SELECT * FROM frames ORDER BY frame_id").fetchall()
    migrate(settings)
    ensure_partitions(settings)
    with connect(settings) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)
        assert connection.execute("SELECT * FROM all_frames ORDER BY frame_id").fetchall() == before
        assert connection.execute("SELECT count(*) FROM all_detections").fetchone() == (6,)
        moved = "WITH moved AS (DELETE FROM frames RETURNING *) INSERT INTO kept_frames SELECT * FROM moved"
        connection.execute(moved)
        upsert_batch(connection, "frames", frames)
        assert connection.execute("SELECT count(*) FROM frames").fetchone() == (0,)
        assert connection.execute("SELECT * FROM all_frames ORDER BY frame_id").fetchall() == before


def test_two_starters_migrate_without_colliding(postgres: PostgresServer) -> None:
    settings = postgres.new_database()
    failures: list[Exception] = []

    def start() -> None:
        try:
            migrate(settings)
            ensure_partitions(settings)
        except Exception as error:  # noqa: BLE001 - the test shows it
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with connect(settings) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'frames'::regclass"
        ).fetchone() == (1 + 90 + 1 + 14,)


def test_uuid7_floor_is_the_least_id_of_a_time(database: Settings) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    with connect(database) as connection:
        row = connection.execute(
            "SELECT uuid7_floor(%s), uuid7_floor('1969-01-01'), uuid7_floor('infinity'::timestamp)",
            (at.replace(tzinfo=None),),
        ).fetchone()
        assert row is not None
        least = str(row[0])
    assert least == "019b7ca9-8f2e-0000-0000-000000000000"
    assert str(row[1]) == "00000000-0000-0000-0000-000000000000"
    assert least < new_id(at) < "019b7ca9-8f2f-0000-0000-000000000000"


def test_rows_land_in_the_partition_of_their_utc_day(database: Settings) -> None:
    ensure_partitions(database)
    midnight = datetime.combine(now().date(), datetime.min.time(), tzinfo=UTC)
    with connect(database) as connection:
        for sequence, at in enumerate((midnight - timedelta(milliseconds=1), midnight)):
            upsert(connection, "frames", a_frame(captured_at=at, sequence=sequence))
        rows = connection.execute("SELECT sequence, tableoid::regclass::text FROM frames ORDER BY sequence").fetchall()
    assert rows == [(0, f"frames_{midnight - DAY:%Y%m%d}"), (1, f"frames_{midnight:%Y%m%d}")]


def test_rows_in_the_default_partitions_are_moved_with_their_detections(database: Settings) -> None:
    frames = [a_frame(sequence=n, captured_at=now() - n * DAY) for n in range(3)]
    outside = a_frame(sequence=3, captured_at=now() - 200 * DAY)
    with connect(database) as connection:
        upsert_batch(connection, "frames", [*frames, outside])
        upsert_batch(connection, "predictions", [a_prediction(row["frame_id"]) for row in [*frames, outside]])
    actions = dict(ensure_partitions(database))
    days = [f"{row['captured_at']:%Y%m%d}" for row in frames]
    assert [actions[f"frames_{day}"] for day in days] == ["moved 1 rows"] * 3
    assert [actions[f"predictions_{day}"] for day in days] == ["moved 1 rows"] * 3
    assert [actions[f"detections_{day}"] for day in days] == ["moved 2 rows"] * 3
    assert ensure_partitions(database) == []
    with connect(database) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            for table in ("frames", "predictions", "detections", "frames_default", "detections_default")
        ]
    assert counts == [(4,), (4,), (8,), (1,), (2,)]


def test_another_day_ahead_brings_one_partition_of_each_table(database: Settings) -> None:
    ensure_partitions(database)
    with connect(database) as connection:
        rows = connection.execute(
            "SELECT partition, action FROM ensure_partitions('90 days', '15 days') ORDER BY 1"
        ).fetchall()
    day = f"{now() + 15 * DAY:%Y%m%d}"
    assert rows == [(f"{table}_{day}", "created") for table in ("detections", "frames", "predictions")]


def test_partitions_appear_while_rows_are_written_and_no_writer_fails(database: Settings) -> None:
    with connect(database) as connection:
        upsert(connection, "frames", a_frame(sequence=0))
    written = threading.Event()
    stop = threading.Event()
    count = 1
    failures: list[Exception] = []

    def write() -> None:
        nonlocal count
        try:
            while not stop.is_set():
                with connect(database) as connection:
                    row = a_frame(sequence=count)
                    upsert(connection, "frames", row)
                    upsert(connection, "predictions", a_prediction(row["frame_id"]))
                count += 1
                written.set()
        except Exception as error:  # noqa: BLE001 - the test shows it
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert written.wait(30)
    actions = ensure_partitions(database)
    written.clear()
    assert written.wait(30) or failures
    stop.set()
    writer.join()
    assert failures == []
    assert any(action.startswith("moved") for _, action in actions)
    with connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM frames").fetchone() == (count,)
        assert connection.execute("SELECT count(*) FROM frames_default").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM detections").fetchone() == (2 * (count - 1),)


def test_a_long_reader_makes_it_give_up_and_say_so(database: Settings) -> None:
    with connect(database) as reader, connect(database) as connection:
        reader.execute("SELECT count(*) FROM frames")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute("SELECT * FROM ensure_partitions()")


def test_a_redelivered_frame_changes_nothing(database: Settings) -> None:
    row = a_frame()
    with connect(database) as connection:
        upsert(connection, "frames", row)
        upsert(connection, "frames", row | {"kafka_offset": 17, "traceparent": None})
        stored = connection.execute("SELECT kafka_offset, traceparent FROM frames").fetchall()
        conflicts = connection.execute("SELECT count(*) FROM frame_conflicts").fetchone()
    assert stored == [(row["kafka_offset"], row["traceparent"])]
    assert conflicts == (0,)


@pytest.mark.parametrize("changes", [{"sha256": "b" * 64}, {"sequence": 8}, {"camera_id": "line-2"}])
def test_of_two_frames_with_one_id_the_first_stays_and_the_loser_is_named_once(
    database: Settings, changes: dict[str, Any]
) -> None:
    first = a_frame(sequence=7)
    loser = first | {"kafka_partition": 3, "kafka_offset": 17} | changes
    with connect(database) as connection:
        upsert(connection, "frames", first)
        upsert(connection, "frames", loser)
        upsert(connection, "frames", loser)
        stored = connection.execute("SELECT sha256, camera_id, sequence FROM frames").fetchall()
        conflicts = connection.execute(
            "SELECT kafka_partition, kafka_offset, frame_id::text, camera_id, sequence, sha256, stored_sha256 "
            "FROM frame_conflicts"
        ).fetchall()
    assert stored == [(first["sha256"], first["camera_id"], 7)]
    named = [loser[name] for name in ("kafka_partition", "kafka_offset", "frame_id", "camera_id", "sequence", "sha256")]
    assert conflicts == [(*named, first["sha256"])]


def test_the_newer_prediction_stays_and_its_detections_with_it(database: Settings) -> None:
    frame_id = new_id(now())
    first = a_prediction(frame_id)
    later = first["inferred_at"] + timedelta(seconds=1)
    newer = a_prediction(frame_id, inferred_at=later, labels=["spur"], confidences=[0.75], boxes=[9.0, 8.0, 7.0, 6.0])
    older = a_prediction(frame_id, inferred_at=first["inferred_at"] - timedelta(seconds=1), labels=["old"] * 2)
    same = a_prediction(frame_id, inferred_at=later, labels=["other"], confidences=[0.1], boxes=[0.0] * 4)
    with connect(database) as connection:
        for row in (first, newer, older, same, first):
            upsert(connection, "predictions", row)
        stored = connection.execute("SELECT inferred_at, labels FROM predictions").fetchall()
        boxes = connection.execute(
            "SELECT ordinal, camera_id, captured_at, label, confidence, x1, y1, x2, y2 FROM detections"
        ).fetchall()
    assert stored == [(later, ["spur"])]
    assert boxes == [(0, "line-1", newer["captured_at"], "spur", 0.75, 9.0, 8.0, 7.0, 6.0)]


def test_versions_and_models_have_predictions_of_their_own(database: Settings) -> None:
    frame_id = new_id(now())
    rows = [
        a_prediction(frame_id),
        a_prediction(frame_id, model_version="2"),
        a_prediction(frame_id, model_name="other", labels=[], confidences=[], boxes=[]),
    ]
    with connect(database) as connection:
        upsert_batch(connection, "predictions", rows)
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (3,)
        found = connection.execute(
            "SELECT model_version, ordinal, label, x1, y2 FROM detections ORDER BY model_version, ordinal"
        ).fetchall()
        connection.execute("DELETE FROM predictions WHERE model_version = '1'")
        left = connection.execute("SELECT model_version, count(*) FROM detections GROUP BY 1").fetchall()
    assert found == [
        (v, n, label, x1, y2) for v in "12" for n, label, x1, y2 in ((0, "open", 1, 4), (1, "short", 5, 8))
    ]
    assert left == [("2", 2)]


def test_a_batch_with_redeliveries_inside_is_each_frame_once(database: Settings) -> None:
    ensure_partitions(database)
    rows = [a_frame(sequence=n, captured_at=now() - timedelta(minutes=n)) for n in range(500)]
    predictions = [a_prediction(row["frame_id"]) for row in rows]
    with connect(database) as connection:
        upsert_batch(connection, "frames", [*rows, *rows[:100]])
        upsert_batch(connection, "frames", rows)
        upsert_batch(connection, "predictions", [*predictions, *predictions[:100]])
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            for table in ("frames", "frame_conflicts", "predictions", "detections")
        ]
    assert counts == [(500,), (0,), (500,), (1000,)]


def test_a_session_only_moves_forward_in_whatever_order_its_records_arrive(database: Settings) -> None:
    opened = a_session(last_acknowledged=-1, captured=0, closed_at=None)
    opened["updated_at"] = opened["started_at"]
    beat = opened | {
        "last_acknowledged": 9,
        "captured": 12,
        "rejected": 1,
        "updated_at": opened["started_at"] + timedelta(seconds=1),
    }
    closed = beat | {
        "last_acknowledged": 11, "closed_at": beat["updated_at"] + timedelta(seconds=1),
        "updated_at": beat["updated_at"] + timedelta(seconds=1),
    }  # fmt: skip
    for order in ((opened, beat, closed), (closed, beat, opened), (beat, closed, beat), (opened, closed, opened, beat)):
        with connect(database) as connection:
            for row in order:
                upsert(connection, "sessions", row)
            stored = connection.execute(
                "SELECT last_acknowledged, captured, rejected, closed_at, updated_at FROM sessions"
            ).fetchall()
            connection.execute("DELETE FROM sessions")
        assert stored == [(11, 12, 1, closed["closed_at"], closed["updated_at"])]


def test_times_are_read_as_aware_utc_whatever_the_server_prefers(database: Settings) -> None:
    row = a_frame(source_time=datetime(1970, 1, 1, tzinfo=UTC))
    with connect(database) as connection:
        upsert(connection, "frames", row)
        stored = connection.execute("SELECT captured_at, captured_at::text, source_time FROM frames").fetchone()
    text = f"{row['captured_at']:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
    assert stored == (row["captured_at"], text, row["source_time"])


def test_a_server_that_is_away_is_transient_and_a_bad_login_is_not(
    postgres: PostgresServer, database: Settings
) -> None:
    away = Settings(postgres=PostgresSettings(port=free_port()))
    with pytest.raises(Transient, match="away"), connect(away):
        pass
    with pytest.raises(Transient, match="away"):
        migrate(away)
    stranger = Settings(postgres=database.postgres.model_copy(update={"user": "stranger"}))
    with pytest.raises(Misconfigured, match="POSTGRES__USER"), connect(stranger):
        pass
    with pytest.raises(Misconfigured, match="POSTGRES__DATABASE"):
        migrate(postgres.settings("nowhere"))
    empty = postgres.new_database()
    with pytest.raises(Misconfigured, match="migrations"), connect(empty) as connection:
        connection.execute("SELECT 1 FROM frames")
