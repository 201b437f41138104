"""The batch side on the real stack: what the stream missed is filled by a run of `score_frames`, and once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.settings import Settings
from tests.support.airflow import Visitor, visitor, wait_for_dags
from tests.support.stack import running_stack
from tests.support.unscored import assert_audit_closes, form_of, predictions_of, send, standing_still
from tests.support.waiting import eventually

FRAMES = 500
IN_RANGE = 480  # the rest is the stream's
SHARD = 240
RUN_SECONDS = 300
AFTER_PLAN = ("score", "wait_until_stored", "check", "report")


@pytest.fixture(scope="module")
def jobs() -> Iterator[Settings]:
    with running_stack(profile="full", airflow=True) as settings:
        yield settings


@pytest.fixture(scope="module")
def operator(jobs: Settings) -> Visitor:
    """With the DAG running: its hourly run, which leaves young frames to the stream, comes along."""
    someone = visitor(jobs, "operator")
    wait_for_dags(someone, ["score_frames"])
    someone.unpause("score_frames")
    return someone


def test_the_page_says_what_the_dag_is_for_whose_it_is_and_what_its_form_asks(operator: Visitor) -> None:
    page = operator.said("/dags/score_frames/details")
    assert {tag["name"] for tag in page["tags"]} == {"batch", "frames"}
    assert page["owners"] == ["platform"]
    assert page["timetable_summary"] == "0 * * * *"
    written = (Path(__file__).parents[2] / "dags/score_frames.py").read_text()
    assert page["doc_md"].splitlines()[0] in written
    assert "**When it fails.**" in page["doc_md"]
    form = page["params"]
    assert set(form) == {"since", "until", "cameras", "model", "only", "shard"}
    assert all(field["description"] and field["schema"]["title"] for field in form.values()), form
    assert form["only"]["schema"]["enum"] == ["missing", "all"]
    assert operator.said("/importErrors")["import_errors"] == []


def test_what_the_stream_missed_is_filled_once_whoever_comes_back(jobs: Settings, operator: Visitor) -> None:
    camera = "outage"
    with standing_still(jobs) as workers:
        frames = send(jobs, camera, FRAMES)
        wanted = frames[:IN_RANGE]
        form = form_of(camera, wanted, shard=SHARD)
        assert predictions_of(jobs, camera) == []

        run = operator.start("score_frames", form)
        assert operator.wait(run, seconds=RUN_SECONDS) == "success"
        assert operator.tasks(run) == {"plan": ["success"], "score": ["success"] * 2} | {
            task: ["success"] for task in AFTER_PLAN[1:]
        }
        report = operator.xcom(run, "report")
        assert (report["shards"], report["scored"], report["already"], report["missing"]) == (2, IN_RANGE, 0, 0)
        assert report["frames_per_second"] > 0
        for index in range(2):
            assert f"{SHARD} of {SHARD} frames" in operator.log(run, "score", index=index)
        assert f"{IN_RANGE} frames in 2 jobs" in operator.log(run, "report")
        filled = predictions_of(jobs, camera)
        assert [row["frame_id"] for row in filled] == [frame["frame_id"] for frame in wanted]
        assert {(row["role"], row["run_id"], row["model_version"]) for row in filled} == {
            ("batch", run.run_id, report["version"])
        }
        assert any(row["labels"] for row in filled)

        again = operator.start("score_frames", form)
        assert operator.wait(again, seconds=RUN_SECONDS) == "success"
        assert operator.tasks(again) == {"plan": ["success"]} | {task: ["skipped"] for task in AFTER_PLAN}
        assert predictions_of(jobs, camera) == filled

        workers.start()
        eventually(
            lambda: [row["role"] for row in predictions_of(jobs, camera)] == ["champion"] * FRAMES, seconds=180, every=1
        )
    after = predictions_of(jobs, camera)
    assert [row["frame_id"] for row in after] == [frame["frame_id"] for frame in frames]
    assert {row["model_version"] for row in after} == {report["version"]}
    assert [row["labels"] for row in after[:IN_RANGE]] == [row["labels"] for row in filled]
    assert_audit_closes(jobs, camera, stored=FRAMES)
