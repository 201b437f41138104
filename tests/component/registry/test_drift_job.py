"""The daily drift report on a real Postgres, object store and MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from contracts.errors import Misconfigured, Rejected
from contracts.settings import ReviewSettings, Settings
from inference.domain.review import Purpose
from inference.domain.split import TRAIN, part_of
from inference.persistence import connect
from inference.persistence.objects import FrameStore
from inference.persistence.review_queue import claim
from inference.registry import drift_record, mlflow_client
from tests.support.images import jpeg
from tests.support.jobs import run_job
from tests.support.model_store import register
from tests.support.object_store import ObjectStoreServer, object_store
from tests.support.rows import SESSION_ID, Row, a_frame, a_prediction, upsert

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn

TODAY = datetime.now(UTC).date()
FRAMES = 60


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStoreServer]:
    with object_store() as server:
        yield server


@pytest.fixture
def settings(empty: Settings, s3: ObjectStoreServer) -> Settings:
    """One version, champion since noon five days ago."""
    settings = empty.model_copy(update={"s3": s3.settings})
    version = register(settings)
    at = datetime.combine(TODAY - timedelta(days=5), datetime.min.time()) + timedelta(hours=12)
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO promotions (model, alias, version, state, done_at, approved_by, reason)"
            " VALUES (%s, 'champion', %s, 'done', %s, 'bootstrap', 'first')",
            (settings.mlflow.model_name, version, at),
        )
    return settings


@pytest.fixture
def captured(settings: Settings) -> Callable[..., list[Row]]:
    """Frames of a day, and what the champion saw in them."""

    def made(days_ago: int, *, shade: int = 90, count: int = FRAMES, **predicted: Any) -> list[Row]:
        midnight = datetime.combine(TODAY - timedelta(days=days_ago), datetime.min.time(), UTC)
        store = FrameStore(settings.s3)
        rows = []
        with connect(settings) as connection:
            for number in range(count):
                image = jpeg(shade=shade + number % 10)
                at = midnight + timedelta(minutes=number)
                row = a_frame(image, captured_at=at, sequence=number + 1000 * days_ago)
                seen = {"model_name": settings.mlflow.model_name, "boxes": [1.0, 2.0, 30.0, 40.0, 5.0, 6.0, 17.0, 18.0]}
                upsert(connection, "frames", row)
                upsert(connection, "predictions", a_prediction(row["frame_id"], **seen | predicted))
                store.put(row["object_key"], image, content_type="image/jpeg", metadata={})
                rows.append(row)
        store.close()
        return rows

    return made


def reported(settings: Settings, days_ago: int, *more: str) -> dict[str, Any]:
    result, code = run_job("drift", settings, "--day", (TODAY - timedelta(days=days_ago)).isoformat(), *more)
    assert code == 0
    return result


def test_a_day_like_the_reference_has_not_drifted_and_the_reference_is_kept(
    settings: Settings, captured: Callable[..., list[Row]], tmp_path: Path
) -> None:
    captured(4)
    captured(3)
    said = reported(settings, 3)
    assert (said["compared"], said["reference_made"]) == (True, True)
    assert said["reference"] == (TODAY - timedelta(days=4)).isoformat()
    assert set(said["psi"]) == {"brightness", "sharpness", "box_size", "confidence", "label"}
    assert (said["shifted"], said["marked"], said["images"]) == ([], [], FRAMES)
    client = mlflow_client.connect(settings)
    run_id = client.get_model_version(settings.mlflow.model_name, "1").run_id
    file = client.download_artifacts(run_id, drift_record.REFERENCE, str(tmp_path))
    assert json.loads(Path(file).read_text())["version"] == "1"
    assert reported(settings, 3)["reference_made"] is False


def test_a_darker_day_is_told_drawn_and_its_frames_go_first_in_the_queue(
    settings: Settings, captured: Callable[..., list[Row]]
) -> None:
    captured(4)
    dark = {row["frame_id"]: row for row in captured(2, shade=10, labels=["spur", "spur"])}
    said = reported(settings, 2, "--mark", "5")
    assert {"brightness", "label"} <= set(said["shifted"])
    assert said["psi"]["brightness"] > 1
    assert len(said["marked"]) == said["newly_marked"] == 5
    assert all(part_of("line-1", SESSION_ID, dark[frame_id]["sequence"]) == TRAIN for frame_id in said["marked"])
    client = mlflow_client.connect(settings)
    run = client.get_run(said["run"])
    assert run.data.metrics["psi/brightness"] == pytest.approx(said["psi"]["brightness"], abs=1e-4)
    assert {one.path for one in client.list_artifacts(said["run"])} == {
        "report.json", *(f"{name}.png" for name in said["psi"]),
    }  # fmt: skip
    captured(1)  # newer frames, which would come first otherwise
    with connect(settings) as connection:
        asked = {"reviewer": "ann", "purpose": Purpose.QUEUE, "count": 5, "model": settings.mlflow.model_name}
        claims = claim(connection, ReviewSettings(), **asked, random=Random(1))
    assert {one.frame_id for one in claims} == set(said["marked"])


def test_reported_again_a_day_is_the_same_run_and_marks_nothing_twice(
    settings: Settings, captured: Callable[..., list[Row]]
) -> None:
    captured(4)
    captured(3, shade=200)
    first, again = reported(settings, 3), reported(settings, 3)
    assert again["run"] == first["run"]
    assert (again["psi"], again["marked"], again["newly_marked"]) == (first["psi"], first["marked"], 0)


def test_without_a_full_day_since_the_promotion_there_is_nothing_to_compare(
    settings: Settings, captured: Callable[..., list[Row]]
) -> None:
    captured(5)
    said = reported(settings, 5)
    assert (said["compared"], said["reference"]) == (False, None)
    captured(0)
    assert reported(settings, 0)["compared"] is False  # the day is not over


def test_a_day_with_too_few_frames_is_no_reference_and_is_not_compared(
    settings: Settings, captured: Callable[..., list[Row]]
) -> None:
    captured(4, count=49)
    captured(3)
    captured(2, count=49)
    assert reported(settings, 4)["reference"] is None
    said = reported(settings, 2)
    assert (said["reference"], said["compared"]) == ((TODAY - timedelta(days=3)).isoformat(), False)
    assert said["why"] == "fewer than 50 frames"


def test_images_that_are_gone_are_counted_and_the_rest_is_compared(
    settings: Settings, captured: Callable[..., list[Row]]
) -> None:
    captured(4)
    rows = captured(3)
    FrameStore(settings.s3).delete(rows[0]["object_key"])
    said = reported(settings, 3)
    assert (said["images"], said["images_missing"]) == (FRAMES - 1, 1)


def test_a_day_without_a_champion_is_rejected_and_a_damaged_reference_named(
    settings: Settings, captured: Callable[..., list[Row]]
) -> None:
    with pytest.raises(Rejected, match="give a later --day"):
        reported(settings, 9)
    captured(4)
    client = mlflow_client.connect(settings)
    client.log_text(client.get_model_version(settings.mlflow.model_name, "1").run_id, "{}", drift_record.REFERENCE)
    with pytest.raises(Misconfigured, match="it is made again"):
        reported(settings, 4)
