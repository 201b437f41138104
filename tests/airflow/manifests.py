"""Writes the pod of every job, with and without GPUs, as Kubernetes gets it: `python manifests.py FILE`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from kubernetes import client

from sightline_airflow.jobs import KINDS, job, settings

WITH_GPUS = {
    "GPUS": "1",
    "RUNTIME_CLASS": "nvidia",
    "GPU_NODE_SELECTOR": '{"nvidia.com/gpu.present": "true"}',
    "TOLERATIONS": '[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists"}]',
    "RESOURCES": '{"train": {"cpu": "8", "memory": "32Gi", "gpus": 2}}',
    "WORKSPACE_CLAIM": "training",
    "CONFIGMAP": "sightline-jobs",
    "IMAGE_PULL_SECRET": "registry",
}


def pods(**values: str) -> dict[str, Any]:
    """By job: what would be sent to Kubernetes."""
    for name in list(os.environ):
        if name.startswith("SIGHTLINE_"):
            del os.environ[name]
    os.environ.update({f"SIGHTLINE_JOBS__{name}": value for name, value in values.items()})
    settings.cache_clear()
    plain = client.ApiClient().sanitize_for_serialization
    made = {
        kind.name: job(kind, task_id=kind.name.replace("-", "_"), command=("python", "-m", "inference.batch"))
        for kind in KINDS
    }
    return {name: plain(operator.build_pod_request_obj(dry_run=True)) for name, operator in made.items()}


if __name__ == "__main__":
    on_processors = pods(RUNNER="kubernetes")
    on_gpus = pods(RUNNER="kubernetes", **WITH_GPUS)
    Path(sys.argv[1]).write_text(json.dumps({"processors": on_processors, "gpus": on_gpus}))
