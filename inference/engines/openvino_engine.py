"""OpenVINO on CPU, in float32.

    RGB bytes ──letterbox──► [1, h, w, 3] uint8 ──graph: to float, scale, transpose, model──► raw ──decode_yolo──► boxes

One image per request and several requests at once, not one request with several images: batching does not pay on
CPU, and a fixed shape is compiled once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
from openvino.preprocess import ColorFormat, PrePostProcessor

from contracts.errors import Misconfigured
from inference.domain.detections import Detections
from inference.domain.letterbox import Image, Letterbox, letterbox
from inference.domain.model_spec import MODEL_FILE_NAME, ModelSpec
from inference.domain.nms import decode_yolo
from inference.engines import read_spec

# More requests at once than frames in a usual batch would lie idle.
_MOST_STREAMS: Final = 8


def load(folder: Path, *, threads: int, confidence: float | None) -> OpenVinoEngine:
    """See inference.engines.load."""
    spec = read_spec(folder, confidence=confidence)
    threads = threads or len(os.sched_getaffinity(0))
    streams = streams_for(threads)
    try:
        compiled = compiled_model(folder / MODEL_FILE_NAME, spec, threads=threads, streams=streams)
    except RuntimeError as error:  # OpenVINO raises nothing else
        raise Misconfigured(f"OpenVINO cannot run {folder.name}/{MODEL_FILE_NAME}: {error}") from error
    return OpenVinoEngine(compiled, spec, streams=streams)


def streams_for(threads: int) -> int:
    """How many requests run at once on so many threads."""
    return min(threads, _MOST_STREAMS)


def compiled_model(path: Path, spec: ModelSpec, *, threads: int, streams: int) -> openvino.CompiledModel:
    """The graph in a file with our processing in front of it."""
    core = openvino.Core()
    model = core.read_model(path)
    size = [spec.input.height, spec.input.width]
    shape = [1, 3, *size] if spec.input.layout == "NCHW" else [1, *size, 3]
    model.reshape({spec.input.name: shape})
    steps = PrePostProcessor(model)
    entry = steps.input(spec.input.name)
    entry.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    entry.tensor().set_color_format(ColorFormat.RGB)
    entry.model().set_layout(openvino.Layout(spec.input.layout))
    entry.preprocess().convert_element_type(openvino.Type.f32)
    if spec.input.colour == "BGR":
        entry.preprocess().convert_color(ColorFormat.BGR)
    entry.preprocess().scale(1.0 / spec.input.scale)  # it divides
    return core.compile_model(
        steps.build(),
        "CPU",
        {
            # Left to itself it takes bf16 where the CPU has it, which moves boxes by up to 8 px.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(threads),
            # Two processes would otherwise both pin themselves to the first core.
            "ENABLE_CPU_PINNING": "NO",
        },
    )


class OpenVinoEngine:
    """One compiled model with a fixed set of requests, owned here and never by a thread: they would hang its exit."""

    name = "openvino"
    needs_pixels = True

    def __init__(self, compiled: openvino.CompiledModel, spec: ModelSpec, *, streams: int) -> None:
        self._compiled: Any = compiled
        self._spec = spec
        self._output = compiled.output(spec.output_name)
        self._requests: list[Any] = [compiled.create_infer_request() for _ in range(streams)]

    def warm_up(self) -> None:
        """See Engine."""
        grey = np.full((self._spec.input.height, self._spec.input.width, 3), 114, np.uint8)
        self.infer([grey] * len(self._requests))

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """See Engine."""
        answers: list[Detections] = []
        running: list[tuple[Any, Image, Letterbox]] = []
        for index, image in enumerate(images):
            if len(running) == len(self._requests):  # full: the oldest request is the one to use next
                answers.append(self._finish(*running.pop(0)))
            request = self._requests[index % len(self._requests)]
            running.append((request, image, self._start(request, image)))
        answers.extend(self._finish(*one) for one in running)
        return answers

    def _start(self, request: Any, image: Image) -> Letterbox:
        wanted = self._spec.input
        fitted, placed = letterbox(image, width=wanted.width, height=wanted.height, pad=wanted.pad)
        request.get_input_tensor().data[0] = fitted
        request.start_async()
        return placed

    def _finish(self, request: Any, image: Image, placed: Letterbox) -> Detections:
        request.wait()
        return decode_yolo(
            request.get_tensor(self._output).data[0],
            placed,
            classes=self._spec.classes,
            width=image.shape[1],
            height=image.shape[0],
            confidence=self._spec.confidence,
            iou=self._spec.iou,
            max_detections=self._spec.max_detections,
        )

    def close(self) -> None:
        """See Engine."""
        for request in self._requests:
            request.cancel()
        self._requests = []
        self._output = None
        self._compiled = None
