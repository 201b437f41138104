"""`python -m inference.delivery.evaluate` with the demo model: on labelled images, by both protocols."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.cameras.boards import CLASSES, encode_jpeg, simulate_board
from inference.delivery.evaluate import main

MODEL = Path(__file__).parents[2] / "inference/delivery/demo_model"


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for index in range(12):
        frame = simulate_board(203, index)
        rows = zip(frame.boxes, frame.labels, strict=True)
        lines = [" ".join(map(str, [*box, CLASSES.index(label) + 1])) for box, label in rows]
        (tmp_path / f"images/{index:03}.jpg").write_bytes(encode_jpeg(frame))
        (tmp_path / f"labels/{index:03}.txt").write_text("\n".join(lines))
    return tmp_path


def figures(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    assert main([str(MODEL), *map(str, words), "--json"]) == 0
    read: dict[str, object] = json.loads(capsys.readouterr().out)
    return read


def test_the_papers_figures_stand_beside_cocos(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read = figures(capsys, "--labelled", boards, "--protocol", "deeppcb")
    assert read["images"] == 12
    paper, overall = read["paper"], read["overall"]
    assert isinstance(paper, dict)
    assert isinstance(overall, dict)
    assert set(paper["ap"]) == set(CLASSES)
    assert 0.8 < paper["f_score"] <= 1
    assert paper["mean_ap"] >= overall["ap50"] - 0.02  # a looser overlap
    assert paper["confidence"] == 0.25  # the model's own
    assert "paper" not in figures(capsys, "--labelled", boards)


def test_a_confidence_chosen_on_the_images_themselves_is_never_worse(
    boards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = figures(capsys, "--labelled", boards, "--protocol", "deeppcb")["paper"]
    best = figures(capsys, "--labelled", boards, "--protocol", "deeppcb", "--confidence", "best")["paper"]
    assert isinstance(own, dict)
    assert isinstance(best, dict)
    assert best["f_score"] >= own["f_score"]


def test_a_part_of_the_images_can_be_evaluated(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [figures(capsys, "--labelled", boards, "--split", part)["images"] for part in ("train", "validation")]
    assert sum(map(int, map(str, parts))) == 12


def test_engines_agree_with_the_reference(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read = [
        figures(capsys, "--labelled", boards, "--engine", engine)["overall"]
        for engine in ("reference", "openvino", "onnxruntime")
    ]
    assert all(isinstance(one, dict) for one in read)
    values = [one["ap50"] for one in read if isinstance(one, dict)]
    assert values == pytest.approx([values[0]] * 3, abs=0.005)


def test_what_is_wrong_is_said_and_ends_with_its_exit_code(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(boards)]) == 78
    assert "lacks model.json" in capsys.readouterr().err
    (boards / "labels/003.txt").write_text("1 2 3")
    assert main([str(MODEL), "--labelled", str(boards)]) == 65
    assert "003.txt" in capsys.readouterr().err
