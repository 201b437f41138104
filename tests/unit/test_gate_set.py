from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import Rejected
from inference.delivery.dataset import GOLDEN_SEED, HELD_OUT_SEED, TRAIN_SEED
from inference.delivery.evaluate import held_out_boards
from inference.delivery.evaluation import Truth
from inference.delivery.gate_set import GATE_SEED, GateImage, GateSet, decoded, labelled, refuse_mixture, simulated
from inference.delivery.manifest import TrainingManifest, read_manifest, write_manifest
from inference.delivery.reviewed import gate_set_of, simulator_seed
from tests.support.images import jpeg, png

A_TRUTH = Truth(labels=("open",), boxes=np.array([[1, 2, 30, 40]], np.float32))


def an_image(name: str = "a", content: bytes = b"", truth: Truth = A_TRUTH) -> GateImage:
    content = content or jpeg()
    return GateImage(name=name, sha256=hashlib.sha256(content).hexdigest(), truth=truth, read=lambda: content)


def a_set(*images: GateImage) -> GateSet:
    return GateSet(images=images or (an_image(),), source="a test", kind="labelled")


def a_manifest(*images: str, seeds: tuple[int, ...] = ()) -> TrainingManifest:
    return TrainingManifest(source="a test", images=frozenset(images), simulator_seeds=frozenset(seeds))


def test_the_seed_gate_set_is_always_the_same_and_meets_no_other_line() -> None:
    one, other = simulated(3), simulated(3)
    assert one.digest == other.digest
    assert [image.sha256 for image in one.images] == [image.sha256 for image in other.images]
    assert GATE_SEED not in {TRAIN_SEED, HELD_OUT_SEED, GOLDEN_SEED}
    assert simulated(4).digest != one.digest


def test_the_digest_is_of_images_and_truth_whatever_their_order() -> None:
    one, other = an_image("a"), an_image("b", jpeg(shade=10))
    digest = a_set(one, other).digest
    assert a_set(replace(other, name="c"), one).digest == digest
    moved = Truth(labels=("open",), boxes=A_TRUTH.boxes + np.float32(1))
    renamed = Truth(labels=("short",), boxes=A_TRUTH.boxes)
    for truth in (moved, renamed):
        assert a_set(replace(one, truth=truth), other).digest != digest


def test_images_that_training_saw_are_refused_and_named() -> None:
    images = [an_image(f"frame-{shade}", jpeg(shade=shade)) for shade in range(1, 4)]
    refuse_mixture(a_set(*images), a_manifest("0" * 64))
    with pytest.raises(Rejected, match="1 of the 3 gate frames: frame-2;") as refusal:
        refuse_mixture(a_set(*images), a_manifest(images[1].sha256))
    assert refusal.value.code == "trained_on_gate"


def test_of_many_shared_images_the_first_are_named_and_the_others_counted() -> None:
    images = [an_image(f"frame-{shade:02}", jpeg(shade=shade)) for shade in range(1, 14)]
    with pytest.raises(Rejected, match=r"13 of the 13 gate frames: frame-01, .*frame-10 and 3 more"):
        refuse_mixture(a_set(*images), a_manifest(*(image.sha256 for image in images)))


def test_boards_of_the_gates_own_line_are_refused_whatever_the_manifest_lists() -> None:
    with pytest.raises(Rejected, match="2 of the 2 gate frames"):
        refuse_mixture(simulated(2), a_manifest(seeds=(GATE_SEED,)))
    refuse_mixture(simulated(2), a_manifest(seeds=(TRAIN_SEED,)))


def test_a_labelled_folder_is_a_gate_set(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for index, (content, _) in enumerate(held_out_boards(2)):
        (tmp_path / f"images/{index}.jpg").write_bytes(content)
        (tmp_path / f"labels/{index}.txt").write_text("10 20 30 40 2\n")
    made = labelled(tmp_path)
    assert made.labels() == {"short": 2}
    assert [image.name for image in made.images] == ["0", "1"]
    assert decoded(made.images[0]).shape == (640, 640, 3)
    (tmp_path / "images/0.jpg").write_bytes(jpeg())
    with pytest.raises(Rejected, match="gate image 0 changed since it was labelled"):
        decoded(made.images[0])


def test_pictures_of_both_kinds_are_in_a_labelled_folders_gate_set(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for name, content in {"a.png": png(64, 48), "b.jpg": jpeg()}.items():
        (tmp_path / f"images/{name}").write_bytes(content)
        (tmp_path / f"labels/{name[0]}.txt").write_text("1 2 30 40 2\n")
    made = labelled(tmp_path)
    assert [image.name for image in made.images] == ["a", "b"]
    assert decoded(made.images[0]).shape == (48, 64, 3)


def test_a_folder_that_is_no_labelled_one_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"is no labelled folder: no images/\*\.jpg"):
        labelled(tmp_path)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "images/a.jpg").write_bytes(jpeg())
    with pytest.raises(Rejected, match="is no labelled folder"):
        labelled(tmp_path)


def test_a_png_is_decoded_and_a_broken_image_is_refused() -> None:
    assert decoded(an_image(content=png(64, 48))).shape == (48, 64, 3)
    with pytest.raises(Rejected, match="gate image a is undecodable"):
        decoded(an_image(content=b"no image"))


@dataclass(frozen=True)
class Box:
    label: str
    box: tuple[float, ...]


@dataclass(frozen=True)
class Frame:
    frame_id: str
    session_id: str
    sha256: str
    object_key: str
    boxes: tuple[Box, ...]


def test_reviewed_frames_are_a_gate_set_read_from_the_store_when_needed() -> None:
    content, asked = jpeg(), []
    frame = Frame(
        "f-1", "s-1", hashlib.sha256(content).hexdigest(), "date=x/f-1.jpg", (Box("open", (1.0, 2.0, 3.0, 4.0)),)
    )
    empty = Frame("f-2", "s-2", frame.sha256, "date=x/f-2.jpg", ())

    def read(key: str) -> bytes:
        asked.append(key)
        return content

    made = gate_set_of([frame, empty], read, sources={"s-1": "simulator:?seed=101&size=640", "s-2": "boards"})
    assert made.kind == "reviewed"
    assert (made.labels(), asked) == ({"open": 1}, [])
    assert made.images[1].truth.boxes.shape == (0, 4)
    assert decoded(made.images[0]).shape == (48, 64, 3)
    assert asked == ["date=x/f-1.jpg"]
    with pytest.raises(Rejected, match="1 of the 2 gate frames: f-1;"):
        refuse_mixture(made, a_manifest(seeds=(101,)))


@pytest.mark.parametrize(
    ("source", "seed"),
    [
        ("simulator:", 0),
        ("simulator:?seed=7&size=320", 7),
        ("simulator:?size=320", 0),
        ("rtsp://a?seed=7", None),
        ("", None),
    ],
)
def test_the_line_of_a_simulated_session_is_known_by_its_source(source: str, seed: int | None) -> None:
    assert simulator_seed(source) == seed


def test_an_empty_gate_set_says_what_to_do() -> None:
    with pytest.raises(Rejected, match="label frames for the gate") as refusal:
        gate_set_of([], lambda _: b"", sources={})
    assert refusal.value.code == "gate_set_empty"
    assert "--boards" not in str(refusal.value)


def test_an_empty_gate_set_names_simulated_boards_where_they_count() -> None:
    with pytest.raises(Rejected, match="with --boards 100"):
        gate_set_of([], lambda _: b"", sources={}, is_any_set=True)


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    manifest = a_manifest("0" * 64, "f" * 64, seeds=(101,))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert read_manifest(tmp_path).digest == a_manifest("f" * 64, "0" * 64, seeds=(101,)).digest
    assert a_manifest("0" * 64).digest != manifest.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 1, "source": "x", "images": []}', "cannot be read"),
        ('{"format": 2, "source": "x", "images": [], "simulator_seeds": [1]}', "has format 2"),
        ('{"format": 1, "source": "x", "images": ["board 7"], "simulator_seeds": []}', "'board 7', which is no sha256"),
        ('{"format": 1, "source": "x", "images": [], "simulator_seeds": []}', "names no image"),
    ],
)
def test_a_manifest_that_says_nothing_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "training_manifest.json").write_text(text)
    with pytest.raises(Rejected, match=words) as refusal:
        read_manifest(tmp_path)
    assert refusal.value.code == "manifest_broken"


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="is not there: write down the sha256 of every training image"):
        read_manifest(tmp_path)
