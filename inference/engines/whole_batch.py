"""Before and after an engine that takes a whole batch at once: images to one array, raw output to detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from inference.domain.detections import Detections
from inference.domain.letterbox import Image, Letterbox, letterbox
from inference.domain.model_spec import ModelSpec
from inference.domain.nms import decode_yolo


def fit(images: Sequence[Image], spec: ModelSpec) -> tuple[Any, Sequence[Letterbox]]:
    """The model's input for at least one image, [n, 3, h, w] or [n, h, w, 3] float32, and how each image lies in it."""
    wanted = spec.input
    fitted, placed = zip(
        *(letterbox(image, width=wanted.width, height=wanted.height, pad=wanted.pad) for image in images),
        strict=True,
    )
    batch = cv2.dnn.blobFromImages(fitted, scalefactor=wanted.scale, swapRB=wanted.colour == "BGR")
    if wanted.layout == "NHWC":
        batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
    return batch, placed


def read(raw: Any, placed: Sequence[Letterbox], images: Sequence[Image], spec: ModelSpec) -> list[Detections]:
    """The detections of each row of the model's output; boxes in pixels of the images as given."""
    return [
        decode_yolo(
            one,
            where,
            classes=spec.classes,
            width=image.shape[1],
            height=image.shape[0],
            confidence=spec.confidence,
            iou=spec.iou,
            max_detections=spec.max_detections,
        )
        for one, where, image in zip(raw, placed, images, strict=True)
    ]
