"""Labels in numbers and as data: what counts, what never mixes, and that SQL and Python split alike."""

from __future__ import annotations

import io
import json
import random
import tarfile
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from inference.api.parts import Parts
from inference.domain.review import LabelledBox, Purpose, Review, Verdict
from inference.domain.split import GATE, TRAIN, part_of
from inference.persistence import labels, reviews
from inference.persistence.labels import Snapshot
from tests.component.stored.test_reviews import GATE_SEQUENCES, TRAIN_SEQUENCES
from tests.support.rows import Row, now
from tests.support.stored_api import bearer

REVIEWER = bearer("reviewer")
Keep = Callable[..., Row]
BOX = LabelledBox(label="short", box=(10.0, 12.0, 30.0, 36.0))


def said(connection: Any, frame: Row, **changes: Any) -> int:
    given: dict[str, Any] = {
        "frame_id": frame["frame_id"],
        "reviewer": "ann",
        "reviewer_name": "Ann",
        "verdict": Verdict.CORRECTED,
        "boxes": (BOX,),
    }
    return reviews.save(connection, Review(**(given | changes)))


def exported(client: TestClient, part: str) -> dict[str, Any]:
    answer = client.get("/v1/labels/export", params={"format": "coco", "part": part}, headers=REVIEWER)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = json.loads(answer.content)
    return document


def frames_in(client: TestClient, part: str) -> set[str]:
    return {image["provenance"]["frame_id"] for image in exported(client, part)["images"]}


def test_the_database_splits_as_python_does(connection: Any) -> None:
    chance = random.Random(7)
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789._-"
    rows = [
        (
            chance.choice("abc019") + "".join(chance.choices(alphabet, k=chance.randrange(62))),
            str(uuid.UUID(int=chance.getrandbits(128))),
            chance.choice([0, 49, 50, 51, chance.randrange(10**6), chance.randrange(2**62)]),
        )
        for _ in range(3000)
    ]
    cameras, sessions, numbers = zip(*rows, strict=True)
    answers = connection.execute(
        "SELECT part_of(camera, session, number) FROM unnest(%s::text[], %s::uuid[], %s::bigint[]) "
        "WITH ORDINALITY AS each (camera, session, number, position) ORDER BY position",
        (list(cameras), list(sessions), list(numbers)),
    ).fetchall()
    assert [row[0] for row in answers] == [part_of(*row) for row in rows]
    assert {row[0] for row in answers} == {TRAIN, GATE}


def test_each_part_holds_what_it_may(client: TestClient, keep: Keep, connection: Any) -> None:
    train, gate, looked_at = (keep(sequence=n) for n in (TRAIN_SEQUENCES[0], GATE_SEQUENCES[0], GATE_SEQUENCES[1]))
    unusable, unseen = keep(sequence=TRAIN_SEQUENCES[1]), keep(sequence=TRAIN_SEQUENCES[2])
    said(connection, train)
    said(connection, gate, purpose=Purpose.GATE)
    said(connection, gate)  # later and beside a prediction: the gate set keeps what was said from an empty page
    said(connection, looked_at)
    said(connection, unusable, verdict=Verdict.UNUSABLE, boxes=())
    assert frames_in(client, "train") == {train["frame_id"]}
    assert frames_in(client, "gate") == {gate["frame_id"]}
    assert frames_in(client, "all") == {frame["frame_id"] for frame in (train, gate, looked_at)}
    assert unseen["frame_id"] not in frames_in(client, "all")
    [image] = exported(client, "gate")["images"]
    assert image["provenance"]["purpose"] == "gate"
    assert {image["provenance"]["part"] for image in exported(client, "all")["images"]} == {"train", "gate"}


def test_training_never_gets_a_gate_block_whatever_was_said(client: TestClient, keep: Keep, connection: Any) -> None:
    chance = random.Random(3)
    frames = [keep(sequence=chance.randrange(5000), camera_id=f"c{n % 3}") for n in range(60)]
    for frame in frames:
        said(connection, frame)
    parts = {part: frames_in(client, part) for part in ("train", "gate", "all")}
    expected = {
        frame["frame_id"]
        for frame in frames
        if part_of(frame["camera_id"], frame["session_id"], frame["sequence"]) == TRAIN
    }
    assert parts["train"] == expected
    assert 0 < len(expected) < len(frames)
    assert parts["gate"] == set()
    assert len(parts["all"]) == len(frames)


def test_the_newest_review_that_stands_counts(client: TestClient, keep: Keep, connection: Any) -> None:
    frame = keep(sequence=TRAIN_SEQUENCES[0])
    first = said(connection, frame)
    second = said(connection, frame, verdict=Verdict.EMPTY, boxes=())

    def counted() -> list[int]:
        return [image["provenance"]["review_id"] for image in exported(client, "train")["images"]]

    assert counted() == [second]
    reviews.undo(connection, second, reviewer="ann", reviewer_name="Ann")
    assert counted() == [first]
    reviews.undo(connection, first, reviewer="ann", reviewer_name="Ann")
    assert counted() == []


def test_an_export_is_of_one_moment(keep: Keep, connection: Any, parts: Parts) -> None:
    frames = [keep(sequence=n) for n in TRAIN_SEQUENCES[:3]]
    first = said(connection, frames[0])
    said(connection, frames[1])
    snapshot = Snapshot(parts.database, "train")
    said(connection, frames[2])
    said(connection, frames[1], verdict=Verdict.EMPTY, boxes=())
    reviews.undo(connection, first, reviewer="ann", reviewer_name="Ann")
    held = list(snapshot.frames())
    assert [frame.frame_id for frame in held] == [
        frame["frame_id"] for frame in sorted(frames[:2], key=lambda each: each["frame_id"])
    ]
    assert all(frame.boxes for frame in held)


def test_an_export_reads_on_over_its_pages(
    keep: Keep, connection: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "PAGE", 2)
    frames = [keep(sequence=n) for n in TRAIN_SEQUENCES[:5]]
    for frame in frames:
        said(connection, frame)
    document = exported(client, "train")
    assert {image["provenance"]["frame_id"] for image in document["images"]} == {each["frame_id"] for each in frames}
    assert [annotation["image_id"] for annotation in document["annotations"]] == [1, 2, 3, 4, 5]


def test_coco_carries_boxes_classes_and_provenance(client: TestClient, keep: Keep, connection: Any) -> None:
    frame = keep(sequence=TRAIN_SEQUENCES[0])
    review_id = said(connection, frame, boxes=(BOX, LabelledBox(label="scratch", box=(1.0, 2.0, 3.0, 4.5))))
    document = exported(client, "train")
    assert [each["name"] for each in document["categories"]] == ["open", "short", "mousebite", "scratch"]
    [image] = document["images"]
    assert (image["file_name"], image["width"], image["height"]) == (frame["object_key"], 64, 48)
    assert image["provenance"]["sha256"] == frame["sha256"]
    assert image["provenance"]["review_id"] == review_id
    assert [(each["category_id"], each["bbox"]) for each in document["annotations"]] == [
        (2, [10.0, 12.0, 20.0, 24.0]),
        (4, [1.0, 2.0, 2.0, 2.5]),
    ]


def test_yolo_is_a_tar_that_any_tool_opens(client: TestClient, keep: Keep, connection: Any) -> None:
    frame = keep(sequence=TRAIN_SEQUENCES[0])
    said(connection, frame)
    answer = client.get("/v1/labels/export", params={"format": "yolo"}, headers=REVIEWER)
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        names = archive.getnames()
        member = archive.extractfile(f"labels/{frame['frame_id']}.txt")
        assert member is not None
        line = member.read().decode()
    assert names == ["data.yaml", f"labels/{frame['frame_id']}.txt", f"provenance/{frame['frame_id']}.json"]
    assert line == "1 0.312500 0.500000 0.312500 0.500000\n"


def test_labels_are_counted_by_label_person_camera_and_part(client: TestClient, keep: Keep, connection: Any) -> None:
    said(connection, keep(sequence=TRAIN_SEQUENCES[0]), boxes=(BOX, BOX))
    said(connection, keep(sequence=TRAIN_SEQUENCES[1]), reviewer="eve", reviewer_name="Eve")
    said(connection, keep(sequence=GATE_SEQUENCES[0]), purpose=Purpose.GATE)
    said(connection, keep(sequence=GATE_SEQUENCES[1]), verdict=Verdict.EMPTY, boxes=())
    keep(sequence=TRAIN_SEQUENCES[2])
    taken_back = said(connection, keep(sequence=TRAIN_SEQUENCES[3]))
    reviews.undo(connection, taken_back, reviewer="ann", reviewer_name="Ann")
    answer = client.get("/v1/labels", headers=REVIEWER)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["classes"] == ["open", "short", "mousebite"]
    assert (body["labels"], body["gate_labels"]) == ({"short": 4}, {"short": 1})
    assert [(each["reviewer_name"], each["frames"]) for each in body["reviewers"]] == [("Ann", 3), ("Eve", 1)]
    assert body["cameras"] == {"line-1": 4}
    assert body["verdicts"] == {"corrected": 3, "empty": 1}
    progress = {name: value for name, value in body["progress"].items() if name != "waiting_since"}
    assert progress == {
        "train_frames": 2,
        "gate_frames": 1,
        "other_frames": 1,
        "waiting_train_frames": 2,
        "waiting_gate_frames": 0,
    }
    later = client.get("/v1/labels", params={"since": now().replace(year=2100).isoformat()}, headers=REVIEWER).json()
    assert later["labels"] == {}


def test_only_reviewers_export(client: TestClient) -> None:
    assert client.get("/v1/labels/export", headers=bearer("viewer")).status_code == 403
    assert client.get("/v1/labels/export", params={"part": "both"}, headers=REVIEWER).status_code == 422
