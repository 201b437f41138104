"""COCO and YOLO: the numbers in them, and where they come from."""

from __future__ import annotations

import json

from inference.domain.labelled import classes_of, coco, yolo
from tests.support.labelled import AT, a_labelled_frame

FRAMES = [a_labelled_frame(), a_labelled_frame(frame_id="f2", verdict="empty", boxes=())]


def test_classes_keep_the_champions_order_and_append_others() -> None:
    assert classes_of(["short", "open"], ["scratch", "open", "burr"]) == ["short", "open", "burr", "scratch"]


def test_coco_has_boxes_as_corner_and_size_and_says_where_each_image_comes_from() -> None:
    document = json.loads("".join(coco(lambda: iter(FRAMES), ["open", "short"], description="d", made_at=AT)))
    assert document["categories"] == [{"id": 1, "name": "open"}, {"id": 2, "name": "short"}]
    assert [(image["id"], image["width"], image["height"]) for image in document["images"]] == [
        (1, 200, 100),
        (2, 200, 100),
    ]
    assert document["images"][0]["provenance"] == {
        "frame_id": "f1",
        "sha256": "a" * 64,
        "camera_id": "line-1",
        "session_id": "s",
        "sequence": 3,
        "captured_at": AT.isoformat(),
        "object_key": "date=2026-01-02/camera=line-1/f1.jpg",
        "part": "train",
        "review_id": 7,
        "reviewer": "subject",
        "reviewer_name": "Ann",
        "reviewed_at": AT.isoformat(),
        "verdict": "corrected",
        "purpose": "queue",
    }
    assert document["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10.0, 20.0, 20.0, 40.0], "area": 800.0, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 200.0, 100.0], "area": 20000.0, "iscrowd": 0},
    ]


def test_coco_of_nothing_is_a_whole_document() -> None:
    document = json.loads("".join(coco(lambda: iter([]), [], description="d", made_at=AT)))
    assert (document["images"], document["annotations"], document["categories"]) == ([], [], [])


def test_yolo_has_centre_and_size_as_shares_of_the_image() -> None:
    files = dict(yolo(FRAMES, ["open", "short"]))
    assert files["labels/f1.txt"] == "1 0.100000 0.400000 0.100000 0.400000\n0 0.500000 0.500000 1.000000 1.000000\n"
    assert files["labels/f2.txt"] == ""
    assert files["data.yaml"].endswith('names:\n  0: "open"\n  1: "short"\n')
    assert json.loads(files["provenance/f1.json"])["review_id"] == 7
