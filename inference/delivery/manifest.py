"""What a model was trained on: `training_manifest.json`, so that the gate can refuse frames that training saw.

    {
      "format": 1,
      "source": "909 boards of deeppcb, training part",
      "images": ["<sha256 of an image file's bytes>", ...],
      "simulator_seeds": [101]
    }

Generated boards are named by the simulator's seed rather than one by one: no board of one seed turns up in another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import Rejected
from contracts.identifiers import SHA256

MANIFEST_NAME: Final = "training_manifest.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingManifest:
    """Every image that training or the choice of a checkpoint saw."""

    source: str  # in words
    images: frozenset[str]  # sha256, lower-case hex, of the bytes as stored
    simulator_seeds: frozenset[int] = frozenset()

    @property
    def digest(self) -> str:
        """The same for the same images, in whatever order they were written down."""
        named = [*sorted(self.images), *(f"simulator {seed}" for seed in sorted(self.simulator_seeds))]
        return hashlib.sha256("\n".join(named).encode()).hexdigest()


def write_manifest(folder: Path, manifest: TrainingManifest) -> None:
    """Writes it into a training's or a model's folder."""
    content = {
        "format": FORMAT,
        "source": manifest.source,
        "images": sorted(manifest.images),
        "simulator_seeds": sorted(manifest.simulator_seeds),
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> TrainingManifest:
    """The manifest in a folder.

    Raises:
        Rejected: there is none, or it names no image: nobody can say then that train and gate do not mix.
    """
    try:
        document = json.loads((folder / MANIFEST_NAME).read_text("utf-8"))
        manifest = TrainingManifest(
            source=str(document["source"]),
            images=frozenset(map(str, document["images"])),
            simulator_seeds=frozenset(map(int, document["simulator_seeds"])),
        )
    except FileNotFoundError as error:
        raise _unusable("is not there") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(f"cannot be read ({type(error).__name__}: {error})") from error
    if document.get("format") != FORMAT:
        raise _unusable(f"has format {document.get('format')}, this version reads format {FORMAT}")
    strangers = [one for one in manifest.images if not SHA256.fullmatch(one)]
    if strangers:
        raise _unusable(f"holds {min(strangers)!r}, which is no sha256")
    if not manifest.images and not manifest.simulator_seeds:
        raise _unusable("names no image")
    return manifest


def _unusable(what: str) -> Rejected:
    return Rejected(
        f"{MANIFEST_NAME} {what}: write down the sha256 of every training image there (inference/delivery/manifest.py), "
        "or nobody can say that the gate's frames were not trained on",
        code="manifest_broken",
    )
