"""The images that challengers are judged on, with what is really in them.

    reviews of gate blocks ─┐
    a labelled folder ──────┼─► GateSet: names, sha256 of the bytes, truth; pixels are read when they are needed
    simulator, fixed seed ──┘

Whatever it was made from, it is one value with one digest: verdicts on the same digest may be compared.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from contracts.errors import Rejected
from inference.delivery.evaluate import held_out_boards
from inference.delivery.evaluation import Truth
from inference.delivery.labelled import read_labelled
from inference.delivery.manifest import TrainingManifest
from inference.domain.decode import Status, decode
from inference.domain.letterbox import Image

GATE_SEED: Final = 307  # of the simulator; not training's (101), held-out's (203) or the golden images' (104)
SEED_BOARDS: Final = 120
Kind = Literal["reviewed", "labelled", "simulated"]

_NAMED: Final = 10  # shared frames in a message
_MOST_PIXELS: Final = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateImage:
    """One image and its truth."""

    name: str  # frame_id, or the file's name
    sha256: str  # lower-case hex, of the bytes as stored
    truth: Truth
    read: Callable[[], bytes]
    simulator_seed: int | None = None  # the board's line, where it was generated


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateSet:
    """What candidate and champion are both evaluated on."""

    images: tuple[GateImage, ...]
    source: str  # in words
    kind: Kind  # what a promotion asks for

    @property
    def digest(self) -> str:
        """Of the images and their truth, whatever the order."""
        lines = sorted(f"{one.sha256} {_truth_line(one.truth)}" for one in self.images)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def labels(self) -> Mapping[str, int]:
        """True boxes per class."""
        return Counter(label for one in self.images for label in one.truth.labels)

    def seen(self) -> Iterator[tuple[GateImage, Image]]:
        """Every image with its pixels, RGB."""
        for one in self.images:
            yield one, decoded(one)


def decoded(image: GateImage) -> Image:
    """The pixels, RGB [height, width, 3].

    Raises:
        Rejected: the bytes are no longer those that were labelled, or are no image.
    """
    content = image.read()
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise Rejected(f"gate image {image.name} changed since it was labelled: label it again", code="gate_set_broken")
    pixels = decode(content, max_pixels=_MOST_PIXELS)
    if isinstance(pixels, Status):
        raise Rejected(f"gate image {image.name} is {pixels}: take it out of the set", code="gate_set_broken")
    return pixels


def simulated(boards: int = SEED_BOARDS, *, seed: int = GATE_SEED) -> GateSet:
    """The seed gate set: the same boards for the same number and seed."""
    made = held_out_boards(boards, seed=seed)
    return GateSet(
        images=tuple(
            _in_memory(f"board-{index:04}", jpeg, truth, simulator_seed=seed)
            for index, (jpeg, truth) in enumerate(made)
        ),
        source=f"simulator, seed {seed}, {boards} boards",
        kind="simulated",
    )


def labelled(folder: Path) -> GateSet:
    """The images of a labelled folder: images/NAME.jpg or .png and labels/NAME.txt, see `read_labelled`.

    Raises:
        Rejected: the folder is none; the message says what it lacks.
    """
    try:
        images = [
            GateImage(
                name=one.file.stem, sha256=_sha256(one.file.read_bytes()), truth=one.truth, read=one.file.read_bytes
            )
            for one in read_labelled(folder)
        ]
    except (OSError, ValueError, IndexError) as error:
        raise Rejected(f"{folder.name} is no labelled folder: {error}", code="gate_set_broken") from error
    source = f"labelled folder {folder.name}, {len(images)} images"
    return GateSet(images=tuple(images), source=source, kind="labelled")


def refuse_mixture(gate_set: GateSet, manifest: TrainingManifest) -> None:
    """A model must not be judged by what it was trained on.

    Raises:
        Rejected: training saw images of the gate set (trained_on_gate); they are named.
    """
    shared = [
        one.name
        for one in gate_set.images
        if one.sha256 in manifest.images or one.simulator_seed in manifest.simulator_seeds
    ]
    if shared:
        raise _mixed(gate_set, shared)


def _mixed(gate_set: GateSet, shared: list[str]) -> Rejected:
    more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
    return Rejected(
        f"the model was trained on {len(shared)} of the {len(gate_set.images)} gate frames: "
        f"{', '.join(shared[:_NAMED])}{more}; train again without them (`GET /v1/labels/export` leaves gate blocks out)",
        code="trained_on_gate",
    )


def _in_memory(name: str, jpeg: bytes, truth: Truth, *, simulator_seed: int) -> GateImage:
    return GateImage(name=name, sha256=_sha256(jpeg), truth=truth, read=lambda: jpeg, simulator_seed=simulator_seed)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _truth_line(truth: Truth) -> str:
    rows: Iterable[str] = (
        f"{label} {' '.join(f'{float(value):.3f}' for value in box)}"
        for label, box in zip(truth.labels, truth.boxes, strict=True)
    )
    return ";".join(sorted(rows))
