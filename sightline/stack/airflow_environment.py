"""Airflow's own Python environment: its pins conflict with the service's, so it is a part of the install (install.py).

uv.lock, group airflow ──► <cache>/airflow-<hash of uv.lock>/bin/python -m airflow
"""

from __future__ import annotations

import sys
from pathlib import Path

GROUP = "airflow"


def commands(uv: str, folder: Path) -> list[tuple[str, ...]]:
    """What makes it, one after the other, run in the repository with UV_PROJECT_ENVIRONMENT=folder.

    Relocatable, for a part of the install is renamed into its place when it is whole.
    """
    return [
        (uv, "venv", "--quiet", "--relocatable", "--allow-existing", "--python", sys.executable, str(folder)),
        (uv, "sync", "--quiet", "--frozen", "--no-progress", "--only-group", GROUP, "--link-mode", "hardlink"),
    ]
