"""The peers' own environment: the dependency group `bench`, made once in the cache. The project itself is not in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from contracts.settings import Settings
from sightline.stack.install import cache_of, find_uv
from sightline.stack.locks import locked
from tests.bench.harness import ROOT

SYNC_SECONDS = 900


def bench_environment() -> Path:
    """The folder of its programs. Says what it does when that takes a while: 1 GB is fetched the first time."""
    cache = cache_of(Settings())
    folder = cache / "bench-environment"
    if not folder.is_dir():
        print(f"  making the peers' environment in {folder} (uv sync --only-group bench), once …", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "install.lock", waiting=lambda: print("  another install is running: waiting for it")):
        synced = subprocess.run(
            [find_uv(), "sync", "--frozen", "--only-group", "bench", "--python", os.path.realpath(sys.executable)],
            cwd=ROOT,
            env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder), "UV_PYTHON_DOWNLOADS": "never"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SYNC_SECONDS,
        )
    assert synced.returncode == 0, f"uv sync --only-group bench failed:\n{synced.stdout}{synced.stderr}"
    return folder / "bin"
