from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Rejected
from sightline.contact_sheet import SIDE, TITLE_HEIGHT, Panel, contact_sheet, places_of_labels

LABEL_HEIGHT = 14  # pixels


def a_panel(*, image: bytes | None = None, boxes: tuple[float, ...] = ()) -> Panel:
    if image is None:
        image = cv2.imencode(".png", np.full((200, 400, 3), 255, np.uint8))[1].tobytes()
    count = len(boxes) // 4
    return Panel(title="c1 #0", image=image, labels=["open"] * count, confidences=[0.9] * count, boxes=boxes)


def decoded(sheet: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)


def test_five_frames_make_two_rows_of_four() -> None:
    assert decoded(contact_sheet([a_panel()] * 5)).shape == (2 * (SIDE + TITLE_HEIGHT), 4 * SIDE, 3)


def test_a_box_is_drawn_where_it_lies_in_the_image() -> None:
    sheet = decoded(contact_sheet([a_panel(boxes=(100, 50, 300, 150))]))
    scale = SIDE / 400
    edge = sheet[int(100 * scale), int(100 * scale) - 2 : int(100 * scale) + 3]
    inside = sheet[int(100 * scale), int(200 * scale)]
    assert edge.min() < 150
    assert inside.min() > 240


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(5, 60), st.integers(40, 110)), max_size=20)
)
def test_labels_lie_in_the_picture_and_none_on_another(drawn: list[tuple[int, int, int, int]]) -> None:
    boxes = [(left, top, left + side, top + side) for left, top, side, _ in drawn]
    widths = [width for _, _, _, width in drawn]
    places = places_of_labels(boxes, widths, width=SIDE, height=SIDE)
    for number, (left, top) in enumerate(places):
        assert 0 <= left <= SIDE - widths[number]
        assert 0 <= top <= SIDE - LABEL_HEIGHT
        for other, (other_left, other_top) in enumerate(places[:number]):
            is_beside = left >= other_left + widths[other] or other_left >= left + widths[number]
            assert is_beside or abs(top - other_top) >= LABEL_HEIGHT


def test_a_label_stands_above_its_box_or_below_where_another_is() -> None:
    boxes = [(100, 100, 140, 140), (110, 100, 150, 140)]
    above, below = places_of_labels(boxes, [80, 80], width=SIDE, height=SIDE)
    assert above == (100, 100 - LABEL_HEIGHT)
    assert below == (110, 142)


def test_a_frame_that_cannot_be_decoded_is_a_panel_too() -> None:
    assert decoded(contact_sheet([a_panel(image=b"text"), a_panel()])).shape[1] == 2 * SIDE


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(Rejected, match="sightline send"):
        contact_sheet([])
