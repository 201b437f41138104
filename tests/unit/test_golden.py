"""The golden check: passes for the model as exported, fails for any other, and cannot be made to pass everything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import Misconfigured, Rejected
from inference.domain.detections import NOTHING, Detections
from inference.domain.letterbox import Image
from inference.engines.fake_engine import FakeEngine
from inference.serving.golden import Golden, check, first_difference, read

MODEL = Path(__file__).parents[2] / "inference/delivery/demo_model"


class Recorded(FakeEngine):
    """Sees what was recorded, changed by the test."""

    def __init__(self, golden: Golden, change: Callable[[Detections], Detections] = lambda seen: seen) -> None:
        super().__init__(needs_pixels=True)
        self._golden, self._change = golden, change

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        seen = {id(one.image): one.seen for one in self._golden.images}
        return [self._change(seen[id(image)]) for image in images]


def changed(
    seen: Detections, *, labels: tuple[str, ...] | None = None, moved: float = 0.0, surer: float = 0.0
) -> Detections:
    return Detections(
        labels=seen.labels if labels is None else labels,
        confidences=(seen.confidences + np.float32(surer)).astype(np.float32),
        boxes=(seen.boxes + np.float32(moved)).astype(np.float32),
    )


def reordered(seen: Detections) -> Detections:
    return Detections(
        labels=seen.labels[::-1], confidences=seen.confidences[::-1].copy(), boxes=seen.boxes[::-1].copy()
    )


def test_what_was_recorded_passes_in_any_order_and_within_the_tolerance() -> None:
    golden = read(MODEL)
    assert len(golden.images) == 8
    for change in (lambda seen: seen, reordered, lambda seen: changed(seen, moved=0.9, surer=-0.009)):
        check(Recorded(golden, change), golden)


@pytest.mark.parametrize(
    "change",
    [
        lambda seen: NOTHING,
        lambda seen: changed(seen, moved=1.1),
        lambda seen: changed(seen, surer=0.011),
        lambda seen: changed(seen, labels=("short", *seen.labels[1:])[: len(seen)]),
        lambda seen: changed(seen, moved=float("nan")),
    ],
    ids=["nothing", "moved", "surer", "relabelled", "not a number"],
)  # fmt: skip
def test_what_differs_is_refused_with_the_image_named(change: Callable[[Detections], Detections]) -> None:
    golden = read(MODEL)
    with pytest.raises(Rejected, match=r"0\d\.jpg") as refused:
        check(Recorded(golden, change), golden)
    assert refused.value.code == "golden_mismatch"


def test_an_engine_that_answers_only_the_first_of_a_batch_is_refused() -> None:
    golden = read(MODEL)

    class FirstOnly(Recorded):
        def infer(self, images: Sequence[Image]) -> list[Detections]:
            return [*super().infer(images[:1]), *[NOTHING] * (len(images) - 1)]

    with pytest.raises(Rejected, match="in one batch"):
        check(FirstOnly(golden), golden)


def test_one_detection_does_not_stand_for_two() -> None:
    golden = read(MODEL)
    answers = [one.seen for one in golden.images]
    first = answers[0]
    twice = Detections(
        labels=first.labels, confidences=first.confidences, boxes=np.repeat(first.boxes[:1], len(first), 0)
    )
    assert "was recorded" in (first_difference(golden, [twice, *answers[1:]]) or "")


def damaged(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    file = folder / "golden/golden.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one["tolerance"].update(pixels=1e9), "no check"),
        (lambda one: one["tolerance"].update(pixels=float("inf")), "no check"),
        (lambda one: one["tolerance"].update(confidence=float("nan")), "no check"),
        (lambda one: one["tolerance"].update(confidence=0.5), "no check"),
        (lambda one: one["tolerance"].pop("pixels"), "does not fit"),
        (lambda one: one.update(images=[]), "holds no detection"),
        (lambda one: one["images"][3].update(sha256="0" * 64), "is not the image"),
        (lambda one: one["images"][3].update(boxes=[[1, 2, 3]]), "does not fit"),
        (lambda one: one.update(format=2), "format 2"),
        (lambda one: one["images"][0].update(file="99.jpg"), r"lacks golden/99\.jpg"),
    ],
)
def test_golden_images_that_check_nothing_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message):
        read(damaged(tmp_path, change))


def test_a_model_without_golden_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"lacks golden/golden\.json"):
        read(tmp_path)
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden/golden.json").write_text("not json")
    with pytest.raises(Misconfigured, match="does not fit"):
        read(tmp_path)


def test_a_golden_image_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    folder = damaged(tmp_path, lambda one: one["images"][0].update(file="../../../secret.jpg"))
    with pytest.raises(Misconfigured, match=r"lacks golden/secret\.jpg"):
        read(folder)
