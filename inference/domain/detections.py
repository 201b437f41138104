"""The boxes of one image, as a struct of arrays.

labels       ("short", "open")
confidences  [0.91, 0.72]                      0..1, the highest first
boxes        [[x1, y1, x2, y2], [...]]         pixels of the original image
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """What a model saw in one image. All three have one entry per detection.

    Raises:
        ValueError: the lengths or types do not agree; this is a programming error, never a bad image.
    """

    labels: tuple[str, ...]
    confidences: Float32  # [n], 0..1
    boxes: Float32  # [n, 4]: x1 y1 x2 y2, pixels of the original image

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.confidences.shape != (count,) or self.boxes.shape != (count, 4):
            raise ValueError(
                f"{count} labels need confidences [{count}] and boxes [{count}, 4], "
                f"not {self.confidences.shape} and {self.boxes.shape}"
            )
        if self.confidences.dtype != np.float32 or self.boxes.dtype != np.float32:
            raise ValueError(f"float32 is needed, not {self.confidences.dtype} and {self.boxes.dtype}")
        self.confidences.setflags(write=False)
        self.boxes.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, labels: Sequence[str], confidences: Sequence[float], boxes: Sequence[Any]) -> Self:
        """Out of plain lists, as records and documents hold them; the boxes' corners one after the other or by fours."""
        return cls(
            labels=tuple(labels),
            confidences=np.asarray(confidences, np.float32),
            boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        )

    @classmethod
    def empty(cls) -> Self:
        """No detection."""
        return cls(labels=(), confidences=np.empty(0, np.float32), boxes=np.empty((0, 4), np.float32))


NOTHING: Final = Detections.empty()
