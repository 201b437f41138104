"""How Airflow runs a job: the section `jobs` of the settings tree.

    runner=local        a process beside Airflow, with the interpreter and in the folder named here
    runner=kubernetes   a pod, with the image, the resources and the place named here

Read by the DAGs alone; a job itself looks at none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Toleration(_Part):
    """A taint that a job's pod may ignore, as Kubernetes writes it."""

    key: str | None = None  # None: every key
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Resources(_Part):
    """What one job asks for. The memory is its limit too; of processors it may use more when they are idle."""

    cpu: str = "1"
    memory: str = "2Gi"
    gpus: Annotated[int, Field(ge=0)] | None = None  # None: as jobs.gpus says, of a job that can use any


class JobSettings(_Part):
    """Where jobs run, and who approves what they prepared."""

    runner: Literal["local", "kubernetes"] = "local"
    retry_seconds: Annotated[float, Field(gt=0)] = 60.0  # before the second try; then twice that, four times …

    # A local process.
    folder: Path = Path(__file__).resolve().parents[1]  # the repository: where a job runs
    python: str | None = None  # of the service environment; None: the folder's .venv, else the one on PATH
    train_python: str | None = None  # of an environment with torch; None: the folder's .venv-train, else as above
    workspace: Path | None = None  # what a training leaves between its tasks; None: in the stack's home

    # A pod.
    image: str = "sightline:latest"
    gpu_image: str = "sightline-gpu:latest"  # of jobs that get a GPU
    train_image: str = "sightline-train:latest"
    sidecar_image: str = "alpine:3.22"  # hands a pod's result over
    namespace: str = "sightline"
    service_account: str = "sightline-jobs"
    secret: str = "sightline-jobs"  # noqa: S105 - the name of the Secret with a job's SIGHTLINE_ variables
    configmap: str | None = None  # those that are no secret
    image_pull_secret: str | None = None
    workspace_claim: str | None = None  # a PersistentVolumeClaim; None: no training, whose pods share files
    workspace_size: str = "20Gi"  # at most, of a single pod without a claim
    node_selector: dict[str, str] = {}
    gpu_node_selector: dict[str, str] = {}  # beside it, for jobs with a GPU
    tolerations: tuple[Toleration, ...] = ()
    runtime_class: str | None = None  # of jobs with a GPU: nvidia
    startup_seconds: Annotated[int, Field(ge=1)] = 1800  # a queued GPU and a large image take their time
    log_seconds: Annotated[int, Field(ge=1)] = 10  # between two looks at a pod's log

    gpus: Annotated[int, Field(ge=0)] = 0  # for each job that can use one; 0: they run on processors
    cpu: str = "1"
    memory: str = "2Gi"
    resources: Mapping[
        str, Resources
    ] = {}  # by job: SIGHTLINE_JOBS__RESOURCES='{"score": {"cpu": "4", "memory": "8Gi"}}'
    pool: str = "gpu"  # of Airflow, sized to the GPUs; it must count deferred tasks

    approvers: tuple[tuple[str, str], ...] = ()  # (id in Keycloak, name) of who may approve a promotion; none: nobody
    approval_hours: Annotated[float, Field(gt=0)] = 24.0  # no answer until then: rejected
    gate_boards: Annotated[int, Field(ge=0, le=10_000)] = 0  # judge on so many simulated boards; 0: on reviewed frames
    mlflow_url: str | None = None  # as a browser reaches it; None: mlflow.tracking_uri
    review_url: str | None = None  # the dashboard's review page, likewise

    @property
    def interpreter(self) -> str:
        """Of a local process."""
        own = self.folder / ".venv" / "bin" / "python"
        return self.python or (str(own) if own.is_file() else "python3")

    @property
    def train_interpreter(self) -> str:
        """Of a local process that needs torch. Without one of its own it is everyone's, which says what is missing."""
        own = self.folder / ".venv-train" / "bin" / "python"
        return self.train_python or (str(own) if own.is_file() else self.interpreter)

    def resources_of(self, job: str) -> Resources:
        """What this job asks for: its own row, else everyone's."""
        return self.resources.get(job) or Resources(cpu=self.cpu, memory=self.memory)
