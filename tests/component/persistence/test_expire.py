"""The job `expire` on a real Postgres and a real object store."""

from __future__ import annotations

import json
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from contracts import logs
from contracts.errors import Rejected, Transient
from contracts.settings import Settings
from inference.batch.__main__ import main
from inference.domain.review import Purpose
from inference.persistence import connect, ensure_partitions, erasure, expirations, frames, reviews
from inference.persistence.frames import Wanted
from inference.persistence.labels import Snapshot
from inference.persistence.objects import FrameStore
from inference.persistence.old_frames import of_day
from inference.persistence.pool import Database
from tests.support.expiring import SESSIONS, count, dies, expired, killing, one, review, send, states
from tests.support.rows import Row, a_frame, a_prediction, a_session, now, upsert
from tests.support.stored_pipeline import Pipeline

TABLES = ("frames", "predictions", "detections")
STEPS = 8  # what a run says that takes one day: a line after each step
EVERYTHING = (*TABLES, "kept_frames", "kept_predictions", "kept_detections", "expirations", "reviews", "sessions")


def snapshot(pipeline: Pipeline) -> tuple[dict[str, list[Any]], list[str], list[str]]:
    with connect(pipeline.settings) as connection:
        rows = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in EVERYTHING}
        partitions = [
            name
            for (name,) in connection.execute("SELECT relname FROM pg_class WHERE relispartition ORDER BY 1").fetchall()
        ]
    return rows, partitions, list(pipeline.store.keys(""))


def test_frames_go_by_camera_and_age_and_the_audit_closes(kept_days: Pipeline) -> None:
    old, young = send(kept_days, "line-1", 33), send(kept_days, "line-2", 29)
    shorter = send(kept_days, "short", 9)
    result = expired(kept_days)
    assert (result.exit_code, result.fields["frames"], result.fields["bytes"], result.fields["left"]) == (0, 10, 70, 0)
    assert set(result.fields["cameras"]) == {"line-1", "short"}
    assert list(kept_days.store.keys("")) == sorted(row["object_key"] for row in young)
    assert [count(kept_days, table) for table in TABLES] == [5, 5, 10]
    assert states(kept_days) == [("line-1", 0, 4, "retention", "done"), ("short", 0, 4, "retention", "done")]
    report = kept_days.audit()
    assert (report.is_closed, report.total("stored"), report.total("expired")) == (True, 5, 10)
    assert {row["frame_id"] for row in (*old, *shorter)}.isdisjoint(row["frame_id"] for row in young)


def test_a_whole_days_partitions_are_dropped_and_not_made_again(kept_days: Pipeline) -> None:
    [old, *_] = send(kept_days, "line-1", 33)
    [shorter, *_] = send(kept_days, "short", 9)
    assert expired(kept_days).fields["partitions"] == 3 * 10  # days 31 to 40
    for row, is_there in ((old, False), (shorter, True)):
        name = f"frames_{row['captured_at']:%Y%m%d}"
        assert one(kept_days, "SELECT to_regclass(%s) IS NOT NULL", name) is is_there
    assert ensure_partitions(kept_days.settings) == []
    assert expired(kept_days).fields["days"] == []


def test_the_first_day_that_stays_is_not_touched(kept_days: Pipeline) -> None:
    first = datetime.combine((now() - timedelta(days=30)).date(), datetime.min.time(), tzinfo=UTC)
    rows = [
        kept_days.deliver(0, captured_at=first),
        kept_days.deliver(1, captured_at=first - timedelta(milliseconds=1)),
    ]
    expired(kept_days)
    assert list(kept_days.store.keys("")) == [rows[0]["object_key"]]
    assert one(kept_days, "SELECT frame_id::text FROM frames") == rows[0]["frame_id"]


def test_reviewed_and_claimed_frames_stay_and_are_read_as_before(kept_days: Pipeline) -> None:
    rows = send(kept_days, "line-1", 33)
    review(kept_days, rows[1])
    kept_days.execute(
        "INSERT INTO review_claims (frame_id, reviewer, purpose, expires_at) "
        "VALUES (%s, 'bob', 'queue', (now() AT TIME ZONE 'UTC') + interval '1 minute')",
        rows[3]["frame_id"],
    )
    undone = review(kept_days, rows[4])
    with connect(kept_days.settings) as connection:
        before = frames.find(connection, rows[1]["frame_id"])
        seen = frames.predictions_of(connection, [rows[1]["frame_id"]])
        reviews.undo(connection, undone, reviewer="ann", reviewer_name="Ann")
    result = expired(kept_days)
    stay = [rows[1], rows[3]]
    assert (result.fields["frames"], result.fields["kept"]) == (3, 2)
    assert list(kept_days.store.keys("")) == sorted(row["object_key"] for row in stay)
    assert [count(kept_days, table) for table in TABLES] == [0, 0, 0]
    assert [count(kept_days, f"kept_{table}") for table in TABLES] == [2, 2, 4]
    report = kept_days.audit()
    assert (report.is_closed, report.total("stored"), report.total("expired")) == (True, 2, 3)
    with connect(kept_days.settings) as connection:
        assert frames.find(connection, rows[1]["frame_id"]) == before
        assert frames.predictions_of(connection, [rows[1]["frame_id"]]) == seen
        page = frames.page(connection, Wanted(limit=10, camera="line-1", label="open"), model="pcb-defects")
        assert [row.frame_id for row in page] == [rows[3]["frame_id"], rows[1]["frame_id"]]
        labelled = frames.page(connection, Wanted(limit=10, review="reviewed"), model="pcb-defects")
        assert [row.frame_id for row in labelled] == [rows[1]["frame_id"]]
    review(kept_days, rows[1], reviewer="eve")
    with pytest.raises(Rejected, match="no frame"):
        review(kept_days, rows[0])


def test_pages_over_live_and_kept_frames_hold_each_once_newest_first(kept_days: Pipeline) -> None:
    old, young = send(kept_days, "line-1", 33), send(kept_days, "line-2", 1)
    for row in old:
        review(kept_days, row)
    expired(kept_days)
    wanted = [row["frame_id"] for row in [*reversed(young), *reversed(old)]]
    got: list[str] = []
    with connect(kept_days.settings) as connection:
        while page := frames.page(connection, Wanted(limit=3, before=got[-1] if got else None), model="pcb-defects"):
            got += [row.frame_id for row in page]
    assert got == wanted


def test_the_gate_set_and_the_labels_still_hold_what_was_kept(kept_days: Pipeline) -> None:
    rows = send(kept_days, "line-1", 33, count=200)
    gate = next(row for row in rows if is_gate(kept_days, row))
    train = next(row for row in rows if not is_gate(kept_days, row))
    review(kept_days, gate, purpose=Purpose.GATE)
    review(kept_days, train)
    before = {part: exported(kept_days.settings, part) for part in ("gate", "train", "all")}
    assert expired(kept_days).fields["kept"] == 2
    assert {part: exported(kept_days.settings, part) for part in before} == before
    assert (before["gate"], before["train"]) == ([gate["frame_id"]], [train["frame_id"]])
    assert kept_days.store.get(gate["object_key"])
    report = kept_days.audit()
    assert (report.is_closed, report.total("stored"), report.total("expired")) == (True, 2, 198)


def is_gate(pipeline: Pipeline, row: Row) -> bool:
    return bool(
        one(
            pipeline,
            "SELECT part_of(%s, %s::uuid, %s) = 'gate'",
            row["camera_id"],
            row["session_id"],
            row["sequence"],
        )
    )


def exported(settings: Settings, part: Any) -> list[str]:
    database = Database(settings)
    try:
        return [frame.frame_id for frame in Snapshot(database, part).frames()]
    finally:
        database.close()


def test_a_dry_run_says_what_would_go_and_changes_nothing(kept_days: Pipeline) -> None:
    rows = send(kept_days, "line-1", 33)
    send(kept_days, "short", 9)
    review(kept_days, rows[1])
    before, said = snapshot(kept_days), []
    result = expired(kept_days, "--dry-run", say=said.append)
    assert snapshot(kept_days) == before
    assert (result.fields["frames"], result.fields["bytes"], result.fields["kept"]) == (9, 63, 1)
    assert len(result.fields["days"]) == 11  # ten with partitions only or more, one of the camera with fewer days
    day = f"{rows[0]['captured_at']:%Y-%m-%d}"
    assert f"{day} line-1: 4 frames, 28 bytes would go, 1 kept" in said
    assert expired(kept_days, "--verify").exit_code == 75
    assert snapshot(kept_days) == before
    done = expired(kept_days)
    assert expired(kept_days, "--verify").exit_code == 0
    assert [done.fields[name] for name in ("frames", "bytes", "kept", "objects")] == [
        result.fields[name] for name in ("frames", "bytes", "kept", "objects")
    ]


@pytest.mark.parametrize("step", range(1, STEPS + 1))
@pytest.mark.parametrize("camera", ["line-1", "short"])
def test_killed_after_any_step_the_same_command_finishes_it(kept_days: Pipeline, camera: str, step: int) -> None:
    rows = send(kept_days, camera, 33 if camera == "line-1" else 9)
    review(kept_days, rows[2])
    assert dies(lambda: expired(kept_days, say=killing(step, rows[0])), kept_days)
    assert expired(kept_days).exit_code == 0
    assert list(kept_days.store.keys("")) == [rows[2]["object_key"]]
    assert [count(kept_days, table) for table in TABLES] == [0, 0, 0]
    assert [count(kept_days, f"kept_{table}") for table in TABLES] == [1, 1, 2]
    ranges = [(first, last, state) for _, first, last, _, state in states(kept_days)]
    assert ranges == [(0, 1, "done"), (3, 4, "done")]
    report = kept_days.audit()
    assert (report.is_closed, report.total("stored"), report.total("expired")) == (True, 1, 4)


def test_killed_in_the_middle_of_the_objects_the_same_command_finishes_it(
    kept_days: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kept_days, "line-1", 33, count=6)
    monkeypatch.setattr("inference.persistence.objects.BATCH", 2)
    delete, calls = FrameStore.delete_many, []

    def delete_and_die(store: FrameStore, keys: Any) -> None:
        delete(store, keys)
        calls.append(keys)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(FrameStore, "delete_many", delete_and_die)
        assert dies(lambda: expired(kept_days), kept_days)
    assert len(list(kept_days.store.keys(""))) == 2
    assert [state for *_, state in states(kept_days)] == ["intended"]
    assert expired(kept_days).exit_code == 0
    assert list(kept_days.store.keys("")) == []
    assert [state for *_, state in states(kept_days)] == ["done"]


def test_a_review_that_comes_while_its_frame_is_written_down_waits_and_is_refused(kept_days: Pipeline) -> None:
    [row, *_] = send(kept_days, "line-1", 33)
    outcomes: list[str] = []

    def say_something() -> None:
        try:
            review(kept_days, row)
        except Rejected as error:
            outcomes.append(error.code)

    person = threading.Thread(target=say_something)
    with connect(kept_days.settings) as connection:
        connection.execute("SELECT")  # begins the transaction that the block's end commits
        expirations.keep_and_intend(connection, of_day(row["captured_at"].date(), None))
        person.start()
        person.join(0.5)
        assert person.is_alive()
    person.join(10)
    assert outcomes == ["unknown_frame"]
    assert count(kept_days, "reviews") == 0


def test_a_second_run_at_the_same_time_is_refused(kept_days: Pipeline) -> None:
    with connect(kept_days.settings, autocommit=True) as connection, expirations.only_one(connection):
        with pytest.raises(Transient, match="under way"):
            expired(kept_days)
        send(kept_days, "line-1", 33)
        with pytest.raises(Transient, match="under way"):
            erasure.erase(kept_days.settings, "line-1", lambda _: None)
    assert expired(kept_days).exit_code == 0


def test_a_limit_leaves_later_days_for_the_next_expired(kept_days: Pipeline) -> None:
    send(kept_days, "line-1", 35)
    send(kept_days, "line-2", 33)
    first = expired(kept_days, "--limit", "6")
    assert (first.fields["frames"], first.fields["later"]["frames"]) == (5, 5)
    assert kept_days.audit().is_closed
    assert expired(kept_days, "--limit", "6").fields["frames"] == 5
    assert list(kept_days.store.keys("")) == []


def test_a_named_camera_alone_goes_by_the_days_of_the_expired(kept_days: Pipeline) -> None:
    send(kept_days, "line-1", 12)
    young = send(kept_days, "line-2", 12)
    assert expired(kept_days, "--camera", "line-1", "--days", "10").fields["frames"] == 5
    assert list(kept_days.store.keys("")) == sorted(row["object_key"] for row in young)


def test_a_frame_that_comes_again_or_late_goes_with_the_next_run_and_a_kept_one_stays_once(kept_days: Pipeline) -> None:
    rows = send(kept_days, "line-1", 33)
    review(kept_days, rows[0])
    expired(kept_days)
    with connect(kept_days.settings) as connection:
        for row in rows[:2]:
            upsert(connection, "frames", row)
            upsert(connection, "predictions", a_prediction(row["frame_id"], model_version="2"))
    kept_days.put(rows[1], b"image 1")
    late = kept_days.deliver(4, captured_at=rows[4]["captured_at"], session_id=SESSIONS["line-2"], camera_id="line-2")
    with connect(kept_days.settings) as connection:
        upsert(connection, "sessions", a_session(session_id=SESSIONS["line-2"], camera_id="line-2"))
    assert (count(kept_days, "frames"), count(kept_days, "kept_predictions")) == (2, 1)
    assert expired(kept_days).exit_code == 0
    assert list(kept_days.store.keys("")) == [rows[0]["object_key"]]
    assert [count(kept_days, table) for table in TABLES] == [0, 0, 0]
    assert count(kept_days, "all_frames") == 1
    said = "SELECT session_id::text FROM expirations WHERE camera_id = 'line-2' AND first_sequence = 4"
    assert one(kept_days, said) == late["session_id"]


def test_objects_that_no_row_knows_go_with_the_retention_of_all_and_not_before(kept_days: Pipeline) -> None:
    old = a_frame(captured_at=now() - timedelta(days=33))
    young = a_frame(captured_at=now() - timedelta(days=9), camera_id="short", sequence=7)
    send(kept_days, "short", 9)
    for row in (old, young):
        kept_days.put(row, b"image")
    kept_days.store.put("date=2020-01-01/camera=x/readme", b"", content_type="text/plain", metadata={})
    assert expired(kept_days).exit_code == 0
    assert list(kept_days.store.keys("")) == ["date=2020-01-01/camera=x/readme", young["object_key"]]


def test_numbers_that_never_had_a_row_are_written_down_when_their_session_is_gone(kept_days: Pipeline) -> None:
    rows = send(kept_days, "line-1", 33)
    kept_days.execute("DELETE FROM frames WHERE frame_id = %s", rows[2]["frame_id"])
    assert not kept_days.audit().is_closed
    result = expired(kept_days)
    [unseen] = result.fields["never_seen"]
    assert (unseen["session_id"], unseen["first_sequence"], unseen["last_sequence"]) == (SESSIONS["line-1"], 2, 2)
    report = kept_days.audit()
    assert (report.is_closed, report.total("expired")) == (True, 5)
    assert expired(kept_days).fields["never_seen"] == []


def test_the_loser_of_a_conflict_expires_with_the_winner(kept_days: Pipeline) -> None:
    rows = send(kept_days, "line-1", 33)
    kept_days.execute("UPDATE sessions SET last_acknowledged = 5, captured = 6")
    with connect(kept_days.settings) as connection:
        upsert(connection, "frames", rows[0] | {"sequence": 5, "sha256": "b" * 64, "kafka_offset": 99})
    assert kept_days.audit().is_closed
    expired(kept_days)
    assert count(kept_days, "frame_conflicts") == 0
    report = kept_days.audit()
    assert (report.is_closed, report.total("expired")) == (True, 6)


def test_a_reader_in_the_middle_of_a_transaction_delays_the_partitions_and_breaks_nothing(
    kept_days: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kept_days, "line-1", 33)
    monkeypatch.setattr(expirations, "_ATTEMPTS", 1)
    with psycopg.connect(kept_days.settings.postgres.conninfo) as reader:
        reader.execute("SELECT count(*) FROM frames")
        with pytest.raises(Transient, match="again"):
            expired(kept_days)
    assert kept_days.audit().is_closed
    assert expired(kept_days).exit_code == 0
    assert count(kept_days, "frames") == 0


def test_the_front_door_takes_the_job_and_writes_its_result(
    kept_days: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    send(kept_days, "line-1", 33)
    monkeypatch.setattr(Settings, "load", lambda: kept_days.settings)
    monkeypatch.setattr(logs, "configure", lambda **_: None)
    result = tmp_path / "result.json"
    assert main(["expire", "--dry-run", "--result", str(result)]) == 0
    assert json.loads(result.read_text())["cameras"]["line-1"]["frames"] == 5
    assert main(["expire", "--camera", "line-1", "--days", "31", "--result", str(result)]) == 78
    assert main(["expire", "--result", str(result)]) == 0
    assert json.loads(result.read_text())["objects"] == 5
