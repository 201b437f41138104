from __future__ import annotations

import numpy as np
import pytest

from inference.delivery.dataset import BoardSet
from inference.delivery.train import make_batch, turned


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
