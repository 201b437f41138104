"""A job as a task: the same command in a pod or in a process beside Airflow, as `jobs.runner` says.

    job(SCORE, task_id="score", command=…)              one task
    jobs_of(SCORE, task_id="score").expand(command=…)   one task for each command
        │
        ├─ jobs.runner=kubernetes ──► PodJobOperator     deferrable: no worker waits beside the pod
        └─ jobs.runner=local ───────► LocalJobOperator   the log as it is written; ended with its children

`command` is words with templates in them, or a function from the task's context to words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final

from contracts.errors import Misconfigured
from contracts.settings import Settings
from sightline_airflow.callbacks import explain_failure, tell_hold
from sightline_airflow.forms import refuse_unknown_keys

Words = Sequence[str] | Callable[[Any], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is the same for every task of one job."""

    name: str  # in settings: the row of jobs.resources
    uses_gpu: bool = False
    has_result: bool = True  # takes --result FILE
    has_torch: bool = False  # needs the image that can train
    uses_workspace: bool = False  # leaves files for the task after it


SCORE: Final = Kind(name="score", uses_gpu=True)
CHECK: Final = Kind(name="check")
DRIFT: Final = Kind(name="drift")
EXPIRE: Final = Kind(name="expire")
WATCH: Final = Kind(name="watch")
EXPORT_LABELS: Final = Kind(name="export-labels")
FETCH_LABELS: Final = Kind(name="fetch-labels", uses_workspace=True)
EVALUATE: Final = Kind(name="evaluate")
GATE: Final = Kind(name="gate")
PROMOTE: Final = Kind(name="promote")
TRAIN: Final = Kind(name="train", uses_gpu=True, has_result=False, has_torch=True, uses_workspace=True)
EXPORT: Final = Kind(name="export", has_result=False, has_torch=True, uses_workspace=True)
DELIVER: Final = Kind(name="deliver", uses_workspace=True)
CONNECTORS: Final = Kind(name="connectors")

KINDS: Final = (
    SCORE, CHECK, DRIFT, EXPIRE, WATCH, EXPORT_LABELS, FETCH_LABELS, EVALUATE, GATE, PROMOTE, TRAIN, EXPORT, DELIVER, CONNECTORS,
)  # fmt: skip

WORKSPACE: Final = "/workspace"  # in a pod
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")


@cache
def settings() -> Settings:
    """The tree, read once in each process of Airflow.

    Raises:
        Misconfigured: it does not fit. Every DAG shows it as its import error.
    """
    return Settings.load()


# What every task of ours has unless it says otherwise. Exit code 75 is tried again after 1, 2, 4 … minutes, as settings have it.
DEFAULTS: Final[dict[str, Any]] = {
    "owner": "platform",
    "retries": 4,
    "retry_delay": timedelta(seconds=settings().jobs.retry_seconds),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": explain_failure,
    "pre_execute": refuse_unknown_keys,
}


def job(kind: Kind, *, task_id: str, command: Words, **rest: Any) -> Any:
    """One task. `rest` is what any operator of Airflow takes: retries, execution_timeout, …"""
    return _runner()(task_id=task_id, kind=kind, command=command, **_common(kind), **rest)


def jobs_of(kind: Kind, *, task_id: str, **rest: Any) -> Any:
    """One task for each command; `.expand(command=…)` it."""
    return _runner().partial(task_id=task_id, kind=kind, **_common(kind), **rest)


def workspace(run_id: str) -> str:
    """The folder that the tasks of one run share.

    Raises:
        Misconfigured: pods that share none: each would find it empty.
    """
    chosen = settings()
    if chosen.jobs.runner == "kubernetes":
        if not chosen.jobs.workspace_claim:
            raise Misconfigured(
                "the tasks of a training share no folder, and each pod would find its own empty: name a "
                "PersistentVolumeClaim in SIGHTLINE_JOBS__WORKSPACE_CLAIM, then clear this task"
            )
        root = WORKSPACE
    else:
        root = str(chosen.trainings)
    return f"{root}/{_UNFIT.sub('-', run_id)}"


def _common(kind: Kind) -> dict[str, Any]:
    pool = {"pool": settings().jobs.pool} if kind.uses_gpu else {}
    return {"on_skipped_callback": tell_hold, **pool}


def _runner() -> Any:
    if settings().jobs.runner == "kubernetes":
        from sightline_airflow.pods import PodJobOperator

        return PodJobOperator
    from sightline_airflow.local import LocalJobOperator

    return LocalJobOperator
