"""Labels as a versioned data set in a real object store, out of real reviews; and back as a folder that training reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from contracts.errors import Misconfigured, Rejected
from contracts.settings import Settings
from inference.batch import export_labels
from inference.delivery import train
from inference.delivery.labelled import read_labelled
from inference.delivery.training_plan import plan_of
from inference.domain.review import LabelledBox, Purpose, Review, Verdict
from inference.domain.split import GATE, TRAIN, part_of
from inference.persistence import reviews
from inference.persistence.datasets import fetch_dataset, set_store
from inference.persistence.objects import FrameStore
from tests.support.images import jpeg, png
from tests.support.jobs import run_job
from tests.support.object_store import ObjectStoreServer
from tests.support.rows import SESSION_ID, Row

BOX = LabelledBox(label="open", box=(2, 4, 30, 40))
TRAINED = [number for number in range(1000) if part_of("line-1", SESSION_ID, number) == TRAIN]
GATED = [number for number in range(1000) if part_of("line-1", SESSION_ID, number) == GATE]


@pytest.fixture
def settings(database: Settings, s3: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(export_labels, "own_classes", lambda _: ["open", "short"])
    return database.model_copy(update={"s3": s3.settings})


@pytest.fixture
def sets(settings: Settings) -> FrameStore:
    return set_store(settings)


@pytest.fixture
def labelled(
    settings: Settings, connection: psycopg.Connection[Any], keep: Callable[..., Row]
) -> Callable[..., tuple[Row, int]]:
    """A stored frame with an image of its own, and a review of it."""

    def made(sequence: int, *, image: bytes | None = None, boxes: tuple[LabelledBox, ...] = (BOX,), **more: Any):
        content = image or jpeg(width=64, height=48, shade=sequence % 250)
        frame = keep(sequence=sequence, image=content, **more.pop("row", {}))
        FrameStore(settings.s3).put(frame["object_key"], content, content_type="image/jpeg", metadata={})
        verdict = Verdict.CORRECTED if boxes else Verdict.EMPTY
        said = {"reviewer": "ann", "reviewer_name": "Ann", "verdict": verdict, "boxes": boxes} | more
        return frame, reviews.save(connection, Review(frame_id=frame["frame_id"], **said))

    return made


def test_only_the_training_part_is_exported_and_it_is_whole(
    settings: Settings, sets: FrameStore, labelled: Callable[..., tuple[Row, int]]
) -> None:
    kept = [labelled(TRAINED[0])[0], labelled(TRAINED[1], boxes=())[0]]
    gated, _ = labelled(GATED[0], purpose=Purpose.GATE)
    result, code = run_job("export-labels", settings)
    assert (code, result["images"], result["labels"], result["is_new"]) == (0, 2, 1, True)
    assert result["uri"] == f"s3://{settings.s3.mlflow_bucket}/datasets/pcb-defects/{result['digest']}/"
    prefix = f"datasets/pcb-defects/{result['digest']}/"
    names = {key.removeprefix(prefix) for key in sets.keys(prefix)}
    wanted = {f"images/{row['frame_id']}.jpg" for row in kept} | {f"labels/{row['frame_id']}.txt" for row in kept}
    assert names == wanted | {"data.yaml", "manifest.json"}
    assert gated["frame_id"] not in sets.get(prefix + "manifest.json").decode()
    assert sets.get(f"{prefix}labels/{kept[1]['frame_id']}.txt") == b""


def test_exported_again_it_is_the_same_and_another_label_makes_another(
    settings: Settings, labelled: Callable[..., tuple[Row, int]]
) -> None:
    labelled(TRAINED[0])
    first, _ = run_job("export-labels", settings)
    again, _ = run_job("export-labels", settings)
    assert (again["digest"], again["is_new"]) == (first["digest"], False)
    labelled(TRAINED[1])
    other, _ = run_job("export-labels", settings)
    assert (other["is_new"], other["images"]) == (True, 2)
    assert other["digest"] != first["digest"]


def test_an_export_that_was_killed_goes_on(
    settings: Settings, sets: FrameStore, labelled: Callable[..., tuple[Row, int]]
) -> None:
    frames = [labelled(number)[0] for number in TRAINED[:3]]
    first, _ = run_job("export-labels", settings)
    prefix = f"datasets/pcb-defects/{first['digest']}/"
    for name in ("manifest.json", f"images/{frames[1]['frame_id']}.jpg"):
        sets.delete(prefix + name)
    again, _ = run_job("export-labels", settings)
    assert (again["digest"], again["is_new"]) == (first["digest"], True)
    assert sets.head(f"{prefix}images/{frames[1]['frame_id']}.jpg") is not None


def test_images_that_are_gone_or_changed_are_named_and_no_set_appears(
    settings: Settings, sets: FrameStore, labelled: Callable[..., tuple[Row, int]]
) -> None:
    gone, changed = labelled(TRAINED[0])[0], labelled(TRAINED[1])[0]
    frames = FrameStore(settings.s3)
    frames.delete(gone["object_key"])
    frames.put(changed["object_key"], b"other", content_type="image/jpeg", metadata={})
    before = set(sets.keys("datasets/"))
    with pytest.raises(Rejected) as refused:
        run_job("export-labels", settings)
    assert refused.value.code == "images_missing"
    assert f"{gone['frame_id']} (no object)" in str(refused.value)
    assert f"{changed['frame_id']} (other bytes)" in str(refused.value)
    assert not [key for key in set(sets.keys("datasets/")) - before if key.endswith("manifest.json")]


def test_nothing_labelled_is_rejected(settings: Settings) -> None:
    with pytest.raises(Rejected, match="review some"):
        run_job("export-labels", settings)


def test_training_reads_what_was_exported(
    settings: Settings, labelled: Callable[..., tuple[Row, int]], tmp_path: Path
) -> None:
    frame, _ = labelled(TRAINED[0])
    other, _ = labelled(TRAINED[1], image=png(width=64, height=48), row={"encoding": "png"}, boxes=())
    result, _ = run_job("export-labels", settings)
    manifest = fetch_dataset(settings, result["uri"], tmp_path, classes=("short", "open"))
    assert manifest.digest == result["digest"]
    found = {one.file.stem: one for one in read_labelled(tmp_path, classes=("short", "open"))}
    assert set(found) == {frame["frame_id"], other["frame_id"]}
    assert found[frame["frame_id"]].truth.labels == ("open",)
    assert [round(float(one), 2) for one in found[frame["frame_id"]].truth.boxes[0]] == [2, 4, 30, 40]
    assert found[other["frame_id"]].truth.labels == ()
    (tmp_path / f"images/{frame['frame_id']}.jpg").write_bytes(b"cut short")
    fetch_dataset(settings, result["uri"].rstrip("/"), tmp_path, classes=("short", "open"))
    assert (tmp_path / f"images/{frame['frame_id']}.jpg").read_bytes() != b"cut short"


def test_a_training_fetches_its_data_set_and_says_when_it_is_too_small(
    settings: Settings,
    labelled: Callable[..., tuple[Row, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labelled(TRAINED[0])
    result, _ = run_job("export-labels", settings)
    monkeypatch.setattr(train, "Settings", SimpleNamespace(load=lambda: settings))
    plan = train.fetched(plan_of(["--out", str(tmp_path), "--dataset", result["uri"]]))
    assert plan.labelled == tmp_path / f"dataset-{result['digest'][:12]}"
    assert len(read_labelled(plan.labelled)) == 1
    with pytest.raises(Rejected, match="label more, or give a smaller --batch"):
        train.open_data(plan)


def test_the_digest_is_enough_to_fetch_it(
    settings: Settings, labelled: Callable[..., tuple[Row, int]], tmp_path: Path
) -> None:
    labelled(TRAINED[0])
    exported, _ = run_job("export-labels", settings)
    fetched, code = run_job("fetch-labels", settings, "--digest", exported["digest"], "--into", str(tmp_path / "a"))
    assert (code, fetched["images"], fetched["labels"]) == (0, 1, 1)
    assert len(read_labelled(tmp_path / "a")) == 1


def test_a_set_that_there_is_not_is_said(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as missing:
        fetch_dataset(settings, f"s3://{settings.s3.mlflow_bucket}/datasets/pcb-defects/none", tmp_path)
    assert missing.value.code == "no_object"
    with pytest.raises(Misconfigured, match="export-labels"):
        fetch_dataset(settings, "/a/folder", tmp_path)
