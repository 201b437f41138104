from __future__ import annotations

import cv2
import numpy as np
import pytest

from contracts.errors import Rejected
from sightline.contact_sheet import SIDE, TITLE_HEIGHT, Panel, contact_sheet


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


def test_a_frame_that_cannot_be_decoded_is_a_panel_too() -> None:
    assert decoded(contact_sheet([a_panel(image=b"text"), a_panel()])).shape[1] == 2 * SIDE


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(Rejected, match="sightline send"):
        contact_sheet([])
