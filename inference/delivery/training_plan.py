"""What a training is asked to do, and for how long: the command line of inference.delivery.train."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference.engines.torch_network import WIDTH

ABOUT: Final = "Trains a detector on simulated boards, or on labelled images of real ones."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the budget, at one size."""

    side: int  # pixels
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to train, and for how long."""

    out: Path
    stages: tuple[Stage, ...]
    epochs: int
    seed: int
    width: float  # share of yolo11's channels; yolo11n has 0.25
    boards: int  # simulated ones
    labelled: Path | None  # real boards instead of simulated ones
    dataset: str | None  # likewise, from the object store: fetched into `out`
    init: Path | None  # weights to start from
    batch: int
    rate: float  # highest learning rate
    threads: int
    device: str  # cpu, cuda, cuda:1
    save_minutes: float
    validate_minutes: float
    command: str

    @property
    def minutes(self) -> float:
        """The whole budget."""
        return sum(stage.minutes for stage in self.stages)

    @property
    def largest(self) -> int:
        """The side that boards are kept at, pixels."""
        return max(stage.side for stage in self.stages)

    def side_at(self, seconds: float) -> int:
        """What is trained at after so long."""
        end = 0.0
        for stage in self.stages:
            end += stage.minutes * 60
            if seconds < end:
                return stage.side
        return self.stages[-1].side


def plan_of(arguments: list[str] | None = None) -> Plan:
    """The plan that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m inference.delivery.train", description=ABOUT)
    parser.add_argument("--out", type=Path, required=True, help="folder for boards and checkpoints")
    parser.add_argument("--max-minutes", type=float, default=75, help="whole budget, runs before a resume counted in")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--stages", type=_stages, help="SIDE:MINUTES,... instead of --imgsz and --max-minutes")
    parser.add_argument("--epochs", type=int, default=1000, help="stop earlier after so many passes over the boards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=float, default=WIDTH, help="share of yolo11's channels; less is smaller, worse")
    parser.add_argument("--boards", type=int, default=12_000, help="simulated boards to make")
    parser.add_argument("--labelled", type=Path, help="images/*.jpg and labels/*.txt instead of simulated boards")
    parser.add_argument("--dataset", help="s3://…, what export-labels wrote, instead of --labelled")
    parser.add_argument("--init", type=Path, help="best.pt, last.pt or model.onnx to start from, or its folder")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--validate-minutes", type=float, default=10)
    given = parser.parse_args(arguments)
    if given.labelled and given.dataset:
        parser.error("--labelled and --dataset exclude each other")
    written = sys.argv[1:] if arguments is None else arguments
    return Plan(
        out=given.out,
        stages=given.stages or (Stage(side=given.imgsz, minutes=given.max_minutes),),
        command=" ".join(["python -m inference.delivery.train", *_without_folders(written)]),
        **{
            name: getattr(given, name)
            for name in (
                *("epochs", "seed", "width", "boards", "labelled", "dataset", "init", "batch", "rate", "threads"),
                "device",
            )
        },
        save_minutes=given.save_minutes,
        validate_minutes=given.validate_minutes,
    )


def _stages(text: str) -> tuple[Stage, ...]:
    pairs = [part.split(":") for part in text.split(",")]
    return tuple(Stage(side=int(side), minutes=float(minutes)) for side, minutes in pairs)


def _without_folders(words: list[str]) -> list[str]:
    """The command as the card shows it: folders by their last name, for the rest of a path is one machine's."""
    return [Path(word).name if "/" in word else word for word in words]
