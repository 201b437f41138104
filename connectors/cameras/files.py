"""Images that lie in files: one, or all of a folder. Their bytes are sent as they are, never encoded again."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from connectors.cameras.images import Captured, RejectedImage, captured_image, since_1970, storable, too_large
from contracts.topics import MAX_IMAGE_BYTES

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})


class FileSource:
    """One image file."""

    is_live = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.description = storable(str(path.absolute()))
        self.length: int | None = 1

    def images(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:  # noqa: ARG002
        """The image, or why it is refused."""
        yield read_image(self._path, name=self._path.name)


class FolderSource:
    """All files of a folder and the folders in it, sorted by path. Hidden ones are ignored.

    A folder in it that cannot be read, and a link to one, are refused by name: what lies there is not sent.

    Raises:
        OSError: the folder itself cannot be read.
    """

    is_live = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = sorted(_entries(path))
        self.description = storable(str(path.absolute()))
        self.length: int | None = len(self._entries)

    def images(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:  # noqa: ARG002
        """Every file in turn: what it is its content tells, not its name."""
        for path, refusal in self._entries:
            if stop.is_set():
                return
            name = str(path.relative_to(self._path))
            if refusal:
                yield RejectedImage(name=storable(name), code="unreadable", reason=refusal)
            else:
                yield read_image(path, name=name)


def _entries(folder: Path) -> list[tuple[Path, str]]:
    """The files, and the folders that are left out with the reason."""
    entries: list[tuple[Path, str]] = []

    def leave_out(error: OSError) -> None:
        if error.filename == str(folder):
            raise error
        entries.append((Path(error.filename), f"a folder that cannot be read: {error.strerror}"))

    for root, folders, files in os.walk(folder, onerror=leave_out):
        folders[:] = [name for name in folders if not name.startswith(".")]
        entries += [(Path(root, name), "a link to a folder") for name in folders if Path(root, name).is_symlink()]
        entries += [(Path(root, name), "") for name in files if not name.startswith(".")]
    return entries


def read_image(path: Path, *, name: str) -> Captured:
    """Reads a file that should hold an image; one over the limit is not read at all."""
    name = storable(name)
    try:
        # Opened without blocking: a pipe named .jpg would else hold the camera for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return RejectedImage(name=name, code="unreadable", reason="not a regular file")
            if status.st_size > MAX_IMAGE_BYTES:
                return too_large(name, status.st_size)
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        return RejectedImage(name=name, code="unreadable", reason=f"cannot be read: {error.strerror}")
    return captured_image(data, name=name, source_time=since_1970(status.st_mtime))
