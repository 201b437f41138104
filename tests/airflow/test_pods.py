from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from kubernetes import client

from sightline_airflow import jobs, pod_parts
from sightline_airflow.jobs import KINDS, SCORE, TRAIN, Kind, job

GPU = {
    "JOBS__RUNNER": "kubernetes",
    "JOBS__GPUS": "1",
    "JOBS__RUNTIME_CLASS": "nvidia",
    "JOBS__GPU_NODE_SELECTOR": json.dumps({"nvidia.com/gpu.present": "true"}),
    "JOBS__NODE_SELECTOR": json.dumps({"kubernetes.io/os": "linux"}),
    "JOBS__TOLERATIONS": json.dumps([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]),
    "JOBS__RESOURCES": json.dumps({"score": {"cpu": "4", "memory": "8Gi"}}),
    "JOBS__WORKSPACE_CLAIM": "training",
    "JOBS__CONFIGMAP": "sightline-jobs",
    "JOBS__IMAGE_PULL_SECRET": "registry",
}


@pytest.fixture
def cluster(settings_of: Callable[..., Any]) -> None:
    settings_of(**GPU)


def a_job(kind: Kind) -> Any:
    return job(kind, task_id="job", command=lambda _: ("python", "-m", "inference.batch", kind.name))


def manifest(kind: Kind) -> dict[str, Any]:
    pod = a_job(kind).build_pod_request_obj(dry_run=True)
    return client.ApiClient().sanitize_for_serialization(pod)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_container_of_every_pod_is_fit_for_restricted(cluster: None, kind: Kind) -> None:
    spec = manifest(kind)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert len(spec["containers"]) == (2 if kind.has_result else 1)
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_pod_gets_the_variables_of_services(cluster: None, kind: Kind) -> None:
    assert manifest(kind)["spec"]["enableServiceLinks"] is False


def test_a_job_that_can_use_a_gpu_gets_one_and_its_place(cluster: None) -> None:
    spec = manifest(SCORE)["spec"]
    [base, _] = spec["containers"]
    assert base["resources"] == {
        "requests": {"cpu": "4", "memory": "8Gi"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"},
    }
    assert base["image"] == "sightline-gpu:latest"
    assert {"name": "SIGHTLINE_STREAM__ENGINE", "value": "onnxruntime-cuda"} in base["env"]
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "nvidia.com/gpu.present": "true"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_a_job_that_can_use_none_is_kept_off_gpu_nodes_settings(cluster: None) -> None:
    spec = manifest(jobs.CHECK)["spec"]
    assert "runtimeClassName" not in spec
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]


def test_the_words_are_the_jobs_and_the_result_goes_where_the_sidecar_looks(cluster: None) -> None:
    [base, sidecar] = manifest(SCORE)["spec"]["containers"]
    assert base["command"] == ["python", "-m", "inference.batch", "score", "--result", "/airflow/xcom/return.json"]
    assert sidecar["image"] == "alpine:3.22"
    assert "args" not in base or base["args"] == []


def test_a_training_keeps_its_folder_on_the_claim(cluster: None) -> None:
    spec = manifest(TRAIN)["spec"]
    assert {"name": "workspace", "persistentVolumeClaim": {"claimName": "training"}} in spec["volumes"]
    assert jobs.workspace("manual__2026-11-25T08:00:00+00:00") == "/workspace/manual__2026-11-25T08-00-00-00-00"


def test_no_value_of_a_secret_is_in_a_pod(settings_of: Callable[..., Any]) -> None:
    settings_of(**GPU, LOGIN__SERVICE_SECRET="s3cr3t", POSTGRES__PASSWORD="s3cr3t", S3__SECRET_KEY="s3cr3t")
    assert all("s3cr3t" not in json.dumps(manifest(kind)) for kind in KINDS)


def test_a_pod_may_wait_for_a_gpu_and_its_task_for_a_scheduler(cluster: None) -> None:
    operator = a_job(SCORE)
    assert operator.deferrable
    assert operator.durable
    assert (operator.startup_timeout_seconds, operator.schedule_timeout_seconds) == (1800, 1800)
    assert operator.logging_interval == 10
    assert operator.on_finish_action == "delete_succeeded_pod"
    assert operator.pool == "gpu"
    assert a_job(jobs.CHECK).pool == "default_pool"


@pytest.mark.parametrize(
    ("code", "error", "is_final"),
    [
        (65, AirflowFailException, True),
        (78, AirflowFailException, True),
        (99, AirflowSkipException, False),
        (75, AirflowException, False),
        (1, AirflowException, False),
        (137, AirflowException, False),
    ],
)
def test_an_exit_code_means_the_same_as_for_a_process(
    cluster: None, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch, code: int, error: type, is_final: bool
) -> None:
    operator = a_job(SCORE)
    monkeypatch.setattr(KubernetesPodOperator, "process_pod_deletion", lambda *_, **__: True)
    monkeypatch.setattr(KubernetesPodOperator, "patch_already_checked", lambda *_, **__: None)
    monkeypatch.setattr(KubernetesPodOperator, "is_istio_enabled", lambda *_: False)
    monkeypatch.setattr(operator, "log_events_on_failure", False)
    pod = a_pod_that_ended(code)
    with pytest.raises(error) as raised:
        operator.cleanup(pod, pod, {"missing_objects": ["0199-frame"]}, context)
    assert isinstance(raised.value, AirflowFailException) is is_final
    assert context["ti"].xcoms["return_value"] == {"missing_objects": ["0199-frame"]}
    if code != 99:
        assert f"exit code {code}" in str(raised.value)
        assert "0199-frame" in str(raised.value)


def test_a_pod_whose_job_never_began_is_tried_again() -> None:
    assert pod_parts.exit_code(SimpleNamespace(status=SimpleNamespace(container_statuses=None)), "base") is None


def a_pod_that_ended(code: int) -> Any:
    ended = client.V1ContainerState(terminated=client.V1ContainerStateTerminated(exit_code=code, message="last words"))
    status = client.V1ContainerStatus(
        name="base", image="i", image_id="i", ready=False, restart_count=0, state=ended, started=False
    )
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name="p", namespace="n", annotations={}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="base")]),
        status=client.V1PodStatus(phase="Failed", container_statuses=[status]),
    )
