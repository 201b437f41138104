"""Writes the card of the demo model: what it is, how good, under which licence, what it cannot do."""

from __future__ import annotations

from typing import Any


def model_card(description: dict[str, Any]) -> str:
    """The card in Markdown, every figure taken from model.json's content."""
    trained, measured = description["trained"], description["metrics"]
    rows = measured["table"]
    overall = rows[-1]
    lines = [
        " | ".join([f"| {row['label']}", str(row["labels"]), *(_figure(row[key]) for key in FIGURES)]) for row in rows
    ]
    flags = "".join(
        f" --{name} {trained[name]}" for name, usual in (("seed", 0), ("width", 0.25)) if trained[name] != usual
    )
    return TEMPLATE.format(
        name=description["name"],
        sha256=description["sha256"],
        classes=", ".join(description["classes"]),
        map50=_figure(overall["ap50"]),
        map50_95=_figure(overall["ap50_95"]),
        boards=measured["boards"],
        boards_trained=trained["boards"],
        held_out=measured["seed"],
        rows=" |\n".join(lines) + " |",
        command=f"python -m inference.delivery.train --out DIR --max-minutes {round(trained['minutes'])}{flags}",
        made_with=trained["with"],
        note=trained["note"],
        **{key: trained[key] for key in ("architecture", "width", "seed", "epochs", "steps", "batch", "minutes")},
    )


FIGURES = ("ap50", "ap50_95", "precision", "recall", "ece")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


TEMPLATE = """# {name}

Finds six kinds of defects on bare circuit boards: {classes}.
It exists so that the pipeline has a real model from the first minute; it is a demonstration, not an inspection system.

**Licence: AGPL-3.0** (text in `LICENSE`), since it was made with ultralytics; the notice inside `model.onnx` says so
too. The rest of the repository is Apache-2.0. This folder is in no wheel and in no service image.

| | |
|---|---|
| architecture | {architecture} (width {width}), random start, no downloaded weights |
| input | `images` float32 [batch, 3, height, width], RGB 0..1, 320 x 320 (dynamic; 640 x 640 possible) |
| output | `output0` float32 [batch, 10, anchors]: centre x, y, width, height in input pixels, six scores; no NMS |
| data | {boards_trained} simulated boards (`connectors.cameras.boards`), no real image |
| training | seed {seed}, {epochs} epochs ({steps} steps of {batch} boards), {minutes} minutes on two CPU cores |
| made with | {made_with} |
| sha256 | `{sha256}` |

## Figures
mAP50 **{map50}**, mAP50-95 {map50_95} on {boards} held-out simulated boards (simulator seed {held_out}, boards of
640 px seen at 320 px, float32, through the pipeline's own processing). Precision and recall at confidence 0.25 and
IoU 0.5.

| class | labels | AP50 | AP50-95 | precision | recall | ECE |
|---|---|---|---|---|---|---|
{rows}

## Again
```
uv sync --group train
{command}
python -m inference.delivery.export DIR --out inference/delivery/demo_model
python -m inference.delivery.evaluate inference/delivery/demo_model --boards {boards}
```
The boards are the same for the same seed; the weights are not bit for bit, for the learning rate follows the clock.
{note}

## Limits
- It has seen simulated boards alone: 640 x 640, binarised, copper black, board white. On photographs it is useless.
- It expects defects of the size it was trained on: 25 to 100 pixels on a board seen at 640 pixels, half of that in the
  model's input. At an input of 640 x 640 it runs, for speed measurements; its boxes are worse there.
- Scratches, one of the simulator's drift kinds, are unknown to it on purpose.
- Boxes include a margin of 10 pixels (at 640) around what changed, like the labels it was modelled on.
"""
