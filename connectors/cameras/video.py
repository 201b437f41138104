"""A video file, frame by frame. A frame has no file of its own: it is encoded to JPEG once, here.

source_time = the file's time + the frame's position
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from connectors.cameras.images import Captured, RejectedImage, captured_image, since_1970, storable
from contracts.logs import get_logger

log = get_logger(__name__)

_FFMPEG_QUIET: Final = "-8"  # AV_LOG_QUIET; 16 in the environment shows its errors again


class VideoSource:
    """One video file, in whatever format OpenCV's FFmpeg reads."""

    is_live = False

    def __init__(self, path: Path, *, jpeg_quality: int) -> None:
        self._path = path
        self._quality = jpeg_quality
        self.description = storable(str(path.absolute()))
        self.length: int | None = _length(path)

    def images(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:  # noqa: ARG002
        """Every frame in turn; one refusal where the file cannot be read as a video."""
        name = storable(self._path.name)
        video = open_video(str(self._path.absolute()))
        began = since_1970(self._path.stat().st_mtime)
        number = 0
        try:
            while not stop.is_set():
                is_read, pixels = video.read()
                if not is_read:
                    break
                yield captured_image(
                    encode(pixels, quality=self._quality),
                    name=f"{name} frame {number}",
                    source_time=_position(began, video.get(cv2.CAP_PROP_POS_MSEC)),
                )
                number += 1
        finally:
            video.release()
        if stop.is_set():
            return
        if number == 0:
            yield RejectedImage(
                name=name, code="not_an_image", reason="neither JPEG, PNG nor a video that can be read, by its content"
            )
        elif self.length and number < self.length:
            # The container's count is an estimate in some formats, so this is news and not an error.
            log.warning("video_ended_early", video=name, frames=number, announced=self.length)


def open_video(target: str, *, options: tuple[int, ...] = ()) -> Any:
    """A cv2.VideoCapture through FFmpeg; ask it isOpened()."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # its warnings are about its own backends
    # FFmpeg says on stderr what we say in our own words, at every attempt. Read when the first video is opened.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    return cv2.VideoCapture(target, cv2.CAP_FFMPEG, list(options))


def encode(pixels: NDArray[np.uint8], *, quality: int) -> bytes:
    """JPEG of an image [height, width, 3] in BGR, or [height, width] grey, uint8."""
    if pixels.ndim == 2:
        grey = np.ascontiguousarray(pixels[..., None])
        return bytes(simplejpeg.encode_jpeg(grey, quality=quality, colorspace="GRAY"))
    colour = np.ascontiguousarray(pixels)
    return bytes(simplejpeg.encode_jpeg(colour, quality=quality, colorspace="BGR", colorsubsampling="420"))


def _length(path: Path) -> int | None:
    video = open_video(str(path.absolute()))
    try:
        frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    finally:
        video.release()
    return frames if frames > 0 else None


def _position(began: datetime | None, milliseconds: float) -> datetime | None:
    if began is None:
        return None
    return began + timedelta(milliseconds=max(0.0, milliseconds))
