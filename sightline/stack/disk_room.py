"""Which disks of a home are full: `up` and `status` say it, for all else that fails then only follows from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sightline.stack.home import Home

_LEAST_BYTES: Final = 1024 * 1024


def full_folders(home: Home) -> list[Path]:
    """The folders of this home on whose disks next to nothing can be written; one for each disk."""
    full: dict[int, Path] = {}
    for folder in (home.folder, home.run, home.logs, home.data, *sorted(home.data.glob("*/"))):
        try:
            disk, is_full = folder.stat().st_dev, _is_full(folder)
        except OSError:  # gone meanwhile, or not there yet
            continue
        if is_full:
            full.setdefault(disk, folder)
    return list(full.values())


def _is_full(folder: Path) -> bool:
    found = os.statvfs(folder)
    has_no_file_left = found.f_files > 0 and found.f_favail == 0
    return found.f_bavail * found.f_frsize < _LEAST_BYTES or has_no_file_left


def in_words(folder: Path | str) -> str:
    """For a message."""
    return f"no space left on the disk of {folder}: make room there, and what waits for it goes on"
