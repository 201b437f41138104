"""What runs a model. One file per engine; none is imported before it is asked for.

load("openvino", folder, threads=1) ──► Engine ──infer──► [Detections, ...]

openvino      default on CPU
openvino-int8 likewise in int8, for a model whose int8 graph passed; others run in float32
onnxruntime   the reference, and where OpenVINO does not run
fake          no model at all: tests, and what the platform costs without one
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from contracts.errors import Misconfigured
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME, ModelSpec, parse

KINDS: Final = ("openvino", "openvino-int8", "onnxruntime", "fake")


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


def read_spec(folder: Path) -> ModelSpec:
    """The specification of the model in that folder.

    Raises:
        Misconfigured: the folder holds no model.json and model.onnx, or they do not fit.
    """
    missing = [name for name in (FILE_NAME, MODEL_FILE_NAME) if not (folder / name).is_file()]
    if missing:
        raise Misconfigured(f"{folder} lacks {' and '.join(missing)}; deliver or export the model again")
    return parse((folder / FILE_NAME).read_bytes())


def load(kind: str, folder: Path | None, *, threads: int) -> Engine:
    """The engine of that kind with the model in that folder, compiled but not warmed up.

    Args:
        kind: one of KINDS.
        folder: holds model.onnx and model.json; the fake engine needs none.
        threads: for inference; 0 = one per core that this process may use.

    Raises:
        Misconfigured: there is no such engine, or it cannot read the model.
    """
    if kind not in KINDS:
        raise Misconfigured(f"there is no engine {kind!r}; choose one of {', '.join(KINDS)}")
    if kind != "fake" and folder is None:
        raise Misconfigured(f"the engine {kind} needs a model folder")
    module = import_module(f"inference.engines.{kind.replace('-', '_')}_engine")
    return cast("Engine", module.load(folder, threads=threads))
