"""Fits an image of any size into the model's input without distorting it, and takes boxes back.

    1280 x 960 image ──scale 0.25──► 320 x 240 ──pad 40 above and below, grey 114──► 320 x 320

The image is centred; an odd rest goes to the right and to the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [height, width, 3], RGB

PAD_VALUE: Final = 114


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """How an image lies in the model's input: input = original * scale + pad."""

    scale: float  # input pixels per original pixel
    pad_x: int  # input pixels left of the image
    pad_y: int  # input pixels above the image


def plan(original_width: int, original_height: int, *, width: int, height: int) -> tuple[Letterbox, int, int]:
    """Where an image of that size lies in an input of width x height, and the size it is scaled to (width, height)."""
    scale = min(width / original_width, height / original_height)
    scaled_width = min(width, max(1, round(original_width * scale)))
    scaled_height = min(height, max(1, round(original_height * scale)))
    return (
        Letterbox(scale=scale, pad_x=(width - scaled_width) // 2, pad_y=(height - scaled_height) // 2),
        scaled_width,
        scaled_height,
    )


def letterbox(image: Image, *, width: int, height: int, pad: int = PAD_VALUE) -> tuple[Image, Letterbox]:
    """The image scaled to fit, centred and padded.

    Args:
        image: [h, w, 3] uint8, h and w at least 1.
        width: of the model's input, pixels.
        height: of the model's input, pixels.
        pad: the grey value of the border.

    Returns:
        The input [height, width, 3] uint8 (the image itself where nothing is to be done) and how to come back.
    """
    placed, scaled_width, scaled_height = plan(image.shape[1], image.shape[0], width=width, height=height)
    if (scaled_width, scaled_height) != (image.shape[1], image.shape[0]):
        # Area averaging keeps thin traces when shrinking; it would only blur when enlarging.
        how = cv2.INTER_AREA if placed.scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (scaled_width, scaled_height), interpolation=how)
    right, below = width - scaled_width - placed.pad_x, height - scaled_height - placed.pad_y
    if placed.pad_x or placed.pad_y or right or below:
        image = cv2.copyMakeBorder(
            image, placed.pad_y, below, placed.pad_x, right, cv2.BORDER_CONSTANT, value=(pad, pad, pad)
        )
    return image, placed
