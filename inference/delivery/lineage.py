"""Which boards a model has seen, through all trainings that led to it.

    best.pt, last.pt ─► its plan ───────────────────────────────┐
    a model's folder ─► training_manifest.json, else model.json ┴─► images by sha256, simulated boards by seed

Whoever judges a model must know: a board that was trained on, or that a checkpoint was chosen by, judges nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.delivery.dataset import TRAIN_SEED


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What was seen."""

    images: frozenset[str] = frozenset()  # sha256, hex, of image files
    simulator_seeds: frozenset[int] = frozenset()

    def joined(self, other: Lineage) -> Lineage:
        """What either has seen."""
        return Lineage(images=self.images | other.images, simulator_seeds=self.simulator_seeds | other.simulator_seeds)


NONE: Final = Lineage()


def lineage_of(source: Path) -> Lineage:
    """What the model in that file or folder has seen.

    Raises:
        ValueError: it does not say.
    """
    folder = source if source.is_dir() else source.parent
    manifest, description = folder / "training_manifest.json", folder / "model.json"
    if (file := _checkpoint(source)) is not None:
        document = _plan(file)
    elif manifest.is_file():
        document = json.loads(manifest.read_text("utf-8"))
    elif description.is_file():
        document = _of_simulated(json.loads(description.read_text("utf-8")).get("trained", {}))
    else:
        document = {}
    if not {"images", "simulator_seeds"} <= set(document):
        raise ValueError(f"{source} does not say what it was trained on: put its training_manifest.json beside it")
    return Lineage(
        images=frozenset(document["images"]), simulator_seeds=frozenset(map(int, document["simulator_seeds"]))
    )


def _checkpoint(source: Path) -> Path | None:
    files = [source] if source.suffix == ".pt" else [source / "best.pt", source / "last.pt"]
    return next((file for file in files if file.is_file()), None)


def _of_simulated(trained: dict[str, Any]) -> dict[str, Any]:
    """Of a model that was trained from scratch on simulated boards alone, its seed says all."""
    if "seed" not in trained or trained.get("data", "simulated boards") != "simulated boards":
        return {}
    return {"images": [], "simulator_seeds": [TRAIN_SEED + 1000 * trained["seed"]]}


def _plan(file: Path) -> dict[str, Any]:
    import torch

    plan: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)["plan"]
    return plan


def manifest_of(plan: dict[str, Any]) -> dict[str, Any]:
    """The training_manifest.json of a checkpoint's plan."""
    seen = {"images": plan["images"], "simulator_seeds": plan["simulator_seeds"]}
    return {"format": 1, "source": f"{plan['boards']} boards to train on: {plan['data']}"} | seen


def digests(files: Iterable[Path]) -> frozenset[str]:
    """The sha256 of each file."""
    return frozenset(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
