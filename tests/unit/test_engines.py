"""The engines on the demo model's golden images: they agree with what the export wrote down, and with each other."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import Misconfigured
from inference import engines
from inference.domain.decode import Status, decode
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.engines.fake_engine import FakeEngine

MODEL = Path(__file__).parents[2] / "inference/delivery/demo_model"
REAL = ("openvino", "onnxruntime")


def golden() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MODEL / "golden/golden.json").read_text())
    return loaded


def golden_image(name: str) -> Image:
    image = decode((MODEL / "golden" / name).read_bytes(), max_pixels=10_000_000)
    assert not isinstance(image, Status)
    return image


def assert_same(found: Detections, expected: dict[str, Any], *, pixels: float, confidence: float) -> None:
    """Equal up to the order of detections whose confidences are closer than the tolerance."""
    assert sorted(found.labels) == sorted(expected["labels"])
    left = list(range(len(found)))
    for label, score, box in zip(expected["labels"], expected["confidences"], expected["boxes"], strict=True):
        fits = [
            at
            for at in left
            if found.labels[at] == label
            and abs(found.confidences[at] - score) <= confidence
            and np.abs(found.boxes[at] - np.array(box)).max() <= pixels
        ]
        assert fits, f"no detection like {label} {score} {box} in {found}"
        left.remove(fits[0])


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("threads", [1, 3])
def test_engine_sees_in_the_golden_images_what_the_export_saw(kind: str, threads: int) -> None:
    engine = engines.load(kind, MODEL, threads=threads)
    try:
        engine.warm_up()
        expected = golden()
        answers = engine.infer([golden_image(one["file"]) for one in expected["images"]])
        for found, one in zip(answers, expected["images"], strict=True):
            assert_same(found, one, **expected["tolerance"])
    finally:
        engine.close()


@pytest.mark.parametrize("kind", REAL)
def test_an_image_gets_the_same_answer_alone_and_in_any_batch(kind: str) -> None:
    images = [golden_image(one["file"]) for one in golden()["images"][:4]]
    images.insert(1, np.full((100, 900, 3), 30, np.uint8))  # of another size
    engine = engines.load(kind, MODEL, threads=2)
    try:
        together = engine.infer(images)
        for image, found in zip(images, together, strict=True):
            (alone,) = engine.infer([image])
            assert alone.labels == found.labels
            np.testing.assert_allclose(alone.boxes, found.boxes, atol=1e-2)
    finally:
        engine.close()


@pytest.mark.parametrize("kind", REAL)
def test_no_images_give_no_answers(kind: str) -> None:
    engine = engines.load(kind, MODEL, threads=1)
    try:
        assert engine.infer([]) == []
    finally:
        engine.close()
        engine.close()


@pytest.mark.parametrize("kind", REAL)
def test_process_ends_after_using_an_engine_in_a_thread(kind: str) -> None:
    code = (
        "import threading, numpy, pathlib, sys\n"
        "from inference import engines\n"
        f"engine = engines.load({kind!r}, pathlib.Path({str(MODEL)!r}), threads=2)\n"
        "thread = threading.Thread(target=lambda: engine.infer([numpy.zeros((64, 64, 3), numpy.uint8)] * 3))\n"
        "thread.start(); thread.join(); engine.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, cwd=MODEL.parents[2], env=dict(os.environ))
    assert done.returncode == 0


@pytest.mark.parametrize("kind", REAL)
def test_a_file_that_is_no_model_is_misconfigured(kind: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes((MODEL / "model.json").read_bytes())
    with pytest.raises(Misconfigured, match=r"lacks model\.onnx"):
        engines.load(kind, tmp_path, threads=1)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(Misconfigured, match="cannot run"):
        engines.load(kind, tmp_path, threads=1)


@pytest.mark.parametrize("kind", REAL)
def test_an_engine_loaded_for_less_confidence_finds_more(kind: str) -> None:
    image = golden_image("00.jpg")
    counts = []
    for confidence in (None, 0.001):
        engine = engines.load(kind, MODEL, threads=1, confidence=confidence)
        (found,) = engine.infer([image])
        counts.append(len(found))
        engine.close()
    assert counts[0] == len(golden()["images"][0]["labels"]) < counts[1]


def test_torch_is_not_in_the_service_environment_and_its_engine_says_where_it_is() -> None:
    if importlib.util.find_spec("torch"):
        pytest.skip("not run: this is the train environment")
    with pytest.raises(Misconfigured, match="uv sync --group train"):
        engines.load("torch", MODEL, threads=1)


def test_an_unknown_engine_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match=r"openvino, openvino-int8, onnxruntime, .*fake"):
        engines.load("abacus", MODEL, threads=1)
    with pytest.raises(Misconfigured, match="needs a model folder"):
        engines.load("openvino", None, threads=1)


def test_the_fake_engine_answers_every_image_and_needs_no_pixels() -> None:
    engine = engines.load("fake", None, threads=1)
    assert not engine.needs_pixels
    assert len(engine.infer([np.zeros((1, 1, 3), np.uint8)] * 3)) == 3
    seen = Detections(
        labels=("open",), confidences=np.array([0.5], np.float32), boxes=np.array([[1, 2, 3, 4]], np.float32)
    )
    assert FakeEngine(detections=seen).infer([np.zeros((1, 1, 3), np.uint8)]) == [seen]


def test_engines_are_not_imported_before_they_are_asked_for() -> None:
    code = (
        "import sys, inference.engines\n"
        "sys.exit(any(name in sys.modules for name in ('openvino', 'onnxruntime', 'mlflow')))"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, cwd=MODEL.parents[2], env=dict(os.environ))
    assert done.returncode == 0
