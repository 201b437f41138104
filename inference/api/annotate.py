"""Draws detections into their image."""

from __future__ import annotations

import zlib
from typing import Final

import cv2
import simplejpeg

from inference.domain.detections import Detections
from inference.domain.letterbox import Image

_QUALITY: Final = 90
_COLOURS: Final = ((230, 60, 60), (60, 160, 230), (60, 190, 90), (240, 170, 40), (170, 90, 220), (40, 190, 190))


def annotate(image: Image, detections: Detections) -> bytes:
    """The image with its boxes, labels and confidences, as JPEG.

    Args:
        image: [height, width, 3] RGB; it is drawn into.
        detections: in its pixels.
    """
    height, width = image.shape[:2]
    thick = max(1, round(max(height, width) / 640))
    scale = 0.5 * max(1.0, max(height, width) / 1280)
    for label, confidence, box in zip(detections.labels, detections.confidences, detections.boxes, strict=True):
        colour = _COLOURS[zlib.crc32(label.encode()) % len(_COLOURS)]
        left, top, right, bottom = (round(float(edge)) for edge in box)
        cv2.rectangle(image, (left, top), (right, bottom), colour, thick)
        text = f"{label} {confidence:.2f}"
        (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        base = max(top, text_height + below)
        cv2.rectangle(image, (left, base - text_height - below), (left + text_width, base), colour, cv2.FILLED)
        cv2.putText(
            image, text, (left, base - below // 2), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thick, cv2.LINE_AA
        )
    jpeg: bytes = simplejpeg.encode_jpeg(image, quality=_QUALITY, colorspace="RGB")
    return jpeg
