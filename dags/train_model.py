"""# train_model: from reviewed frames to a challenger

export_labels ─► fetch_labels ─► train ─► export ─► deliver

`export_labels` writes the reviewed frames of the train blocks as a dataset to S3, named by its digest; gate blocks never get
into it. `train` (on a GPU where there is one) goes on from its last checkpoint when it is tried again. `deliver` registers
the model and makes it the challenger, which starts `promote_model`.

**When.** By the form alone.

**Again?** Yes: the same labels give the same dataset; a training that was interrupted goes on.

**When it fails.** `export_labels` with 65: too few reviewed frames. `fetch_labels` at once: on a cluster
the tasks need a volume that they share, `SIGHTLINE_JOBS__WORKSPACE_CLAIM`. `train` with 78: no torch in its environment, or no GPU
where one was asked for. `deliver` with 65: the model does not reproduce its golden outputs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag

from sightline_airflow import commands
from sightline_airflow.asking import as_airflow
from sightline_airflow.jobs import DEFAULTS, DELIVER, EXPORT, EXPORT_LABELS, FETCH_LABELS, TRAIN, job, workspace

FORM = {
    "name": Param(
        "pcb-defects", type="string", pattern="^[a-z0-9][a-z0-9._-]{0,62}$", title="Name",
        description="Of the model, on its card.",
    ),
    "minutes": Param(
        75, type="number", exclusiveMinimum=0, title="Minutes",
        description="The whole budget, of computing: runs before an interruption count in.",
    ),
    "side": Param(
        640, type="integer", minimum=64, maximum=2048, multipleOf=32, title="Side",
        description="Pixels of the network's square input.",
    ),
    "batch": Param(
        32, type="integer", minimum=1, maximum=1024, title="Batch",
        description="Images learned from at a time. A dataset with fewer is refused.",
    ),
    "init": Param(
        None, type=["null", "string"], title="Start from",
        description="A model's folder, best.pt or model.onnx. Empty: random weights.",
    ),
    "device": Param(
        "cpu", type="string", enum=["cpu", "cuda"], title="Device",
        description="cuda: the job gets a GPU, or ends with 78 where there is none.",
    ),
}  # fmt: skip


def shared(context: Any) -> str:
    """The folder of this run. Without one no task is tried again."""
    with as_airflow():
        return workspace(context["run_id"])


def training(context: Any) -> tuple[str, ...]:
    """As the form says."""
    form, folder = context["params"], shared(context)
    return commands.train(
        folder=f"{folder}/training",
        labelled=f"{folder}/labels",
        minutes=form["minutes"],
        side=form["side"],
        batch=form["batch"],
        init=form["init"],
        device=form["device"],
    )


def exporting(context: Any) -> tuple[str, ...]:
    """What was trained, as a folder that can be delivered."""
    folder = shared(context)
    return commands.export(
        folder=f"{folder}/training", labelled=f"{folder}/labels", out=f"{folder}/model", name=context["params"]["name"]
    )


def fetching(context: Any) -> tuple[str, ...]:
    """The dataset that this run exported, and no later one."""
    digest = context["ti"].xcom_pull(task_ids="export_labels")["digest"]
    return commands.fetch_labels(digest, folder=f"{shared(context)}/labels")


@dag(
    schedule=None,
    start_date=datetime(2026, 11, 1),  # noqa: DTZ001 - Airflow reads it as UTC
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=7),
    default_args=DEFAULTS,
    params=FORM,
    doc_md=__doc__,
    tags=["models", "training"],
)
def train_model() -> None:
    """Wires the tasks."""
    labels = job(EXPORT_LABELS, task_id="export_labels", command=commands.export_labels())
    fetch = job(FETCH_LABELS, task_id="fetch_labels", command=fetching)
    train = job(TRAIN, task_id="train", command=training, execution_timeout=timedelta(days=3))
    export = job(EXPORT, task_id="export", command=exporting, execution_timeout=timedelta(hours=6))
    deliver = job(DELIVER, task_id="deliver", command=lambda context: commands.deliver(f"{shared(context)}/model"))
    labels >> fetch >> train >> export >> deliver


train_model()
