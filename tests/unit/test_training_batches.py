from __future__ import annotations

import numpy as np
import pytest

from inference.delivery.batches import Jitter, make_batch, moved, turned
from inference.delivery.dataset import BoardSet


def a_set(boards: int = 5, side: int = 64) -> BoardSet:
    """Boards with one bright rectangle each, which is the box."""
    rng = np.random.default_rng(0)
    images = np.zeros((boards, side, side), np.uint8)
    boxes = []
    for image in images:
        x, y = rng.integers(0, 40, 2)
        image[y : y + 10, x : x + 20] = 255
        boxes.append((x, y, x + 20, y + 10))
    starts = np.arange(boards + 1)
    return BoardSet(images=images, starts=starts, labels=np.arange(boards), boxes=np.array(boxes, np.float32))


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_box_lies_where_the_turned_pixels_lie(turns: int, is_mirrored: bool) -> None:
    boards = a_set()
    for index in range(len(boards)):
        image, boxes = turned(boards.images[index], boards.truth(index)[1], turns, is_mirrored=is_mirrored)
        y, x = np.nonzero(image)
        assert boxes[0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_a_batch_gives_every_box_to_its_own_image() -> None:
    boards = a_set()
    chosen = np.array([3, 0, 4])
    batch = make_batch(boards, chosen, np.random.default_rng(1))
    assert batch["img"].shape == (3, 64, 64)
    assert batch["cls"].tolist() == [3, 0, 4]
    for row, image in enumerate(batch["img"]):
        (box,) = batch["bboxes"][batch["batch_idx"] == row] * 64
        y, x = np.nonzero(image)
        assert box.tolist() == [(x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2, np.ptp(x) + 1, np.ptp(y) + 1]


def test_the_same_numbers_give_the_same_batch() -> None:
    one, other = (make_batch(a_set(), np.array([1, 2]), np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_moved_box_lies_where_the_moved_pixels_lie() -> None:
    image = np.zeros((160, 160), np.uint8)
    image[60:80, 50:100] = 255
    boxes = np.array([[50, 60, 100, 80]], np.float32)
    for seed in range(10):
        placed, (box,), kept = moved(image, boxes, Jitter(scale=0.3, shift=0.1), np.random.default_rng(seed))
        assert kept.tolist() == [True]
        y, x = np.nonzero(placed > 127)
        assert np.allclose(box, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=0.75)


def test_a_box_of_which_little_is_left_is_not_taught() -> None:
    boxes = np.array([[0, 20, 20, 30], [30, 20, 50, 30]], np.float32)
    image = np.zeros((64, 64), np.uint8)
    answers = [moved(image, boxes, Jitter(scale=0.0, shift=0.3), np.random.default_rng(seed)) for seed in range(50)]
    for _, left, kept in answers:
        assert len(left) == kept.sum()
        assert ((left >= 0) & (left <= 64)).all()
        assert ((left[:, 2:] - left[:, :2]).prod(axis=1) >= 0.6 * 200 - 1e-3).all()
    assert {tuple(kept.tolist()) for _, _, kept in answers} >= {(False, True), (True, True)}


def test_a_batch_at_half_the_side_holds_the_same_boxes() -> None:
    boards = a_set()
    chosen = np.array([0, 1])
    full, half = (make_batch(boards, chosen, np.random.default_rng(3), side=side) for side in (64, 32))
    assert half["img"].shape == (2, 32, 32)
    assert np.array_equal(full["bboxes"], half["bboxes"])
