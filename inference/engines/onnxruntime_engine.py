"""ONNX Runtime on CPU, in float32: the reference that the other engines are compared with.

RGB bytes ──letterbox──► [n, 3, h, w] float32 ──model──► raw [n, ...] ──decode_yolo──► boxes
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from contracts.errors import Misconfigured
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.domain.model_spec import MODEL_FILE_NAME, ModelSpec
from inference.engines import read_spec
from inference.engines.whole_batch import fit, read


def load(folder: Path, *, threads: int, confidence: float | None) -> OnnxRuntimeEngine:
    """See inference.engines.load."""
    spec = read_spec(folder, confidence=confidence)
    return OnnxRuntimeEngine(open_session(folder, threads=threads, providers=["CPUExecutionProvider"]), spec)


def open_session(folder: Path, *, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    """The model in that folder, ready to run.

    Raises:
        Misconfigured: ONNX Runtime cannot run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # Waiting threads would otherwise spin on the core that the rest of the worker needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(folder / MODEL_FILE_NAME), options, providers=list(providers))
    except Exception as error:
        raise Misconfigured(f"ONNX Runtime cannot run {folder.name}/{MODEL_FILE_NAME}: {error}") from error


class OnnxRuntimeEngine:
    """One session. A model with a dynamic shape runs a whole batch at once, another one image by image."""

    needs_pixels = True

    def __init__(self, session: onnxruntime.InferenceSession, spec: ModelSpec, *, name: str = "onnxruntime") -> None:
        self.name = name
        self._session: Any = session
        self._spec = spec

    def warm_up(self) -> None:
        """See Engine."""
        self.infer([np.full((self._spec.input.height, self._spec.input.width, 3), 114, np.uint8)])

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """See Engine."""
        if not images:
            return []
        batch, placed = fit(images, self._spec)
        step = len(images) if self._spec.input.dynamic else 1
        raw = np.concatenate([self._run(batch[at : at + step]) for at in range(0, len(images), step)])
        return read(raw, placed, images, self._spec)

    def _run(self, batch: Any) -> Any:
        return self._session.run([self._spec.output_name], {self._spec.input.name: batch})[0]

    def close(self) -> None:
        """See Engine."""
        self._session = None
