from __future__ import annotations

import time
from collections import Counter

import cv2
import numpy as np
import pytest
import simplejpeg

from connectors.cameras.board_defects import KINDS, place_defects
from connectors.cameras.board_layout import draw_board
from connectors.cameras.board_shapes import MARGIN
from connectors.cameras.boards import CLASSES, Drift, SimulatedFrame, encode_jpeg, simulate_board


def a_bar() -> np.ndarray:
    """One wide trace from edge to edge, and a second one beside it."""
    copper = np.zeros((640, 640), np.uint8)
    copper[280:310] = 1
    copper[340:370] = 1
    return copper


def pieces(mask: np.ndarray) -> int:
    return cv2.connectedComponents(mask.astype(np.uint8))[0] - 1


def test_the_same_seed_and_index_give_the_same_bytes_and_truth() -> None:
    one, other = simulate_board(3, 14), simulate_board(3, 14)
    assert encode_jpeg(one) == encode_jpeg(other)
    assert one.labels == other.labels
    assert np.array_equal(one.boxes, other.boxes)


def test_another_index_or_seed_gives_another_board() -> None:
    images = [simulate_board(seed, index).image.tobytes() for seed in (1, 2) for index in range(4)]
    assert len(set(images)) == 8


def test_a_board_has_three_to_twelve_defects_of_known_kinds_inside_the_image() -> None:
    for index in range(60):
        frame = simulate_board(5, index)
        assert 3 <= len(frame.labels) <= 12
        assert set(frame.labels) <= set(CLASSES)
        assert frame.boxes.shape == (len(frame.labels), 4)
        assert frame.boxes.dtype == np.float32
        assert (frame.boxes >= 0).all()
        assert (frame.boxes <= 640).all()
        assert (frame.boxes[:, 2:] - frame.boxes[:, :2] > MARGIN).all()


def test_no_kind_of_defect_is_rare() -> None:
    seen = Counter(label for index in range(150) for label in simulate_board(6, index).labels)
    assert set(seen) == set(CLASSES)
    assert min(seen.values()) > 0.5 * max(seen.values())


def test_boxes_are_about_as_large_as_on_real_boards() -> None:
    boxes = np.vstack([simulate_board(8, index).boxes for index in range(60)])
    width, height = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    assert 28 <= width <= 43
    assert 28 <= height <= 43


def test_the_image_is_binary_and_shows_both_copper_and_board() -> None:
    image = simulate_board(9, 0).image
    assert image.shape == (640, 640)
    assert image.dtype == np.uint8
    assert set(np.unique(image)) == {0, 255}


@pytest.mark.parametrize(
    ("kind", "change_of_pieces"), [("open", 1), ("short", -1), ("mousebite", 0), ("spur", 0), ("copper", 1)]
)
def test_a_defect_does_to_the_copper_what_its_name_says(kind: str, change_of_pieces: int) -> None:
    for seed in range(8):
        copper = a_bar()
        board, labels, boxes = place_defects(np.random.default_rng(seed), copper, [kind])
        assert labels == [kind]
        # A frayed defect may leave crumbs: the direction counts.
        assert np.sign(pieces(board) - pieces(copper)) == change_of_pieces
        changed = np.argwhere(board != copper)[:, ::-1]
        assert (changed.min(axis=0) == boxes[0, :2] + MARGIN).all()
        assert (changed.max(axis=0) == boxes[0, 2:] - MARGIN - 1).all()


def test_a_pin_hole_is_a_hole_in_the_copper() -> None:
    copper = a_bar()
    board, labels, _ = place_defects(np.random.default_rng(1), copper, ["pin-hole"])
    assert labels == ["pin-hole"]
    assert pieces(1 - board) > pieces(1 - copper)
    assert pieces(board) == pieces(copper)


def test_nothing_changes_outside_of_the_boxes() -> None:
    for index in range(20):
        copper = draw_board(np.random.default_rng(index))
        board, _, boxes = place_defects(np.random.default_rng(index), copper, list(KINDS) * 2)
        outside = board != copper
        for x1, y1, x2, y2 in boxes.astype(int):
            outside[y1:y2, x1:x2] = False
        assert not outside.any()


def test_an_empty_board_gets_only_spots_of_copper() -> None:
    board, labels, boxes = place_defects(np.random.default_rng(0), np.zeros((640, 640), np.uint8), ["open", "pin-hole"])
    assert labels == ["copper", "copper"]
    assert len(boxes) == 2
    assert pieces(board) >= 2  # a frayed spot may be in bits


def test_a_smaller_camera_sees_the_same_board() -> None:
    large, small = simulate_board(2, 5), simulate_board(2, 5, size=320)
    assert small.image.shape == (320, 320)
    assert small.labels == large.labels
    assert np.allclose(small.boxes * 2, large.boxes)
    shrunk = cv2.resize(large.image, (320, 320), interpolation=cv2.INTER_AREA) > 127
    assert (shrunk == (small.image > 127)).mean() > 0.98


def copper_share(frame: SimulatedFrame) -> float:
    return float((frame.image == 0).mean())


@pytest.mark.parametrize(
    "drift",
    [
        Drift(light=-0.3),
        Drift(uneven=0.3),
        Drift(blur=2.5),
        Drift(noise=0.15),
        Drift(threshold=0.15),
    ],
)
def test_drift_changes_what_is_seen_and_not_what_is_there(drift: Drift) -> None:
    healthy, drifted = simulate_board(4, 2), simulate_board(4, 2, drift=drift)
    assert not np.array_equal(healthy.image, drifted.image)
    assert (healthy.image == drifted.image).mean() > 0.9
    assert healthy.labels == drifted.labels
    assert np.array_equal(healthy.boxes, drifted.boxes)


def test_a_dark_lamp_makes_copper_grow() -> None:
    assert copper_share(simulate_board(4, 2, drift=Drift(light=-0.3))) > copper_share(simulate_board(4, 2))
    assert copper_share(simulate_board(4, 2, drift=Drift(threshold=-0.2))) < copper_share(simulate_board(4, 2))


def test_scratches_are_a_new_kind_beside_the_known_ones() -> None:
    frames = [simulate_board(4, index, drift=Drift(scratches=2)) for index in range(20)]
    assert sum(label == "scratch" for frame in frames for label in frame.labels) > 10
    for index, frame in enumerate(frames):
        known = tuple(label for label in frame.labels if label != "scratch")
        assert known == simulate_board(4, index).labels


def test_jpeg_keeps_the_board() -> None:
    frame = simulate_board(1, 1)
    seen = simplejpeg.decode_jpeg(encode_jpeg(frame), colorspace="GRAY")[..., 0]
    assert ((seen > 127) == (frame.image > 127)).mean() > 0.999


@pytest.mark.parametrize(("seed", "index", "size"), [(-1, 0, 640), (0, -1, 640), (0, 0, 8)])
def test_impossible_boards_are_refused(seed: int, index: int, size: int) -> None:
    with pytest.raises(ValueError, match="must"):
        simulate_board(seed, index, size=size)


def test_more_than_thirty_boards_a_second_on_one_core() -> None:
    rounds = []
    for _ in range(5):  # the quickest counts: a neighbour's load is not ours
        began = time.process_time()
        for index in range(10):
            encode_jpeg(simulate_board(12, index))
        rounds.append((time.process_time() - began) / 10)
    assert min(rounds) < 1 / 30
