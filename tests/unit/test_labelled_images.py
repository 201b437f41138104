from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from connectors.cameras.boards import CLASSES, encode_jpeg, simulate_board
from inference.delivery.labelled import board_set, labelled_images, layouts, read_labelled, validation_names


def a_folder(folder: Path, boards: dict[str, tuple[bytes, str]]) -> Path:
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for name, (jpeg, lines) in boards.items():
        (folder / f"images/{name}.jpg").write_bytes(jpeg)
        (folder / f"labels/{name}.txt").write_text(lines + "\n")
    return folder


def a_board(index: int, *, shift: int = 0, is_marked: bool = False) -> bytes:
    """A simulated board, moved along the line, with a defect of its own if marked."""
    pixels = np.roll(simulate_board(3, index, size=320).image, shift, axis=1)
    if is_marked:
        cv2.circle(pixels, (150, 150), 12, 0, -1)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels[..., None]), colorspace="GRAY"))


def test_labelled_images_come_with_their_own_labels(tmp_path: Path) -> None:
    a_folder(tmp_path, {"b": (b"b", "1 2 30 40 6"), "a": (b"a", "5 6 7 8 1\n9 10 11 12 2")})
    first, second = labelled_images(tmp_path)
    assert (first[0], first[1].labels) == (b"a", ("open", "short"))
    assert (second[0], second[1].labels) == (b"b", ("pin-hole",))
    assert second[1].boxes.tolist() == [[1, 2, 30, 40]]


def test_a_folder_without_images_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="images"):
        next(labelled_images(tmp_path))


@pytest.mark.parametrize("line", ["1 2 3 4", "1 2 3 4 0", "1 2 3 4 7", "1 2 3 4 open"])
def test_a_line_that_is_no_box_of_a_known_type_is_named(line: str, tmp_path: Path) -> None:
    a_folder(tmp_path, {"a": (b"a", line)})
    with pytest.raises(ValueError, match=r"a\.txt.*type 1 to 6"):
        read_labelled(tmp_path)


def test_boards_of_one_layout_are_gathered_whatever_their_defects_and_their_place_on_the_line() -> None:
    jpegs = [a_board(0), a_board(1), a_board(0, shift=40, is_marked=True), a_board(2), a_board(1, is_marked=True)]
    small = [
        cv2.resize(simplejpeg.decode_jpeg(jpeg, colorspace="GRAY")[..., 0], (64, 64), interpolation=cv2.INTER_AREA)
        for jpeg in jpegs
    ]
    assert layouts(np.stack(small).astype(np.float32)) == [0, 1, 0, 3, 1]


def test_no_layout_is_torn_apart_and_every_image_is_in_one_part(tmp_path: Path) -> None:
    boards = {f"{index:02}{twin}": a_board(index, is_marked=bool(twin)) for index in range(40) for twin in (0, 1)}
    a_folder(tmp_path, {name: (jpeg, "1 2 30 40 6") for name, jpeg in boards.items()})
    train, validation, every = (
        [one.file.stem for one in read_labelled(tmp_path, part=part)] for part in ("train", "validation", "all")
    )
    assert sorted(train + validation) == every
    assert 0 < len(validation) < len(train)
    assert {name[:2] for name in train} & {name[:2] for name in validation} == set()
    assert validation_names(sorted((tmp_path / "images").glob("*.jpg"))) == set(validation)


def test_a_set_holds_the_boards_square_and_grey_with_their_boxes(tmp_path: Path) -> None:
    frame = simulate_board(3, 0)
    ids = [CLASSES.index(label) + 1 for label in frame.labels]
    lines = [" ".join(map(str, [*map(int, box), kind])) for box, kind in zip(frame.boxes, ids, strict=True)]
    a_folder(tmp_path, {"a": (encode_jpeg(frame), "\n".join(lines))})
    boards = board_set(read_labelled(tmp_path), side=320)
    labels, boxes = boards.truth(0)
    assert boards.images.shape == (1, 320, 320)
    assert [int(label) + 1 for label in labels] == ids
    assert np.allclose(boxes * 2, frame.boxes.astype(int))
