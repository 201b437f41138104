"""Which graph the engine openvino-int8 runs: the int8 one only when it is the one that was found as good."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import openvino
import pytest

from contracts.errors import Misconfigured
from inference.engines import load
from tests.support.handovers import WEAKER, a_handover


def with_int8(folder: Path, *, is_passed: bool = True) -> Path:
    """A second graph beside the model, stated as quantising states it. Its numbers are float: only names matter here."""
    a_handover(folder, WEAKER)
    openvino.save_model(openvino.Core().read_model(folder / "model.onnx"), folder / "model-int8.xml")
    digests = {
        f"{part}_sha256": hashlib.sha256((folder / f"model-int8.{end}").read_bytes()).hexdigest()
        for part, end in (("graph", "xml"), ("weights", "bin"))
    }
    state(folder, digests | {"parity": {"is_passed": is_passed}})
    return folder


def state(folder: Path, entry: Any) -> None:
    document = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(document | {"int8": entry}))


def engine_of(folder: Path, kind: str = "openvino-int8") -> str:
    engine = load(kind, folder, threads=1)
    engine.close()
    return engine.name


def test_a_model_without_an_int8_graph_runs_in_float(tmp_path: Path) -> None:
    assert engine_of(a_handover(tmp_path / "model", WEAKER)) == "openvino"


def test_an_int8_graph_that_passed_is_used_and_says_so(tmp_path: Path) -> None:
    assert engine_of(with_int8(tmp_path / "model")) == "openvino-int8"


def test_an_int8_graph_that_did_not_pass_is_not_used(tmp_path: Path) -> None:
    assert engine_of(with_int8(tmp_path / "model", is_passed=False)) == "openvino"


def test_the_setting_openvino_forbids_int8(tmp_path: Path) -> None:
    assert engine_of(with_int8(tmp_path / "model"), "openvino") == "openvino"


@pytest.mark.parametrize("name", ["model-int8.xml", "model-int8.bin"])
def test_an_int8_graph_that_is_not_the_compared_one_is_refused(tmp_path: Path, name: str) -> None:
    folder = with_int8(tmp_path / "model")
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(Misconfigured, match=f"{name} is not the file that was compared"):
        engine_of(folder)
    (folder / name).unlink()
    with pytest.raises(Misconfigured, match=f"{name} is not the file that was compared"):
        engine_of(folder)


@pytest.mark.parametrize("entry", [{}, {"graph_sha256": "a", "weights_sha256": "b"}, [], {"parity": True}])
def test_an_entry_that_quantising_never_writes_is_misconfigured(tmp_path: Path, entry: Any) -> None:
    folder = a_handover(tmp_path / "model", WEAKER)
    state(folder, entry)
    with pytest.raises(Misconfigured, match=r"int8 in model\.json does not fit"):
        engine_of(folder)
