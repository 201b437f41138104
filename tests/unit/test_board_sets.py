from __future__ import annotations

from pathlib import Path

import numpy as np

from connectors.cameras.boards import CLASSES, simulate_board
from inference.delivery.dataset import Recipe, open_boards


def a_recipe(**changes: object) -> Recipe:
    return Recipe(**({"seed": 5, "count": 4, "side": 320, "is_training": False} | changes))  # type: ignore[arg-type]


def test_a_set_holds_the_simulators_boards_at_the_models_size(tmp_path: Path) -> None:
    boards = open_boards(tmp_path, a_recipe(), processes=1)
    assert boards.images.shape == (4, 320, 320)
    for index in range(4):
        frame = simulate_board(5, index)
        labels, boxes = boards.truth(index)
        assert tuple(CLASSES[label] for label in labels) == frame.labels
        assert np.allclose(boxes * 2, frame.boxes)


def test_a_set_is_made_once_and_again_when_the_recipe_changes(tmp_path: Path) -> None:
    open_boards(tmp_path, a_recipe(), processes=1)
    made = (tmp_path / "images.npy").stat().st_mtime_ns
    open_boards(tmp_path, a_recipe(), processes=1)
    assert (tmp_path / "images.npy").stat().st_mtime_ns == made
    assert len(open_boards(tmp_path, a_recipe(count=2), processes=1)) == 2
