from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables import trigger
from airflow.timetables.base import TimeRestriction

from sightline_airflow.jobs import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "dags"
DOCUMENTED = (ROOT / "docs" / "dags.md").read_text("utf-8")
FILES = sorted(DAGS.glob("*.py"))
EXPECTED = {
    "score_frames", "promote_model", "train_model", "check_contracts", "report_drift", "expire_frames",
    "watch_connectors",
}  # fmt: skip
HEAVY = {
    "torch",
    "mlflow",
    "pandas",
    "pandera",
    "psycopg",
    "psycopg2",
    "boto3",
    "numpy",
    "confluent_kafka",
    "kubernetes",
}
TIMETABLES = {"CronDataIntervalTimetable", "CronTriggerTimetable", "AssetTriggeredTimetable", "NullTimetable"}
MOST_SECONDS = 1.0  # of computing, beyond Airflow's own imports

# Imports one DAG file with Airflow there already, and says what that took and did.
PROBE = """
import importlib.util, json, sys, time
import airflow.sdk, airflow.triggers.base, airflow.providers.standard.operators.hitl
import airflow.providers.standard.decorators.sensor, airflow.providers.standard.decorators.python
airflow.sdk.task, airflow.sdk.Param, airflow.sdk.Asset, airflow.sdk.CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException
did = []
def watch(event, arguments):
    if event in ("socket.connect", "subprocess.Popen", "sqlite3.connect", "os.system", "os.fork"):
        did.append(f"{event} {arguments[:1]}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if "__pycache__" not in str(arguments[0]):
            did.append(f"writes {arguments[0]}")
before = set(sys.modules)
sys.addaudithook(watch)
began = time.process_time()
spec = importlib.util.spec_from_file_location("probed", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
took = time.process_time() - began
print("PROBED" + json.dumps({"seconds": took, "modules": sorted(set(sys.modules) - before), "did": did}))
"""


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(str(DAGS))


def test_every_dag_is_imported_without_an_error(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == EXPECTED


def test_a_file_is_called_as_its_dag(bag: DagBag) -> None:
    assert {file.stem for file in FILES} == EXPECTED
    assert all(Path(dag.fileloc).stem == dag.dag_id for dag in bag.dags.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_light_and_only_wires(file: Path) -> None:
    """A second of computing at most, none of the libraries that jobs need, nothing asked and nothing written."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    ended = subprocess.run([sys.executable, "-P", "-c", PROBE, str(file)], capture_output=True, text=True, env=clean)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout.rpartition("PROBED")[2])
    assert said["did"] == []
    assert not {name.partition(".")[0] for name in said["modules"]} & HEAVY
    assert said["seconds"] < MOST_SECONDS


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_dag_says_what_it_is_and_whose(bag: DagBag, name: str) -> None:
    dag = bag.dags[name]
    assert dag.doc_md.startswith(f"# {name}: ")
    assert "**When it fails.**" in dag.doc_md
    assert "**Again?**" in dag.doc_md
    assert dag.tags
    assert dag.catchup is False
    assert dag.max_active_runs <= 2
    assert dag.dagrun_timeout is not None
    assert all(task.owner == DEFAULTS["owner"] for task in dag.tasks)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_dag_names_its_timetable(bag: DagBag, name: str) -> None:
    """A bare cron string gives an interval of no width in Airflow 3."""
    assert type(bag.dags[name].timetable).__name__ in TIMETABLES


@pytest.mark.parametrize(("hour", "minute", "is_today"), [(9, 0, False), (3, 14, True), (3, 16, True)])
def test_unpausing_the_retention_removes_nothing_before_its_next_night(
    bag: DagBag, monkeypatch: pytest.MonkeyPatch, hour: int, minute: int, is_today: bool
) -> None:
    """A minute after its time it still is that night's: the scheduler may look a little late."""
    now = datetime(2026, 11, 25, hour, minute, tzinfo=UTC)
    monkeypatch.setattr(trigger, "utcnow", lambda: now)
    dag = bag.dags["expire_frames"]
    timetable = decode_timetable(encode_timetable(dag.timetable))
    span = TimeRestriction(earliest=dag.start_date, latest=None, catchup=dag.catchup)
    due = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=span)
    assert due is not None
    assert due.run_after == datetime(2026, 11, 25 if is_today else 26, 3, 15, tzinfo=UTC)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_field_of_a_form_is_described(bag: DagBag, name: str) -> None:
    for field in bag.dags[name].params:
        given = bag.dags[name].params.get_param(field)
        assert len(given.description or "") > 10, f"{field} of {name}"
        assert given.schema.get("title"), f"{field} of {name}"
        assert given.schema.get("type"), f"{field} of {name}"
        given.resolve()  # raises where the default does not fit its own schema


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_field_of_a_form_stands_in_the_documentation_with_its_type_and_default(bag: DagBag, name: str) -> None:
    section = DOCUMENTED.partition(f"\n### {name}\n")[2].partition("\n#")[0]
    listed = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            field, kind, default, meaning = (cell.strip() for cell in line.strip("| ").split(" | "))
            assert meaning, line
            listed[field.strip("`")] = (kind, default.strip("`"))
    params = {field: bag.dags[name].params.get_param(field) for field in bag.dags[name].params}
    assert listed == {field: (_kind(given.schema), json.dumps(given.resolve())) for field, given in params.items()}


def _kind(schema: dict[str, Any]) -> str:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    [kind] = [one for one in kinds if one != "null"]
    return f"{kind} ({schema['format']})" if "format" in schema else kind


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_task_of_a_dag_refuses_a_key_that_its_form_does_not_have(bag: DagBag, name: str) -> None:
    dag = bag.dags[name]
    for task in dag.tasks:
        hook = task.partial_kwargs["pre_execute"] if task.is_mapped else task._pre_execute_hook
        for conf in (None, {}, dict.fromkeys(dag.params)):
            hook({"dag": dag, "dag_run": SimpleNamespace(conf=conf)})
        with pytest.raises(AirflowFailException, match=f"{name} has no parameter 'onyl': it takes ") as refused:
            hook({"dag": dag, "dag_run": SimpleNamespace(conf={"onyl": "all"})})
        assert all(field in str(refused.value) for field in dag.params)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_dag_is_stored_the_same_whenever_it_is_read(bag: DagBag, name: str) -> None:
    """An address of memory in it would be another version of the DAG at each look."""
    stored, again = (
        json.dumps(DagSerialization.to_dict(one.dags[name]), default=str) for one in (bag, DagBag(str(DAGS)))
    )
    assert " at 0x" not in stored
    assert stored == again


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_task_is_tried_again_and_ends_at_last(bag: DagBag, name: str) -> None:
    for task in bag.dags[name].tasks:
        retries, callbacks = task.retries, task.on_failure_callback
        assert retries >= 1, task.task_id
        assert callbacks, task.task_id
        if isinstance(task, ApprovalOperator):
            assert task.response_timeout is not None
            assert task.execution_timeout is None
        else:
            assert task.execution_timeout is not None, task.task_id
        if isinstance(task, BaseSensorOperator):
            assert task.mode == "reschedule", f"{task.task_id} would hold a worker"


def test_no_answer_is_a_rejection_and_only_approvers_may_answer(
    settings_of: Callable[..., Any],
) -> None:
    settings_of(JOBS__APPROVERS='[["7f3a", "ada"]]')
    [approve] = [task for task in DagBag(str(DAGS)).dags["promote_model"].tasks if isinstance(task, ApprovalOperator)]
    assert approve.defaults == ["Reject"]
    assert approve.assigned_users == [{"id": "7f3a", "name": "ada"}]
    assert approve.ignore_downstream_trigger_rules
    assert not approve.fail_on_reject


def test_nobody_may_answer_where_no_approver_is_named(settings_of: Callable[..., Any]) -> None:
    settings_of()
    [approve] = [task for task in DagBag(str(DAGS)).dags["promote_model"].tasks if isinstance(task, ApprovalOperator)]
    assert [one["id"] for one in approve.assigned_users] == ["nobody"]


class Told:
    """A task instance as far as commands ask it: what the tasks before it said."""

    def __init__(self, **said: Any) -> None:
        self._said = said

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self._said.get(task_ids if key == "return_value" else f"{task_ids}_{key}")


SAID = {"evaluate": {"run": "3f", "digest": "ab"}, "gate": {"version": "7"}}
ASKED = {"version": "7", "run": "3f", "digest": "ab"}
ADA = {"id": "7f3a", "name": "ada"}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"chosen_options": ["Approve"], "responded_by_user": None},
        {"chosen_options": ["Reject"], "responded_by_user": ADA},
    ],
)
def test_nothing_is_promoted_that_nobody_has_approved(bag: DagBag, answer: Any) -> None:
    promote = bag.dags["promote_model"].get_task("promote")
    with pytest.raises(AirflowFailException, match="nobody has approved"):
        promote.command({"ti": Told(approve=answer, approve_asked=ASKED, **SAID), "params": {"reason": "better"}})


@pytest.mark.parametrize("asked", [None, ASKED | {"version": "6"}, ASKED | {"run": "2e"}, ASKED | {"digest": "cd"}])
def test_nothing_is_promoted_but_what_was_approved(bag: DagBag, asked: Any) -> None:
    promote = bag.dags["promote_model"].get_task("promote")
    answer = {"chosen_options": ["Approve"], "responded_by_user": ADA}
    with pytest.raises(AirflowFailException, match="the approval was given for"):
        promote.command({"ti": Told(approve=answer, approve_asked=asked, **SAID), "params": {"reason": "better"}})


def test_what_was_approved_is_promoted_in_the_approvers_name(bag: DagBag) -> None:
    promote = bag.dags["promote_model"].get_task("promote")
    answer = {"chosen_options": ["Approve"], "responded_by_user": ADA}
    words = promote.command(
        {"ti": Told(approve=answer, approve_asked=ASKED, **SAID), "params": {"reason": "{{ 6*7 }}"}}
    )
    promote.command = lambda _: words
    promote.render_template_fields({})
    assert {"7", "7f3a", "ada", "{{ 6*7 }}"} <= set(promote.command)


def test_the_installations_gate_set_is_the_forms_default(settings_of: Callable[..., Any]) -> None:
    settings_of(JOBS__GATE_BOARDS="300")
    dag = DagBag(str(DAGS)).dags["promote_model"]
    context = {"ti": Told(), "params": dag.params.dump(), "triggering_asset_events": {}}
    assert dag.get_task("evaluate").command(context)[-2:] == ("--boards", "300")


def test_a_promotion_goes_step_by_step(bag: DagBag) -> None:
    dag = bag.dags["promote_model"]
    for task_id, following in itertools.pairwise(["evaluate", "gate", "approve", "promote"]):
        assert dag.get_task(task_id).downstream_task_ids == {following}
    assert {task.trigger_rule for task in dag.tasks} == {"all_success"}


def test_a_new_champion_is_watched_whether_or_not_every_process_serves_it(bag: DagBag) -> None:
    dag = bag.dags["promote_model"]
    assert dag.get_task("watch").upstream_task_ids == {"promote"}
    assert dag.get_task("wait_until_served").upstream_task_ids == {"promote"}


def test_a_delivery_starts_the_promotion(bag: DagBag) -> None:
    [asset] = bag.dags["promote_model"].timetable.asset_condition.objects
    [watcher] = asset.watchers
    assert watcher.trigger.serialize() == ("sightline_airflow.triggers.ChallengerTrigger", {"poll_seconds": 30.0})


def test_gpu_jobs_are_counted_by_their_pool(bag: DagBag) -> None:
    pools = {(name, task.task_id): task.pool for name, dag in bag.dags.items() for task in dag.tasks}
    assert {place for place, pool in pools.items() if pool == "gpu"} == {
        ("score_frames", "score"),
        ("train_model", "train"),
    }


@pytest.mark.parametrize("task_id", ["fetch_labels", "train", "export", "deliver"])
def test_a_training_whose_pods_share_no_folder_fails_at_once(settings_of: Callable[..., Any], task_id: str) -> None:
    """Its labels would go into a folder that ends with the pod, and every later task would find nothing."""
    settings_of(JOBS__RUNNER="kubernetes")
    dag = DagBag(str(DAGS)).dags["train_model"]
    context = {"ti": Told(export_labels={"digest": "ab"}), "params": dag.params.dump(), "run_id": "manual__1"}
    with pytest.raises(AirflowFailException, match="SIGHTLINE_JOBS__WORKSPACE_CLAIM"):
        dag.get_task(task_id).command(context)
    settings_of(JOBS__RUNNER="kubernetes", JOBS__WORKSPACE_CLAIM="training")
    assert any("/workspace/manual__1/" in word for word in dag.get_task(task_id).command(context))


def test_what_runs_as_pods_is_wired_as_what_runs_here(settings_of: Callable[..., Any], bag: DagBag) -> None:
    settings_of(JOBS__RUNNER="kubernetes", JOBS__GPUS="1")
    pods = DagBag(str(DAGS))
    assert pods.import_errors == {}
    shape = {name: {task.task_id: task.downstream_task_ids for task in dag.tasks} for name, dag in bag.dags.items()}
    assert shape == {
        name: {task.task_id: task.downstream_task_ids for task in dag.tasks} for name, dag in pods.dags.items()
    }
