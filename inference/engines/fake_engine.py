"""No model: answers what it was told to. For tests, and to measure what the platform costs without a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from inference.domain.detections import NOTHING, Detections
from inference.domain.letterbox import Image


def load(
    _folder: Path | None,
    *,
    threads: int,  # noqa: ARG001 - every engine is loaded alike
    confidence: float | None,  # noqa: ARG001
) -> FakeEngine:
    """See inference.engines.load."""
    return FakeEngine()


class FakeEngine:
    """Gives every image the same detections, after a delay."""

    name = "fake"

    def __init__(
        self, *, detections: Detections = NOTHING, seconds_per_image: float = 0.0, needs_pixels: bool = False
    ) -> None:
        self.needs_pixels = needs_pixels
        self._detections = detections
        self._seconds_per_image = seconds_per_image

    def warm_up(self) -> None:
        """See Engine."""

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """See Engine."""
        if self._seconds_per_image:
            time.sleep(self._seconds_per_image * len(images))
        return [self._detections] * len(images)

    def close(self) -> None:
        """See Engine."""
