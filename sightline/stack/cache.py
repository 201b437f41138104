"""Where binaries lie, shared by all clones on the machine. Standard library only: `make setup` uses it.

SIGHTLINE_STACK__CACHE, else $XDG_CACHE_HOME/sightline, else ~/.cache/sightline
    uv-<version>/            a private uv, where the machine has none
    <part>-<version>-<hash>/ one folder per binary (install.py)
    logs/  building/  install.lock
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The cache. Both variables are read here, because this runs before there is anything that could load Settings."""
    given = os.environ.get("SIGHTLINE_STACK__CACHE")
    if given:
        return Path(given).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "sightline"
