"""Jobs inside Airflow's own machinery: dag.test() with a database, tasks in order, retries, skips, links."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

RUN = """
import json, os
from datetime import datetime, timedelta
from airflow.sdk import DAG
from sightline_airflow.jobs import DEFAULTS, GATE, SCORE, job, jobs_of

JOB_FILE = os.environ["JOB_FILE"]
with DAG("jobs", start_date=datetime(2026, 1, 1), schedule=None, default_args=DEFAULTS | {
        "retries": 1, "retry_delay": timedelta(0), "retry_exponential_backoff": False}) as dag:
    hold = job(GATE, task_id="hold", command=("python", JOB_FILE, "99"))
    job(GATE, task_id="after_hold", command=("python", JOB_FILE, "0")) << hold
    job(GATE, task_id="bad", command=("python", JOB_FILE, "65"))
    job(GATE, task_id="away_once", command=("python", JOB_FILE, "75-once"))
    job(GATE, task_id="well", command=lambda context: ("python", JOB_FILE, "0", "--run", context["run_id"]))
    jobs_of(SCORE, task_id="shards").expand(command=[["python", JOB_FILE, "0"], ["python", JOB_FILE, "0"]])
    jobs_of(SCORE, task_id="nothing").expand(command=[])

if __name__ == "__main__":
    run = dag.test()
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    tasks = {f"{ti.task_id}{ti.map_index if ti.map_index >= 0 else ''}": [str(ti.state), ti.try_number]
             for ti in run.get_task_instances()}
    with create_session() as session:
        links = {row.task_id: row.value for row in session.query(XComModel).filter(XComModel.key == "_link_ModelVersionLink")}
    print("RAN" + json.dumps({"tasks": tasks, "links": links}))
"""

JOB = """
import json, pathlib, sys
result = sys.argv[sys.argv.index("--result") + 1]
pathlib.Path(result).write_text(json.dumps({"version": "7", "words": sys.argv[1:]}))
print("a line of the job")
how = sys.argv[1]
if how == "75-once":
    mark = pathlib.Path(__file__).with_name("mark")
    how = "0" if mark.exists() else "75"
    mark.touch()
sys.exit(int(how))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "job.py").write_text(JOB)
    (folder / "dags").mkdir()
    (folder / "dags" / "jobs.py").write_text(RUN)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SIGHTLINE_", "AIRFLOW"))}
    home = folder / "airflow"
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "SIGHTLINE_JOBS__PYTHON": sys.executable,
        "SIGHTLINE_JOBS__FOLDER": str(folder),
        "JOB_FILE": str(folder / "job.py"),
    }
    for words in (["-m", "airflow", "db", "migrate"], ["-m", "airflow", "pools", "set", "gpu", "2", "of the test"]):
        made = subprocess.run([sys.executable, "-P", *words], env=clean | own, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
    ended = subprocess.run(
        [sys.executable, "-P", str(folder / "dags" / "jobs.py")],
        env=clean | own, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "RAN" in ended.stdout, ended.stdout[-5000:] + ended.stderr[-5000:]
    return {"output": ended.stdout + ended.stderr} | json.loads(ended.stdout.rpartition("RAN")[2].splitlines()[0])


def test_hold_skips_what_comes_after(ran: dict[str, Any]) -> None:
    assert ran["tasks"]["hold"][0] == "skipped"
    assert ran["tasks"]["after_hold"][0] == "skipped"


def test_bad_data_fails_at_the_first_try(ran: dict[str, Any]) -> None:
    assert ran["tasks"]["bad"] == ["failed", 1]


def test_a_neighbour_that_was_away_succeeds_at_the_second_try(ran: dict[str, Any]) -> None:
    assert ran["tasks"]["away_once"] == ["success", 2]


def test_a_job_for_each_shard_and_none_for_none(ran: dict[str, Any]) -> None:
    assert [ran["tasks"]["shards0"][0], ran["tasks"]["shards1"][0]] == ["success", "success"]
    assert ran["tasks"]["nothing"][0] == "skipped"


def test_the_link_leads_to_the_version_in_mlflow(ran: dict[str, Any]) -> None:
    assert "/#/models/pcb-defects/versions/7" in ran["links"]["well"]


def test_the_failure_says_what_to_do_and_the_log_holds_the_jobs_lines(ran: dict[str, Any]) -> None:
    assert "a line of the job" in ran["output"]
    assert "failed for good at try 1" in ran["output"]
    assert "gate ended with exit code 65" in ran["output"]
