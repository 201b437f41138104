"""Trains the demo model from scratch on simulated boards.

    python -m inference.delivery.train --out DIR --max-minutes 75

    boards (made once) ─► turned and mirrored ─► yolo11n ─► DIR/last.pt every few minutes ─► export

Runs in the `train` environment alone (`uv sync --group train`): ultralytics is AGPL-3.0 and torch is 3 GB. Nothing is
downloaded: the architecture comes from its YAML, the weights start random. Stopped at any moment, the same command goes
on from the last checkpoint. The learning rate falls to its end as the whole budget (minutes or epochs, runs before a
resume counted in) is used up; a larger budget given later continues from there.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.cameras.boards import CLASSES
from inference.delivery.dataset import TRAIN_SEED, BoardSet, Recipe, open_boards

ARCHITECTURE = "yolo11n.yaml"
WIDTH = 0.25  # share of yolo11's channels that makes it yolo11n
WARM_UP_STEPS = 400
LAST_RATE = 0.02  # of the highest learning rate
TELL_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to train, and for how long."""

    out: Path
    max_minutes: float
    epochs: int
    seed: int
    side: int  # pixels
    width: float  # share of yolo11's channels; yolo11n has 0.25
    boards: int
    batch: int
    rate: float  # highest learning rate
    threads: int
    save_minutes: float


def main(arguments: list[str] | None = None) -> int:
    """Trains until the budget is used up. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m inference.delivery.train", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for boards and checkpoints")
    parser.add_argument("--max-minutes", type=float, default=75, help="whole budget, runs before a resume counted in")
    parser.add_argument("--epochs", type=int, default=1000, help="stop earlier after so many passes over the boards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument(
        "--width", type=float, default=WIDTH, help="share of yolo11's channels; less is smaller and worse"
    )
    parser.add_argument("--boards", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-minutes", type=float, default=4)
    given = parser.parse_args(arguments)
    plan = Plan(
        out=given.out,
        max_minutes=given.max_minutes,
        epochs=given.epochs,
        seed=given.seed,
        side=given.imgsz,
        width=given.width,
        boards=given.boards,
        batch=given.batch,
        rate=given.rate,
        threads=given.threads,
        save_minutes=given.save_minutes,
    )
    plan.out.mkdir(parents=True, exist_ok=True)
    stay_offline(plan.out)
    # Threads that spin at barriers starve each other on a busy machine: steps took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    recipe = Recipe(seed=TRAIN_SEED + 1000 * plan.seed, count=plan.boards, side=plan.side, is_training=True)
    train(plan, open_boards(plan.out / f"boards-{plan.seed}-{plan.side}", recipe, processes=plan.threads))
    return 0


def stay_offline(folder: Path) -> None:
    """Keeps ultralytics from downloading, installing or reporting anything. Call before the first import of it."""
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_VERBOSE"] = "false"
    os.environ["YOLO_CONFIG_DIR"] = str(folder.resolve())


def train(plan: Plan, boards: BoardSet) -> None:
    """Runs steps until the budget is used up, or until Ctrl-C or SIGTERM: both save first."""
    import torch

    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    training = _Training(plan)
    training.resume()
    stop = _stop_signals()
    steps_per_epoch = len(boards) // plan.batch
    saved = told = time.monotonic()
    began = saved - training.seconds
    losses: list[NDArray[np.float64]] = []
    while not stop:
        training.seconds = (now := time.monotonic()) - began
        progress = max(training.seconds / 60 / plan.max_minutes, training.step / (steps_per_epoch * plan.epochs))
        if progress >= 1:
            break
        epoch, place = divmod(training.step, steps_per_epoch)
        order = np.random.default_rng([plan.seed, epoch]).permutation(len(boards))
        chosen = order[place * plan.batch : (place + 1) * plan.batch]
        batch = make_batch(boards, chosen, np.random.default_rng([plan.seed, epoch, place]))
        losses.append(training.learn(batch, progress))
        if now - told > TELL_SECONDS:
            box, cls, dfl = np.mean(losses, axis=0)
            where = f"{progress:6.1%}  {training.seconds / 60:5.1f} min  epoch {epoch} step {training.step}"
            say(f"{where}  {len(losses) / (now - told):.2f} steps/s  box {box:.3f}  cls {cls:.3f}  dfl {dfl:.3f}")
            losses, told = [], now
        if now - saved > plan.save_minutes * 60:
            training.save()
            saved = now
    training.save()
    say(f"saved: {training.step} steps in {training.seconds / 60:.1f} min, {training.checkpoint}")


def _stop_signals() -> list[int]:
    """A list that a stop signal fills, so that the step under way is finished and saved."""
    seen: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: seen.append(caught))
    return seen


def say(line: str) -> None:
    """Shows progress at once, also in a file."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def make_batch(boards: BoardSet, chosen: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Takes boards out of the set, each turned by a quarter or mirrored at random: a board has no upside.

    Returns: img [b, side, side] uint8; batch_idx, cls [m]; bboxes [m, 4] centre, width, height as shares of the side.
    """
    side = boards.images.shape[1]
    images, index, labels, boxes = [], [], [], []
    for number, board in enumerate(chosen.tolist()):
        ids, where = boards.truth(board)
        turns, is_mirrored = int(rng.integers(4)), bool(rng.integers(2))
        image, where = turned(boards.images[board], where, turns, is_mirrored=is_mirrored)
        images.append(image)
        index.append(np.full(len(ids), number))
        labels.append(ids)
        boxes.append(where)
    every = np.concatenate(boxes) / side
    centre, size = (every[:, :2] + every[:, 2:]) / 2, every[:, 2:] - every[:, :2]
    return {
        "img": np.stack(images),
        "batch_idx": np.concatenate(index),
        "cls": np.concatenate(labels),
        "bboxes": np.concatenate([centre, size], axis=1),
    }


def turned(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], turns: int, *, is_mirrored: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Turns a square image and its boxes by `turns` quarters against the clock, then mirrors left and right."""
    side = image.shape[0]
    image = np.rot90(image, turns)
    for _ in range(turns % 4):
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([y1, side - x2, y2, side - x1], axis=1)
    if is_mirrored:
        image = image[:, ::-1]
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([side - x2, y1, side - x1, y2], axis=1)
    return image, boxes


def network(width: float) -> Any:
    """The untrained model, an ultralytics DetectionModel for our classes."""
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    layout = yaml_model_load(ARCHITECTURE)
    layout["scales"]["n"][1] = width
    model: Any = DetectionModel(layout, nc=len(CLASSES), verbose=False)
    model.names = dict(enumerate(CLASSES))
    return model


class _Training:
    """Model, optimiser, averaged weights and how far they are."""

    def __init__(self, plan: Plan) -> None:
        import torch

        self.plan = plan
        self.checkpoint = plan.out / "last.pt"
        self.step, self.seconds = 0, 0.0
        model = network(plan.width)
        model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
        # Channels last and bfloat16 halve the time of a step on a CPU that has avx512_bf16; weights stay float32.
        self.model = model.to(memory_format=torch.channels_last).train()
        self.average = deepcopy(self.model).eval()
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 5e-3}, {"params": others, "weight_decay": 0.0}]
        self.optimiser: Any = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.999))

    def learn(self, batch: dict[str, NDArray[Any]], progress: float) -> NDArray[np.float64]:
        """One step. Returns the box, class and distribution losses."""
        import torch

        rate = self.plan.rate * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * progress)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        grey = torch.from_numpy(batch["img"]).float().div_(255)
        images = grey[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        targets = {name: torch.from_numpy(batch[name]).float() for name in ("batch_idx", "cls", "bboxes")}
        targets["cls"] = targets["cls"][:, None]
        with torch.autocast("cpu", torch.bfloat16):
            raw = self.model(images)
        loss, parts = self.model.loss({"img": images, **targets}, _as_float(raw))
        self.optimiser.zero_grad(set_to_none=True)
        (loss.sum() / len(images) * 16).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return np.array([float(parts[name]) for name in ("box_loss", "cls_loss", "dfl_loss")])

    def _average(self) -> None:
        import torch

        keep = 0.9995 * (1 - math.exp(-self.step / 1000))
        with torch.no_grad():
            now = self.model.state_dict()
            for name, value in self.average.state_dict().items():
                if value.dtype.is_floating_point:
                    value.mul_(keep).add_(now[name], alpha=1 - keep)

    def save(self) -> None:
        """Writes the checkpoint aside, then moves it: it is whole or not there."""
        import torch

        content = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plan": {
                "seed": self.plan.seed,
                "boards": self.plan.boards,
                "batch": self.plan.batch,
                "side": self.plan.side,
                "width": self.plan.width,
            },
        }
        aside = self.checkpoint.with_suffix(".partial")
        torch.save(content, aside)
        aside.replace(self.checkpoint)

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        import torch

        if not self.checkpoint.exists():
            return
        content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        trained = {"width": WIDTH} | content["plan"]
        if (trained["width"], trained["side"]) != (self.plan.width, self.plan.side):
            raise ValueError(f"{self.checkpoint} has another --width or --imgsz: give the same, or another --out")
        self.step, self.seconds = content["step"], content["seconds"]
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])
        say(f"resumed at step {self.step}, {self.seconds / 60:.1f} min")


def _as_float(value: Any) -> Any:
    """The loss is computed in float32, whatever the layers ran in."""
    if isinstance(value, dict):
        return {name: _as_float(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_float(part) for part in value]
    return value.float()


if __name__ == "__main__":
    raise SystemExit(main())
