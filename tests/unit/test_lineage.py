from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference.delivery.lineage import NONE, Lineage, digests, lineage_of, manifest_of

DEMO = Path(__file__).parents[2] / "inference/delivery/demo_model"


def test_a_model_of_simulated_boards_has_seen_the_simulators_training_seed() -> None:
    assert lineage_of(DEMO).simulator_seeds == {101}
    assert lineage_of(DEMO / "model.onnx").simulator_seeds == {101}


def test_a_manifest_says_more_than_the_description(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"trained": {"seed": 0}}))
    plan = {"images": ["ab"], "simulator_seeds": [101, 3101], "boards": 7, "data": "real boards"}
    (tmp_path / "training_manifest.json").write_text(json.dumps(manifest_of(plan)))
    assert lineage_of(tmp_path) == Lineage(images=frozenset({"ab"}), simulator_seeds=frozenset({101, 3101}))


@pytest.mark.parametrize("description", [None, {}, {"trained": {"seed": 0, "data": "real boards of x"}}])
def test_a_model_that_does_not_say_what_it_has_seen_is_no_start(description: object, tmp_path: Path) -> None:
    if description is not None:
        (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="training_manifest"):
        lineage_of(tmp_path)


def test_what_two_trainings_saw_adds_up(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"board")
    seen = NONE.joined(Lineage(simulator_seeds=frozenset({1}))).joined(Lineage(images=digests([tmp_path / "a"])))
    assert seen.simulator_seeds == {1}
    assert seen.images == {"859169b38185780daa5497983ff20d2994390058d8a71f2847ac7846f970971e"}
