"""The watch window, on a real ledger, real predictions and the real routes: each cause, too little, enough."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from contracts.errors import Rejected
from contracts.settings import Settings
from inference.api.routes import models
from inference.batch import watch
from inference.domain.review import LabelledBox, Review, Verdict
from inference.persistence import connect, reviews
from tests.support.api import an_app, as_
from tests.support.evaluations import A_GATE
from tests.support.jobs import an_api, run_job
from tests.support.models import aliases, champion
from tests.support.rows import a_frame, a_prediction, upsert

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn

FRAMES = 6
ENOUGH = {"frames = 500": "frames = 6", "minutes = 10": "minutes = 0", "min_reviews = 30": "min_reviews = 2"}


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(an_app(settings, models.router), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def promotion(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> int:
    """Version 2 instead of 1; frames of the last ten minutes count as captured after it."""
    monkeypatch.setattr(watch, "SETTLING", timedelta(minutes=-10))
    monkeypatch.setattr(watch, "Api", partial(an_api, client))
    answer = client.post("/v1/models/2/promote", json={"reason": "better"}, headers=as_("approver"))
    return int(answer.json()["id"])


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    text = A_GATE
    for given, wanted in ENOUGH.items():
        text = text.replace(given, wanted)
    file = tmp_path / "gate.toml"
    file.write_text(text)
    return file


def saw(settings: Settings, version: str, frames: list[dict[str, Any]], **changes: Any) -> None:
    role = "champion" if version == "2" else "challenger"
    of = {"model_name": settings.mlflow.model_name, "model_version": version, "role": role}
    with connect(settings) as connection:
        for frame in frames:
            upsert(connection, "predictions", a_prediction(frame["frame_id"], **of | changes))


def captured(settings: Settings, count: int = FRAMES) -> list[dict[str, Any]]:
    frames = [a_frame(sequence=number) for number in range(count)]
    with connect(settings) as connection:
        for frame in frames:
            upsert(connection, "frames", frame)
    return frames


def watched(settings: Settings, promotion: int, gate: Path, *more: str) -> tuple[dict[str, Any], int]:
    options = ("--promotion", str(promotion), "--gate", str(gate), "--max-extensions", "1", "--poll-seconds", "0.1")
    return run_job("watch", settings, *options, *more)


def test_a_champion_with_which_all_is_well_is_kept(settings: Settings, promotion: int, gate: Path) -> None:
    frames = captured(settings)
    saw(settings, "1", frames)
    saw(settings, "2", frames)
    said, code = watched(settings, promotion, gate)
    assert (code, said["outcome"], said["causes"]) == (0, "kept", [])
    assert said["lacking"] == ["0 of 2 reviews"]
    assert said["figures"]["frames"] == said["figures"]["compared_frames"] == FRAMES
    assert (said["figures"]["agreement"], said["figures"]["p99_ms"]) == (1.0, 300.0)
    assert champion(settings) == "2"
    assert "challenger" not in aliases(settings)  # the shadow has gone


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"status": "undecodable", "labels": [], "confidences": [], "boxes": []}, "6 of 6 frames failed"),
        ({"latency_ms": 2500.0}, "p99 latency 2500 ms"),
        ({"labels": ["spur", "spur"]}, "agreement with the previous champion 0.000"),
        ({"labels": [], "confidences": [], "boxes": []}, "0.00 detections per frame"),
    ],
)
def test_each_cause_rolls_back_in_the_windows_own_name(
    settings: Settings, client: TestClient, promotion: int, gate: Path, changes: dict[str, Any], cause: str
) -> None:
    frames = captured(settings)
    saw(settings, "1", frames)
    saw(settings, "2", frames, **changes)
    said, code = watched(settings, promotion, gate)
    assert (code, said["outcome"]) == (99, "rolled_back")
    assert any(one.startswith(cause) for one in said["causes"])
    assert champion(settings) == "1"
    row = client.get("/v1/promotions", headers=as_("viewer")).json()["items"][0]
    assert (row["version"], row["approved_by"], row["approved_by_name"]) == ("1", "watch_window", None)
    assert cause in row["reason"]
    again, code = watched(settings, promotion, gate)  # started again after a kill: found in the ledger
    assert (code, again["outcome"], again["causes"]) == (99, "rolled_back", [row["reason"]])


def test_frames_that_it_passed_over_are_failures_and_those_still_to_come_are_not(
    settings: Settings, promotion: int, gate: Path
) -> None:
    frames = captured(settings, FRAMES + 2)
    saw(settings, "1", frames)
    # The first was the previous champion's, the fourth is missing, the last one is not reached yet.
    saw(settings, "2", [*frames[1:3], *frames[4:-1]])
    said, code = watched(settings, promotion, gate)
    assert (code, said["causes"]) == (99, ["1 of 6 frames failed: 16.67%, at most 1.00%"])


def test_reviews_that_find_its_boxes_wrong_roll_back(settings: Settings, promotion: int, gate: Path) -> None:
    frames = captured(settings)
    boxes = {"labels": ["open", "short"], "boxes": [1.0, 2.0, 30.0, 40.0, 5.0, 6.0, 17.0, 18.0]}
    saw(settings, "1", frames, **boxes)
    saw(settings, "2", frames, **boxes)
    right = LabelledBox(label="open", box=(1, 2, 30, 40))
    with connect(settings) as connection:
        for frame, verdict, found in ((frames[0], Verdict.CORRECTED, (right,)), (frames[1], Verdict.EMPTY, ())):
            said = Review(frame_id=frame["frame_id"], reviewer="ann", reviewer_name="ann", verdict=verdict, boxes=found)
            reviews.save(connection, said)
    result, code = watched(settings, promotion, gate)
    assert (code, result["causes"]) == (99, ["precision 0.250 by 2 reviews, floor 0.800"])


def test_too_few_frames_extend_the_window_and_leave_it_open(settings: Settings, promotion: int, gate: Path) -> None:
    frames = captured(settings, FRAMES - 1)
    saw(settings, "1", frames)
    saw(settings, "2", frames, latency_ms=9999.0)
    told: list[str] = []
    options = ("--promotion", str(promotion), "--gate", str(gate), "--max-extensions", "2")
    said, code = run_job("watch", settings, *options, say=told.append)
    assert (code, said["outcome"], said["extensions"]) == (75, "open", 2)
    assert "5 of 6 frames" in said["lacking"]
    assert sum("extended" in line for line in told) == 2
    assert champion(settings) == "2"
    assert aliases(settings)["challenger"] == "1"  # the shadow goes on


def test_without_the_previous_champion_beside_it_nothing_is_passed(
    settings: Settings, promotion: int, gate: Path
) -> None:
    saw(settings, "2", captured(settings))
    said, code = watched(settings, promotion, gate)
    assert (code, said["outcome"]) == (75, "open")
    assert "0 of 6 frames that the previous champion saw too" in said["lacking"]


def test_another_champion_ends_the_window(settings: Settings, client: TestClient, promotion: int, gate: Path) -> None:
    assert client.post("/v1/models/2/rollback", json={"reason": "no"}, headers=as_("approver")).status_code == 200
    said, code = watched(settings, promotion, gate)
    assert (code, said["outcome"], said["champion"]) == (99, "superseded", "1")


def test_another_challenger_is_left_alone(settings: Settings, client: TestClient, promotion: int, gate: Path) -> None:
    assert client.post("/v1/models/3/challenger", headers=as_("scientist")).status_code == 200
    told: list[str] = []
    run_job("watch", settings, "--promotion", str(promotion), "--gate", str(gate), say=told.append)
    assert aliases(settings)["challenger"] == "3"
    assert "version 3 is challenger" in told[0]


def test_a_promotion_that_cannot_be_watched_is_rejected(settings: Settings, promotion: int, gate: Path) -> None:
    with pytest.raises(Rejected, match="sightline model history") as unknown:
        watched(settings, 99, gate)
    assert unknown.value.code == "unknown_promotion"
    with pytest.raises(Rejected) as first:
        watched(settings, promotion - 1, gate)
    assert first.value.code == "no_previous_champion"
