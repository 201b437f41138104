from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from contracts.errors import Transient
from contracts.validity import violation
from inference.domain.decode import Status
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.engines.fake_engine import FakeEngine
from inference.registry.model_version import ModelVersion
from inference.serving.scoring import predictions, score
from inference.serving.served_models import ServedModel
from tests.support.records import a_frame_record, now_ms
from tests.support.served import a_version

SEEN = Detections(
    labels=("open", "short"),
    confidences=np.array([0.9, 0.5], np.float32),
    boxes=np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
)
BAD = np.full((1, 1, 3), 66, np.uint8)
GOOD = np.zeros((1, 1, 3), np.uint8)


class Choosy(FakeEngine):
    """Fails whenever a bad image is in the batch."""

    def __init__(self, *, is_well: bool = True) -> None:
        super().__init__(detections=SEEN)
        self.batches: list[int] = []
        self._is_well = is_well

    def warm_up(self) -> None:
        if not self._is_well:
            raise RuntimeError("out of memory")

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        self.batches.append(len(images))
        if any(image is BAD for image in images):
            raise RuntimeError("cannot run this one")
        return super().infer(images)


def statuses(images: list[Image | Status], engine: FakeEngine) -> list[str]:
    return [str(scored.status) for scored in score(images, engine)]


def test_bad_images_keep_their_status_and_never_reach_the_engine() -> None:
    engine = Choosy()
    images = [Status.UNDECODABLE, GOOD, Status.TOO_LARGE, GOOD, Status.UNSUPPORTED]
    assert statuses(images, engine) == ["undecodable", "ok", "too_large", "ok", "unsupported"]
    assert engine.batches == [2]


def test_a_batch_of_bad_images_does_not_call_the_engine() -> None:
    engine = Choosy()
    assert statuses([Status.UNDECODABLE], engine) == ["undecodable"]
    assert engine.batches == []


def test_a_frame_that_breaks_the_engine_alone_is_unsupported_and_the_others_are_scored() -> None:
    scored = score([GOOD, BAD, GOOD], Choosy())
    assert [str(one.status) for one in scored] == ["ok", "unsupported", "ok"]
    assert [len(one.detections) for one in scored] == [2, 0, 2]


def test_an_engine_that_fails_on_a_plain_image_too_ends_the_process() -> None:
    with pytest.raises(Transient, match="out of memory"):
        score([GOOD, BAD], Choosy(is_well=False))


def test_a_prediction_is_valid_and_carries_its_frame() -> None:
    frame = a_frame_record(b"image")
    version = ModelVersion(name="pcb", version="7", digest="a" * 64, folder=None, licence="none")
    model = ServedModel(version=version, engine=FakeEngine(detections=SEEN))
    (prediction,) = predictions([frame], score([GOOD], model.engine), model)
    assert violation("predictions", prediction, key=frame["frame_id"], broker_time_ms=now_ms()) is None
    for name in ("frame_id", "camera_id", "captured_at", "traceparent"):
        assert prediction[name] == frame[name]
    assert (prediction["model_name"], prediction["model_version"], prediction["model_digest"]) == ("pcb", "7", "a" * 64)
    assert (prediction["role"], prediction["run_id"], prediction["engine"]) == ("champion", None, "fake")
    assert prediction["latency_ms"] == prediction["inferred_at"] - frame["captured_at"]
    assert prediction["labels"] == ["open", "short"]
    assert prediction["boxes"] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_jobs_predictions_say_which_run_wrote_them() -> None:
    frame = a_frame_record()
    model = ServedModel(version=a_version(), engine=FakeEngine())
    [one] = predictions([frame], score([GOOD], model.engine), model, run_id="r-7")
    assert (one["role"], one["run_id"]) == ("batch", "r-7")
