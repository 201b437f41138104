"""The one command, on a real MLflow store: what arrives, what is refused, what an interruption leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import onnxruntime
import pytest

from connectors.api_client import Api
from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import Settings
from inference.delivery import deliver as delivery
from inference.delivery.deliver import Delivered, deliver
from inference.domain.model_spec import parse
from inference.registry import promotion
from inference.registry.mlflow_client import connect
from inference.registry.model_version import digest_of
from inference.registry.registration import all_versions, record
from inference.registry.resolve import resolve
from tests.support.handovers import DEMO, WEAKER, a_handover, an_api, edit_json, few_boards
from tests.support.model_store import register

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn


def delivered(settings: Settings, folder: Path, **changes: Any) -> Delivered:
    said: list[str] = []
    api = changes.pop("api", None) or an_api(settings)
    return deliver(settings, folder, **{"held_out": few_boards(), "api": api, "say": said.append} | changes)


def the_platform(settings: Settings) -> Api:
    """Its challenger route, without the service around it."""

    def answer(request: httpx.Request) -> httpx.Response:
        version = request.url.path.removeprefix("/v1/models/").removesuffix("/challenger")
        promotion.set_challenger(settings, version)
        return httpx.Response(200, json={"challenger": version})

    return Api(settings, token=lambda _: "of-the-scientist", transport=httpx.MockTransport(answer))


def versions(settings: Settings) -> list[str]:
    client = connect(settings)
    return [str(one.version) for one in all_versions(client, settings.mlflow.model_name)]


def test_a_delivered_model_is_the_challenger_and_can_be_resolved(settings: Settings) -> None:
    answer = delivered(settings, DEMO)
    assert (answer.version, answer.is_new, answer.role) == ("1", True, "challenger")
    version = resolve(settings, "challenger")
    assert (version.version, version.digest, version.licence) == ("1", answer.digest, "AGPL-3.0")
    assert version.folder is not None
    assert (version.folder / "model.onnx").read_bytes() == (DEMO / "model.onnx").read_bytes()
    golden = dict(parse((version.folder / "model.json").read_bytes()).golden)
    assert set(golden) == {path.name for path in (DEMO / "golden").iterdir()}
    assert golden["00.jpg"] == digest_of(DEMO / "golden/00.jpg") == digest_of(version.folder / "golden/00.jpg")
    assert all(latency.median_ms > 0 for latency in answer.latencies)


def test_mlflow_shows_signature_figures_dataset_and_licence(settings: Settings) -> None:
    delivered(settings, WEAKER)
    client = connect(settings)
    name = settings.mlflow.model_name
    version = client.get_model_version(name, "1")
    assert (version.tags["licence"], version.tags["source"]) == ("AGPL-3.0", "delivery")
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["ap50"] == 0.5429
    assert run.data.metrics["recall/open"] == 0.2612
    assert run.data.metrics["median_ms/openvino"] > 0
    [dataset] = run.inputs.dataset_inputs
    assert dataset.dataset.digest == version.tags["training_digest"][:36]
    logged = {file.path for file in client.list_artifacts(version.run_id, "evidence")}
    names = "evaluation.csv training_manifest.json latency.json confusion.png confusion.json precision_recall.png"
    assert {f"evidence/{one}" for one in names.split()} <= logged
    mlflow.set_tracking_uri(settings.mlflow.tracking_uri)
    signature = mlflow.models.get_model_info(f"models:/{name}/1").signature
    [takes], [gives] = signature.inputs.inputs, signature.outputs.inputs
    assert (takes.name, takes.type, takes.shape) == ("images", np.dtype("float32"), (-1, 3, -1, -1))
    assert (gives.name, gives.type, gives.shape) == ("output0", np.dtype("float32"), (-1, 10, -1))


def test_the_same_files_delivered_again_find_their_version(settings: Settings) -> None:
    assert delivered(settings, WEAKER).is_new
    again = delivered(settings, WEAKER)
    assert (again.version, again.is_new, again.role) == ("1", False, "challenger")
    assert versions(settings) == ["1"]


def test_files_that_were_registered_before_golden_images_had_digests_find_their_version(settings: Settings) -> None:
    assert register(settings, WEAKER) == "1"  # model.json as it is in the folder
    again = delivered(settings, WEAKER)
    assert (again.version, again.is_new) == ("1", False)


def test_a_delivery_interrupted_before_the_version_is_finished_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as death:
        death.setattr("mlflow.MlflowClient.create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            delivered(settings, WEAKER)
    assert versions(settings) == []
    assert delivered(settings, WEAKER).version == "1"
    assert resolve(settings, "challenger").version == "1"


def test_a_delivery_interrupted_after_the_version_is_finished_by_the_next(settings: Settings) -> None:
    away = an_api(settings, answers=httpx.Response(503, headers={"Retry-After": "7"}, json={"detail": "draining"}))
    with pytest.raises(Transient, match="draining") as answer:
        delivered(settings, WEAKER, api=away)
    assert answer.value.retry_after.total_seconds() == 7
    assert versions(settings) == ["1"]
    assert delivered(settings, WEAKER).version == "1"
    assert resolve(settings, "challenger").version == "1"


def test_two_deliveries_of_the_same_files_at_once_are_one_version(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicker: list[Delivered] = []

    def meanwhile(*args: Any, **options: Any) -> str:
        """Both looked and found no version; then the other one is done first."""
        monkeypatch.setattr(delivery, "record", record)
        quicker.append(delivered(settings, WEAKER))
        return record(*args, **options)

    monkeypatch.setattr(delivery, "record", meanwhile)
    slower = delivered(settings, WEAKER, api=the_platform(settings))
    assert [(one.version, one.is_new) for one in (*quicker, slower)] == [("1", True), ("1", False)]
    assert versions(settings) == ["1"]
    assert resolve(settings, "challenger").version == "1"


@pytest.mark.parametrize("second", [DEMO, WEAKER])
def test_only_an_unused_twin_is_removed_as_a_duplicate(settings: Settings, second: Path) -> None:
    register(settings, WEAKER)
    client, name = connect(settings), settings.mlflow.model_name
    assert register(settings, second) == "2"
    client.set_model_version_tag(name, "2", "duplicate_of", "1")
    client.set_registered_model_alias(name, "of-somebody", "2")
    promotion.set_challenger(settings, "1")
    assert versions(settings) == ["1", "2"]
    client.delete_registered_model_alias(name, "of-somebody")
    promotion.set_challenger(settings, "1")
    assert versions(settings) == (["1"] if second == WEAKER else ["1", "2"])


def test_a_model_that_is_champion_already_is_said_to_be(settings: Settings) -> None:
    problem = {"code": "already_champion", "detail": "version 1 is the champion"}
    answer = delivered(settings, WEAKER, api=an_api(settings, answers=httpx.Response(422, json=problem)))
    assert answer.role == "champion"


def test_who_may_not_challenge_is_told_so(settings: Settings) -> None:
    problem = {"code": "forbidden", "detail": "the role scientist is needed"}
    with pytest.raises(Misconfigured, match="the role scientist is needed"):
        delivered(settings, WEAKER, api=an_api(settings, answers=httpx.Response(403, json=problem)))


def cut_short(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:100_000])
    edit_json(folder / "model.json", sha256=None)


def of_another_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((DEMO / "model.onnx").read_bytes())
    edit_json(folder / "model.json", sha256=None)


def more_classes(folder: Path) -> None:
    edit_json(folder / "model.json", classes=["open", "short", "mousebite", "spur", "copper", "pin-hole", "dust"])


def other_golden(folder: Path) -> None:
    golden = json.loads((folder / "golden/golden.json").read_text())
    golden["images"][0]["boxes"][0][0] += 3.0
    (folder / "golden/golden.json").write_text(json.dumps(golden))


def other_input(folder: Path) -> None:
    given = json.loads((folder / "model.json").read_text())["input"]
    edit_json(folder / "model.json", input=given | {"name": "pixels"})


def worse_table(folder: Path) -> None:
    text = (folder / "evaluation.csv").read_text()
    (folder / "evaluation.csv").write_text(text.replace("0.5429", "1.5429"))


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "broken onnx": (cut_short, "ONNX Runtime cannot load model.onnx"),
    "empty onnx": (lambda folder: (folder / "model.onnx").write_bytes(b""), "is not the file that model.json"),
    "onnx of another": (of_another_model, "does not see in the golden images"),
    "changed onnx": (lambda folder: edit_json(folder / "model.json", sha256="0" * 64), "is not the file"),
    "golden differs": (other_golden, "does not see in the golden images"),
    "golden of another": (
        lambda folder: edit_json(folder / "model.json", golden_sha256={"00.jpg": "0" * 64}),
        "golden/ is not what model.json was written for",
    ),
    "golden missing": (lambda folder: (folder / "golden/golden.json").unlink(), "lacks golden/golden.json"),
    "wrong classes": (more_classes, "classes need"),
    "wrong input": (other_input, "the graph takes"),
    "no licence": (lambda folder: edit_json(folder / "model.json", licence=None), "lacks licence"),
    "unknown licence": (lambda folder: edit_json(folder / "model.json", licence="unknown"), "write its SPDX name"),
    "no licence text": (lambda folder: (folder / "LICENSE").unlink(), "put the text of AGPL-3.0 there"),
    "no model.json": (lambda folder: (folder / "model.json").unlink(), "cannot read the model"),
    "no table": (lambda folder: (folder / "evaluation.csv").unlink(), "no evaluation.csv"),
    "broken table": (worse_table, "breaks its contract"),
    "no manifest": (lambda folder: (folder / "training_manifest.json").unlink(), "training_manifest.json is not there"),
    "empty manifest": (
        lambda folder: edit_json(folder / "training_manifest.json", simulator_seeds=[]),
        "training_manifest.json names no image",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_hand_over_is_refused_before_anything_is_registered(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    breaking, words = BROKEN[name]
    folder = a_handover(tmp_path / "model")
    breaking(folder)
    with pytest.raises(Rejected) as refusal:
        delivered(settings, folder)
    assert words in str(refusal.value)
    assert refusal.value.exit_code == 65
    assert not connect(settings).search_registered_models(f"name = '{settings.mlflow.model_name}'")


def test_a_graph_that_answers_row_0_of_a_batch_only_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnxruntime.InferenceSession

    class FirstRowOnly:
        def __init__(self, *given: Any, **named: Any) -> None:
            self.session = real(*given, **named)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.session, name)

        def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
            [batch] = self.session.run(names, feed)
            batch[1:] = 0
            return [batch]

    monkeypatch.setattr("inference.delivery.artefact.onnxruntime.InferenceSession", FirstRowOnly)
    with pytest.raises(Rejected, match="row 1 of a batch is not what the image alone gives"):
        delivered(settings, a_handover(tmp_path / "model"))


def test_mlflow_away_is_worth_trying_again(settings: Settings) -> None:
    away = settings.mlflow.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(Transient, match="MLflow is away"):
        delivered(settings.model_copy(update={"mlflow": away}), WEAKER)


def test_every_step_is_told(settings: Settings) -> None:
    said: list[str] = []
    delivery.deliver(settings, WEAKER, held_out=(), api=an_api(settings), say=said.append)
    assert said[0].startswith("examining weaker_model")
    assert said[-1] == "version 1 is the challenger"
