"""OpenVINO on CPU in int8, for a model whose int8 graph was found as good as its float32 one; any other runs in float32.

    model.json: int8 { files, sha256, parity: passed } ─► files are those ─► engine openvino-int8
                none, not passed ─────────────────────► engine openvino

Chosen by the setting `engine = openvino-int8`; `openvino` forbids it. The float32 graph stays the version's identity.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured
from contracts.logs import get_logger
from inference.domain.model_spec import FILE_NAME
from inference.engines import openvino_engine, read_spec
from inference.engines.openvino_engine import OpenVinoEngine, compiled_model, streams_for

GRAPH: Final = "model-int8.xml"
WEIGHTS: Final = "model-int8.bin"
KEY: Final = "int8"  # in model.json
_WHAT_NEXT: Final = "quantise the model again (`sightline model quantise`), or serve it with the engine openvino"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """What model.json says of the int8 graph beside the model."""

    graph_sha256: str
    weights_sha256: str
    is_passed: bool  # its mAP is that of float32, to the tolerance of inference.delivery.quantise


def stated(folder: Path) -> Int8 | None:
    """What model.json says of an int8 graph; None: there is none.

    Raises:
        Misconfigured: it says something else than quantising writes.
    """
    entry = json.loads((folder / FILE_NAME).read_bytes()).get(KEY)
    if entry is None:
        return None
    try:
        return Int8(
            graph_sha256=str(entry["graph_sha256"]),
            weights_sha256=str(entry["weights_sha256"]),
            is_passed=entry["parity"]["is_passed"] is True,
        )
    except (KeyError, TypeError) as error:
        raise Misconfigured(f"{KEY} in {FILE_NAME} does not fit ({error!r}): {_WHAT_NEXT}") from error


def load(folder: Path, *, threads: int, confidence: float | None) -> OpenVinoEngine:
    """See inference.engines.load. In float32 where the int8 graph is missing or was not found good enough.

    Raises:
        Misconfigured: the int8 files are not those that were compared.
    """
    spec = read_spec(folder, confidence=confidence)
    int8 = stated(folder)
    if int8 is None or not int8.is_passed:
        _log.info("int8_not_used", reason="there is none" if int8 is None else "it was not as good as float32")
        return openvino_engine.load(folder, threads=threads, confidence=confidence)
    for name, digest in ((GRAPH, int8.graph_sha256), (WEIGHTS, int8.weights_sha256)):
        if not (folder / name).is_file() or hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise Misconfigured(f"{name} is not the file that was compared with float32: {_WHAT_NEXT}")
    threads = threads or len(os.sched_getaffinity(0))
    streams = streams_for(threads)
    try:
        compiled = compiled_model(folder / GRAPH, spec, threads=threads, streams=streams)
    except RuntimeError as error:  # OpenVINO raises nothing else
        raise Misconfigured(f"OpenVINO cannot run {GRAPH}: {error}") from error
    return OpenVinoInt8Engine(compiled, spec, streams=streams)


class OpenVinoInt8Engine(OpenVinoEngine):
    """As OpenVinoEngine; its predictions say that they are of int8."""

    name = "openvino-int8"
