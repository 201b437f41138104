"""Evaluates a model folder on held-out simulated boards or on labelled images, through the pipeline's own processing.

    python -m inference.delivery.evaluate inference/delivery/demo_model --boards 300
    python -m inference.delivery.evaluate FOLDER --labelled BOARDS --split validation --protocol deeppcb
    python -m inference.delivery.evaluate TRAINING --engine torch --labelled BOARDS --split validation

    board ─► JPEG ─► decode ─► letterbox ─► ONNX (float32) ─► decode_yolo ─► evaluation table

Needs no torch, but for the engine of that name: the same steps as in the stream worker, one image at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import onnxruntime
import simplejpeg
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from connectors.cameras.boards import Drift, encode_jpeg, simulate_board
from contracts.errors import PipelineError, Rejected
from inference.delivery.dataset import HELD_OUT_SEED
from inference.delivery.evaluation import Evaluation, Truth, evaluate
from inference.delivery.labelled import Part, labelled_images
from inference.delivery.paper_protocol import PaperFigures, best_confidence, evaluate_paper
from inference.domain.detections import Detections
from inference.domain.letterbox import letterbox
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME, ModelSpec, parse
from inference.domain.nms import decode_yolo
from inference.engines import KINDS, load, read_spec
from inference.engines.torch_engine import read_checkpoint, specification

TAIL = 0.001  # confidence down to which detections are kept for the curve


class Model(Protocol):
    """What can be evaluated."""

    spec: ModelSpec

    def detect(self, image: NDArray[np.uint8], *, confidence: float | None = None) -> Detections:
        """Boxes in an RGB image [height, width, 3], from the model's own confidence on unless another is given."""
        ...


class EngineModel:
    """A model folder run by one of the serving engines, or a training's folder run by torch."""

    def __init__(self, kind: str, folder: Path, *, threads: int = 2) -> None:
        self._engine: Any = load(kind, folder, threads=threads, confidence=TAIL)
        if kind == "torch":
            self.spec: ModelSpec = specification(read_checkpoint(folder)["plan"])
        else:
            self.spec = read_spec(folder)

    def detect(self, image: NDArray[np.uint8], *, confidence: float | None = None) -> Detections:
        """See Model. An engine is loaded for one confidence: what it finds below the wanted one is left out here."""
        (found,) = self._engine.infer([image])
        kept = np.flatnonzero(found.confidences >= (self.spec.confidence if confidence is None else confidence))
        return Detections(
            labels=tuple(found.labels[index] for index in kept),
            confidences=found.confidences[kept],
            boxes=found.boxes[kept],
        )


class OnnxModel:
    """A model folder run by ONNX Runtime in float32, one image at a time: the reference, not the fast way."""

    def __init__(self, folder: Path, *, threads: int = 2) -> None:
        self.spec = parse((folder / FILE_NAME).read_bytes())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        path = str(folder / MODEL_FILE_NAME)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def detect(self, image: NDArray[np.uint8], *, confidence: float | None = None) -> Detections:
        """Boxes in an RGB image [height, width, 3], from the model's own confidence on unless another is given."""
        spec = self.spec
        seen, placed = letterbox(image, width=spec.input.width, height=spec.input.height, pad=spec.input.pad)
        batch = np.ascontiguousarray(seen.transpose(2, 0, 1)[None], np.float32) * np.float32(spec.input.scale)
        (raw,) = self._session.run([spec.output_name], {spec.input.name: batch})
        return decode_yolo(
            raw[0],
            placed,
            classes=spec.classes,
            width=image.shape[1],
            height=image.shape[0],
            confidence=spec.confidence if confidence is None else confidence,
            iou=spec.iou,
            max_detections=spec.max_detections,
        )


def evaluate_model(model: Model, images: Iterable[tuple[bytes, Truth]]) -> Evaluation:
    """Runs the model over JPEGs with their truth."""
    return evaluate(seen_by(model, images), model.spec.classes, confidence=model.spec.confidence)


def seen_by(model: Model, images: Iterable[tuple[bytes, Truth]]) -> list[tuple[Detections, Truth]]:
    """What the model detects in JPEGs, down to a low confidence, beside their truth."""
    return [
        (model.detect(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"), confidence=TAIL), truth) for jpeg, truth in images
    ]


def held_out_boards(
    count: int, *, seed: int = HELD_OUT_SEED, size: int = 640, drift: Drift | None = None
) -> Iterator[tuple[bytes, Truth]]:
    """Simulated boards as the camera sends them, with their truth."""
    for index in range(count):
        frame = simulate_board(seed, index, size=size, drift=drift)
        yield encode_jpeg(frame), Truth(labels=frame.labels, boxes=frame.boxes)


def table(evaluation: Evaluation, title: str) -> Table:
    """The evaluation as a table for people."""
    shown = Table(title=title)
    for column in ("class", "labels", "AP50", "AP50-95", "precision", "recall", "ECE"):
        shown.add_column(column, justify="left" if column == "class" else "right")
    for row in (*evaluation.classes, evaluation.overall):
        figures = (row.ap50, row.ap50_95, row.precision, row.recall, row.ece)
        is_last = row is evaluation.classes[-1]
        shown.add_row(row.label, str(row.labels), *(f"{figure:.3f}" for figure in figures), end_section=is_last)
    return shown


def paper_table(figures: PaperFigures, title: str) -> Table:
    """The paper's figures as a table for people."""
    shown = Table(title=title)
    for label in (*figures.ap, "mAP"):
        shown.add_column(label, justify="right")
    for name in ("precision", "recall", "F-score"):
        shown.add_column(name, justify="right")
    totals = (figures.mean_ap, figures.precision, figures.recall, figures.f_score)
    shown.add_row(*(f"{figure:.4f}" for figure in (*figures.ap.values(), *totals)))
    shown.caption = (
        f"IoU above 0.33; precision, recall and F-score over all types at confidence {figures.confidence:.3f}"
    )
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Prints the tables. Returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        model = _opened(given)
        images, source = _images(given, model)
        seen = seen_by(model, track(images, "boards", disable=given.json))
        confidence = _confidence(given.confidence, model, seen)
    except PipelineError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    evaluation = evaluate(seen, model.spec.classes, confidence=confidence)
    paper = evaluate_paper(seen, model.spec.classes, confidence=confidence) if given.protocol == "deeppcb" else None
    if given.json:
        figures = asdict(evaluation) | ({"paper": asdict(paper)} if paper else {})
        sys.stdout.write(json.dumps(figures) + "\n")
        return 0
    console = Console(width=120)
    console.print(table(evaluation, f"{model.spec.name} on {len(images)} boards, {source}"))
    if paper:
        console.print(paper_table(paper, "the figures of the DeepPCB paper"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference.delivery.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds model.onnx and model.json; for torch best.pt or last.pt")
    parser.add_argument("--boards", type=int, default=300)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--size", type=int, default=640, help="pixels of the simulated camera's image")
    parser.add_argument("--labelled", type=Path, help="images/*.jpg and labels/*.txt instead of simulated boards")
    parser.add_argument("--split", choices=get_args(Part), default="all", help="which part of the labelled images")
    parser.add_argument("--protocol", choices=("coco", "deeppcb"), default="coco", help="deeppcb: the paper's as well")
    parser.add_argument(
        "--confidence",
        type=_wanted_confidence,
        help="for F-score, precision and recall; `best`: chosen on these images",
    )
    parser.add_argument("--engine", choices=("reference", *KINDS), default="reference", help="reference: ONNX Runtime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def _opened(given: argparse.Namespace) -> Model:
    if given.engine == "reference":
        read_spec(given.folder)  # says what is missing
        return OnnxModel(given.folder, threads=given.threads)
    return EngineModel(given.engine, given.folder, threads=given.threads)


def _images(given: argparse.Namespace, model: Model) -> tuple[list[tuple[bytes, Truth]], str]:
    if not given.labelled:
        return list(held_out_boards(given.boards, seed=given.seed, size=given.size)), f"seed {given.seed}"
    try:
        images = list(labelled_images(given.labelled, classes=model.spec.classes, part=given.split))
    except (OSError, ValueError) as error:
        raise Rejected(str(error), code="labels") from error
    return images, f"{given.labelled.resolve().name} ({given.split})"


def _wanted_confidence(text: str) -> float | str:
    return text if text == "best" else float(text)


def _confidence(wanted: float | str | None, model: Model, seen: list[tuple[Detections, Truth]]) -> float:
    """Where precision, recall and F-score are read: as chosen on the validation boards unless told otherwise."""
    if wanted is None:
        return model.spec.confidence
    return best_confidence(seen, model.spec.classes) if wanted == "best" else float(wanted)


if __name__ == "__main__":
    raise SystemExit(main())
