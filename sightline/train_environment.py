"""The environment that trains: torch and ultralytics (AGPL-3.0, 3 GB) are nowhere else.

this Python has them ─► it
.venv-train has them ─► its Python
neither ──────────────► Misconfigured, with the line that makes one
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ".venv-train"
NEEDED: Final = ("torch", "ultralytics")


def python() -> str:
    """The interpreter of an environment that can train.

    Raises:
        Misconfigured: there is none.
    """
    if all(find_spec(name) is not None for name in NEEDED):
        return sys.executable
    there = ROOT / FOLDER / "bin" / "python"
    if not there.is_file():
        raise Misconfigured(
            f"training needs torch, which is in an environment of its own (3 GB to fetch, 5 GB on disk). Make it: "
            f"UV_PROJECT_ENVIRONMENT={FOLDER} uv sync --frozen --group train"
        )
    return str(there)


def run(module: str, arguments: Sequence[str], *, needs_torch: bool = True) -> int:
    """Runs a module of inference.delivery, where torch is if it needs that. Returns its exit code.

    Its output is shown as it comes. Help is given by any Python.

    Raises:
        Misconfigured: torch is needed, and no environment has it.
    """
    is_help = any(argument in {"-h", "--help"} for argument in arguments)
    command = [python() if needs_torch and not is_help else sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the module has it too: it saves, then ends
