"""Trains a detector on simulated boards, or on labelled images of real ones.

    python -m inference.delivery.train --out DIR --max-minutes 75
    python -m inference.delivery.train --out DIR --labelled BOARDS --init MODEL --stages 320:60,640:60
    python -m inference.delivery.train --out DIR --dataset s3://…     labels that people gave, as export-labels wrote them

    boards ─► turned and mirrored (real ones moved and scaled too) ─► yolo11n ─► DIR/last.pt every few minutes ─► export
                                  validation boards, every few minutes ─► DIR/best.pt

Runs in the `train` environment alone (`uv sync --group train`): ultralytics is AGPL-3.0 and torch is 3 GB. Nothing is
downloaded: the architecture comes from its YAML, the weights start random or from --init. Stopped at any moment, the
same command goes on from the last checkpoint. The learning rate falls to its end as the whole budget (minutes or epochs,
runs before a resume counted in) is used up; a larger budget given later continues from there.

A budget's minutes are of computing, not of the clock: on CPU, processor time divided by --threads. A paused or starved
training loses none of its budget.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.cameras.boards import CLASSES
from contracts.errors import PipelineError, Rejected
from contracts.settings import Settings
from inference.delivery.batches import Jitter, make_batch, resized
from inference.delivery.dataset import TRAIN_SEED, BoardSet, Recipe, open_boards
from inference.delivery.evaluation import Truth, evaluate
from inference.delivery.labelled import Part, board_set, read_labelled
from inference.delivery.lineage import NONE, Lineage, digests, lineage_of
from inference.delivery.paper_protocol import best_confidence, evaluate_paper
from inference.delivery.training import Description, Training
from inference.delivery.training_plan import Plan, plan_of
from inference.delivery.weights import start_from
from inference.engines.torch_network import network, stay_offline

PARTS: Final[tuple[Part, Part]] = ("train", "validation")
TELL_SECONDS: Final = 20
TAIL: Final = 0.001  # confidence down to which detections are kept for the curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is learned from and what is judged by."""

    train: BoardSet
    validation: BoardSet | None
    jitter: Jitter | None
    name: str
    lineage: Lineage


def main(arguments: list[str] | None = None) -> int:
    """Trains until the budget is used up. Returns the exit code."""
    plan = plan_of(arguments)
    plan.out.mkdir(parents=True, exist_ok=True)
    stay_offline(plan.out)
    # Threads that spin at barriers starve each other on a busy machine: steps took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        train(plan, open_data(fetched(plan)))
    except PipelineError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def fetched(plan: Plan) -> Plan:
    """The plan with its data set on disk.

    Raises:
        Rejected: there is no such set, or it is damaged.
        Transient: the object store is away.
    """
    if plan.dataset is None:
        return plan
    # Late: who trains on a folder needs no store and no settings.
    fetch = import_module("inference.persistence.datasets").fetch_dataset
    folder = plan.out / f"dataset-{plan.dataset.rstrip('/').rpartition('/')[2][:12]}"
    manifest = fetch(Settings.load(), plan.dataset, folder)
    say(f"data set {manifest.digest}: {len(manifest.images)} images, {manifest.boxes} boxes")
    return replace(plan, labelled=folder)


def open_data(plan: Plan) -> Data:
    """Reads or makes the boards."""
    before = lineage_of(plan.init) if plan.init else NONE
    if plan.labelled is None:
        recipe = Recipe(seed=TRAIN_SEED + 1000 * plan.seed, count=plan.boards, side=plan.largest, is_training=True)
        folder = plan.out / f"boards-{plan.seed}-{plan.largest}"
        boards = open_boards(folder, recipe, processes=plan.threads)
        lineage = before.joined(Lineage(simulator_seeds=frozenset({recipe.seed})))
        return Data(train=boards, validation=None, jitter=None, name="simulated boards", lineage=lineage)
    taught, kept_apart = (read_labelled(plan.labelled, part=part) for part in PARTS)
    if len(taught) < plan.batch or not kept_apart:
        raise Rejected(
            f"{len(taught)} images to train on and {len(kept_apart)} to validate by are too few for a batch of "
            f"{plan.batch}: label more, or give a smaller --batch",
            code="too_few_images",
        )
    say(f"{len(taught)} boards to train on, {len(kept_apart)} to validate by, none of one layout in both")
    # The checkpoint is chosen by the validation boards: they were seen as well.
    return Data(
        train=board_set(taught, side=plan.largest),
        validation=board_set(kept_apart, side=plan.largest),
        jitter=Jitter(),
        name=f"real boards of {plan.labelled.resolve().name}",
        lineage=before.joined(Lineage(images=digests(one.file for one in [*taught, *kept_apart]))),
    )


def train(plan: Plan, data: Data) -> None:
    """Runs steps until the budget is used up, or until Ctrl-C or SIGTERM: both save first."""
    import torch

    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    training = Training(width=plan.width, classes=CLASSES, rate=plan.rate, device=plan.device)
    description = _described(plan, data, training)
    last = plan.out / "last.pt"
    if last.exists():
        training.resume(last, description)
        say(f"resumed at step {training.step}, {training.seconds / 60:.1f} min")
    elif plan.init:
        model = network(plan.width, CLASSES)
        taken = start_from(model, plan.init, _smallest(plan, data))
        training.start_as(model)
        say(f"took {taken} tensors over from {plan.init}")
    _Loop(plan, data, training).run(_stop_signals())
    training.save(last, _described(plan, data, training))
    say(f"saved: {training.step} steps in {training.seconds / 60:.1f} min, {last}")


def _smallest(plan: Plan, data: Data) -> NDArray[np.uint8]:
    """Some boards at the side that training begins with."""
    return np.stack([resized(image, plan.stages[0].side) for image in data.train.images[:64]])


def _described(plan: Plan, data: Data, training: Training) -> Description:
    return Description(
        classes=CLASSES,
        side=plan.side_at(training.seconds),
        width=plan.width,
        seed=plan.seed,
        boards=len(data.train),
        batch=plan.batch,
        data=data.name,
        command=plan.command,
        confidence=None,
        metrics={},
        images=sorted(data.lineage.images),
        simulator_seeds=sorted(data.lineage.simulator_seeds),
    )


class _Loop:
    """Steps, and what happens between them by the minute."""

    def __init__(self, plan: Plan, data: Data, training: Training) -> None:
        self._plan, self._data, self._training = plan, data, training
        self._losses: list[NDArray[np.float64]] = []
        self._clock = time.process_time if plan.device == "cpu" else time.monotonic
        self._per_second = plan.threads if plan.device == "cpu" else 1
        self._told = time.monotonic()

    def run(self, stop: list[int]) -> None:
        plan, training = self._plan, self._training
        steps_per_epoch = len(self._data.train) // plan.batch
        saved = validated = training.seconds
        while not stop:
            progress = max(training.seconds / 60 / plan.minutes, training.step / (steps_per_epoch * plan.epochs))
            if progress >= 1:
                break
            began = self._clock()
            self._step(steps_per_epoch, progress)
            training.seconds += (self._clock() - began) / self._per_second
            if training.seconds - validated > plan.validate_minutes * 60:
                self._validate()
                validated = training.seconds
            if training.seconds - saved > plan.save_minutes * 60:
                training.save(plan.out / "last.pt", _described(plan, self._data, training))
                saved = training.seconds
        if not stop:
            self._validate()

    def _step(self, steps_per_epoch: int, progress: float) -> None:
        plan, training, boards = self._plan, self._training, self._data.train
        epoch, place = divmod(training.step, steps_per_epoch)
        order = np.random.default_rng([plan.seed, epoch]).permutation(len(boards))
        chosen = order[place * plan.batch : (place + 1) * plan.batch]
        numbers = np.random.default_rng([plan.seed, epoch, place])
        side = plan.side_at(training.seconds)
        batch = make_batch(boards, chosen, numbers, side=side, jitter=self._data.jitter)
        self._losses.append(training.learn(batch, progress))
        if (now := time.monotonic()) - self._told > TELL_SECONDS:
            box, cls, dfl = np.mean(self._losses, axis=0)
            where = f"{progress:6.1%}  {training.seconds / 60:5.1f} min  {side} px  epoch {epoch} step {training.step}"
            speed = len(self._losses) / (now - self._told)
            say(f"{where}  {speed:.2f} steps/s  box {box:.3f}  cls {cls:.3f}  dfl {dfl:.3f}")
            self._losses, self._told = [], now

    def _validate(self) -> None:
        """Judges the averaged weights and keeps them as best.pt when they are the best so far."""
        boards, training = self._data.validation, self._training
        if boards is None:
            return
        side = self._plan.side_at(training.seconds)
        seen = detections_and_truth(training, boards, side)
        try:
            confidence = best_confidence(seen, CLASSES)
        except ValueError as error:
            say(f"validation: {error}")
            return
        paper = evaluate_paper(seen, CLASSES, confidence=confidence)
        overall = evaluate(seen, CLASSES, confidence=confidence).overall
        figure = (paper.mean_ap + paper.f_score) / 2
        is_best = figure > training.best
        say(
            f"validation at {side} px, {training.seconds / 60:.1f} min: mAP33 {paper.mean_ap:.4f}  F {paper.f_score:.4f} "
            f"(at {confidence:.3f})  mAP50 {overall.ap50:.4f}  mAP50-95 {overall.ap50_95:.4f}{'  best' if is_best else ''}"
        )
        if is_best:
            training.best = figure
            described = _described(self._plan, self._data, training)
            figures = {"paper": asdict(paper), "ap50": overall.ap50, "ap50_95": overall.ap50_95}
            training.save(self._plan.out / "best.pt", replace(described, confidence=confidence, metrics=figures))


def detections_and_truth(training: Training, boards: BoardSet, side: int) -> list[tuple[Any, Truth]]:
    """What the averaged weights see in boards at that side, and what is there."""
    images = np.stack([resized(image, side) for image in boards.images])
    scale = np.float32(side / boards.images.shape[1])
    truths = [boards.truth(index) for index in range(len(boards))]
    named = [Truth(labels=tuple(CLASSES[i] for i in ids), boxes=boxes * scale) for ids, boxes in truths]
    return list(zip(training.detect(images, CLASSES, confidence=TAIL), named, strict=True))


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


if __name__ == "__main__":
    raise SystemExit(main())
