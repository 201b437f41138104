from __future__ import annotations

import json
from itertools import count
from typing import Any

import numpy as np
import pytest

from contracts.errors import Rejected
from inference.domain.dataset_manifest import Manifest, manifest_of, parse, pixel_labels
from inference.domain.labelled import LabelledFrame
from inference.domain.review import LabelledBox
from inference.domain.split import GATE, TRAIN, part_of
from tests.support.labelled import a_labelled_frame

CLASSES = ("open", "short")
SESSION = "019b7c3e-0000-7000-8000-0000000000aa"
TRAINED = next(number for number in count() if part_of("line-1", SESSION, number) == TRAIN)
GATED = next(number for number in count() if part_of("line-1", SESSION, number) == GATE)


def frame(frame_id: str = "f1", **changes: Any) -> LabelledFrame:
    return a_labelled_frame(**{"frame_id": frame_id, "session_id": SESSION, "sequence": TRAINED} | changes)


def made(*frames: LabelledFrame, classes: tuple[str, ...] = CLASSES) -> Manifest:
    return manifest_of(frames, classes, model="pcb-defects")


def test_the_same_labels_give_the_same_digest_whatever_their_order_and_reviewer() -> None:
    one = made(frame("f1"), frame("f2"))
    assert one.digest == made(frame("f2", reviewer="bob", review_id=99), frame("f1")).digest
    assert one.prefix == f"datasets/pcb-defects/{one.digest}/"


@pytest.mark.parametrize(
    "other",
    [
        made(frame("f1"), frame("f3")),
        made(frame("f1"), frame("f2", sha256="b" * 64)),
        made(frame("f1"), frame("f2", boxes=())),
        made(frame("f1")),
        made(frame("f1"), frame("f2"), classes=("short", "open")),
        made(frame("f1"), frame("f2"), classes=("open", "short", "spur")),
    ],
)
def test_any_other_image_label_or_class_gives_another_digest(other: Manifest) -> None:
    assert made(frame("f1"), frame("f2")).digest != other.digest


def test_a_frame_of_a_gate_block_is_refused_whatever_the_query_said() -> None:
    with pytest.raises(Rejected, match="f2 belongs to a gate block") as refused:
        made(frame("f1"), frame("f2", sequence=GATED, part="train"))
    assert refused.value.code == "gate_in_training"


def test_nothing_labelled_is_no_data_set() -> None:
    with pytest.raises(Rejected) as refused:
        made()
    assert refused.value.code == "nothing_labelled"


def test_the_document_is_read_back_as_it_was() -> None:
    manifest = made(frame("f1"), frame("f2", boxes=()))
    assert parse(manifest.document()) == manifest
    assert manifest.boxes == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(digest="0" * 64),
        lambda document: document["images"][0].update(sha256="0" * 64),
        lambda document: document["images"][0].pop("width"),
        lambda document: document.update(format=2),
        lambda document: document.update(images=None),
    ],
)
def test_a_damaged_document_is_refused(change: Any) -> None:
    document = json.loads(made(frame()).document())
    change(document)
    with pytest.raises(Rejected) as refused:
        parse(json.dumps(document))
    assert refused.value.code == "dataset_broken"


def test_labels_come_back_as_pixels_and_in_the_trainings_own_numbers() -> None:
    boxes = (
        LabelledBox(label="short", box=(10.0, 20.0, 30.0, 60.0)),
        LabelledBox(label="open", box=(0.0, 0.0, 200.0, 100.0)),
    )
    [image] = made(frame(boxes=boxes)).images
    lines = [line.split() for line in pixel_labels(image, CLASSES, ("spur", "short", "open")).splitlines()]
    assert [line[4] for line in lines] == ["2", "3"]
    assert np.allclose([[float(one) for one in line[:4]] for line in lines], [box.box for box in boxes], atol=0.01)


def test_a_class_that_training_does_not_know_is_named() -> None:
    [image] = made(frame()).images
    with pytest.raises(Rejected, match="a short, which training does not know") as refused:
        pixel_labels(image, CLASSES, ("open",))
    assert refused.value.code == "unknown_label"
