"""The DAGs and the plugin, by Airflow itself: its environment runs tests/airflow, and its pods are held against Kubernetes' schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.airflow_environment import inside, schema_complaints


@pytest.mark.parametrize(
    "file", ["test_asking", "test_dags", "test_executor", "test_local_jobs", "test_pods", "test_runs", "test_triggers"]
)
def test_airflow_agrees(tmp_path: Path, file: str) -> None:
    """One file of tests/airflow, in Airflow's environment; its own report is this test's."""
    ended = inside(tmp_path, "-m", "pytest", "-c", "pytest.ini", "--rootdir", ".", f"{file}.py")
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    assert " passed" in ended.stdout
    assert " skipped" not in ended.stdout


def test_no_file_of_tests_is_left_out() -> None:
    files = {file.stem for file in (Path(__file__).parents[1] / "airflow").glob("test_*.py")}
    [mark] = [mark for mark in test_airflow_agrees.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert files == set(mark.args[1])


def test_every_pod_is_as_kubernetes_wants_it(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.json"
    made = inside(tmp_path, "manifests.py", str(manifests))
    assert made.returncode == 0, made.stderr
    pods = json.loads(manifests.read_text())
    [several] = {len(group) for group in pods.values()}
    checked = schema_complaints(tmp_path, manifests)
    assert checked.stdout.split("\n")[0] == str(2 * several), checked.stdout + checked.stderr
    assert checked.returncode == 0, checked.stdout


def test_a_pod_that_kubernetes_would_refuse_is_noticed(tmp_path: Path) -> None:
    wrong = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [], "gpu": 1}}
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({"one": {"wrong": wrong}}))
    assert schema_complaints(tmp_path, file).returncode == 1
