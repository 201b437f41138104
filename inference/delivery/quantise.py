"""An int8 graph for OpenVINO beside the float32 one, if it finds the same.

    model.onnx ─► nncf, calibrated on images of neither training's nor the gate's ─► model-int8.xml, .bin
        ─► mAP of both on the gate set ─► within 0.3 points? model.json says so, with the files' digests
                                     └► else: no files, and model.json says that

Needs nncf (Apache-2.0, 15 MB): `uv sync --group quantise`. Its telemetry stays off. model.json changes, so that the
model with its int8 graph is another version than the model alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Misconfigured
from inference.delivery.evaluation import Figures, evaluate
from inference.delivery.gate_set import GateSet, simulated
from inference.delivery.measuring import detections
from inference.domain.gate import MOST_INT8_DROP
from inference.domain.letterbox import Image, letterbox
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME, ModelSpec, parse
from inference.engines.openvino_int8_engine import GRAPH, KEY, WEIGHTS

CALIBRATION_SEED: Final = 409  # of the simulator; no other set's
CALIBRATION_BOARDS: Final = 200

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How the int8 graph compares with the float32 one."""

    dataset: str
    dataset_digest: str
    map50_95: float
    map50_95_int8: float
    map50: float
    map50_int8: float

    @property
    def is_passed(self) -> bool:
        """Whether int8 may be used: neither mAP is more than 0.3 points worse. Not a number is not passed."""
        drops = (self.map50_95 - self.map50_95_int8, self.map50 - self.map50_int8)
        return all(drop <= MOST_INT8_DROP for drop in drops)


def calibration_boards() -> GateSet:
    """Boards of a line that nothing else uses."""
    return simulated(CALIBRATION_BOARDS, seed=CALIBRATION_SEED)


def quantise(folder: Path, calibration: Sequence[Image], gate_set: GateSet, *, say: Say) -> Parity:
    """Quantises the model in a folder and keeps the result if it is as good.

    Args:
        folder: a hand-over; model.json is rewritten.
        calibration: RGB images as the camera sends them, that neither training nor the gate uses.
        gate_set: what both graphs are compared on.
        say: told of every step.

    Raises:
        Misconfigured: nncf is not here, or the graph cannot be quantised.
    """
    spec = parse((folder / FILE_NAME).read_bytes())
    with tempfile.TemporaryDirectory(prefix="sightline-int8-") as scratch:
        twin = Path(scratch)
        for name in (MODEL_FILE_NAME, FILE_NAME):
            shutil.copyfile(folder / name, twin / name)
        say(f"quantising with {len(calibration)} images")
        _write_graph(twin, spec, calibration)
        # The engine runs what model.json says has passed: that is what is being found out.
        _state(twin, _entry(twin, {"is_passed": True}))
        say(f"comparing on {gate_set.source}")
        parity = _compare(twin, spec, gate_set)
        for name in (GRAPH, WEIGHTS):
            (folder / name).unlink(missing_ok=True)
            if parity.is_passed:
                shutil.copyfile(twin / name, folder / name)
        _state(folder, _entry(twin, asdict(parity) | {"is_passed": parity.is_passed}))
    return parity


def _write_graph(folder: Path, spec: ModelSpec, calibration: Sequence[Image]) -> None:
    nncf = _nncf()
    import openvino

    model = openvino.Core().read_model(folder / MODEL_FILE_NAME)
    model.reshape({spec.input.name: _seen(calibration[0], spec).shape})
    dataset = nncf.Dataset(list(calibration), lambda image: _seen(image, spec))
    try:
        # Its progress bars go where progress belongs, not between a command's JSON.
        with contextlib.redirect_stdout(sys.stderr):
            made = nncf.quantize(
                model,
                dataset,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(calibration),
                # The head's scores and arithmetic of boxes stay in float: int8 has too few steps for either. Only the
                # head has such nodes directly under its module; what other models call theirs is quantised.
                ignored_scope=nncf.IgnoredScope(
                    patterns=[r"^/model\.\d+/(dfl/.*|(Sigmoid|Add|Sub|Mul|Div|Concat|Slice|Softmax)(_\d+)?)$"],
                    types=["Sigmoid"],
                    validate=False,
                ),
            )
    except Exception as error:  # nncf raises its own and OpenVINO's
        raise Misconfigured(f"nncf cannot quantise {MODEL_FILE_NAME}: {str(error)[:300]}") from error
    openvino.save_model(made, folder / GRAPH, compress_to_fp16=False)


def _nncf() -> Any:
    if find_spec("nncf") is None:
        raise Misconfigured("quantising needs nncf: `uv sync --group quantise` (15 MB, Apache-2.0)")
    # The switch of its developers: nothing about this installation is reported to anybody.
    os.environ["NNCF_CI"] = "1"
    nncf: Any = import_module("nncf")
    nncf.set_log_level(logging.WARNING)  # it names every node that it leaves alone
    return nncf


def _seen(image: Image, spec: ModelSpec) -> NDArray[np.float32]:
    """As the graph takes it."""
    fitted, _ = letterbox(image, width=spec.input.width, height=spec.input.height, pad=spec.input.pad)
    pixels = fitted[..., ::-1] if spec.input.colour == "BGR" else fitted
    planes = pixels.transpose(2, 0, 1) if spec.input.layout == "NCHW" else pixels
    return np.ascontiguousarray(planes[None], np.float32) * np.float32(spec.input.scale)


def _compare(folder: Path, spec: ModelSpec, gate_set: GateSet) -> Parity:
    def figures(engine: str) -> Figures:
        seen = detections(folder, gate_set, engine=engine)
        return evaluate(seen, spec.classes, confidence=spec.confidence).overall

    full, small = figures("openvino"), figures("openvino-int8")
    return Parity(
        dataset=gate_set.source,
        dataset_digest=gate_set.digest,
        map50_95=full.ap50_95,
        map50_95_int8=small.ap50_95,
        map50=full.ap50,
        map50_int8=small.ap50,
    )


def _entry(folder: Path, parity: dict[str, Any]) -> dict[str, Any]:
    return {
        "graph_sha256": _sha256(folder / GRAPH),
        "weights_sha256": _sha256(folder / WEIGHTS),
        "parity": parity,
    }


def _state(folder: Path, entry: dict[str, Any]) -> None:
    """Writes the entry into model.json, in one step."""
    document = json.loads((folder / FILE_NAME).read_bytes()) | {KEY: entry}
    aside = folder / f".{FILE_NAME}"
    aside.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    aside.replace(folder / FILE_NAME)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
