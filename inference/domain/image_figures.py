"""What an image is like, whatever is in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from inference.domain.letterbox import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFigures:
    """Two numbers that follow the light and the lens."""

    brightness: float  # mean grey, 0..255
    sharpness: float  # variance of the Laplacian of grey: falls as an image blurs (Pech-Pacheco et al., 2000)


def figures_of(image: Image) -> ImageFigures:
    """The figures of an RGB image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return ImageFigures(brightness=float(np.mean(grey)), sharpness=float(cv2.Laplacian(grey, cv2.CV_64F).var()))
