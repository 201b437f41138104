"""How much boxes overlap. Pure.

[n, 4] ┐
       ├─► IoU of every box with every other, [n, m]
[m, 4] ┘
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.domain.detections import Float32

Float64 = NDArray[np.float64]


def overlaps(first: Float32, second: Float32) -> Float64:
    """Intersection over union, 0..1; 0 for boxes without an area.

    Args:
        first: [n, 4] x1 y1 x2 y2.
        second: [m, 4], in the same pixels.
    """
    one, other = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    corner, opposite = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    common = np.clip(opposite - corner, 0.0, None).prod(axis=-1)
    union = _areas(one) + _areas(other) - common
    shares: Float64 = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shares


def _areas(boxes: Float64) -> Float64:
    areas: Float64 = np.clip(boxes[..., 2:] - boxes[..., :2], 0.0, None).prod(axis=-1)
    return areas
