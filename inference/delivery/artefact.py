"""The contract test of a hand-over: what must be true of a model folder before anybody registers it.

    model.json ─► licence ─► model.onnx in ONNX Runtime: names, types, shapes, every row of a batch for itself
       ─► the serving engines: golden frames to their tolerance ─► latency, measured and written down
       ─► evaluation.csv and training_manifest.json keep their contracts

Nothing is written. What is wrong is one Rejected that says what to do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import pandas as pd

from contracts.errors import Misconfigured, Rejected
from inference.delivery.manifest import TrainingManifest, read_manifest
from inference.delivery.measuring import opened, time_images
from inference.delivery.tables import TABLE_NAME, read_table
from inference.domain.gate import Latency
from inference.domain.model_spec import FILE_NAME, GOLDEN_KEY, MODEL_FILE_NAME, ModelSpec, parse
from inference.engines import openvino_int8_engine
from inference.registry.model_version import ModelVersion, of_folder
from inference.serving import golden
from inference.serving.golden import Golden

LICENCE_FILES: Final = ("LICENSE", "LICENSE.txt", "LICENCE", "COPYING")
ENGINES: Final = ("onnxruntime", "openvino")
INT8: Final = "openvino-int8"
_STRIDES: Final = (8, 16, 32)
_BATCH: Final = 4
_ROW_TOLERANCE: Final = 0.05  # pixels of the input, of a row of a batch against the image alone
_TIMINGS: Final = 5  # of every golden frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A hand-over that keeps its contract."""

    folder: Path
    model: ModelVersion  # not registered yet: its version says nothing
    spec: ModelSpec
    table: pd.DataFrame  # the data scientist's own evaluation
    manifest: TrainingManifest
    latencies: tuple[Latency, ...]  # by engine


def examine(folder: Path, *, name: str) -> Artefact:
    """Runs every check.

    Args:
        folder: model.onnx, model.json, golden/, LICENSE, evaluation.csv, training_manifest.json.
        name: of the registered model it is for.

    Raises:
        Rejected: something does not fit; the message names it and says what to do.
    """
    try:
        model = of_folder(folder, name=name)
        spec = parse((folder / FILE_NAME).read_bytes())
    except Misconfigured as error:
        raise _refused(str(error)) from error
    _check_digest(folder, model)
    _check_licence(folder, spec)
    _check_graph(folder, spec)
    frames = _golden(folder)
    for engine in ENGINES:
        _check_golden(folder, frames, engine)
    return Artefact(
        folder=folder,
        model=model,
        spec=spec,
        table=read_table(folder / TABLE_NAME, classes=spec.classes, of=spec.name),
        manifest=read_manifest(folder),
        latencies=tuple(_time(folder, frames, engine) for engine in (*ENGINES, *_int8(folder))),
    )


def _check_digest(folder: Path, model: ModelVersion) -> None:
    stated = json.loads((folder / FILE_NAME).read_bytes()).get("sha256")
    if stated is not None and stated != model.digest:
        raise _refused(f"{MODEL_FILE_NAME} is not the file that {FILE_NAME} was written for (sha256)")
    if not model.is_whole():
        raise _refused(
            f"golden/ is not what {FILE_NAME} was written for ({GOLDEN_KEY}): leave that key out, or export again"
        )


def _check_licence(folder: Path, spec: ModelSpec) -> None:
    if spec.licence.strip().lower() in {"", "unknown", "none", "noassertion"}:
        raise _refused(f"licence in {FILE_NAME} is {spec.licence!r}: write its SPDX name there, such as AGPL-3.0")
    if not any((folder / name).is_file() and (folder / name).stat().st_size for name in LICENCE_FILES):
        raise _refused(f"there is no LICENSE beside {MODEL_FILE_NAME}: put the text of {spec.licence} there")


def _check_graph(folder: Path, spec: ModelSpec) -> None:
    """The file runs, takes and gives what model.json says, and answers every row of a batch by itself."""
    try:
        session = onnxruntime.InferenceSession(str(folder / MODEL_FILE_NAME), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of its own for each kind of failure
        raise _refused(f"ONNX Runtime cannot load {MODEL_FILE_NAME}: {_first_line(error)}") from error
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    if [one.name for one in inputs] != [spec.input.name] or inputs[0].type != "tensor(float)":
        given = [f"{one.name} {one.type}" for one in inputs]
        raise _refused(f"the graph takes {given}, {FILE_NAME} says {spec.input.name} of float32 alone")
    if spec.output_name not in outputs:
        raise _refused(f"the graph gives {outputs}, {FILE_NAME} says {spec.output_name}")
    try:
        _check_rows(session, spec)
    except Rejected:
        raise
    except Exception as error:  # as above
        raise _refused(
            f"ONNX Runtime cannot run {MODEL_FILE_NAME} as {FILE_NAME} says: {_first_line(error)}"
        ) from error


def _check_rows(session: Any, spec: ModelSpec) -> None:
    count = _BATCH if spec.input.dynamic else 1
    size = (spec.input.height, spec.input.width)
    shape = (count, 3, *size) if spec.input.layout == "NCHW" else (count, *size, 3)
    # Grey planes with noise: rows that differ, of the values that pixels have.
    images = np.random.default_rng(0).random(shape, np.float32) * np.float32(255 * spec.input.scale)
    (batch,) = session.run([spec.output_name], {spec.input.name: images})
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in _STRIDES)
    expected = (count, 4 + len(spec.classes), anchors)
    if batch.shape[:2] != expected[:2] or batch.ndim != 3:
        raise _refused(
            f"{spec.output_name} is {batch.shape}; {len(spec.classes)} classes need {expected}: export the raw head, "
            "without NMS"
        )
    for row in range(count):
        (alone,) = session.run([spec.output_name], {spec.input.name: images[row : row + 1]})
        if not np.allclose(alone[0], batch[row], atol=_ROW_TOLERANCE, rtol=1e-3):
            raise _refused(f"row {row} of a batch is not what the image alone gives: export the raw head, without NMS")


def _golden(folder: Path) -> Golden:
    try:
        return golden.read(folder)
    except Misconfigured as error:
        raise _refused(str(error)) from error


def _check_golden(folder: Path, frames: Golden, kind: str) -> None:
    """What serves the model sees what its export saw; this also refuses files that do not belong together."""
    try:
        with opened(kind, folder, threads=0) as engine:
            golden.check(engine, frames)
    except Misconfigured as error:
        raise _refused(str(error)) from error


def _int8(folder: Path) -> tuple[str, ...]:
    """The engine of an int8 graph, where there is one that is used; its files are those that were compared."""
    try:
        int8 = openvino_int8_engine.stated(folder)
        if int8 is None or not int8.is_passed:
            return ()
        with opened(INT8, folder, threads=1) as engine:
            return (engine.name,)
    except Misconfigured as error:
        raise _refused(str(error)) from error


def _time(folder: Path, frames: Golden, engine: str) -> Latency:
    return time_images(folder, [one.image for one in frames.images] * _TIMINGS, engine=engine, threads=1)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]


def _refused(what: str) -> Rejected:
    return Rejected(f"this hand-over is refused: {what}", code="artefact_broken")
