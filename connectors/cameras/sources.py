"""SOURCE → a typed source.

    photo.jpg · folder/ · line.mp4          files.py, video.py
    rtsp://… · https://… · /dev/video0      live.py
    simulator:?seed=7                       simulator.py

A source yields images and refusals; it knows nothing of topics.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from connectors.cameras.files import IMAGE_SUFFIXES, FileSource, FolderSource
from connectors.cameras.headers import Header, read_header
from connectors.cameras.images import Captured, printable
from connectors.cameras.live import LiveSource, VideoCapture, open_device, open_stream
from connectors.cameras.simulator import PREFIX as SIMULATOR
from connectors.cameras.simulator import SimulatorSource
from connectors.cameras.video import VideoSource
from contracts.errors import Rejected
from contracts.settings import CameraSettings

ACCEPTED: Final = (
    "an image (JPEG, PNG), a folder of images, a video file, rtsp:// rtsps:// http:// or https://, "
    "a device (/dev/video0 or device:0), or simulator:?seed=7&size=640"
)
_STREAM: Final = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)
_ANY_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DEVICE: Final = re.compile(r"(?:device:(\d{1,3})|(/dev/video\d{1,3}))")
_SECRET_IN_PATH: Final = re.compile(
    # Up to the next field, for a password may hold an underscore: user=admin_password=a_b_channel=1.sdp
    r"((?:user|login|pass|pw|token|key|secret|auth)[a-z]*[=_:]).*?(?=_[a-z]+=|[/&;?]|$)",
    re.IGNORECASE,
)
_HEADER_BYTES: Final = 64 * 1024


class Source(Protocol):
    """Yields images; knows nothing of topics, sessions or rates."""

    description: str  # for the session: where the frames came from, without credentials
    length: int | None  # how many images, where it is known before
    is_live: bool  # it runs at its own pace

    def images(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:
        """Images and refusals in turn, until its end or `stop`. `say` shows what it waits for; "" takes it back."""
        ...


def open_source(text: str, settings: CameraSettings, *, frames_per_second: float | None = None) -> Source:
    """The source that a text names. Nothing is read yet, except a folder's list.

    Args:
        text: SOURCE of the command line.
        settings: JPEG quality and reconnection.
        frames_per_second: what a live source leaves out frames for; others are paced by the sender.

    Raises:
        Rejected: the text names no source, or an empty folder (unknown_source).
    """
    if text.startswith(SIMULATOR):
        return SimulatorSource(text, jpeg_quality=settings.jpeg_quality)
    live = _live_opener(text)
    if live is not None:
        return LiveSource(
            live,
            description=without_secrets(text),
            jpeg_quality=settings.jpeg_quality,
            reconnect_seconds=settings.reconnect_seconds,
            frames_per_second=frames_per_second,
        )
    if _ANY_URL.match(text):
        raise Rejected(f"{without_secrets(text)} is none of: {ACCEPTED}", code="unknown_source")
    return _stored(Path(text).expanduser(), settings)


def _live_opener(text: str) -> Callable[[], VideoCapture] | None:
    if _STREAM.match(text):
        return open_stream(text)
    device = _DEVICE.fullmatch(text)
    if device:
        number, path = device.groups()
        return open_device(int(number) if number else path)
    return None


def _stored(path: Path, settings: CameraSettings) -> Source:
    try:
        if path.is_dir():
            folder = FolderSource(path)
            if not folder.length:
                raise Rejected(f"{printable(str(path))} holds no files: SOURCE is {ACCEPTED}", code="unknown_source")
            return folder
        if not path.is_file():
            raise Rejected(f"there is no {printable(str(path))}: SOURCE is {ACCEPTED}", code="unknown_source")
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
    except OSError as error:
        raise Rejected(f"{printable(str(path))} cannot be read: {error.strerror}", code="unknown_source") from error
    # What it is its content tells. What is no image may be a video, unless it is empty or claims to be an image.
    if not start or path.suffix.lower() in IMAGE_SUFFIXES or isinstance(read_header(start), Header):
        return FileSource(path)
    return VideoSource(path, jpeg_quality=settings.jpeg_quality)


def without_secrets(url: str) -> str:
    """A URL for logs and sessions: no user, no password, no query; cameras carry logins in all of these."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname or ""
    except ValueError:
        return f"{url.split(':', 1)[0]}://…"
    if not parts.scheme or not parts.netloc:
        # A device; or a slash too many, and the login lies in what looks like the path.
        return f"{parts.scheme}://…" if _ANY_URL.match(url) else url
    if "@" in f"{parts.path}{parts.query}{parts.fragment}" and "@" not in parts.netloc:
        # Most likely a password with a / ? or # in it: what looks like the host is its start.
        return f"{parts.scheme}://…"
    path = _SECRET_IN_PATH.sub(r"\1***", parts.path)
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{path}"
