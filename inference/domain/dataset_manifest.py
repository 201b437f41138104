"""A versioned data set of labelled frames: what is in it, and the digest that names it.

    datasets/<model>/<digest>/
        images/<frame_id>.jpg | .png    the frames' own bytes
        labels/<frame_id>.txt           YOLO: class centre_x centre_y width height, in shares of the image
        data.yaml                       the classes
        manifest.json                   all of these by name and sha256; written last: without it nothing is there

The digest is of the images, what is in them and the classes: the same labels give the same data set, whoever saved them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from contracts.errors import Rejected
from inference.domain.labelled import LabelledFrame, yolo_labels
from inference.domain.split import TRAIN, part_of

SETS: Final = "datasets/"  # below it lie all of them
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One frame of the set."""

    frame_id: str
    file: str  # images/<frame_id>.<jpg | png>
    source: str  # key in the frames bucket
    sha256: str  # of the bytes
    width: int  # pixels
    height: int  # pixels
    labels: str  # the text of labels/<frame_id>.txt
    review_id: int  # where they come from


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole set."""

    model: str
    classes: tuple[str, ...]
    images: tuple[Image, ...]

    @property
    def digest(self) -> str:
        """Names the set."""
        lines = sorted(f"{one.frame_id} {one.sha256} {_sha256(one.labels)}" for one in self.images)
        return _sha256("\n".join([json.dumps(self.classes), *lines]))

    @property
    def boxes(self) -> int:
        """Of all images."""
        return sum(one.labels.count("\n") for one in self.images)

    @property
    def prefix(self) -> str:
        """Of its keys, with the slash at the end."""
        return prefix_of(self.model, self.digest)

    def document(self) -> str:
        """The text of manifest.json."""
        fields = {"format": FORMAT, "digest": self.digest, "part": TRAIN, **asdict(self)}
        return json.dumps(fields, indent=1) + "\n"


def prefix_of(model: str, digest: str) -> str:
    """Of a set's keys, with the slash at the end."""
    return f"{SETS}{model}/{digest}/"


def manifest_of(frames: Iterable[LabelledFrame], classes: Sequence[str], *, model: str) -> Manifest:
    """The set that these frames make.

    Raises:
        Rejected: there is no frame (nothing_labelled), or one belongs to a gate block (gate_in_training).
    """
    images = tuple(_image(frame, classes) for frame in frames)
    if not images:
        raise Rejected(
            "nobody has labelled a frame for training yet: review some (dashboard, POST /v1/reviews/claim)",
            code="nothing_labelled",
        )
    return Manifest(model=model, classes=tuple(classes), images=images)


def parse(text: str) -> Manifest:
    """A manifest.json, if it is what its digest says.

    Raises:
        Rejected: it is damaged, or of a format that this version does not read (dataset_broken).
    """
    try:
        found: dict[str, Any] = json.loads(text)
        if found["format"] != FORMAT:
            raise Rejected(
                f"the data set has format {found['format']}, this version reads {FORMAT}: export it again",
                code="dataset_broken",
            )
        images = tuple(Image(**one) for one in found["images"])
        manifest = Manifest(model=found["model"], classes=tuple(found["classes"]), images=images)
        is_whole = manifest.digest == found["digest"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected(
            f"the data set's manifest cannot be read ({type(error).__name__}): export it again", code="dataset_broken"
        ) from error
    if not is_whole:
        raise Rejected("the data set's manifest is not what its digest says: export it again", code="dataset_broken")
    return manifest


def pixel_labels(image: Image, classes: Sequence[str], known: Sequence[str]) -> str:
    """The labels as training reads them: a line `x1 y1 x2 y2 type` each, in pixels, types from 1 as in `known`.

    Raises:
        Rejected: a class is not among the known ones (unknown_label).
    """
    lines = []
    for line in image.labels.splitlines():
        number, *shares = line.split()
        label = classes[int(number)]
        if label not in known:
            raise Rejected(
                f"frame {image.frame_id} has a {label}, which training does not know: it knows {', '.join(known)}",
                code="unknown_label",
            )
        x, y, width, height = map(float, shares)
        corners = (
            (x - width / 2) * image.width,
            (y - height / 2) * image.height,
            (x + width / 2) * image.width,
            (y + height / 2) * image.height,
        )
        lines.append(" ".join(f"{corner:.3f}" for corner in corners) + f" {known.index(label) + 1}\n")
    return "".join(lines)


def _image(frame: LabelledFrame, classes: Sequence[str]) -> Image:
    # Asked again, whatever the query said: a frame that teaches must never judge.
    if part_of(frame.camera_id, frame.session_id, frame.sequence) != TRAIN:
        raise Rejected(
            f"frame {frame.frame_id} belongs to a gate block: it may never be trained on", code="gate_in_training"
        )
    return Image(
        frame_id=frame.frame_id,
        file=f"images/{frame.frame_id}.{frame.object_key.rpartition('.')[2]}",
        source=frame.object_key,
        sha256=frame.sha256,
        width=frame.width,
        height=frame.height,
        labels=yolo_labels(frame, classes),
        review_id=frame.review_id,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
