"""ONNX Runtime on CPU, in float32: the reference that the other engines are compared with.

RGB bytes ──letterbox──► [n, 3, h, w] float32 ──model──► raw [n, ...] ──decode_yolo──► boxes
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from contracts.errors import Misconfigured
from inference.domain.detections import Detections
from inference.domain.letterbox import Image, letterbox
from inference.domain.model_spec import MODEL_FILE_NAME, ModelSpec
from inference.domain.nms import decode_yolo
from inference.engines import read_spec


def load(folder: Path, *, threads: int) -> OnnxRuntimeEngine:
    """See inference.engines.load."""
    spec = read_spec(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # Waiting threads would otherwise spin on the core that the rest of the worker needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(folder / MODEL_FILE_NAME), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise Misconfigured(f"ONNX Runtime cannot run {folder.name}/{MODEL_FILE_NAME}: {error}") from error
    return OnnxRuntimeEngine(session, spec)


class OnnxRuntimeEngine:
    """One session. A model with a dynamic shape runs a whole batch at once, another one image by image."""

    name = "onnxruntime"
    needs_pixels = True

    def __init__(self, session: onnxruntime.InferenceSession, spec: ModelSpec) -> None:
        self._session: Any = session
        self._spec = spec

    def warm_up(self) -> None:
        """See Engine."""
        self.infer([np.full((self._spec.input.height, self._spec.input.width, 3), 114, np.uint8)])

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """See Engine."""
        if not images:
            return []
        wanted = self._spec.input
        fitted, placed = zip(
            *(letterbox(image, width=wanted.width, height=wanted.height, pad=wanted.pad) for image in images),
            strict=True,
        )
        batch = cv2.dnn.blobFromImages(fitted, scalefactor=wanted.scale, swapRB=wanted.colour == "BGR")
        if wanted.layout == "NHWC":
            batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        step = len(images) if wanted.dynamic else 1
        raw = np.concatenate([self._run(batch[at : at + step]) for at in range(0, len(images), step)])
        return [
            decode_yolo(
                one,
                where,
                classes=self._spec.classes,
                width=image.shape[1],
                height=image.shape[0],
                confidence=self._spec.confidence,
                iou=self._spec.iou,
                max_detections=self._spec.max_detections,
            )
            for one, where, image in zip(raw, placed, images, strict=True)
        ]

    def _run(self, batch: Any) -> Any:
        return self._session.run([self._spec.output_name], {self._spec.input.name: batch})[0]

    def close(self) -> None:
        """See Engine."""
        self._session = None
