"""Quantising with the real nncf, and what becomes of a graph that is not as good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.errors import Misconfigured
from inference.delivery import quantise as quantising
from inference.delivery.artefact import examine
from inference.delivery.gate_set import GateSet, simulated
from inference.delivery.quantise import CALIBRATION_SEED, Parity, quantise
from inference.engines import load
from tests.support.handovers import DEMO, WEAKER, a_handover

pytestmark = pytest.mark.filterwarnings("ignore")  # nncf's own imports warn


def a_parity(drop: float) -> Parity:
    return Parity(
        dataset="a test", dataset_digest="d" * 64, map50_95=0.8, map50_95_int8=0.8 - drop, map50=0.9, map50_int8=0.9
    )


@pytest.mark.parametrize(("drop", "is_passed"), [(0.0029, True), (0.0031, False), (-0.1, True), (float("nan"), False)])
def test_int8_may_be_three_tenths_of_a_point_worse(drop: float, is_passed: bool) -> None:
    assert a_parity(drop).is_passed is is_passed


def test_quantising_states_what_it_compared_and_the_hand_over_stays_whole(tmp_path: Path, gate_set: GateSet) -> None:
    folder = a_handover(tmp_path / "model", DEMO)
    before = json.loads((folder / "model.json").read_text())
    images = [pixels for _, pixels in simulated(60, seed=CALIBRATION_SEED).seen()]
    parity = quantise(folder, images, gate_set, say=lambda _: None)
    after = json.loads((folder / "model.json").read_text())
    assert {key: value for key, value in after.items() if key != "int8"} == before
    stated = after["int8"]["parity"]
    assert stated["is_passed"] is parity.is_passed
    assert stated["dataset_digest"] == gate_set.digest
    assert parity.map50_95 > 0.8
    assert parity.map50_95_int8 != parity.map50_95  # another graph really ran
    there = {name for name in ("model-int8.xml", "model-int8.bin") if (folder / name).is_file()}
    assert there == ({"model-int8.xml", "model-int8.bin"} if parity.is_passed else set())
    engine = load("openvino-int8", folder, threads=1)
    engine.close()
    assert engine.name == ("openvino-int8" if parity.is_passed else "openvino")
    measured = [latency.engine for latency in examine(folder, name="pcb-defects").latencies]
    assert ("openvino-int8" in measured) is parity.is_passed


def test_a_graph_that_finds_less_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_handover(tmp_path / "model", WEAKER)
    (folder / "model-int8.xml").write_text("of an earlier attempt")
    monkeypatch.setattr(quantising, "MOST_INT8_DROP", -1.0)  # nothing can be so much better
    images = [pixels for _, pixels in simulated(8, seed=CALIBRATION_SEED).seen()]
    assert not quantise(folder, images, simulated(4), say=lambda _: None).is_passed
    assert not list(folder.glob("model-int8.*"))
    assert json.loads((folder / "model.json").read_text())["int8"]["parity"]["is_passed"] is False
    assert load("openvino-int8", folder, threads=1).name == "openvino"


def test_without_nncf_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantising, "find_spec", lambda _: None)
    folder = a_handover(tmp_path / "model", WEAKER)
    images = [pixels for _, pixels in simulated(1, seed=CALIBRATION_SEED).seen()]
    with pytest.raises(Misconfigured, match="uv sync --group quantise"):
        quantise(folder, images, simulated(1), say=lambda _: None)
    assert "int8" not in json.loads((folder / "model.json").read_text())
