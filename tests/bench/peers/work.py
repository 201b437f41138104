"""What every server does with an image: the product's own decoder and engine, so that only the servers differ.

    JPEG ──decode──► pixels ──engine──► {"labels": [...], "confidences": [...], "boxes": [[x1, y1, x2, y2], ...]}

The engine and its model come from two variables that the benchmark sets. The fake engine looks at no pixels, so its
image is not decoded: what is left is the server.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from inference.domain.decode import Status, decode
from inference.engines import load

ENGINE = "BENCH_ENGINE"
MODEL_FOLDER = "BENCH_MODEL_FOLDER"
MAX_PIXELS = 50_000_000


class Work:
    """One thread at a time."""

    def __init__(self) -> None:
        self._engine = load(os.environ[ENGINE], Path(os.environ[MODEL_FOLDER]), threads=1)
        self._engine.warm_up()

    def __call__(self, data: bytes) -> dict[str, Any]:
        return self.batch([data])[0]

    def batch(self, images: list[bytes]) -> list[dict[str, Any]]:
        pixels: list[Any] = images
        if self._engine.needs_pixels:
            pixels = [decode(data, max_pixels=MAX_PIXELS) for data in images]
            assert not any(isinstance(one, Status) for one in pixels)
        return [
            {
                "labels": list(found.labels),
                "confidences": found.confidences.tolist(),
                "boxes": found.boxes.tolist(),
            }
            for found in self._engine.infer(pixels)
        ]
