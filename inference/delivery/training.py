"""One training: model, optimiser, averaged weights, how far they are, and the checkpoint that holds them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.domain.detections import Detections
from inference.domain.letterbox import Letterbox
from inference.domain.nms import decode_yolo
from inference.engines.torch_network import network

WARM_UP_STEPS: Final = 400
LAST_RATE: Final = 0.02  # of the highest learning rate
IN_PLACE: Final = Letterbox(scale=1.0, pad_x=0, pad_y=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a checkpoint says about itself, so that an export need not be told."""

    classes: tuple[str, ...]
    side: int  # pixels of the model's input
    width: float  # share of yolo11's channels; yolo11n has 0.25
    seed: int
    boards: int  # trained on
    batch: int
    data: str  # for people
    command: str  # likewise: how to train it again
    confidence: float | None  # with the best F-score on the validation boards; None where there are none
    metrics: dict[str, Any]  # on the validation boards, of the averaged weights as they were saved
    images: list[str]  # sha256 of every image file that training or the choice of the checkpoint saw
    simulator_seeds: list[int]  # of the simulated boards among them


class Training:
    """Learns from batches; its averaged weights are what is validated and exported."""

    def __init__(self, *, width: float, classes: Sequence[str], rate: float, device: str) -> None:
        import torch

        self.step, self.seconds = 0, 0.0
        self.best = -1.0  # validation figure of best.pt
        self._rate, self._device = rate, device
        model = network(width, classes)
        model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
        # Channels last and bfloat16 halve the time of a step on a CPU that has avx512_bf16; weights stay float32.
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.average = deepcopy(self.model).eval()
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 5e-3}, {"params": others, "weight_decay": 0.0}]
        self.optimiser: Any = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999))

    def start_as(self, model: Any) -> None:
        """Takes over the weights of another model of the same shape."""
        self.model.load_state_dict(model.state_dict())
        self.average.load_state_dict(model.state_dict())

    def learn(self, batch: dict[str, NDArray[Any]], progress: float) -> NDArray[np.float64]:
        """One step. Returns the box, class and distribution losses.

        Args:
            batch: as `make_batch` gives it.
            progress: 0..1, share of the budget used up; the learning rate falls with it.
        """
        import torch

        rate = self._rate * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * progress)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        images = self._images(batch["img"])
        targets = {name: torch.from_numpy(batch[name]).float() for name in ("batch_idx", "cls", "bboxes")}
        targets = {name: value.to(self._device) for name, value in targets.items()}
        targets["cls"] = targets["cls"][:, None]
        with torch.autocast(self._device.partition(":")[0], torch.bfloat16):
            raw = self.model(images)
        loss, parts = self.model.loss({"img": images, **targets}, _as_float(raw))
        self.optimiser.zero_grad(set_to_none=True)
        (loss.sum() / len(images) * 16).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return np.array([float(parts[name]) for name in ("box_loss", "cls_loss", "dfl_loss")])

    def detect(
        self, images: NDArray[np.uint8], classes: Sequence[str], *, confidence: float, batch: int = 16
    ) -> list[Detections]:
        """What the averaged weights see in images [n, side, side]; boxes in pixels of these."""
        import torch

        side = images.shape[1]
        answers: list[Detections] = []
        for start in range(0, len(images), batch):
            with torch.no_grad():
                raw = self.average(self._images(images[start : start + batch]))[0].float().cpu().numpy()
            answers.extend(
                decode_yolo(
                    one,
                    IN_PLACE,
                    classes=classes,
                    width=side,
                    height=side,
                    confidence=confidence,
                    iou=0.5,
                    max_detections=300,
                )
                for one in raw
            )
        return answers

    def _images(self, grey: NDArray[np.uint8]) -> Any:
        import torch

        scaled = torch.from_numpy(grey).to(self._device).float().div_(255)
        return scaled[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

    def _average(self) -> None:
        import torch

        keep = 0.9995 * (1 - math.exp(-self.step / 1000))
        with torch.no_grad():
            now = self.model.state_dict()
            for name, value in self.average.state_dict().items():
                if value.dtype.is_floating_point:
                    value.mul_(keep).add_(now[name], alpha=1 - keep)

    def save(self, file: Path, description: Description) -> None:
        """Writes the checkpoint aside, then moves it: it is whole or not there."""
        import torch

        plan = {name: getattr(description, name) for name in Description.__slots__}
        content = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plan": plan | {"classes": list(description.classes)},
        }
        aside = file.with_suffix(".partial")
        torch.save(content, aside)
        aside.replace(file)

    def resume(self, file: Path, description: Description) -> None:
        """Goes on from a checkpoint.

        Raises:
            ValueError: it is of another network.
        """
        import torch

        content = torch.load(file, map_location=self._device, weights_only=True)
        trained = content["plan"]
        if (trained["width"], trained.get("classes")) != (description.width, list(description.classes)):
            raise ValueError(f"{file} has another --width or other classes: give the same, or another --out")
        self.step, self.seconds, self.best = content["step"], content["seconds"], content["best"]
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])


def _as_float(value: Any) -> Any:
    """The loss is computed in float32, whatever the layers ran in."""
    if isinstance(value, dict):
        return {name: _as_float(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_float(part) for part in value]
    return value.float()
