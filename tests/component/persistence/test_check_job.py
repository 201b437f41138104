"""The check of contracts on a real Postgres and a real object store; broker and registry are given, as in test_audit."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings
from inference.batch import check
from inference.persistence import connect, contract_rows
from inference.persistence.audit import rounds as audit_rounds
from inference.persistence.objects import FrameStore, ensure_buckets
from tests.support.jobs import run_job
from tests.support.object_store import ObjectStoreServer
from tests.support.postgres import PostgresServer
from tests.support.rows import Row, a_frame, a_prediction, a_session, now, upsert


@pytest.fixture
def settings(postgres: PostgresServer, s3: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    bucket = s3.settings.model_copy(update={"frames_bucket": f"frames-{uuid.uuid4().hex[:12]}"})
    settings = postgres.new_database(migrated=True, s3=bucket)
    ensure_buckets(settings)
    monkeypatch.setattr(audit_rounds, "read_recent", lambda *_: [])
    monkeypatch.setattr(audit_rounds.dead_letters, "counts", lambda *_: {})
    monkeypatch.setattr(audit_rounds.dead_letters, "read", lambda *_: iter(()))
    monkeypatch.setattr(check, "registry_problems", lambda _: [])
    return settings


def sent(settings: Settings, count: int, **predicted: Any) -> list[Row]:
    """A closed session, stored whole."""
    store = FrameStore(settings.s3)
    began = now() - timedelta(minutes=5)
    frames = [
        a_frame(f"image {number}".encode(), sequence=number, captured_at=began + timedelta(seconds=number))
        for number in range(count)
    ]
    with connect(settings) as connection:
        upsert(connection, "sessions", a_session(last_acknowledged=count - 1, captured=count))
        for number, row in enumerate(frames):
            upsert(connection, "frames", row)
            upsert(connection, "predictions", a_prediction(row["frame_id"], **predicted))
            metadata = {"sha256": row["sha256"], "camera": row["camera_id"]}
            store.put(row["object_key"], f"image {number}".encode(), content_type="image/jpeg", metadata=metadata)
    store.close()
    return frames


def checked(settings: Settings, *arguments: str) -> tuple[dict[str, Any], int, list[str]]:
    told: list[str] = []
    begin, end = now() - timedelta(hours=1), now()
    given = arguments or ("--since", begin.isoformat(), "--until", end.isoformat())
    result, code = run_job("check", settings, *given, "--wait", "0", say=told.append)
    return result, code, told


def test_stores_that_keep_the_contracts_are_said_to(settings: Settings) -> None:
    sent(settings, 7)
    result, code, told = checked(settings)
    assert (code, told) == (0, [])
    assert (result["frames"], result["predictions"], result["broken_rows"]) == (7, 7, 0)
    assert (result["audit"]["is_closed"], result["audit"]["stored"]) == (True, 7)


def test_broken_rows_are_named_with_what_to_do(settings: Settings) -> None:
    frames = sent(settings, 3)
    with connect(settings) as connection:
        upsert(
            connection,
            "predictions",
            a_prediction(frames[1]["frame_id"], model_version="9", model_digest="x", latency_ms=float("inf")),
        )
    result, code, told = checked(settings)
    assert (code, result["broken_rows"]) == (65, 1)
    assert {tuple(one["key"]) for one in result["rows"]} == {(frames[1]["frame_id"], "pcb-defects", "9")}
    assert {one["what"] for one in result["rows"]} == {"model_digest: is_sha256 (x)", "latency_ms: is_finite (inf)"}
    assert "sightline trace FRAME_ID" in told[0]
    assert frames[1]["frame_id"] in told[1]


def test_a_missing_object_and_a_missing_prediction_are_named(settings: Settings) -> None:
    frames = sent(settings, 3)
    FrameStore(settings.s3).delete(frames[0]["object_key"])
    with connect(settings) as connection:
        connection.execute("DELETE FROM predictions WHERE frame_id = %s", (frames[2]["frame_id"],))
    result, code, told = checked(settings)
    assert (code, result["audit"]["is_closed"]) == (65, False)
    found = {one["frame_id"]: one["problem"] for one in result["audit"]["problems"]}
    assert found == {frames[0]["frame_id"]: "no object", frames[2]["frame_id"]: "no prediction"}
    assert "score_frames" in told[0]


def test_of_a_run_its_predictions_alone_are_checked(settings: Settings) -> None:
    sent(settings, 2, run_id="run-1")
    frames = sent(settings, 1, run_id="run-2", model_digest="x")
    result, code, _ = checked(settings, "--run-id", "run-1")
    assert (code, result["predictions"], result["broken_rows"]) == (0, 2, 0)
    result, code, told = checked(settings, "--run-id", "run-2")
    assert (code, result["predictions"], result["broken_rows"]) == (65, 1, 1)
    assert frames[0]["frame_id"] in told[1]


def test_only_a_registry_that_lacks_something_is_for_a_person_to_mend(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "registry_problems", lambda _: ["not registered: frames v1"])
    result, code, told = checked(settings)
    assert (code, result["registry"]) == (78, ["not registered: frames v1"])
    assert "not registered: frames v1" in told[-1]


def test_rows_come_in_pieces_and_all_of_them(settings: Settings) -> None:
    sent(settings, 7)
    with connect(settings) as connection:
        bounds = {"since": now() - timedelta(hours=1), "until": now()}
        pieces = list(contract_rows.of_range(connection, "frames", **bounds, piece=3))
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert {row["sequence"] for piece in pieces for row in piece} == set(range(7))


def test_without_a_range_or_a_run_nothing_is_checked(settings: Settings) -> None:
    with pytest.raises(Misconfigured, match="--since and --until, or --run-id"):
        run_job("check", settings)


@pytest.mark.parametrize("run", [(), ("--run-id", "run-1")], ids=["range", "run"])
def test_an_empty_range_is_refused(settings: Settings, run: tuple[str, ...]) -> None:
    at = now().isoformat()
    with pytest.raises(Misconfigured, match="the range is empty"):
        checked(settings, "--since", at, "--until", at, *run)
    with pytest.raises(Misconfigured, match="give both"):
        checked(settings, "--since", at, *run)


def test_a_range_in_which_nothing_was_captured_is_told(settings: Settings) -> None:
    frames = sent(settings, 2)
    end = min(row["captured_at"] for row in frames)
    result, code, told = checked(settings, "--since", (end - timedelta(days=1)).isoformat(), "--until", end.isoformat())
    assert (code, result["frames"], result["audit"]["acknowledged"]) == (0, 0, 0)
    assert "no frame was captured from" in told[0]


def test_what_is_captured_after_the_range_is_no_concern_of_the_check(settings: Settings) -> None:
    frames = sent(settings, 3)
    FrameStore(settings.s3).delete(frames[2]["object_key"])
    begin, end = now() - timedelta(hours=1), frames[2]["captured_at"]
    result, code, told = checked(settings, "--since", begin.isoformat(), "--until", end.isoformat())
    assert (code, told, result["frames"], result["audit"]["stored"]) == (0, [], 2, 2)


def test_a_run_is_looked_for_in_its_own_days(settings: Settings) -> None:
    frames = sent(settings, 3, run_id="run-1")
    begin, end = frames[0]["captured_at"] - timedelta(hours=1), frames[2]["captured_at"]
    span = ("--since", begin.isoformat(), "--until", end.isoformat())
    result, code, told = checked(settings, *span, "--run-id", "run-1")
    assert (code, told, result["predictions"]) == (0, [], 2)
    result, code, told = checked(settings, *span, "--run-id", "run-2")
    assert (code, result["predictions"]) == (0, 0)
    assert told == ["no prediction names the run run-2: nothing was checked"]


def test_a_store_that_is_away_is_tried_again(settings: Settings, s3: ObjectStoreServer) -> None:
    sent(settings, 1)
    s3.stop()
    try:
        with pytest.raises(Transient):
            checked(settings)
    finally:
        s3.start()
