"""PyTorch on a training's checkpoint, in float32: what training itself would answer. For evaluation only.

    best.pt (else last.pt) ─► averaged weights ─► network ─► raw [n, 4 + classes, anchors] ──decode_yolo──► boxes

Runs in the `train` environment alone; the service environment has neither torch nor ultralytics.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from contracts.errors import Misconfigured
from inference.domain.detections import Detections
from inference.domain.letterbox import PAD_VALUE, Image
from inference.domain.model_spec import ModelInput, ModelSpec
from inference.engines.torch_network import network, stay_offline
from inference.engines.whole_batch import fit, read

CHECKPOINTS: Final = ("best.pt", "last.pt")
_CONFIDENCE: Final = 0.25  # of a checkpoint that was not judged on validation boards


def load(folder: Path, *, threads: int, confidence: float | None) -> TorchEngine:
    """See inference.engines.load."""
    try:
        import torch
    except ImportError as error:
        raise Misconfigured(
            "the engine torch needs the train environment: uv sync --group train, and serve with another engine"
        ) from error
    content = read_checkpoint(folder)
    plan = content["plan"]
    spec = specification(plan, confidence=confidence)
    stay_offline(folder)
    if threads:
        torch.set_num_threads(threads)
    model = network(plan["width"], spec.classes)
    model.load_state_dict(content["average"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return TorchEngine(model.to(device).eval(), spec, device=device)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The best checkpoint of a training's folder.

    Raises:
        Misconfigured: it holds none, or one that is none of ours.
    """
    import torch

    files = [folder / name for name in CHECKPOINTS if (folder / name).is_file()]
    if not files:
        raise Misconfigured(
            f"{folder} holds no {' and no '.join(CHECKPOINTS)}; name the folder given to train as --out"
        )
    try:
        content: dict[str, Any] = torch.load(files[0], map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of pickle and zip
        raise Misconfigured(f"{files[0].name} is no checkpoint ({error}); train again") from error
    if not {"plan", "average"} <= set(content) or "classes" not in content["plan"]:
        raise Misconfigured(f"{files[0].name} is no checkpoint of this version's inference.delivery.train; train again")
    return content


def specification(plan: dict[str, Any], *, confidence: float | None = None) -> ModelSpec:
    """What an export of the checkpoint would say in its model.json.

    Args:
        plan: of the checkpoint.
        confidence: the least confidence of a detection; the one chosen on the validation boards unless given.
    """
    return ModelSpec(
        name="checkpoint",
        classes=tuple(plan["classes"]),
        input=ModelInput(
            name="images",
            width=plan["side"],
            height=plan["side"],
            dynamic=True,
            layout="NCHW",
            colour="RGB",
            scale=1 / 255,
            pad=PAD_VALUE,
        ),
        output_name="output0",
        output="yolo-raw",
        confidence=confidence if confidence is not None else (plan["confidence"] or _CONFIDENCE),
        iou=0.5,
        max_detections=300,
        licence="AGPL-3.0",
    )


class TorchEngine:
    """One network, a whole batch at once."""

    name = "torch"
    needs_pixels = True

    def __init__(self, model: Any, spec: ModelSpec, *, device: str) -> None:
        self._model: Any = model
        self._spec = spec
        self._device = device

    @property
    def spec(self) -> ModelSpec:
        """How images and answers are processed, read from the checkpoint: there is no model.json beside it."""
        return self._spec

    def warm_up(self) -> None:
        """See Engine."""
        self.infer([np.full((self._spec.input.height, self._spec.input.width, 3), PAD_VALUE, np.uint8)])

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """See Engine."""
        import torch

        if not images:
            return []
        batch, placed = fit(images, self._spec)
        with torch.no_grad():
            raw = self._model(torch.from_numpy(batch).to(self._device))[0].float().cpu().numpy()
        return read(raw, placed, images, self._spec)

    def close(self) -> None:
        """See Engine."""
        self._model = None
