"""Asked for a GPU, an engine runs on one or does not start. This machine need not have a GPU for these tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from contracts.errors import Misconfigured
from inference import engines
from inference.engines import onnxruntime_cuda_engine, onnxruntime_engine
from inference.engines.onnxruntime_cuda_engine import CPU, CUDA
from tests.unit.test_engines import MODEL, golden, golden_image

HAS_GPU = CUDA in onnxruntime.get_available_providers() and Path("/dev/nvidia0").exists()


class Session:
    """Comes up on the providers that this machine has, as ONNX Runtime does: without a word about the others."""

    asked: tuple[str, ...] = ()

    def __init__(self, _path: str, _options: Any, *, providers: list[str], working: tuple[str, ...]) -> None:
        Session.asked = tuple(providers)
        self._providers = [name for name in providers if name in working]

    def get_providers(self) -> list[str]:
        return self._providers


def a_machine(monkeypatch: pytest.MonkeyPatch, *, offers: list[str], works: tuple[str, ...]) -> None:
    def session(path: str, options: Any, *, providers: list[str]) -> Session:
        return Session(path, options, providers=providers, working=works)

    monkeypatch.setattr(onnxruntime_cuda_engine.onnxruntime, "get_available_providers", lambda: offers)
    monkeypatch.setattr(onnxruntime_cuda_engine.onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime_engine.onnxruntime, "InferenceSession", session)


def test_with_cuda_working_it_runs_there_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    a_machine(monkeypatch, offers=[CUDA, CPU], works=(CUDA, CPU))
    for kind in ("onnxruntime-cuda", "onnxruntime-cuda-or-cpu"):
        assert engines.load(kind, MODEL, threads=1).name == "onnxruntime-cuda"
        assert Session.asked == (CUDA, CPU)


def test_a_silent_fallback_to_cpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    a_machine(monkeypatch, offers=[CUDA, CPU], works=(CPU,))
    with pytest.raises(Misconfigured, match=r"did not come up.*onnxruntime-cuda-or-cpu"):
        engines.load("onnxruntime-cuda", MODEL, threads=1)


def test_onnx_runtime_for_cpu_is_an_error_that_names_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    a_machine(monkeypatch, offers=[CPU], works=(CPU,))
    with pytest.raises(Misconfigured, match="uv sync --only-group gpu"):
        engines.load("onnxruntime-cuda", MODEL, threads=1)


@pytest.mark.parametrize("offers", [[CPU], [CUDA, CPU]])
def test_where_cpu_is_allowed_predictions_say_that_it_ran_there(
    offers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_machine(monkeypatch, offers=offers, works=(CPU,))
    assert engines.load("onnxruntime-cuda-or-cpu", MODEL, threads=1).name == "onnxruntime"


@pytest.mark.skipif(HAS_GPU, reason="not run: this machine has a GPU")
def test_the_worker_asked_for_a_gpu_that_is_not_there_ends_with_78() -> None:
    environment = os.environ | {
        "SIGHTLINE_STREAM__ENGINE": "onnxruntime-cuda",
        "SIGHTLINE_STREAM__MODEL_FOLDER": str(MODEL),
    }
    done = subprocess.run(
        [sys.executable, "-m", "inference.stream"],
        cwd=MODEL.parents[2],
        env=environment,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 78, done.stderr
    assert "finds no GPU" in done.stdout + done.stderr


@pytest.mark.skipif(HAS_GPU, reason="not run: this machine has a GPU")
def test_where_cpu_is_allowed_the_engine_answers_like_the_reference() -> None:
    engine = engines.load("onnxruntime-cuda-or-cpu", MODEL, threads=1)
    one = golden()["images"][0]
    (found,) = engine.infer([golden_image(one["file"])])
    assert sorted(found.labels) == sorted(one["labels"])
    engine.close()


@pytest.mark.skipif(not HAS_GPU, reason="not run: this machine has no GPU")
def test_on_a_gpu_it_sees_in_the_golden_images_what_the_export_saw() -> None:
    engine = engines.load("onnxruntime-cuda", MODEL, threads=1)
    assert engine.name == "onnxruntime-cuda"
    for one in golden()["images"]:
        (found,) = engine.infer([golden_image(one["file"])])
        assert sorted(found.labels) == sorted(one["labels"])
    engine.close()
