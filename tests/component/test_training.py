"""Training, its checkpoint, the engine that evaluates it and the export: in the train environment alone.

UV_PROJECT_ENVIRONMENT=.venv-train uv sync --group train && .venv-train/bin/python -m pytest tests/component/test_training.py
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from connectors.cameras.boards import CLASSES, encode_jpeg, simulate_board
from contracts.errors import Misconfigured
from inference import engines
from inference.delivery import evaluate, train
from inference.delivery.evaluate import EngineModel, OnnxModel
from inference.engines.torch_engine import read_checkpoint

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ultralytics") is None, reason="not run: needs the train environment"),
    pytest.mark.filterwarnings("default"),  # torch and ultralytics have warnings of their own
]
DEMO = Path(__file__).resolve().parents[2] / "inference/delivery/demo_model"


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for index in range(40):
        frame = simulate_board(5, index)
        rows = zip(frame.boxes, frame.labels, strict=True)
        lines = [" ".join(map(str, [*map(int, box), CLASSES.index(label) + 1])) for box, label in rows]
        (folder / f"images/{index:03}.jpg").write_bytes(encode_jpeg(frame))
        (folder / f"labels/{index:03}.txt").write_text("\n".join(lines))
    return folder


def train_for(minutes: float, out: Path, boards: Path, *more: str) -> None:
    words = ["--out", out, "--labelled", boards, "--init", DEMO, "--stages", f"160:{minutes / 2},192:{minutes / 2}"]
    assert train.main([*map(str, words), "--batch", "4", "--threads", "1", "--rate", "1e-5", *more]) == 0


@pytest.fixture(scope="module")
def trained(boards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("training")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train_for(0.2, out, boards)
    return out


def test_a_training_begins_where_the_exported_model_ended() -> None:
    import torch

    from inference.delivery.weights import start_from
    from inference.engines.torch_network import network

    boards = np.stack([simulate_board(5, index, size=320).image for index in range(4)])
    model = network(0.25, CLASSES)
    assert start_from(model, DEMO, boards) > 90
    images = np.repeat(boards[:, None], 3, axis=1).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(str(DEMO / "model.onnx"), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["output0"], {"images": images})
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(images))[0].numpy()
        np.testing.assert_allclose(found, expected, atol=0.01)
        # Learning normalises by the batch instead: much the same, for the statistics are those of such boards.
        learning = model.train()(torch.from_numpy(images))
        assert all(torch.isfinite(value).all() for value in learning.values() if isinstance(value, torch.Tensor))


def test_weights_of_another_width_are_refused() -> None:
    from inference.delivery.weights import start_from
    from inference.engines.torch_network import network

    with pytest.raises(ValueError, match="--width"):
        start_from(network(0.125, CLASSES), DEMO, np.zeros((1, 64, 64), np.uint8))


def test_the_checkpoint_says_what_an_export_must_know(trained: Path) -> None:
    plan = read_checkpoint(trained)["plan"]
    assert plan["classes"] == list(CLASSES)
    assert plan["side"] == 192  # the last stage's
    assert 0 < plan["confidence"] < 1
    assert "real boards of" in plan["data"]
    assert "--stages 160:0.1,192:0.1" in plan["command"]
    assert plan["boards"] < 40  # the others were kept apart
    assert len(plan["images"]) == 40  # all were seen: some by the training, the others by the choice of the checkpoint
    assert plan["simulator_seeds"] == [101]  # what the demo model was trained on


def test_a_training_with_its_budget_used_up_does_nothing_and_a_larger_one_goes_on(
    trained: Path, boards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_steps(trained)
    train_for(0.2, trained, boards)
    assert read_steps(trained) == before
    train_for(0.3, trained, boards)
    assert read_steps(trained) > before
    assert f"resumed at step {before}" in capsys.readouterr().out


def read_steps(folder: Path) -> int:
    import torch

    return int(torch.load(folder / "last.pt", weights_only=True)["step"])


def test_other_classes_or_another_width_are_refused(trained: Path, boards: Path) -> None:
    with pytest.raises(ValueError, match="another --width"):
        train_for(0.4, trained, boards, "--width", "0.125")


def test_evaluate_prints_both_protocols_for_a_checkpoint(
    trained: Path, boards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [trained, "--engine", "torch", "--labelled", boards, "--split", "validation", "--protocol", "deeppcb"]
    assert evaluate.main([*map(str, words), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == 40 - read_checkpoint(trained)["plan"]["boards"]
    assert 0 <= figures["paper"]["mean_ap"] <= 1
    assert figures["overall"]["label"] == "all"


def test_an_exported_checkpoint_answers_as_the_checkpoint_itself(trained: Path, tmp_path: Path) -> None:
    from inference.delivery.export import check_onnx, describe, write_json, write_onnx

    checkpoint = read_checkpoint(trained)
    training = write_onnx(checkpoint, tmp_path)
    write_json(tmp_path / "model.json", describe(tmp_path, checkpoint["plan"], name="real", training=training))
    check_onnx(tmp_path / "model.onnx", classes=len(CLASSES))
    assert b"AGPL" in (tmp_path / "model.onnx").read_bytes()
    exported, torch = OnnxModel(tmp_path, threads=1), EngineModel("torch", trained, threads=1)
    assert exported.spec.input.width == 192
    assert exported.spec.confidence == pytest.approx(checkpoint["plan"]["confidence"], abs=1e-4)
    image = np.repeat(simulate_board(5, 1).image[..., None], 3, axis=2)
    expected, found = (one.detect(image, confidence=0.02) for one in (torch, exported))
    assert len(expected) > 0
    assert sorted(found.labels) == sorted(expected.labels)
    np.testing.assert_allclose(np.sort(found.confidences), np.sort(expected.confidences), atol=1e-3)


def test_a_folder_without_a_checkpoint_is_misconfigured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"best\.pt"):
        engines.load("torch", tmp_path, threads=1)
    (tmp_path / "last.pt").write_bytes(b"none")
    with pytest.raises(Misconfigured, match="no checkpoint"):
        engines.load("torch", tmp_path, threads=1)
