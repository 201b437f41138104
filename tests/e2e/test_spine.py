"""The main job on the real stack: what a camera captured ends as an object, a row and a prediction, once."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from itertools import pairwise
from pathlib import Path

import boto3
import cv2
import httpx
import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from connectors.cameras.boards import simulate_board
from contracts.schemas import latest
from contracts.settings import Settings
from tests.support.command_line import run, succeed


def rows(stack: Settings, query: str, *values: object) -> list[dict]:
    with psycopg.connect(stack.postgres.conninfo, row_factory=dict_row) as connection:
        return connection.execute(query, values).fetchall()


def frames_of(stack: Settings, camera: str) -> list[dict]:
    return rows(stack, "SELECT * FROM frames WHERE camera_id = %s ORDER BY sequence", camera)


def bucket(stack: Settings):
    return boto3.resource(
        "s3",
        endpoint_url=stack.s3.endpoint_url,
        region_name=stack.s3.region,
        aws_access_key_id=stack.s3.access_key,
        aws_secret_access_key=stack.s3.secret_key.get_secret_value(),
    ).Bucket(stack.s3.frames_bucket)


def object_bytes(stack: Settings, key: str) -> bytes:
    return bucket(stack).Object(key).get()["Body"].read()


def boards(folder: Path, count: int) -> list[Path]:
    """JPEG and PNG files in nested folders."""
    files = []
    for index in range(count):
        file = folder / ("inner" if index % 2 else ".") / f"board-{index:03}{'.png' if index % 3 == 0 else '.jpg'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), simulate_board(seed=11, index=index, size=320).image)
        files.append(file)
    return files


def audit(stack: Settings, camera: str, *, wait: float = 120):
    return run(stack, "audit", "--camera", camera, "--wait", str(wait), "--json", seconds=wait + 60)


def assert_audit_closes(stack: Settings, camera: str, *, stored: int, wait: float = 120) -> None:
    outcome = audit(stack, camera, wait=wait)
    assert outcome.code == 0, outcome.out + outcome.err
    assert outcome.answer["stored"] == stored, outcome.out
    doubles = rows(
        stack,
        "SELECT session_id, sequence FROM frames WHERE camera_id = %s GROUP BY 1, 2 HAVING count(*) > 1",
        camera,
    )
    assert doubles == []


def test_a_simulated_line_ends_as_objects_rows_and_predictions(stack: Settings) -> None:
    sent = succeed(stack, "send", "simulator:?seed=3&size=320", "--camera", "e2e-simulator", "--count", "40", "--json")
    assert (sent.answer["captured"], sent.answer["acknowledged"], sent.answer["rejected"]) == (40, 40, 0)
    assert_audit_closes(stack, "e2e-simulator", stored=40)
    predicted = rows(
        stack,
        "SELECT model_name, model_version, role, status, count(*) AS frames FROM predictions WHERE camera_id = %s GROUP BY 1, 2, 3, 4",
        "e2e-simulator",
    )
    assert [(row["model_name"], row["role"], row["status"], row["frames"]) for row in predicted] == [
        (stack.mlflow.model_name, "champion", "ok", 40)
    ]
    boxes, detections = (
        rows(stack, f"SELECT {what} FROM {table} WHERE camera_id = %s", "e2e-simulator")[0]["n"]
        for what, table in (
            ("coalesce(sum(cardinality(labels)), 0) AS n", "predictions"),
            ("count(*) AS n", "detections"),
        )
    )
    assert boxes == detections > 0


def test_files_are_stored_byte_for_byte(stack: Settings, tmp_path: Path) -> None:
    files = boards(tmp_path / "boards", 12)
    (tmp_path / "boards" / "notes.jpg").write_text("this is no picture")
    sent = succeed(stack, "send", tmp_path / "boards", "--camera", "e2e-folder", "--json")
    assert (sent.answer["acknowledged"], sent.answer["rejected"]) == (12, 1)
    assert_audit_closes(stack, "e2e-folder", stored=12)
    stored = {
        hashlib.sha256(object_bytes(stack, row["object_key"])).hexdigest() for row in frames_of(stack, "e2e-folder")
    }
    assert stored == {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_every_frame_of_a_video_is_stored_as_its_record_says(stack: Settings, tmp_path: Path) -> None:
    video = tmp_path / "line.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for index in range(25):
        writer.write(np.full((240, 320, 3), index * 10, np.uint8))
    writer.release()
    succeed(stack, "send", video, "--camera", "e2e-video")
    assert_audit_closes(stack, "e2e-video", stored=25)
    found = frames_of(stack, "e2e-video")
    assert [row["sequence"] for row in found] == list(range(25))
    assert {(row["width"], row["height"]) for row in found} == {(320, 240)}
    for row in found:
        assert hashlib.sha256(object_bytes(stack, row["object_key"])).hexdigest() == row["sha256"]


def test_a_frame_that_cannot_be_decoded_is_accounted_for(stack: Settings, tmp_path: Path) -> None:
    file = boards(tmp_path, 2)[1]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    succeed(stack, "send", file, "--camera", "e2e-truncated")
    assert_audit_closes(stack, "e2e-truncated", stored=1)
    predicted = rows(stack, "SELECT status, labels FROM predictions WHERE camera_id = %s", "e2e-truncated")
    assert [(row["status"], row["labels"]) for row in predicted] == [("undecodable", [])]


def test_the_trace_tells_one_frames_whole_life(stack: Settings) -> None:
    succeed(stack, "send", "simulator:?size=320", "--camera", "e2e-trace", "--count", "1")
    assert_audit_closes(stack, "e2e-trace", stored=1)
    [frame] = frames_of(stack, "e2e-trace")
    told = succeed(stack, "trace", str(frame["frame_id"]), "--json").out
    for expected in (frame["object_key"], frame["sha256"], str(frame["kafka_offset"]), stack.mlflow.model_name):
        assert expected in told


@pytest.fixture
def audited(stack: Settings, request: pytest.FixtureRequest) -> tuple[str, list[dict]]:
    """A closed session of five frames on a camera of this test's own."""
    camera = f"e2e-{request.node.name.removeprefix('test_')[:40].rstrip('_-')}".replace("_", "-")
    succeed(stack, "send", "simulator:?size=320", "--camera", camera, "--count", "5")
    assert_audit_closes(stack, camera, stored=5)
    return camera, frames_of(stack, camera)


def assert_audit_names(stack: Settings, camera: str, frame: dict, problem: str) -> None:
    outcome = audit(stack, camera, wait=0)
    assert outcome.code == 1, outcome.out
    assert [(entry["sequence"], entry["problem"]) for entry in outcome.answer["problems"]] == [
        (frame["sequence"], problem)
    ], outcome.out


def test_the_audit_names_a_deleted_object(stack: Settings, audited: tuple[str, list[dict]]) -> None:
    camera, frames = audited
    bucket(stack).Object(frames[2]["object_key"]).delete()
    assert_audit_names(stack, camera, frames[2], "no object")


def test_the_audit_names_a_changed_byte(stack: Settings, audited: tuple[str, list[dict]]) -> None:
    camera, frames = audited
    key = frames[1]["object_key"]
    changed = bytearray(object_bytes(stack, key))
    changed[len(changed) // 2] ^= 1
    stored = bucket(stack).Object(key)
    stored.put(Body=bytes(changed), Metadata=stored.metadata)
    assert_audit_names(stack, camera, frames[1], "object differs")


def test_the_audit_names_a_deleted_row(stack: Settings, audited: tuple[str, list[dict]]) -> None:
    camera, frames = audited
    with psycopg.connect(stack.postgres.conninfo) as connection:
        connection.execute("DELETE FROM frames WHERE frame_id = %s", [frames[3]["frame_id"]])
    assert_audit_names(stack, camera, frames[3], "no row")


def test_the_audit_names_a_deleted_last_frame(stack: Settings, audited: tuple[str, list[dict]]) -> None:
    camera, frames = audited
    last = frames[-1]
    bucket(stack).Object(last["object_key"]).delete()
    with psycopg.connect(stack.postgres.conninfo) as connection:
        connection.execute("DELETE FROM frames WHERE frame_id = %s", [last["frame_id"]])
        connection.execute("DELETE FROM predictions WHERE frame_id = %s", [last["frame_id"]])
    assert_audit_names(stack, camera, last, "no row")


def test_an_incompatible_schema_is_refused_by_the_registry(stack: Settings) -> None:
    breaking = copy.deepcopy(latest("frames"))
    breaking["fields"] = [field for field in breaking["fields"] if field["name"] != "sha256"]
    answer = httpx.post(
        f"{stack.registry.confluent_url}/subjects/frames-value/versions", json={"schema": json.dumps(breaking)}
    )
    assert answer.status_code == 409, answer.text


def test_a_spike_of_2000_frames_is_absorbed_by_two_workers_and_lag_is_seen_falling(
    stack: Settings, tmp_path: Path
) -> None:
    boards(tmp_path, 40)
    succeed(stack, "send", tmp_path, "--camera", "e2e-spike-a", "--loop", "--count", "1000", seconds=300)
    succeed(stack, "send", tmp_path, "--camera", "e2e-spike-b", "--loop", "--count", "1000", seconds=300)
    lags = []
    for _ in range(300):
        flow = run(stack, "status", "--json").answer["flow"]
        lags.append(next(row["records"] for row in flow["lags"] if row["group"] == stack.stream.group))
        if lags[-1] == 0:
            break
        time.sleep(1)
    assert max(lags) > 100, f"the spike was never seen in the lag: {lags}"
    assert lags[-1] == 0, f"lag never fell to nothing: {lags}"
    assert any(0 < later < earlier for earlier, later in pairwise(lags)), f"lag was not seen falling: {lags}"
    assert_audit_closes(stack, "e2e-spike-a", stored=1000, wait=180)
    assert_audit_closes(stack, "e2e-spike-b", stored=1000, wait=180)


def test_two_workers_share_the_partitions(stack: Settings) -> None:
    workers = [row for row in run(stack, "status", "--json").answer["services"] if row["name"].startswith("stream-")]
    held = [
        int(float(line.split()[-1]))
        for worker in workers
        for line in httpx.get(worker["url"]).text.splitlines()
        if line.startswith("sightline_stream_partitions ")
    ]
    assert sorted(held) == [3, 3]
