"""The demo model that the repository carries, run as it is delivered."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import simplejpeg

from connectors.cameras.boards import CLASSES, encode_jpeg, simulate_board
from inference.delivery.dataset import GOLDEN_SEED, HELD_OUT_SEED, TRAIN_SEED
from inference.delivery.evaluate import OnnxModel, evaluate_model, held_out_boards

FOLDER = Path(__file__).resolve().parents[2] / "inference/delivery/demo_model"


DESCRIPTION = json.loads((FOLDER / "model.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    return OnnxModel(FOLDER)


def test_its_description_names_the_file_that_lies_beside_it() -> None:
    content = (FOLDER / DESCRIPTION["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == DESCRIPTION["sha256"]
    assert len(content) <= 12 * 2**20
    assert DESCRIPTION["classes"] == list(CLASSES)
    assert DESCRIPTION["sha256"] in (FOLDER / "MODEL_CARD.md").read_text("utf-8")


def test_its_licence_is_said_in_the_file_the_description_and_the_folder() -> None:
    inside = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])
    assert "AGPL-3.0" in inside.get_modelmeta().custom_metadata_map["license"]
    assert DESCRIPTION["licence"] == "AGPL-3.0"
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (FOLDER / "LICENSE").read_text("utf-8")


def test_it_sees_in_the_golden_images_what_was_recorded(model: OnnxModel) -> None:
    golden = json.loads((FOLDER / "golden/golden.json").read_text("utf-8"))
    assert len(golden["images"]) == 8
    for image in golden["images"]:
        jpeg = (FOLDER / "golden" / image["file"]).read_bytes()
        assert hashlib.sha256(jpeg).hexdigest() == image["sha256"]
        seen = model.detect(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"))
        assert sorted(seen.labels) == sorted(image["labels"])
        # Two detections of nearly the same confidence may change places: compare each with its nearest of that label.
        for label, confidence, box in zip(image["labels"], image["confidences"], image["boxes"], strict=True):
            same = [index for index, name in enumerate(seen.labels) if name == label]
            nearest = min(same, key=lambda index: float(np.abs(seen.boxes[index] - box).max()))
            assert np.abs(seen.boxes[nearest] - box).max() <= golden["tolerance"]["pixels"]
            assert abs(seen.confidences[nearest] - confidence) <= golden["tolerance"]["confidence"]


def test_a_batch_answers_every_row_as_the_image_alone_at_both_sizes() -> None:
    session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])
    for side in (320, 640):
        boards = np.stack([simulate_board(1, index, size=side).image for index in range(3)])
        images = np.repeat(boards[:, None], 3, axis=1).astype(np.float32) / 255
        (batch,) = session.run(["output0"], {"images": images})
        for row in range(3):
            (alone,) = session.run(["output0"], {"images": images[row : row + 1]})
            assert np.allclose(alone[0], batch[row], atol=0.05)


def test_it_is_about_as_good_as_its_card_says(model: OnnxModel) -> None:
    claimed = {row["label"]: row for row in DESCRIPTION["metrics"]["table"]}["all"]
    evaluation = evaluate_model(model, held_out_boards(60))
    assert evaluation.overall.ap50 == pytest.approx(claimed["ap50"], abs=0.05)


def test_training_held_out_and_golden_boards_never_meet() -> None:
    seeds = [TRAIN_SEED, HELD_OUT_SEED, GOLDEN_SEED]
    assert len({encode_jpeg(simulate_board(seed, index)) for seed in seeds for index in range(25)}) == 75
