"""Turns a training checkpoint into a model folder: ONNX, its description, golden images, the card.

    python -m inference.delivery.export TRAINING --out inference/delivery/demo_model
    python -m inference.delivery.export TRAINING --out DIR --name pcb-defects --labelled BOARDS

    TRAINING/best.pt (else last.pt) ─► averaged weights ─► model.onnx (raw head, dynamic shape)
        ─► run at 320 and 640, batch 1 and 4 ─► golden/ ─► evaluated on held-out boards
        ─► model.json, training_manifest.json, MODEL_CARD.md, LICENSE ─► moved into place

Classes, input size and confidence are the checkpoint's. Held-out boards are simulated ones or, with --labelled, the
validation part of real ones; golden images are simulated ones always, so that they may be passed on.

Runs in the `train` environment. The graph ends before non-maximum suppression: with it inside, a dynamic graph answers
row 0 of a batch only. The licence notice that ultralytics writes into the file stays there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import simplejpeg
from rich.console import Console
from rich.progress import track

from connectors.cameras.boards import encode_jpeg, simulate_board
from inference.delivery.card import model_card
from inference.delivery.dataset import GOLDEN_SEED, HELD_OUT_SEED
from inference.delivery.evaluate import OnnxModel, held_out_boards, seen_by, table
from inference.delivery.evaluation import Evaluation, Truth, evaluate
from inference.delivery.labelled import labelled_images
from inference.delivery.lineage import manifest_of
from inference.delivery.paper_protocol import PaperFigures, evaluate_paper
from inference.delivery.tables import TABLE_NAME, table_of, write_table
from inference.engines.torch_engine import read_checkpoint, specification
from inference.engines.torch_network import ARCHITECTURE, network, stay_offline

FORMAT: Final = 1
OPSET: Final = 18
LARGEST: Final = 12 * 2**20  # bytes
GOLDEN: Final = 8  # images
CLEAR_OF_THRESHOLD: Final = 0.05  # golden images hold no detection this near the threshold: engines may differ by 0.01


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m inference.delivery.export", description=__doc__.splitlines()[0])
    made.add_argument("training", type=Path, help="the folder given to inference.delivery.train")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--boards", type=int, default=300, help="held-out boards to evaluate on")
    made.add_argument("--labelled", type=Path, help="evaluate on the validation part of these instead")
    made.add_argument("--name", default="demo-boards")
    made.add_argument("--note", default="", help="what the card should say about this training")
    made.add_argument("--threads", type=int, default=2)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Exports, checks, evaluates and puts the folder into place. Returns the exit code."""
    given = parser().parse_args(arguments)
    stay_offline(given.training)
    checkpoint = read_checkpoint(given.training)
    with tempfile.TemporaryDirectory(prefix="sightline-export-") as scratch:
        folder = Path(scratch)
        training = write_onnx(checkpoint, folder)
        description = describe(folder, checkpoint["plan"], name=given.name, training=training | {"note": given.note})
        write_json(folder / "model.json", description)
        check_onnx(folder / "model.onnx", classes=len(description["classes"]))
        model = OnnxModel(folder, threads=given.threads)
        write_golden(model, folder / "golden")
        boards, source = held_out(given, model)
        seen = seen_by(model, track(boards, "held-out boards"))
        evaluation = evaluate(seen, model.spec.classes, confidence=model.spec.confidence)
        paper = evaluate_paper(seen, model.spec.classes, confidence=model.spec.confidence)
        description["metrics"] = metrics(evaluation, paper if given.labelled else None, source)
        write_json(folder / "model.json", description)
        write_json(folder / "training_manifest.json", manifest_of(checkpoint["plan"]))
        (folder / "MODEL_CARD.md").write_text(model_card(description), encoding="utf-8")
        (folder / "LICENSE").write_text(ultralytics_licence(), encoding="utf-8")
        write_table(folder / TABLE_NAME, table_of(evaluation))
        put_in_place(folder, given.out)
    Console(width=100).print(table(evaluation, f"{given.name}: {len(boards)} held-out boards, {source}"))
    return 0


def held_out(given: argparse.Namespace, model: OnnxModel) -> tuple[list[tuple[bytes, Truth]], str]:
    """The boards to evaluate on, and what they are."""
    if given.labelled is None:
        return list(held_out_boards(given.boards)), f"simulator seed {HELD_OUT_SEED}"
    boards = list(labelled_images(given.labelled, classes=model.spec.classes, part="validation"))
    return boards, f"validation part of {given.labelled.resolve().name}"


def write_onnx(checkpoint: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Writes folder/model.onnx from the averaged weights. Returns how they were trained."""
    from ultralytics import YOLO

    plan = checkpoint["plan"]
    model = network(plan["width"], plan["classes"])
    model.load_state_dict(checkpoint["average"])
    before = Path.cwd()
    os.chdir(folder)  # the exporter writes beside the weights, whose name it takes from the architecture
    try:
        yolo: Any = YOLO(ARCHITECTURE, task="detect")
        model.args, model.task = {"imgsz": plan["side"], "data": plan["data"]}, "detect"
        yolo.model = model.eval()
        shape = {"imgsz": plan["side"], "dynamic": True, "opset": OPSET, "nms": False}
        made = Path(yolo.export(format="onnx", simplify=True, device="cpu", **shape))
        made.replace(folder / "model.onnx")
    finally:
        os.chdir(before)
    return {
        "architecture": ARCHITECTURE.removesuffix(".yaml"),
        "width": plan["width"],
        "with": f"ultralytics {metadata.version('ultralytics')}, torch {metadata.version('torch').split('+')[0]}",
        "seed": plan["seed"],
        "data": plan["data"],
        "command": plan["command"],
        "boards": plan["boards"],
        "batch": plan["batch"],
        "steps": checkpoint["step"],
        "epochs": round(checkpoint["step"] * plan["batch"] / plan["boards"], 1),
        "minutes": round(checkpoint["seconds"] / 60, 1),
    }


def describe(folder: Path, plan: dict[str, Any], *, name: str, training: dict[str, Any]) -> dict[str, Any]:
    """What a consumer of the model must know, as model.json says it."""
    spec = specification(plan)
    return {
        "format": FORMAT,
        "name": name,
        "file": "model.onnx",
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "classes": list(spec.classes),
        "input": {
            "name": spec.input.name,
            "width": spec.input.width,
            "height": spec.input.height,
            "dynamic": spec.input.dynamic,
            "layout": spec.input.layout,
            "dtype": "float32",
            "colour": spec.input.colour,
            "scale": spec.input.scale,
            "pad": spec.input.pad,
        },
        "output": {"name": spec.output_name, "kind": spec.output},
        "postprocess": {
            "confidence": round(spec.confidence, 4),
            "iou": spec.iou,
            "max_detections": spec.max_detections,
        },
        "licence": spec.licence,
        "trained": training,
    }


def check_onnx(path: Path, *, classes: int) -> None:
    """Runs the graph at the shapes it promises.

    Raises:
        ValueError: the file is too large, an output has the wrong shape, or a batch's rows differ from single images.
    """
    import onnxruntime

    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} has more than {LARGEST} bytes: use a smaller architecture")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for side in (320, 640):
        images = rng.random((4, 3, side, side), np.float32)
        (batch,) = session.run(["output0"], {"images": images})
        anchors = sum((side // stride) ** 2 for stride in (8, 16, 32))
        if batch.shape != (4, 4 + classes, anchors):
            raise ValueError(f"output0 is {batch.shape} at {side} px, expected (4, {4 + classes}, {anchors})")
        for row in range(4):
            (single,) = session.run(["output0"], {"images": images[row : row + 1]})
            if not np.allclose(single[0], batch[row], atol=1e-2):
                raise ValueError(f"row {row} of a batch differs from the image alone at {side} px: export without NMS")


def write_golden(model: OnnxModel, folder: Path) -> None:
    """Writes boards and what the float32 model sees in them. A serving process compares itself with these.

    Boards with a detection close to the threshold are left out: there, engines may rightly differ in their number.
    """
    folder.mkdir()
    threshold = model.spec.confidence
    images: list[dict[str, Any]] = []
    index = 0
    while len(images) < GOLDEN:
        jpeg = encode_jpeg(simulate_board(GOLDEN_SEED, index))
        index += 1
        if index > 500:
            raise ValueError("500 boards gave no 8 with clear detections: train longer, then export again")
        found = model.detect(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"), confidence=threshold - CLEAR_OF_THRESHOLD)
        if not len(found) or found.confidences.min() < threshold + CLEAR_OF_THRESHOLD:
            continue
        name = f"{len(images):02}.jpg"
        (folder / name).write_bytes(jpeg)
        images.append(
            {
                "file": name,
                "sha256": hashlib.sha256(jpeg).hexdigest(),
                "width": 640,
                "height": 640,
                "labels": list(found.labels),
                "confidences": [round(float(value), 5) for value in found.confidences],
                "boxes": [[round(float(value), 3) for value in box] for box in found.boxes],
            }
        )
    engine = f"onnxruntime {metadata.version('onnxruntime')} float32"
    tolerance = {"pixels": 1.0, "confidence": 0.01}
    write_json(folder / "golden.json", {"format": FORMAT, "engine": engine, "tolerance": tolerance, "images": images})


def metrics(evaluation: Evaluation, paper: PaperFigures | None, source: str) -> dict[str, Any]:
    """The held-out figures as model.json carries them; a figure that is not a number becomes null."""
    rows = [asdict(row) for row in (*evaluation.classes, evaluation.overall)]
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    figures: dict[str, Any] = {"boards": evaluation.images, "on": source, "table": plain}
    if paper:
        figures["paper"] = {
            "map": _plain(paper.mean_ap),
            "f_score": _plain(paper.f_score),
            "precision": _plain(paper.precision),
            "recall": _plain(paper.recall),
            "confidence": _plain(paper.confidence),
            "ap": {label: _plain(value) for label, value in paper.ap.items()},
        }
    return figures


def _plain(value: str | float) -> str | float | None:
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, 4)


def ultralytics_licence() -> str:
    """The AGPL-3.0 text as shipped with the package the model was made with.

    Raises:
        FileNotFoundError: the installed package carries no licence text.
    """
    for file in metadata.files("ultralytics") or []:
        if file.name == "LICENSE":
            return Path(str(file.locate())).read_text(encoding="utf-8")
    raise FileNotFoundError("ultralytics' wheel has no LICENSE file: install it again with `uv sync --group train`")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON as people read it."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def put_in_place(folder: Path, out: Path) -> None:
    """Swaps the finished folder in: a reader sees the old files or the new ones, never a mixture."""
    ready, old = out.with_name(f".{out.name}-new"), out.with_name(f".{out.name}-old")
    for leftover in (ready, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(folder, ready)
    ready.chmod(0o755)  # a temporary folder is private, this one is not
    if out.exists():
        out.rename(old)
    ready.rename(out)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
