"""What a process holds where there is nobody to follow: benchmarks and tests need neither MLflow nor Postgres."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from contracts.errors import Misconfigured
from contracts.settings import PostgresSettings, ServingSettings, Settings
from inference.domain.batching import BatchPlan, choose
from inference.serving.follow import Follower
from inference.serving.sweep import SIZES
from tests.support.waiting import eventually

MODEL = Path(__file__).parents[2] / "inference/delivery/demo_model"


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("follows_ledger", [False, True])
def test_with_the_fake_engine_nobody_is_followed_and_no_heartbeat_is_written(follows_ledger: bool) -> None:
    settings = Settings(serving=ServingSettings(follows_ledger=follows_ledger))
    before = names()
    follower = Follower(settings, kind="stream", engine_kind="fake", threads=0)
    follower.start()
    model = follower.wait(threading.Event())
    assert model is not None
    assert names() == before
    assert (model.version.version, follower.state, follower.reason) == ("0", "serving", None)
    assert set(model.sweep) == set(SIZES), "an engine that does not look is timed like any other"
    assert model.plan == choose(model.sweep)
    with follower.lease() as leased:
        assert leased is model
    follower.close()
    assert follower.current is None


def test_a_folder_is_served_as_it_is_with_what_was_chosen() -> None:
    registry, plan = CollectorRegistry(), BatchPlan(size=3, age_seconds=0.01)
    follower = Follower(
        Settings(), kind="api", engine_kind="onnxruntime", threads=1, model_folder=MODEL, plan=plan, registry=registry
    )
    follower.start()
    told: list[BatchPlan | None] = []
    follower.on_swap(lambda model: told.append(model.plan if model else None))
    assert told == [plan]
    model = follower.current
    assert model is not None
    assert (model.version.version, model.sweep) == ("0", {})
    info = {"role": "champion", "name": "pcb-defects", "version": "0", "digest": model.version.digest, "engine": "onnxruntime"}  # fmt: skip
    assert registry.get_sample_value("sightline_serving_model_info", info) == 1
    assert registry.get_sample_value("sightline_serving_batch_images", {"role": "champion"}) == 3
    follower.close()
    assert registry.get_sample_value("sightline_serving_model_info", info) == 0


def test_a_folder_without_a_model_is_misconfigured(tmp_path: Path) -> None:
    follower = Follower(Settings(), kind="api", engine_kind="onnxruntime", threads=1, model_folder=tmp_path)
    with pytest.raises(Misconfigured, match="cannot read the model"):
        follower.start()
    follower.close()


def test_a_process_told_to_stop_waits_for_no_champion() -> None:
    away = Settings(postgres=PostgresSettings(port=1), serving=ServingSettings(follows_ledger=True))
    follower = Follower(away, kind="api", engine_kind="openvino", threads=1)
    stopping = threading.Event()
    stopping.set()
    assert follower.wait(stopping) is None
    follower.close()


def test_a_heartbeat_that_cannot_be_written_disturbs_nobody() -> None:
    settings = Settings(postgres=PostgresSettings(port=1), serving=ServingSettings(heartbeat_seconds=0.05))
    follower = Follower(settings, kind="stream", engine_kind="fake", threads=0)
    follower.start()
    eventually(lambda: "pulse" in names(), seconds=5, every=0.02)
    assert follower.current is not None
    follower.close()
    eventually(lambda: "pulse" not in names(), seconds=5, every=0.02)
