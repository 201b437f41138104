from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.domain.letterbox import PAD_VALUE, letterbox

SIZES = st.integers(1, 300)
INPUTS = st.sampled_from([32, 64, 160, 320])


@given(SIZES, SIZES, INPUTS, INPUTS)
def test_any_image_fits_and_keeps_its_shape(width: int, height: int, input_width: int, input_height: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    fitted, placed = letterbox(image, width=input_width, height=input_height)
    assert fitted.shape == (input_height, input_width, 3)
    assert fitted.dtype == np.uint8
    inside = (fitted == 200).all(axis=2)
    rows, columns = inside.any(axis=1).nonzero()[0], inside.any(axis=0).nonzero()[0]
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert (fitted[~inside] == PAD_VALUE).all()
    assert columns[0] == placed.pad_x
    assert rows[0] == placed.pad_y
    assert abs(len(columns) - width * placed.scale) <= 1
    assert abs(len(rows) - height * placed.scale) <= 1
    assert len(columns) == input_width or len(rows) == input_height


@given(SIZES, SIZES, INPUTS)
def test_border_is_the_same_on_both_sides_up_to_a_pixel(width: int, height: int, side: int) -> None:
    fitted, placed = letterbox(np.full((height, width, 3), 200, np.uint8), width=side, height=side)
    inside = (fitted == 200).all(axis=2)
    right = side - placed.pad_x - int(inside.any(axis=0).sum())
    below = side - placed.pad_y - int(inside.any(axis=1).sum())
    assert right - placed.pad_x in {0, 1}
    assert below - placed.pad_y in {0, 1}


def test_a_mark_lands_where_the_letterbox_says() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[100:104, 200:204] = 255
    fitted, placed = letterbox(image, width=320, height=320)
    rows, columns = (fitted[..., 0] == 255).nonzero()
    assert rows.min() == pytest.approx(100 * placed.scale + placed.pad_y)
    assert columns.min() == pytest.approx(200 * placed.scale + placed.pad_x)


def test_an_image_of_the_inputs_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 255, (320, 320, 3), dtype=np.uint8)
    fitted, placed = letterbox(image, width=320, height=320)
    assert fitted is image
    assert (placed.scale, placed.pad_x, placed.pad_y) == (1.0, 0, 0)


def test_an_image_of_one_row_still_has_one() -> None:
    fitted, _ = letterbox(np.full((1, 10_000, 3), 7, np.uint8), width=320, height=320)
    assert (fitted == 7).all(axis=2).any(axis=1).sum() == 1
