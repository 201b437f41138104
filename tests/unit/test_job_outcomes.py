from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Rejected
from contracts.job_settings import JobSettings, Resources
from contracts.settings import Settings
from sightline_airflow import approval, replicas, scoring
from sightline_airflow.interval import interval_of
from sightline_airflow.outcome import Outcome, frames_named, outcome, words

START, END = datetime(2026, 11, 25, 8, tzinfo=UTC), datetime(2026, 11, 25, 9, tzinfo=UTC)
FORM: dict[str, Any] = {"since": None, "until": None, "cameras": None, "model": "champion", "only": "missing"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, Outcome.DONE), (65, Outcome.FAILED), (78, Outcome.FAILED), (99, Outcome.SKIPPED)]
    + [(code, Outcome.RETRIED) for code in (1, 2, 75, 137, 143, None)],
)
def test_an_exit_code_has_one_meaning(code: int | None, expected: Outcome) -> None:
    assert outcome(code) is expected


def test_a_message_names_the_frames_and_what_to_do() -> None:
    said = words("score", 65, result={"missing_objects": [f"frame-{place}" for place in range(25)]}, tail=["lost"])
    assert "frame-19" in said
    assert "frame-20" not in said
    assert "5 more" in said
    assert "sightline trace FRAME_ID" in said
    assert "clear the task" in said


def test_a_sink_that_does_not_run_is_no_fault_of_the_job() -> None:
    said = words("connectors", 1, tail=["frames_to_s3 | FAILED"])
    assert "frames_to_s3 | FAILED" in said
    assert "sightline connectors restart NAME" in said
    assert "fault of the job" not in said
    assert "fault of the job" in words("connectors", 2)
    assert "fault of the job" in words("check", 1)


def test_a_window_that_ends_with_99_has_changed_something() -> None:
    said = words("watch", 99)
    assert "it was rolled back, or somebody made another one champion" in said
    assert "nothing is changed" not in said
    assert "nothing is changed" in words("gate", 99)


def test_frames_are_named_by_lost_images_and_by_broken_rows() -> None:
    broken = [{"topic": "predictions", "key": ["f2", "m", "1"], "what": "x"}, {"topic": "frames", "key": ["f1"]}]
    assert frames_named({"missing_objects": ["f1"], "rows": broken}) == ["f1", "f2"]
    assert frames_named(None) == frames_named({"rows": 3}) == []


def test_a_scheduled_run_looks_a_day_back_and_leaves_young_frames() -> None:
    wanted = scoring.asked(FORM, start=START, end=END)
    assert (wanted.since, wanted.until, wanted.is_explicit) == (START - timedelta(hours=24), END, False)
    chosen = wanted.selection("m", run_id="r", version="1")
    assert chosen.captured_before == END - timedelta(minutes=15)


def test_a_range_that_a_person_names_is_taken_as_it_is() -> None:
    form = FORM | {"since": "2026-11-20T08:00:00", "until": "2026-11-20T10:00:00+01:00", "cameras": ["line-1"]}
    wanted = scoring.asked(form, start=START, end=END)
    assert (wanted.since.hour, wanted.until, wanted.cameras) == (8, datetime(2026, 11, 20, 9, tzinfo=UTC), ("line-1",))
    assert wanted.selection("m", run_id="r", version=None).captured_before is None


@pytest.mark.parametrize(
    "form",
    [{"since": "2026-11-20T08:00:00"}, {"since": "2026-11-20", "until": "2026-11-20"}, {"since": "x", "until": "y"}],
    ids=["half", "empty", "no-time"],
)
def test_a_range_that_is_none_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        scoring.asked(FORM | form, start=START, end=END)


DONE = {"scored": 90, "already": 10, "missing": 2}


@pytest.mark.parametrize(
    ("written", "remaining", "is_stored"),
    [
        (99, 3, False),  # the sink is behind
        (100, 2, True),
        (100, 40, True),  # frames that came during the run are not this run's
        (60, 2, True),  # the stream scored forty of them too, whose rows name this run no longer
        (60, 1, True),  # a lost image came back
        (99, 40, False),
    ],
)
def test_what_is_stored_names_the_run_or_is_no_longer_outstanding(
    written: int, remaining: int, is_stored: bool
) -> None:
    assert scoring.is_stored(DONE, written=written, remaining=remaining) is is_stored


def test_the_shards_of_a_run_are_counted_together() -> None:
    first = {"scored": 5, "already": 3, "missing": 0, "seconds": 1.0, "version": "2"}
    second = {"scored": 3, "missing": 1, "missing_objects": ["f"], "seconds": 3.0, "version": "2"}
    done = scoring.summary([first, None, second])
    assert (done["scored"], done["already"], done["missing"], done["missing_objects"]) == (8, 3, 1, ["f"])
    assert (done["shards"], done["version"], done["frames_per_second"]) == (2, "2", 2.0)


def test_a_run_without_an_interval_is_about_the_time_before_its_start() -> None:
    class Run:
        run_after = END

    assert interval_of({"dag_run": Run()}, length=timedelta(hours=1)) == (START, END)
    times = {"data_interval_start": START, "data_interval_end": END}
    assert interval_of(times, length=timedelta(days=1)) == (START, END)


@pytest.mark.parametrize("waited", [timedelta(), timedelta(minutes=5)])
def test_who_lags_behind_is_named(waited: timedelta) -> None:
    rows = [("a", "api", "2", "serving", None), ("b", "stream", "1", "serving", None)]
    assert replicas.lagging(rows, "2", waited=waited) == ["stream b serves 1"]
    assert replicas.lagging(rows[:1], "2", waited=waited) == []
    assert replicas.lagging([], "2", waited=waited) != []


def test_a_refusal_ends_the_wait_only_when_it_cannot_be_of_the_version_before() -> None:
    rows = [("c", "api", "1", "refused", "golden outputs differ")]
    [late] = replicas.lagging(rows, "2", waited=timedelta(seconds=5))
    assert "golden outputs differ" in late
    with pytest.raises(Rejected, match="api c refuses version 2: golden outputs differ"):
        replicas.lagging(rows, "2", waited=replicas.SETTLING)


def test_a_class_that_nothing_is_known_of_is_shown_as_such() -> None:
    row = {"label": "spur", "labels": 0, "ap50_95": None, "recall": 0.5, "precision": float("nan"), "ece": 0.1}
    table = approval.comparison({"candidate": [row], "champion": None})
    assert table.splitlines()[-1] == "| spur | 0 | - | 0.500 | - | 0.100 |"


def test_nobody_is_asked_where_no_approver_is_named() -> None:
    assert [one["id"] for one in approval.approvers(Settings())] == ["nobody"]


def test_training_runs_where_torch_is_or_where_its_lack_is_told(tmp_path: Path) -> None:
    jobs = JobSettings(folder=tmp_path)
    assert jobs.train_interpreter == jobs.interpreter == "python3"
    own = tmp_path / ".venv-train" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    assert (jobs.train_interpreter, jobs.interpreter) == (str(own), "python3")
    assert JobSettings(folder=tmp_path, train_python="/opt/train/python").train_interpreter == "/opt/train/python"


def test_a_job_gets_what_its_row_says_else_what_all_get() -> None:
    jobs = JobSettings(cpu="2", resources={"score": Resources(cpu="4", memory="8Gi")})
    assert jobs.resources_of("score") == Resources(cpu="4", memory="8Gi")
    assert jobs.resources_of("check") == Resources(cpu="2", memory="2Gi")
