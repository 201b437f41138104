"""train_model in a real Airflow: what people said of frames becomes a data set, a training, a challenger, a promotion asked for.

UV_PROJECT_ENVIRONMENT=.venv-train uv sync --frozen --group train && make test-all
TRAIN_PYTHON=…/bin/python names another environment with torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.cameras.boards import encode_jpeg, simulate_board
from contracts.settings import Settings
from inference.persistence.datasets import fetch_dataset
from sightline import train_environment
from tests.support.airflow import Run, Visitor, visitor, wait_for, wait_for_dags
from tests.support.command_line import succeed
from tests.support.past import SIDE, send
from tests.support.people import Person
from tests.support.stack import running_stack

OWN = train_environment.ROOT / train_environment.FOLDER / "bin" / "python"
PYTHON = Path(os.environ.get("TRAIN_PYTHON", OWN))

pytestmark = [
    pytest.mark.timeout(3600),  # a training, and the stack's own start
    pytest.mark.skipif(
        not PYTHON.is_file(),
        reason=f"not run: needs the train environment: UV_PROJECT_ENVIRONMENT={train_environment.FOLDER} uv sync "
        "--frozen --group train, or TRAIN_PYTHON=…/bin/python",
    ),
]

CAMERA, BOARDS, SEED = "line-1", 40, 21
FORM = {"minutes": 0.3, "side": 128, "batch": 4, "init": "inference/delivery/demo_model"}
TASKS = ("export_labels", "fetch_labels", "train", "export", "deliver")
TRAIN_SECONDS = 2400


@pytest.fixture(scope="module")
def stack() -> Iterator[Settings]:
    settings = {
        "SIGHTLINE_JOBS__RETRY_SECONDS": "2",
        "SIGHTLINE_JOBS__TRAIN_PYTHON": str(PYTHON),
        "SIGHTLINE_JOBS__GATE_BOARDS": "0",  # the reviewed gate set, as in an installation
    }
    with running_stack(profile="full", airflow=True, extra=settings) as running:
        yield running


@pytest.fixture(scope="module")
def operator(stack: Settings) -> Visitor:
    operator = visitor(stack, "operator")
    wait_for_dags(operator, {"train_model", "promote_model"})
    operator.unpause("train_model", "promote_model")
    return operator


def promotions(operator: Visitor) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = operator.said("/dags/promote_model/dagRuns")["dag_runs"]
    return runs


def test_without_a_label_there_is_nothing_to_learn_and_no_second_try(operator: Visitor):
    run = operator.start("train_model", FORM)
    assert operator.wait(run, seconds=600) == "failed"
    states = operator.tasks(run)
    assert states == {"export_labels": ["failed"], **{name: ["upstream_failed"] for name in TASKS[1:]}}
    assert operator.instance(run, "export_labels")["try_number"] == 1
    assert "export-labels ended with exit code 65" in operator.whole_log(run, "export_labels")


def test_reviewed_frames_become_a_challenger_and_its_promotion_is_asked_for(stack: Settings, operator: Visitor):
    seen = [simulate_board(SEED, index, size=SIDE) for index in range(BOARDS)]
    began = datetime.now(UTC) - timedelta(minutes=2)
    frames = send(stack, CAMERA, began, [encode_jpeg(one) for one in seen])
    succeed(stack, "audit", "--wait", "240", seconds=400)
    reviewer = Person(stack, "reviewer")
    for frame, one in zip(frames, seen, strict=True):
        reviewer.review(frame["frame_id"], zip(one.labels, map(corners, one.boxes), strict=True))

    run = operator.start("train_model", FORM)
    state = operator.wait(run, seconds=TRAIN_SECONDS)
    assert operator.tasks(run) == {name: ["success"] for name in TASKS}, told(operator, run)
    assert state == "success"

    exported = operator.xcom(run, "export_labels")
    assert (exported["images"], exported["labels"]) == (BOARDS, sum(len(one.labels) for one in seen))
    fetched = fetch_dataset(stack, exported["uri"], stack.stack.home / "looked-at")
    assert {image.frame_id for image in fetched.images} == {frame["frame_id"] for frame in frames}
    delivered = operator.xcom(run, "deliver")
    assert (delivered["role"], delivered["is_new"]) == ("challenger", True)
    assert roles(reviewer) == {"1": ["champion"], delivered["version"]: ["challenger"]}

    wait_for(lambda: [one["run_type"] for one in promotions(operator)], [["asset_triggered"]], seconds=300)
    asked = Run(dag="promote_model", run_id=promotions(operator)[0]["dag_run_id"])
    # No frame of the gate set has been reviewed: the evidence is refused, of this very version, and nothing changes.
    assert operator.wait(asked, seconds=600) == "failed"
    assert f"model gate {delivered['version']} --evaluate-only" in operator.whole_log(asked, "evaluate")
    assert operator.tasks(asked)["approve"] == ["upstream_failed"]
    assert "the gate set is empty" in operator.whole_log(asked, "evaluate")
    assert roles(reviewer) == {"1": ["champion"], delivered["version"]: ["challenger"]}


def roles(someone: Person) -> dict[str, list[str]]:
    """The aliases of each version."""
    return {one["version"]: one["aliases"] for one in someone.get("/v1/models").json()["items"]}


def corners(box: Any) -> tuple[float, float, float, float]:
    """Within the image, as a person's boxes are."""
    x1, y1, x2, y2 = (min(max(float(value), 0.0), float(SIDE)) for value in box)
    return x1, y1, x2, y2


def told(operator: Visitor, run: Run) -> str:
    """The log of the task that failed."""
    failed = [name for name, states in operator.tasks(run).items() if states == ["failed"]]
    return "\n".join(operator.whole_log(run, name)[-6000:] for name in failed)
