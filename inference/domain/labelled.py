"""Labelled frames in the two formats that trainers read, each with where its labels come from.

    LabelledFrame, ... ──► coco   one JSON document, in pieces: images, then annotations
                       ──► yolo   per frame: labels/<frame_id>.txt and provenance/<frame_id>.json; data.yaml

Classes are numbered in the order given: the champion's first, as its model.json has them, then others by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from inference.domain.review import LabelledBox

FORMATS: Final = ("coco", "yolo")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFrame:
    """A frame, the review of it that counts, and where both come from."""

    frame_id: str
    camera_id: str
    session_id: str
    sequence: int
    captured_at: datetime
    width: int  # pixels
    height: int  # pixels
    object_key: str
    sha256: str  # of the image
    part: str  # train | gate
    review_id: int
    reviewer: str
    reviewer_name: str
    reviewed_at: datetime
    verdict: str  # accepted | corrected | empty
    purpose: str  # queue | gate
    boxes: tuple[LabelledBox, ...]  # pixels of the original image

    def provenance(self) -> dict[str, Any]:
        """Whence image and labels come."""
        return {
            "frame_id": self.frame_id,
            "sha256": self.sha256,
            "camera_id": self.camera_id,
            "session_id": self.session_id,
            "sequence": self.sequence,
            "captured_at": self.captured_at.isoformat(),
            "object_key": self.object_key,
            "part": self.part,
            "review_id": self.review_id,
            "reviewer": self.reviewer,
            "reviewer_name": self.reviewer_name,
            "reviewed_at": self.reviewed_at.isoformat(),
            "verdict": self.verdict,
            "purpose": self.purpose,
        }


def classes_of(champion: Sequence[str], used: Iterable[str]) -> list[str]:
    """All classes in their order: the champion's, then other labels in use."""
    return [*champion, *sorted(set(used) - set(champion))]


def coco(
    read: Callable[[], Iterable[LabelledFrame]], classes: Sequence[str], *, description: str, made_at: datetime
) -> Iterator[str]:
    """A COCO document in pieces. `read` is called twice and must give the same frames: nothing is kept in memory."""
    info = {"description": description, "date_created": made_at.isoformat()}
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    yield f'{{"info": {json.dumps(info)}, "licenses": [], "categories": {json.dumps(categories)}, "images": ['
    for number, frame in enumerate(read(), 1):
        image = {
            "id": number,
            "file_name": frame.object_key,
            "width": frame.width,
            "height": frame.height,
            "date_captured": frame.captured_at.isoformat(),
            "provenance": frame.provenance(),
        }
        yield ("" if number == 1 else ",") + "\n" + json.dumps(image)
    yield '\n], "annotations": ['
    numbers = {name: number for number, name in enumerate(classes, 1)}
    written = 0
    for number, frame in enumerate(read(), 1):
        for box in frame.boxes:
            written += 1
            x1, y1, x2, y2 = box.box
            annotation = {
                "id": written,
                "image_id": number,
                "category_id": numbers[box.label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            yield ("" if written == 1 else ",") + "\n" + json.dumps(annotation)
    yield "\n]}\n"


def yolo(frames: Iterable[LabelledFrame], classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The files of a YOLO data set without its images, as (name, text)."""
    yield "data.yaml", yolo_index(classes)
    for frame in frames:
        yield f"labels/{frame.frame_id}.txt", yolo_labels(frame, classes)
        yield f"provenance/{frame.frame_id}.json", json.dumps(frame.provenance()) + "\n"


def yolo_index(classes: Sequence[str]) -> str:
    """The file that names the classes."""
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(classes))
    return f"path: .\ntrain: images\nnames:\n{names}"


def yolo_labels(frame: LabelledFrame, classes: Sequence[str]) -> str:
    """One frame's boxes: a line `class centre_x centre_y width height` each, in shares of the image."""
    numbers = {name: number for number, name in enumerate(classes)}
    return "".join(_yolo_line(numbers[box.label], box, frame.width, frame.height) for box in frame.boxes)


def _yolo_line(number: int, box: LabelledBox, width: int, height: int) -> str:
    x1, y1, x2, y2 = box.box
    centre_x, centre_y = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
    return f"{number} {centre_x:.6f} {centre_y:.6f} {(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
