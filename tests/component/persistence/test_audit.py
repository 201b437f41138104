"""The audit on a real Postgres and a real object store; the broker's part is given, for e2e tests have the real one."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from contracts.errors import Misconfigured, Rejected, Transient
from contracts.records import Session
from contracts.topics import SESSION_SILENCE
from inference.persistence import connect, ensure_partitions
from inference.persistence.audit import Report, audit, verdicts
from inference.persistence.audit import rounds as audit_rounds
from inference.persistence.audit.letters import ROWLESS
from inference.persistence.audit.witness import Heard
from inference.persistence.trace import trace
from tests.support.object_store import ObjectStoreServer
from tests.support.rows import a_frame, a_session, now, upsert
from tests.support.stored_pipeline import Pipeline

OTHER_SESSION = "019b7c3e-0000-7000-8000-0000000000bb"


def named(report: Report) -> list[tuple[int | None, str | None, str]]:
    return [(problem.sequence, problem.frame_id, problem.problem) for problem in report.problems]


def test_a_whole_session_closes(pipeline: Pipeline) -> None:
    pipeline.send(5)
    report = pipeline.audit()
    assert (report.is_closed, report.acknowledged, report.total("stored")) == (True, 5, 5)
    [verdict] = report.sessions
    assert (verdict.state, verdict.witness.captured) == ("closed", 5)


@pytest.mark.parametrize("is_quick", [False, True])
def test_a_deleted_object_is_named(pipeline: Pipeline, is_quick: bool) -> None:
    rows = pipeline.send(5)
    pipeline.store.delete(rows[2]["object_key"])
    report = pipeline.audit(is_quick=is_quick)
    assert not report.is_closed
    assert named(report) == [(2, rows[2]["frame_id"], "no object")]


def test_a_changed_byte_is_named_by_the_full_audit_and_a_changed_size_by_the_quick_one(pipeline: Pipeline) -> None:
    rows = pipeline.send(5)
    pipeline.put(rows[1], b"Image 1")
    assert named(pipeline.audit()) == [(1, rows[1]["frame_id"], "object differs")]
    assert named(pipeline.audit(is_quick=True)) == []  # what its name promises: metadata only
    pipeline.put(rows[1], b"image 1 and more")
    assert named(pipeline.audit(is_quick=True)) == [(1, rows[1]["frame_id"], "object differs")]


def test_a_deleted_row_is_named_with_its_object_as_a_clue(pipeline: Pipeline) -> None:
    rows = pipeline.send(5)
    pipeline.execute("DELETE FROM frames WHERE frame_id = %s", rows[3]["frame_id"])
    report = pipeline.audit()
    assert named(report) == [(3, None, "no row")]
    assert report.objects_without_row == [rows[3]["object_key"]]


def test_a_deleted_last_frame_is_named(pipeline: Pipeline) -> None:
    last = pipeline.send(5)[-1]
    pipeline.store.delete(last["object_key"])
    for table in ("frames", "predictions"):
        pipeline.execute(f"DELETE FROM {table} WHERE frame_id = %s", last["frame_id"])
    report = pipeline.audit()
    assert named(report) == [(4, None, "no row")]
    assert report.objects_without_row == []


def test_a_deleted_prediction_is_named(pipeline: Pipeline) -> None:
    rows = pipeline.send(5)
    pipeline.execute("DELETE FROM predictions WHERE frame_id = %s", rows[0]["frame_id"])
    assert named(pipeline.audit()) == [(0, rows[0]["frame_id"], "no prediction")]


def test_two_frames_with_one_number_are_named(pipeline: Pipeline) -> None:
    rows = pipeline.send(3)
    pipeline.deliver(1, captured_at=rows[1]["captured_at"] + timedelta(milliseconds=1))
    assert named(pipeline.audit()) == [(1, rows[1]["frame_id"], "sequence twice")]


def test_frames_without_a_session_are_named(pipeline: Pipeline) -> None:
    pipeline.send(2)
    for sequence in range(3):
        pipeline.deliver(sequence, session_id=OTHER_SESSION, camera_id="line-2")
    report = pipeline.audit()
    [problem] = report.problems
    assert (problem.problem, problem.session_id, problem.camera_id) == ("no session", OTHER_SESSION, "line-2")
    assert pipeline.audit(camera="line-1").is_closed


def test_a_conflict_is_accounted_for_and_named(pipeline: Pipeline) -> None:
    rows = pipeline.send(2, last_acknowledged=2, captured=3)
    with connect(pipeline.settings) as connection:
        upsert(connection, "frames", rows[0] | {"sequence": 2, "sha256": "b" * 64, "kafka_offset": 99})
    report = pipeline.audit()
    assert (report.is_closed, report.total("stored"), report.total("dead_lettered")) == (True, 2, 1)
    [letter] = report.sessions[0].dead_letters
    assert (letter.sequence, letter.problem) == (2, "frame_conflicts:0/99")


def test_the_loser_of_a_conflict_hides_no_deleted_winner(pipeline: Pipeline) -> None:
    rows = pipeline.send(2)
    with connect(pipeline.settings) as connection:
        upsert(connection, "frames", rows[1] | {"sha256": "b" * 64, "kafka_offset": 99})
    assert pipeline.audit().is_closed
    pipeline.execute("DELETE FROM frames WHERE frame_id = %s", rows[1]["frame_id"])
    assert named(pipeline.audit()) == [(1, None, "no row")]


def test_predictions_without_rows_are_found_among_the_refused(pipeline: Pipeline) -> None:
    rows = pipeline.send(3)
    pipeline.execute("DELETE FROM frames WHERE frame_id = %s", rows[1]["frame_id"])
    with connect(pipeline.settings) as connection:
        found = connection.execute(ROWLESS, ([row["frame_id"] for row in rows],)).fetchall()
    assert found == [(rows[1]["frame_id"],)]


def test_a_folders_marker_in_the_bucket_does_not_cost_the_report(pipeline: Pipeline) -> None:
    rows = pipeline.send(2)
    pipeline.execute("DELETE FROM frames WHERE frame_id = %s", rows[1]["frame_id"])
    folder = rows[1]["object_key"].rpartition("/")[0]
    for name in ("", "readme"):
        pipeline.store.put(f"{folder}/{name}", b"", content_type="text/plain", metadata={})
    assert pipeline.audit().objects_without_row == [rows[1]["object_key"]]


def test_what_expired_is_accounted_for(pipeline: Pipeline) -> None:
    rows = pipeline.send(5)
    for state, done_at, first, last in (("done", now(), 0, 1), ("intended", None, 2, 3)):
        pipeline.execute(
            "INSERT INTO expirations (camera_id, session_id, first_sequence, last_sequence, reason, state, done_at) "
            "VALUES ('line-1', %s, %s, %s, 'retention', %s, %s)",
            rows[0]["session_id"], first, last, state, done_at,
        )  # fmt: skip
    for row in rows[:2]:
        pipeline.execute("DELETE FROM frames WHERE frame_id = %s", row["frame_id"])
    pipeline.store.delete(rows[2]["object_key"])
    report = pipeline.audit()
    assert (report.is_closed, report.total("stored"), report.total("expired")) == (True, 2, 3)


def test_a_session_whose_row_is_late_is_judged_by_its_record(pipeline: Pipeline) -> None:
    pipeline.send(3, last_acknowledged=0, captured=1, closed_at=None)
    late = a_session(last_acknowledged=3, captured=4)
    pipeline.recent = [
        Heard(session=Session(**changed), at=now())
        for changed in (
            late | {"last_acknowledged": 1},
            late,
            a_session(session_id=OTHER_SESSION, camera_id="line-2", last_acknowledged=0),
        )
    ]
    report = pipeline.audit()
    assert [verdict.state for verdict in report.sessions] == ["closed", "closed"]
    assert [(problem.camera_id, *entry) for problem, entry in zip(report.problems, named(report), strict=True)] == [
        ("line-1", 3, None, "no row"),
        ("line-2", 0, None, "no row"),
    ]


def test_only_the_cameras_and_the_time_asked_for_are_judged(pipeline: Pipeline) -> None:
    pipeline.send(2)
    began = now() - timedelta(days=2)
    older = pipeline.send(
        6, session_id=OTHER_SESSION, camera_id="line-2", started_at=began, updated_at=now(), closed_at=now()
    )
    for row in (older[1], older[5]):
        pipeline.execute("DELETE FROM frames WHERE frame_id = %s", row["frame_id"])
    assert pipeline.audit(camera="line-1").is_closed
    assert named(pipeline.audit(camera="line-2")) == [(1, None, "no row"), (5, None, "no row")]
    since = older[3]["captured_at"]
    report = pipeline.audit(camera="line-2", since=since)
    assert named(report) == [(5, None, "no row")]
    assert (report.sessions[0].witness.first_sequence, report.acknowledged) == (3, 3)
    assert pipeline.audit(camera="line-2", since=now()).sessions == []


def test_until_leaves_out_what_was_captured_later(pipeline: Pipeline) -> None:
    rows = pipeline.send(6)
    until = rows[3]["captured_at"]
    pipeline.store.delete(rows[2]["object_key"])
    pipeline.store.delete(rows[4]["object_key"])
    pipeline.execute("DELETE FROM predictions WHERE frame_id = %s", rows[3]["frame_id"])
    pipeline.execute("DELETE FROM frames WHERE sequence = 5")
    report = pipeline.audit(until=until)
    assert (report.acknowledged, named(report)) == (3, [(2, rows[2]["frame_id"], "no object")])
    east = timezone(timedelta(hours=5))
    report = pipeline.audit(since=rows[2]["captured_at"].astimezone(east), until=until.astimezone(east))
    assert (report.acknowledged, named(report)) == (1, [(2, rows[2]["frame_id"], "no object")])
    assert pipeline.audit(until=rows[0]["captured_at"]).acknowledged == 0


def test_until_ends_before_a_session_that_began_later_and_before_its_gap(pipeline: Pipeline) -> None:
    pipeline.send(3, captured=5)
    began = now() - timedelta(minutes=5)
    assert not pipeline.audit().is_closed
    assert pipeline.audit(until=began + timedelta(seconds=1)).is_closed
    pipeline.execute("DELETE FROM frames")
    assert pipeline.audit(until=began - timedelta(minutes=5)).is_closed


def test_a_lost_tail_is_named_though_nobody_knows_when_it_was_captured(pipeline: Pipeline) -> None:
    pipeline.send(3, stored=lambda sequence: sequence < 2)
    assert named(pipeline.audit(until=now())) == [(2, None, "no row")]
    with pytest.raises(Rejected, match="line-3"):
        pipeline.audit(camera="line-3")


def test_waiting_ends_as_soon_as_everything_is_there(pipeline: Pipeline) -> None:
    pipeline.send(3, stored=lambda n: n != 1)
    late = threading.Timer(1.5, pipeline.deliver, args=(1,))
    late.start()
    started = time.monotonic()
    report = pipeline.audit(wait=timedelta(seconds=60))
    late.join()
    assert report.is_closed
    assert report.total("stored") == 3
    assert time.monotonic() - started < 20


def test_waiting_ends_with_what_is_still_missing(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.send(3, stored=lambda n: n != 1)
    started = time.monotonic()
    assert named(pipeline.audit(wait=timedelta(seconds=3))) == [(1, None, "no row")]
    assert 3 <= time.monotonic() - started < 15
    monkeypatch.setattr(audit_rounds, "STALL", timedelta(seconds=1))
    started = time.monotonic()
    assert not pipeline.audit(wait=timedelta(seconds=600)).is_closed
    assert time.monotonic() - started < 15


def test_a_session_in_progress_is_waited_for_up_to_what_it_said_at_first(pipeline: Pipeline) -> None:
    fresh = {"started_at": now(), "closed_at": None, "updated_at": now()}
    pipeline.send(2, stored=lambda n: n == 0, **fresh)
    report = pipeline.audit()
    assert (report.is_closed, report.is_settled, report.total("pending")) == (True, False, 1)
    late = threading.Timer(1.0, pipeline.deliver, args=(1,), kwargs={"captured_at": now()})
    late.start()
    report = pipeline.audit(wait=timedelta(seconds=30))
    late.join()
    assert (report.is_settled, report.total("stored")) == (True, 2)


def test_a_store_that_is_away_is_transient_and_waited_for(pipeline: Pipeline, s3: ObjectStoreServer) -> None:
    pipeline.send(2)
    s3.stop()
    try:
        with pytest.raises(Transient, match="object store"):
            pipeline.audit()
        late = threading.Timer(2.0, s3.start)
        late.start()
        assert pipeline.audit(wait=timedelta(seconds=30)).is_closed
        late.join()
    finally:
        if s3.process is None:
            s3.start()


def test_a_lost_bucket_is_not_taken_for_lost_frames(pipeline: Pipeline) -> None:
    pipeline.send(1)
    elsewhere = pipeline.settings.s3.model_copy(update={"frames_bucket": "nowhere"})
    with pytest.raises(Misconfigured, match="FRAMES_BUCKET"):
        audit(pipeline.settings.model_copy(update={"s3": elsewhere}))


def test_several_pages_and_days_are_read(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_partitions(pipeline.settings)
    monkeypatch.setattr("inference.persistence.audit.evidence.PAGE", 4)
    began = now() - timedelta(days=3)
    with connect(pipeline.settings) as connection:
        upsert(connection, "sessions", a_session(started_at=began, last_acknowledged=16, captured=17))
    rows = [pipeline.deliver(n, captured_at=began + n * timedelta(hours=4)) for n in range(17)]
    doubled = pipeline.deliver(7, captured_at=rows[7]["captured_at"] + timedelta(milliseconds=1))
    pipeline.store.delete(rows[16]["object_key"])
    report = pipeline.audit()
    assert named(report) == [(7, rows[7]["frame_id"], "sequence twice"), (16, rows[16]["frame_id"], "no object")]
    assert doubled["frame_id"] in report.problems[0].detail


@pytest.mark.parametrize("days", [3, 20])
def test_what_an_offline_camera_kept_is_found(pipeline: Pipeline, days: int) -> None:
    ensure_partitions(pipeline.settings)
    rows = pipeline.send(5, stored=lambda n: n != 2)
    assert named(pipeline.audit()) == [(2, None, "no row")]
    kept = pipeline.deliver(2, captured_at=rows[0]["captured_at"] - timedelta(days=days))
    report = pipeline.audit()
    assert (report.is_closed, report.total("stored")) == (True, 5)
    pipeline.store.delete(kept["object_key"])
    assert named(pipeline.audit()) == [(2, kept["frame_id"], "no object")]


def test_an_old_frame_among_new_ones_hides_none_of_them(pipeline: Pipeline) -> None:
    rows = pipeline.send(5, stored=lambda n: n != 3)
    pipeline.deliver(3, captured_at=rows[0]["captured_at"] - timedelta(hours=20))
    since = rows[0]["captured_at"]
    assert pipeline.audit(since=since).is_closed
    pipeline.execute("DELETE FROM frames WHERE frame_id = %s", rows[1]["frame_id"])
    assert named(pipeline.audit(since=since)) == [(1, None, "no row")]


def test_the_trace_tells_what_every_store_knows(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.persistence.trace._is_in_topic", lambda *_: True)
    rows = pipeline.send(2)
    found = trace(pipeline.settings, rows[1]["frame_id"].upper())
    assert found.is_known
    assert found.row is not None
    assert (found.row["sequence"], found.row["object_key"]) == (1, rows[1]["object_key"])
    assert found.object is not None
    assert (found.object.exists, found.object.sha256, found.object.matches_row) == (True, rows[1]["sha256"], True)
    assert [(row["model_version"], row["detections"]) for row in found.predictions] == [("1", 2)]
    assert found.session is not None
    words = [event for _, event in found.timeline()]
    assert any("captured as number 1" in event for event in words)
    assert any("pcb-defects v1 (champion, openvino): 2 detections after 300 ms" in event for event in words)

    pipeline.execute("DELETE FROM frames WHERE frame_id = %s", rows[1]["frame_id"])
    rowless = trace(pipeline.settings, rows[1]["frame_id"])
    assert rowless.is_known
    assert rowless.row is None
    assert rowless.object is not None
    assert (rowless.object.key, rowless.object.matches_row) == (rows[1]["object_key"], None)

    unknown = trace(pipeline.settings, a_frame()["frame_id"])
    assert not unknown.is_known
    with pytest.raises(Rejected, match="version 7"):
        trace(pipeline.settings, "frame-1")


def test_a_trace_is_told_while_the_broker_is_away(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    [row] = pipeline.send(1)

    def away(*_: Any) -> bool:
        raise Transient("the broker is away")

    monkeypatch.setattr("inference.persistence.trace._is_in_topic", away)
    found = trace(pipeline.settings, row["frame_id"])
    assert found.row is not None
    assert found.notes == ["dead letters were not searched: the broker is away"]


def test_the_command_prints_what_a_person_and_a_script_need(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from inference.persistence.audit import as_document
    from sightline.commands.audit import in_words

    rows = pipeline.send(3)
    assert in_words(pipeline.audit()).endswith("audit closed: 3 acknowledged = 3 stored + 0 dead-lettered + 0 expired")
    pipeline.store.delete(rows[1]["object_key"])
    report = pipeline.audit()
    words = in_words(report)
    assert (
        f"no object: camera line-1, session {rows[1]['session_id']}, sequence 1, frame {rows[1]['frame_id']}" in words
    )
    assert "audit NOT closed: 3 acknowledged = 2 stored + 0 dead-lettered + 0 expired + 1 unaccounted for" in words
    answer = json.loads(json.dumps(as_document(report)))
    assert (answer["is_closed"], answer["stored"], answer["problem_count"]) == (False, 2, 1)
    assert [(entry["sequence"], entry["problem"]) for entry in answer["problems"]] == [(1, "no object")]
    assert answer["sessions"][0]["state"] == "closed"
    assert datetime.fromisoformat(answer["judged_at"]).tzinfo is not None
    assert verdicts.GRACE > SESSION_SILENCE
