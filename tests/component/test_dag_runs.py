"""The DAGs run by Airflow, with a real Postgres: what is planned, what waits, what an approval brings about.

The jobs themselves are pretended (tests/support/pretend_job.py): they have tests of their own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from contracts.settings import Settings
from tests.support.airflow_environment import ROOT, inside
from tests.support.postgres import postgres_server
from tests.support.rows import a_frame, a_prediction, upsert

VERDICT = {
    "model": "pcb-defects",
    "version": "2",
    "champion_version": "1",
    "verdict": "pass",
    "reasons": ["mAP50-95 0.61 is 0.02 above the champion's"],
    "figures": {
        "dataset": "60 simulated boards",
        "latency": {"engine": "openvino", "threads": 1, "median_ms": 11.5},
        "candidate": [{"label": "all", "labels": 300, "ap50_95": 0.61, "recall": 0.9, "precision": 0.9, "ece": 0.05}],
        "champion": [{"label": "all", "labels": 300, "ap50_95": 0.59, "recall": 0.9, "precision": 0.9, "ece": 0.05}],
    },
}
EVALUATED = {"run": "3f", "digest": "ab" * 32, "version": "2"}
PASSES = {
    "model gate": [0, EVALUATED],
    "model gate --run": [0, VERDICT],
    "model promote": [0, {"id": 5, "version": "2"}],
    "watch": [0, {"outcome": "kept"}],
}


class World:
    """A database, an Airflow home, and what the jobs are to say."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.answers = folder / "answers.json"
        self.notes = folder / "notes"
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{ROOT}/tests/support/pretend_job.py" "$@"\n')
        self.python.chmod(0o755)

    def run(
        self,
        dag: str,
        conf: dict[str, Any],
        *,
        jobs: dict[str, Any],
        answer: str = "none",
        seconds: float = 150,
        **more: str,
    ) -> Any:
        self.answers.write_text(json.dumps(jobs))
        self.notes.write_text("")
        ended = inside(self.folder, "run_dag.py", dag, json.dumps(conf), answer, environment=self._environment() | more)
        assert "RAN" in ended.stdout, ended.stdout[-6000:] + ended.stderr[-6000:]
        said = json.loads(ended.stdout.rpartition("RAN")[2].splitlines()[0])
        said["jobs"] = [json.loads(line) for line in self.notes.read_text().splitlines()]
        said["output"] = ended.stdout + ended.stderr
        return said

    def prepare(self) -> None:
        for words in (("db", "migrate"), ("pools", "set", "gpu", "2", "of the test")):
            ended = inside(self.folder, "-m", "airflow", *words, environment=self._environment())
            assert ended.returncode == 0, ended.stdout + ended.stderr

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.settings.postgres.conninfo, autocommit=True)

    def _environment(self) -> dict[str, str]:
        postgres = self.settings.postgres
        password = postgres.password.get_secret_value()
        connection = {
            "conn_type": "postgres", "host": postgres.host, "port": postgres.port, "login": postgres.user,
            "password": password, "schema": postgres.database,
        }  # fmt: skip
        return {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.folder}/airflow/airflow.db",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW_CONN_SIGHTLINE_POSTGRES": json.dumps(connection),
            "SIGHTLINE_POSTGRES__PORT": str(postgres.port),
            "SIGHTLINE_POSTGRES__DATABASE": postgres.database,
            "SIGHTLINE_POSTGRES__PASSWORD": password,
            "SIGHTLINE_JOBS__PYTHON": str(self.python),
            "SIGHTLINE_JOBS__FOLDER": str(ROOT),
            "SIGHTLINE_JOBS__APPROVERS": '[["Anonymous", "ada"]]',
            "NOTES": str(self.notes),
            "ANSWERS": str(self.answers),
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with postgres_server() as server:
        made = World(tmp_path_factory.mktemp("dags"), server.new_database(migrated=True))
        made.prepare()
        with made.connect() as connection:
            connection.execute(
                "INSERT INTO promotions (model, alias, version, state, requested_at, done_at, approved_by, reason)"
                " VALUES ('pcb-defects', 'champion', '1', 'done', now() - interval '9 days', now() - interval '9 days',"
                " 'bootstrap', 'first')"
            )
        yield made


@pytest.fixture
def served(world: World) -> Callable[[str], None]:
    """Has one process serve this version."""

    def now_serving(version: str) -> None:
        with world.connect() as connection:
            connection.execute("DELETE FROM serving")
            connection.execute(
                "INSERT INTO serving (instance, kind, model, version, state, engine, started_at, updated_at)"
                " VALUES ('a', 'stream', 'pcb-defects', %s, 'serving', 'fake', now(), now() AT TIME ZONE 'UTC' + interval '1 hour')",
                (version,),
            )

    return now_serving


def frames(world: World, number: int, *, day: datetime) -> list[str]:
    rows = [a_frame(sequence=place, captured_at=day + timedelta(seconds=place)) for place in range(number)]
    with world.connect() as connection:
        for row in rows:
            upsert(connection, "frames", row)
    return [row["frame_id"] for row in rows]


def whole_day(day: datetime) -> dict[str, Any]:
    return {"since": day.isoformat(), "until": (day + timedelta(hours=1)).isoformat()}


def test_a_range_is_cut_into_shards_scored_stored_and_checked(world: World) -> None:
    day = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
    made = frames(world, 5, day=day)
    with world.connect() as connection:
        upsert(connection, "predictions", a_prediction(made[0]))  # scored already, by the champion
    said = world.run("score_frames", {**whole_day(day), "shard": 2}, jobs={})
    assert {name: state for name, (state, _) in said["tasks"].items()} == {
        "plan": "success", "score0": "success", "score1": "success", "wait_until_stored": "success",
        "check": "success", "report": "success",
    }  # fmt: skip
    shards = sorted(words for job, words in said["jobs"] if job == "score")
    assert [[words[words.index(one) + 1] for one in ("--first", "--last")] for words in shards] == [
        made[1:3], made[3:5],
    ]  # fmt: skip
    assert all("--explicit" in words and words[words.index("--version") + 1] == "1" for words in shards)
    [check] = [words for job, words in said["jobs"] if job == "check"]
    assert check[check.index("--run-id") + 1] == said["run_id"]
    assert check[check.index("--since") + 1] == day.isoformat()
    report = (
        json.loads(said["results"]["report"])
        if isinstance(said["results"]["report"], str)
        else said["results"]["report"]
    )
    assert (report["scored"], report["shards"], report["frames_per_second"]) == (4, 2, 4.0)


def test_a_single_shard_is_waited_for_and_reported_too(world: World) -> None:
    day = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=4)
    frames(world, 3, day=day)
    said = world.run("score_frames", whole_day(day), jobs={})
    assert said["tasks"]["report"] == ["success", 1]
    report = said["results"]["report"]
    report = json.loads(report) if isinstance(report, str) else report
    assert (report["scored"], report["shards"], report["version"]) == (3, 1, "1")


def test_a_run_whose_rows_another_run_replaced_is_stored_all_the_same(world: World) -> None:
    day = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=6)
    frames(world, 3, day=day)
    form = {**whole_day(day), "only": "all", "model": "3"}
    said = world.run("score_frames", form, jobs={}, REPLACED="another")
    assert {state for state, _ in said["tasks"].values()} == {"success"}, said["output"][-3000:]


def test_an_alias_that_the_plan_cannot_ask_for_reaches_no_job(world: World) -> None:
    day = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=7)
    frames(world, 3, day=day)
    said = world.run("score_frames", {**whole_day(day), "model": "previous_champion"}, jobs={})  # there is no API
    assert said["tasks"]["plan"][0] != "success"
    assert said["jobs"] == []


def test_an_empty_range_has_nothing_to_do(world: World) -> None:
    day = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=5)
    said = world.run("score_frames", whole_day(day), jobs={})
    states = {name: state for name, (state, _) in said["tasks"].items()}
    assert states.pop("plan") == "success"
    assert set(states.values()) == {"skipped"}
    assert said["jobs"] == []
    assert "no frame in this range needs scoring: nothing to do" in said["output"]


@pytest.mark.parametrize(
    "dag",
    [
        "score_frames", "promote_model", "train_model", "check_contracts", "report_drift", "expire_frames",
        "watch_connectors",
    ],
)  # fmt: skip
def test_a_misspelt_key_fails_the_first_task_at_once_and_runs_no_job(world: World, dag: str) -> None:
    said = world.run(dag, {"onyl": "all"}, jobs=PASSES)
    assert [first for first in said["tasks"].values() if first[0] == "failed"] == [["failed", 1]], said["output"][
        -3000:
    ]
    assert {state for state, _ in said["tasks"].values()} <= {"failed", "upstream_failed"}
    assert said["jobs"] == []
    assert f"{dag} has no parameter 'onyl': it takes" in said["output"]


def test_half_a_range_is_refused_at_once(world: World) -> None:
    said = world.run("score_frames", {"since": "2026-11-20T08:00:00+00:00"}, jobs={})
    assert said["tasks"]["plan"] == ["failed", 1]
    assert "fill in both" in said["output"]


def test_what_a_person_approves_is_promoted_in_that_persons_name(world: World, served: Callable[[str], None]) -> None:
    served("2")
    said = world.run("promote_model", {"boards": 60}, jobs=PASSES, answer="Approve")
    assert {state for state, _ in said["tasks"].values()} == {"success"}, said["tasks"]
    words = dict(said["jobs"])
    promoted = words["model promote"]
    assert promoted[promoted.index("--on-behalf-of-id") + 1] == "Anonymous"
    assert words["watch"][words["watch"].index("--promotion") + 1] == "5"
    request, status = said["said"]
    assert status == 200
    assert "Make version 2 the champion?" in request["subject"]
    assert "| all | 300 | 0.610 (+0.020) |" in request["body"]
    assert "/#/models/pcb-defects/versions/2" in request["body"]


def test_a_rejection_changes_nothing(world: World) -> None:
    said = world.run("promote_model", {}, jobs=PASSES, answer="Reject")
    states = {name: state for name, (state, _) in said["tasks"].items()}
    assert states["approve"] == "success"
    assert {states[name] for name in ("promote", "wait_until_served", "watch")} == {"skipped"}
    assert [job for job, _ in said["jobs"]] == ["model gate", "model gate"]


def test_a_worse_challenger_is_held_and_nobody_is_asked(world: World) -> None:
    said = world.run("promote_model", {}, jobs=PASSES | {"model gate --run": [99, VERDICT]})
    states = {name: state for name, (state, _) in said["tasks"].items()}
    assert states.pop("evaluate") == "success"
    assert set(states.values()) == {"skipped"}
    assert f"gate of {said['run_id']}: exit code 99. The answer is hold: nothing is changed" in said["output"]


def test_a_window_that_rolled_back_is_a_skip_that_is_told(world: World, served: Callable[[str], None]) -> None:
    served("2")
    said = world.run("promote_model", {}, jobs=PASSES | {"watch": [99, {"outcome": "rolled_back"}]}, answer="Approve")
    assert said["tasks"]["watch"][0] == "skipped"
    assert f"watch of {said['run_id']}: exit code 99. The version is champion no more" in said["output"]
    assert "nothing is changed" not in said["output"]


@pytest.mark.parametrize(
    ("dag", "conf", "job", "option", "value"),
    [
        ("check_contracts", {"since": "2026-11-20T08:00:00+00:00"}, "check", "--since", "2026-11-20T08:00:00+00:00"),
        ("report_drift", {"day": "2026-11-20"}, "drift", "--day", "2026-11-20"),
        ("expire_frames", {"days_of": {"line-1": 3}}, "expire", "--camera", "line-1"),
        ("watch_connectors", {}, "connectors status", "-m", "sightline.cli"),
    ],
)
def test_a_small_dag_runs_its_job(
    world: World, dag: str, conf: dict[str, Any], job: str, option: str, value: str
) -> None:
    said = world.run(dag, conf, jobs={})
    assert {state for state, _ in said["tasks"].values()} == {"success"}, said["output"][-3000:]
    name, words = said["jobs"][0]
    assert name == job
    assert words[words.index(option) + 1] == value


def test_a_training_goes_from_labels_to_a_delivery(world: World) -> None:
    said = world.run("train_model", {"minutes": 1}, jobs={"export-labels": [0, {"digest": "ab" * 32}]})
    assert {state for state, _ in said["tasks"].values()} == {"success"}, said["output"][-3000:]
    assert [job for job, _ in said["jobs"]] == [
        "export-labels",
        "fetch-labels",
        "model train",
        "model export",
        "model deliver",
    ]
    words = dict(said["jobs"])
    folder = words["fetch-labels"][words["fetch-labels"].index("--into") + 1]
    assert words["model train"][words["model train"].index("--labelled") + 1] == folder
    assert words["model deliver"][4] == words["model export"][words["model export"].index("--out") + 1]
