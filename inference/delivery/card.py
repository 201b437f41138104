"""Writes the card of an exported model: what it is, how good, under which licence, what it cannot do."""

from __future__ import annotations

from typing import Any, Final


def model_card(description: dict[str, Any]) -> str:
    """The card in Markdown, every figure taken from model.json's content."""
    trained, measured = description["trained"], description["metrics"]
    rows = measured["table"]
    overall = rows[-1]
    lines = [
        " | ".join([f"| {row['label']}", str(row["labels"]), *(_figure(row[key]) for key in FIGURES)]) for row in rows
    ]
    side = description["input"]["width"]
    paper = measured.get("paper")
    return TEMPLATE.format(
        name=description["name"],
        classes=", ".join(description["classes"]),
        count=len(description["classes"]),
        purpose=DEMONSTRATION if _is_simulated(trained) else REAL_BOARDS,
        sha256=description["sha256"],
        side=side,
        rows_out=4 + len(description["classes"]),
        confidence=description["postprocess"]["confidence"],
        map50=_figure(overall["ap50"]),
        map50_95=_figure(overall["ap50_95"]),
        boards=measured["boards"],
        measured_on=measured["on"],
        paper=PAPER.format(**paper) if paper else "",
        rows=" |\n".join(lines) + " |",
        boards_trained=trained["boards"],
        made_with=trained["with"],
        note=trained["note"],
        limits=SIMULATED_LIMITS if _is_simulated(trained) else REAL_LIMITS,
        **{
            key: trained[key]
            for key in ("architecture", "width", "data", "seed", "epochs", "steps", "batch", "minutes", "command")
        },
    )


def _is_simulated(trained: dict[str, Any]) -> bool:
    return bool(trained["data"] == "simulated boards")


FIGURES: Final = ("ap50", "ap50_95", "precision", "recall", "ece")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


DEMONSTRATION: Final = """It exists so that the pipeline has a real model from the first minute; it is a demonstration, not an inspection system."""

REAL_BOARDS: Final = """Trained on real boards that the project does not hold. The terms of those images bind the weights too: do not publish them."""

PAPER: Final = """
By the DeepPCB paper's protocol (IoU above 0.33): mAP **{map:.4f}**, F-score **{f_score:.4f}** (precision {precision:.4f},
recall {recall:.4f}) at confidence {confidence:.3f}. The checkpoint and the confidence were chosen on these same boards,
which flatters the figures a little.
"""

SIMULATED_LIMITS: Final = """- It has seen simulated boards alone: 640 x 640, binarised, copper black, board white. On photographs it is useless.
- It expects defects of the size it was trained on: 25 to 100 pixels on a board seen at 640 pixels, half of that in the
  model's input. At an input of 640 x 640 it runs, for speed measurements; its boxes are worse there.
- Scratches, one of the simulator's drift kinds, are unknown to it on purpose.
- Boxes include a margin of 10 pixels (at 640) around what changed, like the labels it was modelled on."""

REAL_LIMITS: Final = """- It has seen grey boards of one line; colour is not looked at, and photographs are unknown to it.
- It expects defects of the size that the labels have, on boards seen as large as in training.
- Its golden images are simulated boards: they show that an engine answers like the export, not how good the model is."""

TEMPLATE: Final = """# {name}

Finds {count} kinds of defects on bare circuit boards: {classes}.
{purpose}

**Licence: AGPL-3.0** (text in `LICENSE`), since it was made with ultralytics; the notice inside `model.onnx` says so
too. The rest of the repository is Apache-2.0. This folder is in no wheel and in no service image.

| | |
|---|---|
| architecture | {architecture} (width {width}), no downloaded weights |
| input | `images` float32 [batch, 3, height, width], RGB 0..1, {side} x {side} (dynamic; multiples of 32) |
| output | `output0` float32 [batch, {rows_out}, anchors]: centre x, y, width, height in input pixels, {count} scores; no NMS |
| data | {boards_trained} boards: {data} |
| training | seed {seed}, {epochs} epochs ({steps} steps of {batch} boards), {minutes} minutes of computing |
| confidence | {confidence} |
| made with | {made_with} |
| sha256 | `{sha256}` |

## Figures
mAP50 **{map50}**, mAP50-95 {map50_95} on {boards} held-out boards ({measured_on}) seen at {side} px, float32, through
the pipeline's own processing. Precision and recall at the model's confidence and IoU 0.5.
{paper}
| class | labels | AP50 | AP50-95 | precision | recall | ECE |
|---|---|---|---|---|---|---|
{rows}

## Again
```
uv sync --group train
{command}
```
Boards and batches are the same for the same seed; the weights are not bit for bit, for the learning rate follows the
time that steps take.
{note}

## Limits
{limits}
"""
