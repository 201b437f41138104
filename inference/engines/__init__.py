"""What runs a model. One file per engine; none is imported before it is asked for.

load("openvino", folder, threads=1) ──► Engine ──infer──► [Detections, ...]

openvino                  default on CPU
onnxruntime               the reference, and where OpenVINO does not run
onnxruntime-cuda          on a GPU, in the `gpu` environment; without a GPU it does not start
onnxruntime-cuda-or-cpu   likewise, but on CPU where there is no GPU, and its predictions say so
torch                     a training's checkpoint, in the `train` environment: evaluation only
fake                      no model at all: tests, and what the platform costs without one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from contracts.errors import Misconfigured
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME, ModelSpec, parse

# Which module makes an engine, and by which function.
_MAKERS: Final = {
    "openvino": ("openvino_engine", "load"),
    "openvino-int8": ("openvino_int8_engine", "load"),
    "onnxruntime": ("onnxruntime_engine", "load"),
    "onnxruntime-cuda": ("onnxruntime_cuda_engine", "load"),
    "onnxruntime-cuda-or-cpu": ("onnxruntime_cuda_engine", "load_or_cpu"),
    "torch": ("torch_engine", "load"),
    "fake": ("fake_engine", "load"),
}
KINDS: Final = tuple(_MAKERS)


class Engine(Protocol):
    """Turns images into detections; knows nothing of topics, stores or HTTP. One thread at a time may call it."""

    @property
    def name(self) -> str:
        """As predictions carry it: openvino, onnxruntime, ..."""
        ...

    @property
    def needs_pixels(self) -> bool:
        """False for an engine that answers without looking: its frames are then not decoded."""
        ...

    def warm_up(self) -> None:
        """Runs a grey image through the model, so that the first frame is not the slow one.

        Raises:
            Exception: the engine itself does not work, whatever the image.
        """
        ...

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """One answer per image, in order; boxes in pixels of the image as given. Images may differ in size."""
        ...

    def close(self) -> None:
        """Releases the model and its threads. A second call does nothing."""
        ...


def read_spec(folder: Path, *, confidence: float | None = None) -> ModelSpec:
    """The specification of the model in that folder.

    Args:
        folder: holds model.onnx and model.json.
        confidence: the least confidence of a detection; the model's own unless given.

    Raises:
        Misconfigured: the folder holds no model.json and model.onnx, or they do not fit.
    """
    missing = [name for name in (FILE_NAME, MODEL_FILE_NAME) if not (folder / name).is_file()]
    if missing:
        raise Misconfigured(f"{folder} lacks {' and '.join(missing)}; deliver or export the model again")
    spec = parse((folder / FILE_NAME).read_bytes())
    return spec if confidence is None else replace(spec, confidence=confidence)


def load(kind: str, folder: Path | None, *, threads: int, confidence: float | None = None) -> Engine:
    """The engine of that kind with the model in that folder, compiled but not warmed up.

    Args:
        kind: one of KINDS.
        folder: holds model.onnx and model.json (torch: best.pt or last.pt); the fake engine needs none.
        threads: for inference; 0 = one per core that this process may use.
        confidence: the least confidence of a detection; the model's own unless given. Evaluation asks for less.

    Raises:
        Misconfigured: there is no such engine, this environment or machine cannot run it, or it cannot read the model.
    """
    if kind not in KINDS:
        raise Misconfigured(f"there is no engine {kind!r}; choose one of {', '.join(KINDS)}")
    if kind != "fake" and folder is None:
        raise Misconfigured(f"the engine {kind} needs a model folder")
    module, maker = _MAKERS[kind]
    make = getattr(import_module(f"inference.engines.{module}"), maker)
    return cast("Engine", make(folder, threads=threads, confidence=confidence))
