"""Evaluates a model folder on held-out simulated boards, through the pipeline's own processing.

    python -m inference.delivery.evaluate inference/delivery/demo_model --boards 300
    python -m inference.delivery.evaluate inference/delivery/demo_model --labelled FOLDER

    board ─► JPEG ─► decode ─► letterbox ─► ONNX (float32) ─► decode_yolo ─► evaluation table

Needs no torch: the same steps as in the stream worker, one image at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import simplejpeg
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from connectors.cameras.boards import Drift, encode_jpeg, simulate_board
from inference.delivery.dataset import HELD_OUT_SEED
from inference.delivery.evaluation import Evaluation, Truth, evaluate
from inference.delivery.labelled import labelled_images
from inference.domain.detections import Detections
from inference.domain.letterbox import letterbox
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME, parse
from inference.domain.nms import decode_yolo

TAIL = 0.001  # confidence down to which detections are kept for the curve


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


def evaluate_model(model: OnnxModel, images: Iterable[tuple[bytes, Truth]]) -> Evaluation:
    """Runs the model over JPEGs with their truth."""
    seen = [
        (model.detect(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"), confidence=TAIL), truth) for jpeg, truth in images
    ]
    return evaluate(seen, model.spec.classes, confidence=model.spec.confidence)


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


def main(arguments: list[str] | None = None) -> int:
    """Prints the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m inference.delivery.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds model.onnx and model.json")
    parser.add_argument("--boards", type=int, default=300)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--size", type=int, default=640, help="pixels of the simulated camera's image")
    parser.add_argument("--labelled", type=Path, help="images/*.jpg and labels/*.txt instead of simulated boards")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    model = OnnxModel(given.folder, threads=given.threads)
    if given.labelled:
        images, source = list(labelled_images(given.labelled)), f"{given.labelled.name} (labelled images)"
    else:
        images, source = list(held_out_boards(given.boards, seed=given.seed, size=given.size)), f"seed {given.seed}"
    evaluation = evaluate_model(model, track(images, "boards", disable=given.json))
    if given.json:
        sys.stdout.write(json.dumps(asdict(evaluation)) + "\n")
    else:
        Console(width=100).print(table(evaluation, f"{model.spec.name} on {len(images)} boards, {source}"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
