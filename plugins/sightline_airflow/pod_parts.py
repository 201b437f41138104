"""The parts of a job's pod, out of the settings and the kind of job.

jobs.*, Kind ─► of() ─► what KubernetesPodOperator is made with ─► its pod ─► finished() ─► the pod that is sent

Fit for the Pod Security Standard "restricted": no root, no privilege to gain, no capability, a read-only file system with
/tmp to write in. Settings and secrets come from a ConfigMap and a Secret, so that no value of them is in Airflow.
"""

from __future__ import annotations

from typing import Any, Final

from kubernetes.client import models as k8s

from contracts.job_settings import JobSettings, Resources
from sightline_airflow.jobs import WORKSPACE, Kind
from sightline_airflow.outcome import HOLD

USER: Final = 10001  # of our images
SIDECAR: Final = "airflow-xcom-sidecar"
GPU: Final = "nvidia.com/gpu"
_HOME: Final = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1"}  # noqa: S108 - a volume of this pod alone


def of(jobs: JobSettings, kind: Kind) -> dict[str, Any]:
    """What the operator is made with."""
    asked = jobs.resources_of(kind.name)
    gpus = _gpus(jobs, kind, asked)
    return {
        "name": f"sightline-{kind.name}",
        "namespace": jobs.namespace,
        "image": _image(jobs, kind, gpus=gpus),
        "image_pull_policy": "IfNotPresent",
        "image_pull_secrets": [k8s.V1LocalObjectReference(name=jobs.image_pull_secret)]
        if jobs.image_pull_secret
        else [],
        "service_account_name": jobs.service_account,
        "automount_service_account_token": False,  # a job never speaks to Kubernetes
        "env_vars": dict(_HOME) | _engine(kind, gpus=gpus),
        "env_from": _variables(jobs),
        "labels": {"app.kubernetes.io/part-of": "sightline", "app.kubernetes.io/component": f"job-{kind.name}"},
        "container_resources": _resources(asked, gpus),
        "node_selector": jobs.node_selector | (jobs.gpu_node_selector if gpus else {}),
        "tolerations": [_toleration(one.model_dump()) for one in jobs.tolerations],
        "runtime_class_name": jobs.runtime_class if gpus else None,
        "security_context": _pod_security(),
        "container_security_context": _security(),
        "xcom_sidecar_container_security_context": _security(),
        "volumes": _volumes(jobs, kind),
        "volume_mounts": _mounts(kind),
        "do_xcom_push": kind.has_result,
        "startup_timeout_seconds": jobs.startup_seconds,
        "schedule_timeout_seconds": jobs.startup_seconds,  # a GPU that is taken is waited for
        "deferrable": True,
        "durable": True,
        "get_logs": True,
        "logging_interval": jobs.log_seconds,  # None would show the log at the end only
        "log_events_on_failure": True,
        "log_pod_spec_on_failure": False,  # hundreds of lines that hide the reason
        "container_name_log_prefix_enabled": False,
        "on_finish_action": "delete_succeeded_pod",
        "on_kill_action": "delete_pod",
        "termination_grace_period": 30,
        "termination_message_policy": "FallbackToLogsOnError",  # the job's last lines become the failure's message
        "skip_on_exit_code": HOLD,
    }


def finished(pod: k8s.V1Pod, jobs: JobSettings) -> k8s.V1Pod:
    """What KubernetesPodOperator has no parameter for."""
    # A Service named `sightline-…` would inject SIGHTLINE_… variables, and our settings refuse what they do not know.
    pod.spec.enable_service_links = False
    for container in pod.spec.containers:
        if container.name == SIDECAR:
            container.image = jobs.sidecar_image
            container.resources = k8s.V1ResourceRequirements(
                requests={"cpu": "10m", "memory": "16Mi"}, limits={"cpu": "100m", "memory": "32Mi"}
            )
    return pod


def exit_code(pod: Any, container: str) -> int | None:
    """Of the job itself; None: it never ended (evicted, the image not found)."""
    statuses = (pod.status.container_statuses if pod is not None and pod.status is not None else None) or []
    for status in statuses:
        if status.name == container and status.state is not None and status.state.terminated is not None:
            return int(status.state.terminated.exit_code)
    return None


def _gpus(jobs: JobSettings, kind: Kind, asked: Resources) -> int:
    if not kind.uses_gpu:
        return 0
    return jobs.gpus if asked.gpus is None else asked.gpus


def _image(jobs: JobSettings, kind: Kind, *, gpus: int) -> str:
    if kind.has_torch:
        return jobs.train_image
    return jobs.gpu_image if gpus else jobs.image


def _engine(kind: Kind, *, gpus: int) -> dict[str, str]:
    """Asked for by name, CUDA is there or the job ends with 78: no silent hour on processors."""
    return {"SIGHTLINE_STREAM__ENGINE": "onnxruntime-cuda"} if gpus and not kind.has_torch else {}


def _variables(jobs: JobSettings) -> list[k8s.V1EnvFromSource]:
    plain = (
        [k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name=jobs.configmap))] if jobs.configmap else []
    )
    return [*plain, k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=jobs.secret))]


def _resources(asked: Resources, gpus: int) -> k8s.V1ResourceRequirements:
    limits = {"memory": asked.memory} | ({GPU: str(gpus)} if gpus else {})
    return k8s.V1ResourceRequirements(requests={"cpu": asked.cpu, "memory": asked.memory}, limits=limits)


def _toleration(given: dict[str, Any]) -> k8s.V1Toleration:
    return k8s.V1Toleration(**given)


def _pod_security() -> k8s.V1PodSecurityContext:
    return k8s.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=USER,
        run_as_group=USER,
        fs_group=USER,  # so that the volumes can be written
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )


def _security() -> k8s.V1SecurityContext:
    return k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
        read_only_root_filesystem=True,
        run_as_non_root=True,
    )


def _volumes(jobs: JobSettings, kind: Kind) -> list[k8s.V1Volume]:
    scratch = k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource())
    if not kind.uses_workspace:
        return [scratch]
    if jobs.workspace_claim:
        claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=jobs.workspace_claim)
        return [scratch, k8s.V1Volume(name="workspace", persistent_volume_claim=claim)]
    empty = k8s.V1EmptyDirVolumeSource(size_limit=jobs.workspace_size)
    return [scratch, k8s.V1Volume(name="workspace", empty_dir=empty)]


def _mounts(kind: Kind) -> list[k8s.V1VolumeMount]:
    scratch = k8s.V1VolumeMount(name="tmp", mount_path="/tmp")  # noqa: S108 - a volume of this pod alone
    return [scratch, k8s.V1VolumeMount(name="workspace", mount_path=WORKSPACE)] if kind.uses_workspace else [scratch]
