"""`erase` on a real Postgres and a real object store: what is left of a camera are ledger rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts import logs
from contracts.errors import Rejected
from contracts.settings import Settings
from inference.batch import export_labels
from inference.domain.split import TRAIN, part_of
from inference.persistence import connect, erasure, reviews
from inference.persistence.datasets import set_store
from sightline.cli import app
from sightline.commands.erase import in_words
from tests.support.expiring import count, dies, expired, killing, review, send, states
from tests.support.jobs import run_job
from tests.support.rows import Row, now, upsert
from tests.support.stored_pipeline import Pipeline


def everything_of(pipeline: Pipeline, camera: str) -> erasure.Traces:
    return erasure.count(pipeline.settings, camera)


def a_camera_with_all_there_is(pipeline: Pipeline) -> list[Row]:
    rows = send(pipeline, "line-1", 33)
    review(pipeline, rows[0])
    expired(pipeline)
    fresh = send(pipeline, "short", 1)
    undone = review(pipeline, fresh[0])
    with connect(pipeline.settings) as connection:
        reviews.undo(connection, undone, reviewer="ann", reviewer_name="Ann")
        upsert(connection, "frames", fresh[1] | {"sequence": 5, "sha256": "b" * 64, "kafka_offset": 99})
        connection.execute(
            "INSERT INTO review_claims (frame_id, reviewer, purpose, expires_at) VALUES (%s, 'bob', 'queue', now())",
            (fresh[2]["frame_id"],),
        )
    review(pipeline, fresh[3])
    return fresh


@pytest.mark.parametrize("camera", ["line-1", "short"])
def test_an_erased_camera_leaves_nothing_but_ledger_rows(kept_days: Pipeline, camera: str) -> None:
    a_camera_with_all_there_is(kept_days)
    other = everything_of(kept_days, "short" if camera == "line-1" else "line-1")
    before = everything_of(kept_days, camera)
    assert before.objects == (1 if camera == "line-1" else 5)
    assert erasure.erase(kept_days.settings, camera, lambda _: None).rows == before.rows
    after = everything_of(kept_days, camera)
    assert after.is_gone
    assert not after.is_under_way
    assert everything_of(kept_days, other.camera) == other
    assert (camera, 0, 4, "erased", "done") in states(kept_days)
    with connect(kept_days.settings) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.columns WHERE column_name = 'camera_id' AND table_schema = 'public'"
        ).fetchall()
        holding = [
            table
            for (table,) in tables
            if connection.execute(f"SELECT count(*) FROM {table} WHERE camera_id = %s", (camera,)).fetchone() != (0,)
        ]
    assert holding == ["expirations"]
    assert kept_days.audit().is_closed
    with pytest.raises(Rejected, match="nothing is known"):
        erasure.erase(kept_days.settings, camera, lambda _: None)


@pytest.mark.parametrize("step", range(1, 6))
def test_an_erasure_killed_after_any_step_is_finished_by_the_same_command(kept_days: Pipeline, step: int) -> None:
    fresh = a_camera_with_all_there_is(kept_days)
    assert dies(lambda: erasure.erase(kept_days.settings, "short", killing(step, fresh[0])), kept_days)
    erasure.erase(kept_days.settings, "short", lambda _: None)
    assert everything_of(kept_days, "short").is_gone
    assert ("short", 0, 4, "erased", "done") in states(kept_days)


def an_export(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(export_labels, "own_classes", lambda _: ["open", "short"])
    result, code = run_job("export-labels", pipeline.settings)
    assert code == 0
    return result


def of_training(row: Row) -> bool:
    return part_of(row["camera_id"], row["session_id"], row["sequence"]) == TRAIN


def reviewed_for_training(pipeline: Pipeline, camera: str) -> Row:
    row = next(row for row in send(pipeline, camera, 1, 60) if of_training(row))
    review(pipeline, row)
    return row


def test_the_data_sets_with_its_images_go_whole_and_others_stay(
    kept_days: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = set_store(kept_days.settings)
    other = reviewed_for_training(kept_days, "line-2")
    without = an_export(kept_days, monkeypatch)
    mine = reviewed_for_training(kept_days, "short")
    with_it = an_export(kept_days, monkeypatch)
    broken = f"datasets/pcb-defects/{'0' * 64}/"  # an export that was killed before its manifest
    sets.put(f"{broken}images/{mine['frame_id']}.jpg", b"x", content_type="image/jpeg", metadata={})
    there = everything_of(kept_days, "short")
    assert set(there.data_sets) == {f"datasets/pcb-defects/{with_it['digest']}/", broken}
    assert everything_of(kept_days, "line-2").data_sets != there.data_sets
    erasure.erase(kept_days.settings, "short", lambda _: None)
    left = list(sets.keys("datasets/"))
    assert {key.split("/")[2] for key in left} == {without["digest"]}
    assert not [key for key in left if mine["frame_id"] in key]
    assert [key for key in left if other["frame_id"] in key]
    assert an_export(kept_days, monkeypatch)["digest"] == without["digest"]


def test_copies_in_a_training_are_named(kept_days: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jobs = kept_days.settings.jobs.model_copy(update={"workspace": tmp_path})
    kept_days.settings = kept_days.settings.model_copy(update={"jobs": jobs})
    reviewed_for_training(kept_days, "short")
    digest = an_export(kept_days, monkeypatch)["digest"]
    run_job("fetch-labels", kept_days.settings, "--digest", digest, "--into", str(tmp_path / "run-1" / "labels"))
    (tmp_path / "run-2").mkdir()
    assert everything_of(kept_days, "line-2").trainings == []
    said = erasure.erase(kept_days.settings, "short", lambda _: None)
    assert said.trainings == [str(tmp_path / "run-1")]
    assert f"copies of its images stay in {tmp_path / 'run-1'}: delete it" in in_words(said, is_erased=True)
    assert f"data set datasets/pcb-defects/{digest}/ went with it" in in_words(said, is_erased=True)


def test_a_camera_that_sends_is_not_erased(kept_days: Pipeline) -> None:
    kept_days.send(2, closed_at=None, updated_at=now(), started_at=now())
    with pytest.raises(Rejected, match="stop it"):
        erasure.erase(kept_days.settings, "line-1", lambda _: None)
    assert count(kept_days, "frames") == 2


def test_an_erasure_names_the_day_by_which_the_topics_will_have_forgotten(kept_days: Pipeline) -> None:
    send(kept_days, "short", 1)
    said = everything_of(kept_days, "short").forgotten_by
    assert said["frames"] == (datetime.now(UTC) + timedelta(days=38)).date().isoformat()
    assert said["dead-letters.frames_to_s3"] > said["frames"]


def test_the_command_asks_first_and_tells_what_went(kept_days: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    send(kept_days, "short", 1)
    monkeypatch.setattr(Settings, "load", lambda: kept_days.settings)
    monkeypatch.setattr(logs, "configure", lambda **_: None)
    command = CliRunner()
    asked = command.invoke(app, ["erase", "short"])
    assert (asked.exit_code, "nobody can be asked" in asked.output) == (2, True)
    assert "nobody: there are no rows, 0 objects" in command.invoke(app, ["erase", "nobody", "--dry-run"]).stdout
    looked = json.loads(command.invoke(app, ["erase", "short", "--dry-run", "--json"]).stdout)
    assert (looked["is_erased"], looked["rows"]["frames"], looked["objects"]) == (False, 5, 5)
    assert count(kept_days, "frames") == 5
    monkeypatch.setattr("sightline.commands.erase.is_somebody_there", lambda: True)
    assert command.invoke(app, ["erase", "short"], input="n\n").exit_code == 1
    assert count(kept_days, "frames") == 5
    told = command.invoke(app, ["erase", "short"], input="y\n")
    assert told.exit_code == 0, told.output
    assert "erased 10 detections, 5 predictions, 5 frames, 1 sessions, 5 objects" in told.stdout
    assert "topic frames will have forgotten it by 20" in told.stdout
    assert everything_of(kept_days, "short").is_gone
